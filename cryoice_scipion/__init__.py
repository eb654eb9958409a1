# SPDX-License-Identifier: GPL-3.0-or-later
"""Scipion plugin: find bad areas on micrographs, and reject the coordinates that lie on them.

This module does not import Scipion or torch: ``cryoice_scipion.core`` must work without them.
"""

from __future__ import annotations

import importlib
from typing import Any, List

from cryoice_scipion.constants import VERSION

__version__ = VERSION
_logo = "cryoice_logo.png"
_references: List[str] = []  # each protocol names its own; Scipion would show those of the package a second time


def __getattr__(name: str) -> Any:
    """Return ``Plugin`` when Scipion asks for it (PEP 562), so that other users of the package do not load pwem."""
    if name == "Plugin":
        return importlib.import_module("cryoice_scipion.plugin").Plugin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
