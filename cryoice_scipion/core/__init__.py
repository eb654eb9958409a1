# SPDX-License-Identifier: GPL-3.0-or-later
"""Find bad areas on cryo-EM micrographs, and score coordinates. Importing this loads neither Scipion nor torch.

``load``, ``screen_files`` and ``MicrographResult`` are the public interface; see ``cryoice_scipion.core.api``.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "load": "api",
    "screen_files": "api",
    "MicrographResult": "results.micrograph_result",
    "CryoIceError": "errors",
}

__all__ = ["CryoIceError", "MicrographResult", "load", "screen_files"]  # noqa: F822 (loaded on first use)


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that importing the core stays cheap."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
