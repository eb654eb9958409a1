# SPDX-License-Identifier: GPL-3.0-or-later
"""Shorten long names for pictures and windows."""

from __future__ import annotations

from typing import Callable


def shortened(text: str, room: float, width: Callable[[str], float] = len) -> str:
    """Shorten a text in the middle until it fits; its end stays longest, because the names of a session differ there.

    Parameters
    ----------
    room : float
        The largest width.
    width : callable
        Returns the width of a text, by default the number of its letters.
    """
    if width(text) <= room:
        return text
    low, high = 1, len(text)  # letters that remain
    while low < high:
        letters = (low + high + 1) // 2
        low, high = (letters, high) if width(_cut(text, letters)) <= room else (low, letters - 1)
    return _cut(text, low)


def _cut(text: str, letters: int) -> str:
    head = letters // 3
    return f"{text[:head]}…{text[len(text) - letters + head :]}"
