# SPDX-License-Identifier: GPL-3.0-or-later
"""Make docs/pictures/classes.jpg: a simulated micrograph of every kind of bad area, with what is labelled outlined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from tqdm import tqdm

from cryoice_scipion.constants import CLASSES
from cryoice_scipion.core.images.palette import class_colour, rgb
from cryoice_scipion.core.images.thumbnails import grey_base
from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.scene import simulate

TARGET = Path(__file__).resolve().parent / "pictures" / "classes.jpg"
PX, PIXEL_SIZE = 1400, 1.5
SIDE, ROW, COLUMNS = 360, 400, 4  # px, px, panels in a row
QUALITY = 72  # of JPEG: noise compresses badly, and a picture of the docs stays below 250 kB
# kind, share of the area, what it is
KINDS = (
    ("", 0.0, "clean"),
    ("single", 0.3, "crystalline: single crystals"),
    ("poly", 1.0, "crystalline: grains all over"),
    ("frost", 0.2, "contamination: frost"),
    ("ethane", 0.4, "contamination: ethane"),
    ("dirt", 0.03, "contamination: dirt"),
    ("thick", 0.4, "thick ice"),
    ("carbon", 0.35, "support: carbon"),
    ("gold", 0.3, "support: gold"),
    ("aggregate", 0.12, "aggregate"),
    ("vacuum", 0.4, "vacuum"),
)


def panel(kind: str, area: float, title: str, seed: int) -> Image.Image:
    """Return one picture with its caption."""
    rng = np.random.default_rng([7, seed])
    config = SceneConfig.make(
        rows=PX, columns=PX, pixel_size=PIXEL_SIZE, kinds=[kind] if kind else [], areas=[area] if kind else [],
        defocus_um=1.8, particle_radius=70.0, coverage=0.15,
    )  # fmt: skip
    scene = simulate(config, rng)
    grey = grey_base(scene.pixels, np.zeros(scene.labels.shape, bool), PIXEL_SIZE, SIDE)
    shown = np.repeat(np.asarray(grey, dtype=np.uint8)[..., None], 3, axis=2)
    places = ((np.arange(size) + 0.5) * PX / size for size in shown.shape[:2])
    rows, columns = (place.astype(int) for place in places)
    labels = scene.labels[rows[:, None], columns[None, :]]
    for code in np.unique(labels[labels > 0]):
        inside = labels == code
        edge = inside & ~ndimage.binary_erosion(inside, iterations=2, border_value=1)
        shown[edge] = rgb(class_colour(CLASSES[code]))
    picture = Image.new("RGB", (SIDE + 10, ROW), "white")
    picture.paste(Image.fromarray(shown), (5, 0))
    font = ImageFont.load_default()
    ImageDraw.Draw(picture).text((8, SIDE + 10), title, fill="black", font=font)
    return picture


def main() -> None:
    """Draw all of them."""
    rows = -(-len(KINDS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (SIDE + 10), rows * ROW), "white")
    for place, (kind, area, title) in enumerate(tqdm(KINDS, unit="kind")):
        sheet.paste(panel(kind, area, title, place), (place % COLUMNS * (SIDE + 10), place // COLUMNS * ROW))
    sheet.save(TARGET, quality=QUALITY, optimize=True)
    print(TARGET)


if __name__ == "__main__":
    main()
