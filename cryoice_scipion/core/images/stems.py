# SPDX-License-Identifier: GPL-3.0-or-later
"""Stems of micrographs: their base name without extension, and the name of their output files.

File names may hold any byte but "/" and NUL. Text files, tables and terminals cannot show all of them, so names in
outputs are plain: a control character, or a byte that is not UTF-8, is written as %0A or %FF.
"""

from __future__ import annotations

import hashlib
import re

from cryoice_scipion.core.images.compressed import COMPRESSIONS
from cryoice_scipion.core.images.reading import SUFFIXES

#: Extensions of images, the preferred ones first.
EXTENSIONS = tuple(name + packed for name in (*SUFFIXES, ".eer", ".map") for packed in ("", *COMPRESSIONS))
FRAME = re.compile(r"^(\d+)@(.+)$")
#: Starts of a text that spreadsheets take for a formula, or shells for an option.
RISKY_STARTS = ("=", "+", "-", "@")
_LONGEST_STEM = 200  # bytes; file systems allow names of 255, and outputs append to the stem


def stem_of(name: str) -> str:
    """Return the plain base name without its extension (".mrc.gz" is one); frame 3 of a stack s.mrcs is ``s_3``."""
    frame = FRAME.match(name)
    base = re.split(r"[/\\]", frame.group(2) if frame else name)[-1]
    for extension in EXTENSIONS:
        if base.lower().endswith(extension) and len(base) > len(extension):
            base = base[: -len(extension)]
            break
    return plain_path(f"{base}_{int(frame.group(1))}" if frame else base)


def plain_path(path: str) -> str:
    """Return a path as outputs name it; :func:`~.reading.split_frame` finds the file again."""
    if path.isprintable():
        return path
    return "".join(char if char.isprintable() else _percent(char) for char in path)


def _percent(char: str) -> str:
    """Return a character as bytes; half a UTF-16 character, which JSON and .cs files may hold, has bytes as well."""
    errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", errors))


def output_stem(stem: str) -> str:
    """Return a stem that fits into the names of output files.

    A long one is shortened and ends in a hash of itself. One that spreadsheets take for a formula, or shells for an
    option, gets an underscore in front, and an empty one, of a path that ends in "/", becomes an underscore.
    """
    stem = plain_path(f"_{stem}" if not stem or stem.startswith(RISKY_STARTS) else stem)
    data = stem.encode("utf-8")
    if len(data) <= _LONGEST_STEM:
        return stem
    mark = "_" + hashlib.blake2b(data, digest_size=5).hexdigest()
    return data[: _LONGEST_STEM - len(mark)].decode("utf-8", "ignore") + mark
