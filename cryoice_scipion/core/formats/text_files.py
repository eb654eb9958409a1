# SPDX-License-Identifier: GPL-3.0-or-later
"""Read text files of any encoding and line ends."""

from __future__ import annotations

import re
from pathlib import Path

from cryoice_scipion.core.errors import CoordinatesError


def read_text(path: Path) -> str:
    """Return a text file with plain line ends.

    Raises
    ------
    CoordinatesError
        When it is missing, a folder, unreadable, or not text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CoordinatesError(path, f"cannot be read ({error.strerror or error})", "check the path") from None
    if b"\0" in data[:4096]:
        raise CoordinatesError(path, "is not a text file", "check the file and its extension")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def without_comments(text: str) -> str:
    """Return a text with its comment lines blank."""
    return re.sub(r"^[ \t]*#[^\n]*", "", text, flags=re.MULTILINE) if "#" in text else text
