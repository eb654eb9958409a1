# SPDX-License-Identifier: GPL-3.0-or-later
"""NAME_SUFFIXES: what programs append to the names of micrographs. Users extend it with CRYOICE_NAME_SUFFIXES."""

from __future__ import annotations

import functools
import os
import re
from typing import Dict, Iterator, Pattern, Tuple

_PICKERS = "pickers (RELION, crYOLO, Topaz, Gautomatch, EMAN2, DeepPicker, BoxNet)"
#: Suffixes without the leading underscore, as regular expressions without regard to case, by origin.
NAME_SUFFIXES: Dict[str, Tuple[str, ...]] = {
    "motion correction (MotionCor2, RELION, cryoSPARC, Warp, cisTEM)": (
        "dws?", "nodw", "mic", "ali", "aligned", "patch", "rigid", "full", "local", "motion", "corrected",
        "motioncorrected", "motioncor2?", "motioncorr", "doseweighted", "dose-weighted", "non", "sumcorr",
    ),
    "cameras": ("fractions", "eer"),
    "denoising": ("denoised",),
    _PICKERS: (
        "extract", "extracted", "manualpick", "autopick", "automatch", "manual", "auto", "picks?", "picked", "picking",
        "particles?", "ptcls", "coords?", "coordinates", "boxes", "info", "cryolo", "topaz", "topazpicks",
        "gautomatch", "cnnpick", r"BoxNet2Mask_\w+", "cryoice",
    ),
}  # fmt: skip
VARIABLE = "CRYOICE_NAME_SUFFIXES"  # environment variable with further suffixes, such as "_mypicker _v2"


def without_suffixes(name: str) -> str:
    """Return the stem of a micrograph or coordinate file without the suffixes at its end; at least something stays."""
    *_, shortest = _shorter(name, _pattern(os.environ.get(VARIABLE, ""), tuple(NAME_SUFFIXES)))
    return shortest


def stems_of_picks(name: str) -> Iterator[str]:
    """Yield the stem of a coordinate file, then without its last suffix of a picker, without its last two, and so on.

    Suffixes that users add count as those of pickers.
    """
    return _shorter(name, _pattern(os.environ.get(VARIABLE, ""), (_PICKERS,)))


def _shorter(name: str, pattern: Pattern[str]) -> Iterator[str]:
    while True:
        yield name
        shorter = pattern.sub("", name)
        if not shorter or shorter == name:
            return
        name = shorter


@functools.lru_cache(maxsize=8)
def _pattern(further: str, groups: Tuple[str, ...]) -> Pattern[str]:
    words = [word for group in groups for word in NAME_SUFFIXES[group]]
    words += [re.escape(word.lstrip("_")) for word in further.replace(",", " ").split()]
    return re.compile(f"_(?:{'|'.join(words)})$", re.IGNORECASE)
