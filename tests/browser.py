# SPDX-License-Identifier: GPL-3.0-or-later
"""Drive a real Chromium over its debugging pipe, without any other package."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
_LIMIT = 60.0  # s to wait for anything
_OPTIONS = ["--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-background-networking"]


class Browser:
    """One tab. ``requests`` are the addresses it asked for, ``errors`` the uncaught errors and refused contents."""

    def __init__(self):
        self._profile = tempfile.mkdtemp(prefix="cryoice_browser_")
        (their_in, self._out), (self._in, their_out) = os.pipe(), os.pipe()

        def place_pipes():  # Chromium reads from 3 and writes to 4
            ours = os.dup(their_in), os.dup(their_out)
            os.dup2(ours[0], 3)
            os.dup2(ours[1], 4)

        options = [*_OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else []), f"--user-data-dir={self._profile}"]
        self._process = subprocess.Popen(
            [CHROMIUM, *options, "--remote-debugging-pipe", "about:blank"],
            preexec_fn=place_pipes,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_in)
        os.close(their_out)
        self._numbers, self._rest, self._session = itertools.count(1), b"", None
        self.requests, self.errors = [], []
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "DOM", "Log"):
            self.call(f"{domain}.enable")

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method, **parameters):
        """Send one command of the DevTools protocol and return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _read(self):
        while b"\0" not in self._rest:
            more = os.read(self._in, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        line, self._rest = self._rest.split(b"\0", 1)
        message = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method, found):
        if method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(found["exceptionDetails"].get("exception", {}).get("description", str(found)))
        elif method == "Log.entryAdded" and found["entry"]["source"] in ("security", "javascript"):
            self.errors.append(found["entry"]["text"])

    def evaluate(self, expression):
        """Return the value of a JavaScript expression; a promise is awaited."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, address):
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def wait(self, expression, limit=_LIMIT):
        """Wait until an expression is true; an error counts as false."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self.evaluate(
                f"(() => {{ try {{ return Boolean({expression}); }} catch (error) {{ return false; }} }})()"
            ):
                return
            time.sleep(0.03)
        raise AssertionError(f"not within {limit} s: {expression}")

    def click(self, selector):
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def key(self, key):
        """Press a key where the focus is."""
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **(text if kind == "keyDown" else {}))

    def drag(self, selector, *points):
        """Drag the mouse over an element; positions are shares of its width and height. Equal ones are a click."""
        left, top, width, height = self.evaluate(
            f"(({{x, y, width, height}}) => [x, y, width, height])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*points, points[-1]]):
            at = {"x": left + x * width, "y": top + y * height}
            self.call("Input.dispatchMouseEvent", type=kind, **at, button="left", buttons=1, clickCount=1)

    def give_file(self, selector, path):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def size(self, width, height):
        mobile = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def barriers(self):
        """Return what breaks WCAG 2.1 AA on the page by axe-core, one line a rule and element."""
        if sys.version_info < (3, 10):  # which the package needs
            return []
        import axe_core_python

        self.evaluate(Path(axe_core_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8"))
        rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}
        found = self.evaluate(f"axe.run({json.dumps(rules)}).then((one) => one.violations)")
        return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]

    def picture(self, path, whole=False):
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(found["data"]))
