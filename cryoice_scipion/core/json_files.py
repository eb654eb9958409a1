# SPDX-License-Identifier: GPL-3.0-or-later
"""Read JSON files that may be damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Tuple, Type


def read_json(path: Path, kind: Type[Any] = dict, unique: bool = False) -> Any:
    """Return the content of a JSON file, which is an object unless ``kind`` says otherwise.

    Parameters
    ----------
    unique : bool
        Whether a name that an object has twice is an error. Otherwise the last value counts.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it is not JSON, is nested too deeply, or holds something else.
    """
    return parse_json(path.read_bytes(), kind, unique)


def parse_json(content: bytes, kind: Type[Any] = dict, unique: bool = False) -> Any:
    """Return the content of a JSON file from its bytes, as :func:`read_json` does.

    Raises
    ------
    ValueError
        As :func:`read_json`.
    """
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_with_unique_names if unique else None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, kind):
        raise ValueError("it is no list" if kind is list else "it is no JSON object")
    return found


def _with_unique_names(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name '{name}' is there twice")
        found[name] = value
    return found
