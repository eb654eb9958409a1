# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of *Review*: micrographs of the run, their pictures, counts and verdicts."""

from __future__ import annotations

import math
from typing import Any, Awaitable, Callable, Dict, List, Optional

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.session_map import PCA
from cryoice_scipion.core.serve.place import Place, Reviewed
from cryoice_scipion.core.serve.uploads import number_of

_CACHED = {"cache-control": "private, max-age=60"}


def routes(place: Place) -> List[BaseRoute]:
    """Return the routes."""
    one = "/api/run/{id:int}"
    return [
        Route("/api/run", answer(place, _run)),
        Route("/api/run/counts", answer(place, _counts)),
        Route("/api/run/map", answer(place, lambda run, request: run.plane.shown(_method(request)))),
        Route(one, answer(place, _micrograph)),
        Route(f"{one}/picture.jpg", answer(place, _picture)),
        Route(f"{one}/small.jpg", answer(place, _small)),
        Route(f"{one}/probability.png", answer(place, _probability)),
        Route("/api/review", post(place, _set_verdict), methods=["POST"]),
        Route("/api/review/save", post(place, _save), methods=["POST"]),
    ]


def answer(place: Place, act: Callable[[Reviewed, Request], Any]) -> Callable[[Request], Awaitable[Response]]:
    """Return a handler that answers with a response, or with JSON."""

    async def handler(request: Request) -> Response:
        found = await run_in_threadpool(act, reviewed(place), request)
        return found if isinstance(found, Response) else JSONResponse(found)

    return handler


def post(place: Place, act: Callable[[Reviewed, Dict[str, Any]], Any]) -> Callable[[Request], Awaitable[Response]]:
    """Return a handler that takes a JSON object and answers with JSON."""

    async def handler(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(act, reviewed(place), await json_of(request)))

    return handler


def reviewed(place: Place) -> Reviewed:
    """Return the run of a server.

    Raises
    ------
    CryoIceError
        When it was started without one.
    """
    if place.reviewed is None:
        raise CryoIceError("serve", "was started without a run", "start it again with the folder of a run")
    return place.reviewed


async def json_of(request: Request) -> Dict[str, Any]:
    """Return the JSON object in the body of a request.

    Raises
    ------
    SettingsError
        When there is none.
    """
    try:
        content = await request.json()
    except (ValueError, RecursionError):  # nested too deeply
        content = None
    if not isinstance(content, dict):
        raise SettingsError("request", "is not a JSON object")
    return content


def _run(run: Reviewed, request: Request) -> Any:
    run.view.records()  # sets the version
    version = "-".join(map(str, (run.view.version, *(run.review.stamp or ()))))
    state = {"version": version, **run.view.state()}
    if request.query_params.get("version") == state["version"]:
        return state
    verdicts = run.review.verdicts
    return {
        **state,
        "micrographs": [{**row, "verdict": verdicts.get(row["stem"], "")} for row in run.view.rows()],
    }


def _method(request: Request) -> str:
    return str(request.query_params.get("method", PCA))


def _micrograph(run: Reviewed, request: Request) -> Any:
    return run.view.shown(int(request.path_params["id"]), *_settings(request.query_params))


def _counts(run: Reviewed, request: Request) -> Any:
    return run.review.counts(*_settings(request.query_params))


def _picture(run: Reviewed, request: Request) -> Response:
    return FileResponse(run.view.picture(int(request.path_params["id"]), low_pass_of(request)), headers=_CACHED)


def low_pass_of(request: Request) -> Optional[int]:
    """Return the low-pass filter that a request wants, Å; None: the picture as it is stored."""
    value = number_of(str(request.query_params.get("low_pass", "")), "low-pass", "Å")
    return None if value is None else round(value)


def _small(run: Reviewed, request: Request) -> Response:
    content = run.view.small_picture(int(request.path_params["id"]))
    return Response(content, media_type="image/jpeg", headers=_CACHED)


def _probability(run: Reviewed, request: Request) -> Response:
    return Response(run.view.probability(int(request.path_params["id"])), media_type="image/png", headers=_CACHED)


def _set_verdict(run: Reviewed, content: Dict[str, Any]) -> Any:
    verdict = str(content.get("verdict", ""))
    run.review.set([one.stem for one in named(run, content)], verdict)
    return {"verdict": verdict}


def named(run: Reviewed, content: Dict[str, Any]) -> List[MicrographRecord]:
    """Return the micrographs that a request names by their ids.

    Raises
    ------
    CryoIceError
        When it names none, or one that is not in the run.
    """
    keys = content.get("ids")
    if not isinstance(keys, list) or not keys or not all(isinstance(key, int) for key in keys):
        raise SettingsError("request", "names no micrograph")
    return run.view.records_of(keys)


def _save(run: Reviewed, content: Dict[str, Any]) -> Any:
    return run.review.save(*_settings(content))


def _settings(given: Any) -> tuple[Optional[float], Optional[float]]:
    """Return threshold and margin of a request; None: those of the run."""
    return _number(given, "threshold", 1.0), _number(given, "margin", 10_000.0)


def _number(given: Any, name: str, most: float) -> Optional[float]:
    text = given.get(name)
    if text in (None, ""):
        return None
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= most:
        raise SettingsError(name, f"is not a number from 0 to {most:g}")
    return value
