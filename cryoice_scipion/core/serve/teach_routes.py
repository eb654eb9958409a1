# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of *Teach*: labels, the training, the comparison, and the saved models."""

from __future__ import annotations

from typing import Any, Dict, List

from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.serve.place import Place, Reviewed
from cryoice_scipion.core.serve.review_routes import answer, named, post


def routes(place: Place) -> List[BaseRoute]:
    """Return the routes."""
    return [
        Route("/api/labels", answer(place, _labels), methods=["GET"]),
        Route("/api/labels", post(place, _set_labels), methods=["POST"]),
        Route("/api/labels/whole", post(place, _mark_whole), methods=["POST"]),
        Route("/api/teach", answer(place, lambda run, request: run.teaching.state()), methods=["GET"]),
        Route("/api/teach", post(place, _act), methods=["POST"]),
        Route("/api/teach/{id:int}", answer(place, _compared)),
    ]


def _labels(run: Reviewed, request: Request) -> Any:
    return run.teaching.labels.as_json()


def _set_labels(run: Reviewed, content: Dict[str, Any]) -> Any:
    stem = str(content.get("stem", ""))
    if stem not in {one.stem for one in run.view.records().micrographs}:
        raise SettingsError("label", "belongs to no micrograph of the run")
    run.teaching.labels.replace(stem, content.get("labels", []), content.get("shown"))
    return run.teaching.state()


def _mark_whole(run: Reviewed, content: Dict[str, Any]) -> Any:
    run.teaching.labels.mark_whole(named(run, content), str(content.get("class", "")))
    return run.teaching.state()


def _act(run: Reviewed, content: Dict[str, Any]) -> Any:
    teaching, name = run.teaching, str(content.get("name", ""))
    act = content.get("act")
    if act == "train":
        teaching.train()
    elif act == "find":
        teaching.find_more()
    elif act == "stop":
        teaching.stop()
    elif act == "save":
        teaching.save(name)
    elif act == "screen":
        teaching.screen_again(name)
    else:
        raise SettingsError("request", f"'{act}' is not known")
    return teaching.state()


def _compared(run: Reviewed, request: Request) -> Any:
    return run.teaching.compared(int(request.path_params["id"]))
