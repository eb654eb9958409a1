# SPDX-License-Identifier: GPL-3.0-or-later
"""Select and draw the patches where the model and the labels disagree most. Wrong labels are often among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Tuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.caption import INK, PAPER
from cryoice_scipion.core.images.grey_levels import STRETCH, grey_levels
from cryoice_scipion.core.images.shortening import shortened
from cryoice_scipion.core.screening.csv_table import write_csv

PICTURE, TABLE = "mistakes.png", "mistakes.csv"
COLUMNS = ["number", "label", "p_bad", "micrograph", "x", "y", "origin"]
EACH = 12  # maximum number of patches labelled good, and of patches labelled bad
DRAWN = 3  # maximum number of these at background positions, whose labels a user cannot correct
BACKGROUND = "background"  # origin of these
ACROSS = 4  # pairs in a row
SIDE = 128  # px of a patch in the picture
GAP, MARGIN, TEXT, LINE = 3, 12, 13, 17  # px
SMOOTH = 1.75  # px of a patch, standard deviation, for display only; similar to thumbnails at 4 Å/px
GREYS = 32  # grey levels of the picture; few, because noise compresses badly and the model folder must stay small
FADED = "#5a5a5a"
_GREY = [round(round(value * (GREYS - 1) / 255) * 255 / (GREYS - 1)) for value in range(256)]  # the nearest of them
_FLOOR = 1e-3  # of a power spectrum, in units of white noise

Array = NDArray[Any]


def hardest(predictions: pd.DataFrame, threshold: float, each: int = EACH) -> pd.DataFrame:
    """Return the most confident mistakes: first patches labelled good, then patches labelled bad.

    In both groups, positions labelled by the user come before background positions.

    Parameters
    ----------
    predictions : pandas.DataFrame
        label, p_bad, micrograph, x, y, origin; one row a patch.
    threshold : float
        Threshold on goodness, 1 - P(BAD); patches that reach it are predicted good.
    each : int
        Maximum number of patches in each group.

    Returns
    -------
    pandas.DataFrame
        ``COLUMNS``, numbered from 1; the index is that of ``predictions``.
    """
    bad, predicted = predictions["label"] != GOOD, 1.0 - predictions["p_bad"] < threshold
    good_ones = predictions[~bad & predicted].sort_values("p_bad", ascending=False, kind="stable")
    bad_ones = predictions[bad & ~predicted].sort_values("p_bad", kind="stable")
    found = pd.concat([_users_first(good_ones, each), _users_first(bad_ones, each)])
    return found.assign(number=np.arange(1, len(found) + 1))[COLUMNS]


def _users_first(ordered: pd.DataFrame, each: int) -> pd.DataFrame:
    drawn = ordered["origin"] == BACKGROUND
    return pd.concat([ordered[~drawn], ordered[drawn].head(DRAWN)]).head(each)


def write_mistakes(folder: Path, found: pd.DataFrame, patches: Array) -> None:
    """Write mistakes.csv, and mistakes.png, which shows each patch next to its power spectrum.

    Parameters
    ----------
    folder : pathlib.Path
        The model folder.
    found : pandas.DataFrame
        Result of :func:`hardest`.
    patches : numpy.ndarray, (n, window, window), float
        Normalised patches, in the order of ``found``. They are smoothed for display; their power spectra are not.
    """
    write_csv(folder / TABLE, found.round({"p_bad": 4, "x": 1, "y": 1}))
    page = mistakes_picture(found, patches)
    with replacing(folder / PICTURE) as temporary:
        page.quantize(2 * GREYS, dither=Image.Dither.NONE).save(temporary, format="PNG", optimize=True)


def mistakes_picture(found: pd.DataFrame, patches: Array) -> Image.Image:
    """Return the picture of :func:`write_mistakes`, which has the same arguments."""
    patches = np.asarray(patches, dtype=np.float64)
    smooth = gaussian_filter(patches, (0, SMOOTH, SMOOTH))
    pairs = list(zip(_stretched(smooth), _stretched(_log_power(patches)))) if len(found) else []
    labelled_bad = (found["label"] != GOOD).to_numpy()
    blocks = [
        _block("Labelled good, predicted bad", found[~labelled_bad], pairs[: int((~labelled_bad).sum())]),
        _block("Labelled bad, predicted good", found[labelled_bad], pairs[int((~labelled_bad).sum()) :]),
    ]
    page = Image.new("RGB", (blocks[0].width, sum(block.height for block in blocks)), PAPER)
    page.paste(blocks[0], (0, 0))
    page.paste(blocks[1], (0, blocks[0].height))
    return page


def _log_power(patches: Array) -> Array:
    """Return the log power spectrum of each patch as the network sees it, over the full plane."""
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(patches.shape[-1]) / patches.shape[-1])  # Hann
    plane = taper[:, None] * taper[None, :]
    centred = (patches - patches.mean(axis=(-2, -1), keepdims=True)) * plane
    power = np.abs(np.fft.fft2(centred)) ** 2 / (plane**2).sum()
    return np.fft.fftshift(np.log(power + _FLOOR), axes=(-2, -1))


def _stretched(images: Array) -> Array:
    """Return images as grey levels of a common contrast, because thick and empty areas differ in brightness."""
    return grey_levels(images, *np.percentile(images, STRETCH))


def _block(title: str, found: pd.DataFrame, pairs: List[Tuple[Array, Array]]) -> Image.Image:
    """Return a picture with a heading and the pairs of patch and spectrum, with captions."""
    width, height = 2 * SIDE + GAP + 2 * MARGIN, SIDE + 3 * LINE + MARGIN
    head, rows = 3 * LINE, max(1, -(-len(found) // ACROSS))
    block = Image.new("RGB", (ACROSS * width, head + (rows * height if len(found) else 2 * LINE)), PAPER)
    draw, large, font = ImageDraw.Draw(block), ImageFont.load_default(TEXT + 5), ImageFont.load_default(TEXT)
    draw.text((MARGIN, LINE), title, fill=INK, font=large)
    words = "most confident first, background last; left: smoothed patch, right: its power spectrum"
    draw.text((2 * MARGIN + large.getlength(title), LINE + 5), words, fill=FADED, font=font)
    if not len(found):
        draw.text((MARGIN, head), "none: every prediction agrees with its label", fill=FADED, font=font)
    for index, (row, pair) in enumerate(zip(found.itertuples(), pairs)):
        left, top = index % ACROSS * width + MARGIN, head + index // ACROSS * height
        for side, values in enumerate(pair):
            kind = Image.Resampling.NEAREST if side else Image.Resampling.BICUBIC
            picture = Image.fromarray(values, mode="L").resize((SIDE, SIDE), kind)
            block.paste(picture.point(_GREY), (left + side * (SIDE + GAP), top))
        lines = (
            f"{row.number}   {_kind(row)}, P(BAD) {row.p_bad:.2f}",
            shortened(str(row.micrograph), 2 * SIDE + GAP, font.getlength),
            f"x {row.x:.0f}, y {row.y:.0f} px",
        )
        for number, words in enumerate(lines):
            draw.text((left, top + SIDE + 3 + number * LINE), words, fill=FADED if number else INK, font=font)
    return block


def _kind(row: Any) -> str:
    """Return the label, with its origin if it is a background position."""
    return f"{row.label} ({row.origin})" if row.origin == BACKGROUND else str(row.label)
