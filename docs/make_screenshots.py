# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the screenshots of README and docs: the real windows on a screen that is not seen, the report in a browser.

The demo's project, with a training and a search for regions beside the screening, is made anew in out/screenshots and
stays there; the pictures go into docs/pictures. Takes about six minutes on two CPU cores. Needs Xvfb (a screen that is
not seen) and Chromium or Chrome; any shipped model will do.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Iterator, Type

from PIL import Image

from cryoice_scipion import demo

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
SCREENED = 12  # micrographs
LABELLED = {"number": 24, "seed": 11, "cleanShare": 0.1, "oneSession": True}
HELD_OUT = 4  # of those
SCREEN = "1700x1060"  # px
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DESKTOP, PHONE = (1280, 1160, 1.0), (390, 844, 2.0)  # width and height in CSS px, and px for each of them
LARGEST = 250_000  # bytes of a picture
MOST = 120.0  # s that the browser may take


class NoScreenshots(Exception):
    """Why there are none, in one line."""


def main() -> int:
    """Make the project, then its pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "out" / "screenshots", help="folder of the project")
    parser.add_argument("--only-pictures", action="store_true", help="of the project of an earlier call")
    options = parser.parse_args()
    build = options.build.resolve()
    try:
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        for tool, words in ((shutil.which("Xvfb"), "Xvfb"), (browser, "Chromium or Chrome")):
            if not tool:
                raise NoScreenshots(f"{words} is not installed, or not on PATH; install it with the system's packages")
        if not options.only_pictures:
            call("-m", "cryoice_scipion.demo", "--folder", build, "--number", SCREENED)
            print("Training ...", flush=True)
            train(open_project(build))
            print("Searching regions ...", flush=True)
            search(open_project(build))
        with screen():
            print("Opening the windows ...", flush=True)
            call(ROOT / "docs" / "screenshot_windows.py", build)
        print("Opening the page of cryoice serve ...", flush=True)
        call(ROOT / "docs" / "make_serve_pictures.py", build)
        take_report(browser, open_project(build))
    except NoScreenshots as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


def call(*words: object) -> None:
    """Run a part of the work in a process of its own."""
    if subprocess.run([sys.executable, *map(str, words)], check=False).returncode:
        raise NoScreenshots("a part of it failed; what it said stands above")


# ---- the project ------------------------------------------------------------------------------------------------


def open_project(build: Path) -> Any:
    """Open the demo's project, and work in its folder, as pyworkflow does."""
    demo.prepare(build)  # before pyworkflow is imported
    from pyworkflow.project import Manager

    if not Manager().hasProject(demo.PROJECT):
        raise NoScreenshots(f"{build} holds no project; call without --only-pictures")
    project = Manager().loadProject(demo.PROJECT)
    os.chdir(project.path)
    return project


def first(project: Any, kind: Type[Any]) -> Any:
    """Return the first protocol of a class: the demo's, where there is one."""
    return min((one for one in project.getRuns() if isinstance(one, kind)), key=lambda one: one.getObjId())


def train(project: Any) -> None:
    """Train on the picks of a simulation, of which it is known what they lie on."""
    from cryoice_scipion.protocols import CryoIceProtSimulate, CryoIceProtTrain

    labelled = project.newProtocol(CryoIceProtSimulate, **LABELLED)
    run(project, labelled, "labelled micrographs")
    good, bad = (
        Counter(item.getMicName() for item in getattr(labelled, f"outputCoordinates{end}")) for end in ("True", "False")
    )
    both = sorted(good, key=lambda name: min(good[name], bad[name]), reverse=True)
    held_out = ", ".join(both[: 2 * HELD_OUT : 2])
    training = project.newProtocol(CryoIceProtTrain, holdOut=held_out, modelName="my grid")
    point(training.goodCoordinates, labelled, "outputCoordinatesTrue")
    point(training.badCoordinates, labelled, "outputCoordinatesFalse")
    run(project, training, "train ice detector")


def search(project: Any) -> None:
    """Search the demo's screening for regions."""
    from cryoice_scipion.protocols import CryoIceProtRegions, CryoIceProtScreen

    protocol = project.newProtocol(CryoIceProtRegions)
    protocol.inputScreening.set(first(project, CryoIceProtScreen))
    run(project, protocol, "find regions")


def point(pointer: Any, protocol: Any, output: str) -> None:
    """Let an input be an output of another protocol."""
    pointer.set(protocol)
    pointer.setExtended(output)


def run(project: Any, protocol: Any, label: str) -> None:
    """Run a protocol to its end, under a name."""
    protocol.setObjLabel(label)
    project.saveProtocol(protocol)
    project.launchProtocol(protocol, wait=True)
    if not protocol.isFinished():
        log = Path(project.path) / protocol.getStdoutLog()
        raise NoScreenshots(f"{label}: did not finish; see {log}")


# ---- pictures ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def screen() -> Iterator[None]:
    """Give windows a screen that is not seen."""
    read, write = os.pipe()
    words = ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{SCREEN}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(words, pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as stream:
            number = stream.readline().strip()
        if not number:
            raise NoScreenshots("Xvfb did not start")
        os.environ["DISPLAY"] = f":{number}"
        yield
    finally:
        server.kill()
        server.wait()


def take_report(browser: str, project: Any) -> None:
    """The top of the report, as wide as a desktop's window and as a phone."""
    from cryoice_scipion.protocols import CryoIceProtScreen
    from cryoice_scipion.protocols.protocol_screen import FOLDER

    report = Path(project.path) / first(project, CryoIceProtScreen).getPath(*FOLDER) / "report.html"
    for name, (width, height, scale) in (("report_desktop.png", DESKTOP), ("report_phone.png", PHONE)):
        with tempfile.TemporaryDirectory() as folder:
            # A browser's window cannot be as narrow as a phone, a frame in it can.
            style = f"position:absolute;left:0;top:0;border:0;width:{width}px;height:{height}px"
            page, picture = Path(folder) / "page.html", Path(folder) / "picture.png"
            page.write_text(f'<!DOCTYPE html><iframe src="{report.as_uri()}" style="{style}"></iframe>')
            words = [browser, "--headless", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
            words += ["--no-sandbox"] if os.geteuid() == 0 else []
            words += [f"--window-size={max(width, 500)},{height + 200}", f"--force-device-scale-factor={scale}"]
            words += [f"--screenshot={picture}", page.as_uri()]
            done = subprocess.run(words, capture_output=True, text=True, timeout=MOST, check=False)
            if not picture.is_file():
                raise NoScreenshots(f"{browser} took no picture: {' '.join(done.stderr.split())[-300:]}")
            with Image.open(picture) as image:
                save(image.crop((0, 0, round(width * scale), round(height * scale))), name)


def save(image: Image.Image, name: str) -> None:
    """Write a picture: a PNG with a palette, or a JPEG as good as its size allows."""
    path, image = PICTURES / name, image.convert("RGB")
    if path.suffix == ".png":
        image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    else:
        for quality in range(92, 50, -5):
            image.save(path, quality=quality, optimize=True, subsampling=0)
            if path.stat().st_size < LARGEST:
                break
    if path.stat().st_size > LARGEST:
        raise NoScreenshots(f"{path} is larger than {LARGEST} bytes; make its window smaller")
    print(
        f"{path.relative_to(ROOT)}: {image.width} x {image.height} px, {path.stat().st_size / 1000:.0f} kB", flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
