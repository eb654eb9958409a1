# SPDX-License-Identifier: GPL-3.0-or-later
"""Open uploads, read the fields of a form, and turn errors into sentences for the page."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Optional

from cryoice_scipion.core.errors import CryoIceError, ImageError, SettingsError
from cryoice_scipion.core.images.compressed import is_compressed
from cryoice_scipion.core.images.reading import Micrograph, read_micrograph
from cryoice_scipion.core.images.stems import output_stem, stem_of

MOST_BYTES = 1 << 30
_LEAST_SIDE = 64  # px
_MOST_NAME = 120  # bytes of a file's name; results have longer names
_OPTION = re.compile(r"\s*(?:with |\()?--[a-z-]+\)?")  # options of the command line
_NAME = re.compile(r"[^\w.@+ -]")


def safe_name(name: str) -> str:
    """Return the name of an uploaded file without folders and unusual characters."""
    base = re.split(r"[/\\]", name)[-1]
    ending = _NAME.sub("_", base).lstrip(".").encode()[-_MOST_NAME:]
    return ending.decode(errors="ignore") or "micrograph"


def stem_for(name: str) -> str:
    """Return the stem that names the results of an uploaded file."""
    return output_stem(stem_of(name))


def open_upload(path: Path) -> Micrograph:
    """Open an uploaded image. Its header is checked before anything decodes the pixels.

    Raises
    ------
    ImageError
        When it is no micrograph, is too large or too small, or is compressed: it might grow without limit.
    """
    with open(path, "rb") as stream:
        if is_compressed(stream.read(8)):
            raise ImageError(path, "is a compressed file", "decompress it first")
    micrograph = read_micrograph(path)
    if min(micrograph.shape) < _LEAST_SIDE:
        reason = f"has only {micrograph.shape[1]} × {micrograph.shape[0]} px"
        raise ImageError(path, reason, f"give a micrograph of at least {_LEAST_SIDE} px a side")
    return micrograph


def number_of(text: str, name: str, unit: str) -> Optional[float]:
    """Return the number in a field of the form; None if the field is empty.

    Raises
    ------
    SettingsError
        When it is not a positive number.
    """
    if not text.strip():
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise SettingsError(name, f"'{text.strip()[:40]}' is not a positive number", f"enter it in {unit}")
    return value


def sentence(error: CryoIceError, hidden: Path) -> str:
    """Return an error as one sentence of the page: without folders of the server and options of the command line.

    Parameters
    ----------
    hidden : pathlib.Path
        The folder of uploads, which the user does not know.
    """
    text = _OPTION.sub("", error.reason + (f"; {error.remedy}" if error.remedy else ""))
    text = f"{error.what}: {text}".replace("give it in", "enter it in")
    text = re.sub(rf"{re.escape(str(hidden))}/(?:[^\s:;]*/)?", "", text)
    return text + ("" if text.endswith(".") else ".")
