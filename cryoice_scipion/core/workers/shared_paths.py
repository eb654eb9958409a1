# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the paths of requests into paths that every node finds, and those of answers into the given ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict

from cryoice_scipion.core.images.stems import FRAME


def anywhere(model: str) -> str:
    """Return a model as another machine finds it: the absolute path of its folder, or the name of a shipped one."""
    return os.path.join(os.getcwd(), model) if model and Path(model).is_dir() else model


def with_absolute_paths(request: Dict[str, Any]) -> Dict[str, Any]:
    """Return a request that can be done in any folder; ``file`` is the micrograph's file if this machine has it."""
    path: str = request["task"]["path"]
    frame = None if os.path.exists(path) else FRAME.match(path)
    file = os.path.join(os.getcwd(), frame.group(2) if frame else path)
    return {
        **request,
        "task": {**request["task"], "path": f"{frame.group(1)}@{file}" if frame else file},
        "folder": os.path.join(os.getcwd(), request["folder"]),
        "config": {**request["config"], "grader": anywhere(request["config"]["grader"])},
        "file": file if os.path.exists(file) else "",
    }


def with_given_paths(answer: Dict[str, Any], sent: Dict[str, Any], request: Dict[str, Any]) -> Dict[str, Any]:
    """Return an answer with the paths as the request had them, so that it is the answer of this machine."""
    if "error" in answer:
        parts = [part.replace(sent["task"]["path"], request["task"]["path"]) for part in answer["parts"]]
        return {**answer, "parts": [part.replace(sent["folder"], request["folder"]) for part in parts]}
    result: Dict[str, Any] = answer["result"]
    record = result.get("record", result)  # of a micrograph that was scored, or the result of its mapping
    if "path" in record:
        record["path"] = request["task"]["path"]
    return answer
