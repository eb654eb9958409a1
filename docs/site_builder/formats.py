# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinate formats, from the table that the readers use."""

from __future__ import annotations

from cryoice_scipion.core.formats.table import FORMATS
from site_builder.markdown import code, prose, table


def coordinate_formats() -> str:
    """Return the formats with the program that writes them."""
    rows = [(", ".join(code(suffix) for suffix in one.suffixes), one.program, prose(one.content)) for one in FORMATS]
    return table(("Extension", "Program", "Content"), rows)
