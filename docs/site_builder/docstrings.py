# SPDX-License-Identifier: GPL-3.0-or-later
"""For mkdocstrings: roles of reStructuredText become code, and a comment behind a field describes it."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")
_COMMENT = re.compile(r"#:?\s*(.*)$")


class Docstrings(griffe.Extension):
    """Rewrites docstrings when the code has been read."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            text = re.sub(r"``([^`]*)``", r"`\1`", _ROLE.sub(r"`\1`", obj.docstring.value))
            obj.docstring.value = text

    def on_attribute_instance(self, *, attr: Any, **_: Any) -> None:
        """Take the comment behind a field as its description."""
        if attr.docstring is None and attr.lineno:
            comment = _COMMENT.search(attr.lines_collection[attr.filepath][attr.lineno - 1])
            if comment and comment.group(1):
                text = comment.group(1)
                attr.docstring = griffe.Docstring(text[:1].upper() + text[1:] + ".", lineno=attr.lineno, parent=attr)
