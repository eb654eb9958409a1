# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the pictures of `cryoice serve` in the docs: a simulated run in a real browser. Needs Chromium or Chrome.

``make screenshots`` calls it. Takes about three minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from make_screenshots import ROOT, save
from PIL import Image

sys.path.insert(0, str(ROOT / "tests"))
from browser import Browser  # noqa: E402

NUMBER, SEED = 8, 4
WINDOW = (1280, 800)  # px


def main() -> int:
    """Simulate and screen micrographs, and take a picture of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=Path, help="folder for the run, which stays there")
    build = parser.parse_args().build.resolve() / "serve"
    if not (build / "screened").is_dir():
        cryoice(
            "simulate",
            "--output",
            build / "simulated",
            "--number",
            NUMBER,
            "--seed",
            SEED,
            "--one-session",
            "--pixel-size",
            1.2,
        )
        picks = build / "simulated" / "picks.star"
        folder = build / "simulated" / "micrographs"
        cryoice("screen", folder, "--coordinates", picks, "--output", build / "screened")
    words = [sys.executable, "-m", "cryoice_scipion.core", "serve", "--run", str(build / "screened"), "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    browser = Browser()
    try:
        assert server.stdout is not None
        address = next(line.strip() for line in server.stdout if line.startswith("http"))
        browser.size(*WINDOW)
        browser.open(address)
        take_all(browser, address.partition("?")[0], build)
    finally:
        browser.close()
        server.terminate()
        server.wait()
    return 0


def cryoice(*words: object) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "cryoice_scipion.core", *map(str, words)], check=True)


def take_all(browser: Browser, address: str, build: Path) -> None:
    """Take a picture of each part, of the micrograph with the most bad area below a half."""
    browser.wait("document.querySelectorAll('.card').length > 4 && document.querySelector('#told .big')")
    found = browser.evaluate("fetch('/api/run').then((one) => one.json()).then((one) => one.micrographs)")
    name = max((one for one in found if one["bad_area"] < 0.5), key=lambda one: one["bad_area"])["name"]
    choose(browser, name)
    take(browser, "serve_review.jpg")
    browser.click("#as_map")
    browser.wait("document.querySelectorAll('#plane circle[data-id]').length > 4")
    browser.drag("#plane", (0.02, 0.02), (0.98, 0.02), (0.5, 0.5), (0.02, 0.5))
    browser.wait("document.querySelector('#near button')")
    take(browser, "serve_map.jpg")
    browser.click("#as_cards")
    browser.open(f"{address}try")
    browser.give_file("#micrograph", build / "simulated" / "micrographs" / name)
    browser.wait("document.querySelector('#stage .tint')")
    take(browser, "serve_try.jpg")
    browser.open(f"{address}teach")
    browser.wait("document.querySelector('#regions button.small')")
    choose(browser, name)
    browser.click("#regions button.small")
    browser.key("3")
    browser.drag("#stage svg.picture", (0.52, 0.6), (0.62, 0.75))
    browser.wait("document.querySelectorAll('.mark').length > 1")
    take(browser, "serve_teach.jpg")


def choose(browser: Browser, name: str) -> None:
    """Open a micrograph of the gallery."""
    browser.click(f".card[title='{name}']")
    browser.wait(f"document.getElementById('name').textContent === '{name}'")


def take(browser: Browser, name: str) -> None:
    """Take a picture when the images are there."""
    browser.wait("[...document.querySelectorAll('.card img')].slice(0, 6).every((one) => one.naturalWidth)")
    time.sleep(1)  # the picture in the viewer
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        browser.picture(path)
        with Image.open(path) as image:
            save(image, name)


if __name__ == "__main__":
    sys.exit(main())
