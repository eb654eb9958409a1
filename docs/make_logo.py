# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw cryoice_scipion/cryoice_logo.png: an ice crystal in a hole of the support film."""

import math
from pathlib import Path

from PIL import Image, ImageDraw

SIDE, OVERSAMPLING = 96, 8


def main() -> None:
    """Write the logo into the package."""
    side = SIDE * OVERSAMPLING
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, side - 1, side - 1), radius=side // 6, fill="#3c4650")
    draw.ellipse([side * 0.08, side * 0.08, side * 0.92, side * 0.92], fill="#e9eef2")
    for arm in range(6):
        draw_arm(draw, side, math.pi / 3 * arm + math.pi / 6)
    path = Path(__file__).resolve().parents[1] / "cryoice_scipion" / "cryoice_logo.png"
    image.resize((SIDE, SIDE), Image.LANCZOS).save(path, optimize=True)


def draw_arm(draw: ImageDraw.ImageDraw, side: int, angle: float) -> None:
    """Draw one of the six arms, with its two side branches."""

    def at(radius: float, direction: float, start: tuple = (side / 2, side / 2)) -> tuple:
        return start[0] + radius * side * math.cos(direction), start[1] + radius * side * math.sin(direction)

    draw.line([at(0, angle), at(0.34, angle)], fill="#0072b2", width=side // 18)
    for turn in (-math.pi / 3, math.pi / 3):
        start = at(0.2, angle)
        draw.line([start, at(0.12, angle + turn, start)], fill="#0072b2", width=side // 22)


if __name__ == "__main__":
    main()
