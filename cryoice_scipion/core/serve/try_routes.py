# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of *Try*: screen an upload, and send its pictures and files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from cryoice_scipion.core.errors import ImageError, SettingsError
from cryoice_scipion.core.serve.place import Place
from cryoice_scipion.core.serve.review_routes import low_pass_of
from cryoice_scipion.core.serve.tries import SHOWN, Upload
from cryoice_scipion.core.serve.uploads import safe_name

_BY_PAGE = (
    "picture.jpg",
    "mean.jpg",
    "spectrum.jpg",
    "probability.png",
    SHOWN,
)  # shown by the page; the others are downloads


def routes(place: Place) -> List[BaseRoute]:
    """Return the routes."""

    async def screen(request: Request) -> Response:
        try:
            async with request.form(max_files=2, max_fields=4) as form:
                return JSONResponse(await run_in_threadpool(_screen, place, form))
        except (HTTPException, MultiPartException, ClientDisconnect):
            raise SettingsError("Upload", "is not a form with a micrograph", "choose the file again") from None

    async def file(request: Request) -> Response:
        key = request.path_params["key"]
        number, low_pass = request.path_params["number"], low_pass_of(request)
        found = await run_in_threadpool(place.tries.file, number, key, low_pass)
        if found is None:
            return JSONResponse({"error": "This result is no longer there. Screen the micrograph again."}, 404)
        return FileResponse(found[0]) if key in _BY_PAGE else FileResponse(found[0], filename=found[1])

    return [Route("/api/try", screen, methods=["POST"]), Route("/api/try/{number:int}/{key}", file)]


def _screen(place: Place, form: FormData) -> Dict[str, Any]:
    """Screen the micrograph of a form and return what the page shows."""
    number, folder = place.tries.new_folder()
    uploads = place.folder / "uploads" / str(number)
    try:
        micrograph = _saved(form.get("micrograph"), uploads / "micrograph")
        if micrograph is None:
            raise ImageError("Micrograph", "no file was chosen", "choose an MRC, TIFF, PNG or JPEG file")
        coordinates = _saved(form.get("coordinates"), uploads / "coordinates")
        texts = (str(form.get(name) or "") for name in ("pixel_size", "diameter"))
        result = place.tries.screen(folder, Upload(micrograph, coordinates, *texts))
    finally:
        shutil.rmtree(uploads, ignore_errors=True)
    present = [key for key in ("accepted.star", "rejected.star") if place.tries.file(number, key)]
    files = ["all.zip", "map.mrc", "mask.mrc", "thumbnail.png", "result.json", "regions.csv", *present]
    found = {**result, "url": f"/api/try/{number}/", "files": files}
    (folder / SHOWN).write_text(json.dumps(found), encoding="utf-8")  # for a page that is loaded again
    return found


def _saved(part: Any, folder: Path) -> Optional[Path]:
    """Write an uploaded file under its own name into a folder; None if there is none."""
    if not isinstance(part, UploadFile) or not part.filename:
        return None
    folder.mkdir(parents=True)
    path = folder / safe_name(part.filename)
    with open(path, "wb") as stream:
        shutil.copyfileobj(part.file, stream, 1 << 20)
    return path
