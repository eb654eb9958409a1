# SPDX-License-Identifier: GPL-3.0-or-later
"""Small pieces of Markdown."""

from __future__ import annotations

import re
from typing import Iterable, List, Mapping, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; line breaks and bars in cells are replaced."""
    lines = [list(head), ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().replace("|", "&#124;")


def code(text: object) -> str:
    """Return text as code. It is HTML, so that a cell of a table may hold a bar."""
    escaped = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<code>{escaped}</code>"


def prose(text: str) -> str:
    """Return plain text for Markdown: names such as _DW stay as they are; ``*word*`` is emphasis."""
    return text.replace("_", r"\_").replace("<", "&lt;")


def plain(text: str) -> str:
    """Return a docstring's text without the marks of reStructuredText."""
    without_roles = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return re.sub(r"``([^`]*)``", r"`\1`", without_roles)


def described(names: Iterable[str], descriptions: Mapping[str, str], what: str) -> List[str]:
    """Return the description of each name.

    Raises
    ------
    KeyError
        That lists the names without a description, and the descriptions without a name.
    """
    names = list(names)
    missing, stale = sorted(set(names) - set(descriptions)), sorted(set(descriptions) - set(names))
    if missing or stale:
        raise KeyError(f"{what}: describe {missing}, remove {stale}")
    return [descriptions[name] for name in names]
