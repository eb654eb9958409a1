# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the pictures of docs/explanation: run the commands on simulated micrographs in a CryoPPP folder.

Takes some minutes on two CPU cores. The commands' results stay in out/method, so that they can be looked into.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List, Tuple

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from cryoice_scipion.constants import CLASSES, GOOD
from cryoice_scipion.core.images.borders import find_border
from cryoice_scipion.core.images.palette import class_colour, rgb
from cryoice_scipion.core.images.reading import read_micrograph
from cryoice_scipion.core.images.thumbnails import grey_base
from cryoice_scipion.core.images.writing import read_map

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
ENTRY = "00000"  # the number that a CryoPPP entry has
SIMULATE = ["--number", 28, "--seed", 5, "--size", "1280x1280", "--pixel-size", 2, "--clean-share", 0.2]
KINDS = ["poly", "frost", "ethane", "carbon", "aggregate"]
HELD_OUT = 6  # micrographs
SIDE = 480  # px of a picture
COLUMNS = 8  # patches side by side

Picture = Image.Image


def main() -> None:
    """Run the walk-through and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "out" / "method", help="folder for the commands' results")
    build = parser.parse_args().build
    PICTURES.mkdir(exist_ok=True)
    cryoice("simulate", "--output", build / "simulated", *SIMULATE, "--kinds", *KINDS)
    entry = make_entry(build / "simulated", build / ENTRY)
    cryoice("patches", "--cryoppp", entry, "--output", build / "patches")
    labelled = pd.read_csv(build / "patches" / "patches.csv", keep_default_na=False)["micrograph"].unique()
    held_out = sorted(labelled)[-HELD_OUT:]
    training = ["--patches", build / "patches", "--hold-out", *held_out, "--epochs", 8]
    cryoice("train", *training, "--output", build / "model")
    shutil.rmtree(build / "screened", ignore_errors=True)
    micrographs = [build / "simulated" / "micrographs" / f"{stem}.mrc" for stem in held_out]
    picks = ["--coordinates", build / "simulated" / "picks.star"]
    cryoice("screen", *micrographs, *picks, "--model", build / "model", "--output", build / "screened")
    draw(build, choose_shown(build / "simulated", held_out))


def cryoice(*words: object) -> None:
    """Run one command, as the page shows it."""
    subprocess.run([sys.executable, "-m", "cryoice_scipion.core", *map(str, words)], check=True)


def make_entry(simulated: Path, entry: Path) -> Path:
    """Lay simulated micrographs and their picks out as CryoPPP does, and return the folder."""
    truth = entry / "ground_truth"
    for folder in (entry / "micrographs", truth / "particle_coordinates", truth / "false_positives"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for path in sorted((simulated / "truth").glob("*.json")):
        known = json.loads(path.read_text(encoding="utf-8"))
        shutil.copy(simulated / "micrographs" / known["micrograph"], entry / "micrographs")
        for key, folder in (("particles", "particle_coordinates"), ("false_picks", "false_positives")):
            table = pd.DataFrame(np.reshape(known[key], (-1, 2)), columns=["X-Coordinate", "Y-Coordinate"])
            table["Diameter"] = known["diameter"]
            table.to_csv(truth / folder / f"{path.stem}.csv", index=False)
    return entry


def choose_shown(simulated: Path, stems: List[str]) -> str:
    """Return the micrograph of these that shows most: picks on particles as well as on something bad."""
    overview = json.loads((simulated / "simulation.json").read_text(encoding="utf-8"))["micrographs"]
    known = {Path(row["micrograph"]).stem: min(row["good"], row["bad"], 1000 * row["bad_area"]) for row in overview}
    return max(stems, key=known.__getitem__)


def draw(build: Path, stem: str) -> None:
    """Write all pictures; ``stem`` is the micrograph that the page follows."""
    micrograph = read_micrograph(str(build / "simulated" / "micrographs" / f"{stem}.mrc"))
    pixels = micrograph.as_float32()
    grey = grey_base(pixels, find_border(pixels), micrograph.header_pixel_size or 1.0, SIDE)
    labels, _ = read_map(build / "simulated" / "labels" / f"{stem}.mrc")
    beside("micrograph.jpg", [("micrograph", Image.fromarray(grey)), ("what is where (known)", coloured(labels))])
    probability, _ = read_map(build / "screened" / "probability" / f"{stem}.mrc")
    mask, _ = read_map(build / "screened" / "masks" / f"{stem}.mrc")
    maps = [("P(BAD): black 0, white 1", levels(probability)), ("mask: white good", levels(mask))]
    beside("map.jpg", maps)
    with Image.open(build / "screened" / "thumbnails" / f"{stem}.png") as thumbnail:
        save(thumbnail.convert("RGB"), "thumbnail.jpg")
    for name in ("curves", "roc", "calibration"):
        shutil.copy(build / "model" / f"{name}.png", PICTURES / f"{name}.png")
    draw_patches(build / "patches")


def draw_patches(folder: Path) -> None:
    """Draw some patches of each kind, with the spectrum of each under it."""
    table = pd.read_csv(folder / "patches.csv", keep_default_na=False)
    real, spectra = np.load(folder / "real.npy", mmap_mode="r"), np.load(folder / "fft.npy", mmap_mode="r")
    good = table["label"] == GOOD
    kinds = (
        ("GOOD: particles", good & (table["origin"] != "background")),
        ("GOOD: background", table["origin"] == "background"),
        ("BAD", ~good),
    )
    rng = np.random.default_rng(0)
    rows: List[Tuple[str, Picture]] = []
    for words, wanted in kinds:
        places = rng.choice(np.flatnonzero(wanted & (table["copy"] == 0)), COLUMNS, replace=False)
        upper = np.hstack([as_grey(real[place], -4, 4) for place in places])
        low, high = np.percentile(spectra[places], (1, 99))
        lower = np.hstack([as_grey(spectra[place], low, high) for place in places])
        rows.append((words, Image.fromarray(np.vstack([upper, lower]))))
    beside("patches.jpg", rows, across=False)


def as_grey(patch: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return a patch as 8-bit grey, with a white rim that parts it from its neighbours."""
    scaled = np.clip((patch - low) / (high - low), 0, 1) * 255
    return np.pad(scaled.astype(np.uint8), 1, constant_values=255)


def coloured(codes: np.ndarray) -> Picture:
    """Return a label image in the colours of the classes, good in white."""
    palette = np.array([(255, 255, 255) if name == GOOD else rgb(class_colour(name)) for name in CLASSES], np.uint8)
    return Image.fromarray(palette[codes.astype(int)]).resize((SIDE, SIDE), Image.NEAREST)


def levels(values: np.ndarray) -> Picture:
    """Return values from 0 to 1 as grey, cell by cell."""
    return Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.NEAREST)


def beside(name: str, parts: List[Tuple[str, Picture]], across: bool = True) -> None:
    """Write pictures with their words above them, side by side or one under the other."""
    gap, line, font = 12, 26, ImageFont.load_default(16)
    widths, heights = [part.width for _, part in parts], [part.height + line for _, part in parts]
    size = (sum(widths) + gap * (len(parts) - 1), max(heights)) if across else (max(widths), sum(heights))
    sheet = Image.new("RGB", size, "white")
    pen, left, top = ImageDraw.Draw(sheet), 0, 0
    for (words, part), width, height in zip(parts, widths, heights):
        pen.text((left + 2, top + 4), words, fill="black", font=font)
        sheet.paste(part.convert("RGB"), (left, top + line))
        left, top = (left + width + gap, top) if across else (left, top + height)
    save(sheet, name)


def save(picture: Picture, name: str) -> None:
    """Write a picture of the page."""
    picture.save(PICTURES / name, quality=85, optimize=True)


if __name__ == "__main__":
    main()
