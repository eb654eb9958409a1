# SPDX-License-Identifier: GPL-3.0-or-later
"""Scipion plugin: the contamination gate of a cryo-EM pipeline.

Imports nothing of Scipion and no torch: ``cryoice_scipion.core`` has to work where neither is installed.
"""

from __future__ import annotations

import importlib
from typing import Any

from cryoice_scipion.constants import VERSION

__version__ = VERSION
_logo = "cryoice_logo.png"
_references = ["SanchezGarcia2020"]


def __getattr__(name: str) -> Any:
    """Return ``Plugin`` when Scipion asks for it (PEP 562), so that nobody else loads pwem."""
    if name == "Plugin":
        return importlib.import_module("cryoice_scipion.plugin").Plugin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
