# SPDX-License-Identifier: GPL-3.0-or-later
"""The application: its pages, its static files, and the routes of each part."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, List

from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from cryoice_scipion.constants import ALL_GRADES, CLASSES, GOOD
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.images import thumbnails
from cryoice_scipion.core.images.palette import KEPT, REJECTED, class_colour, grade_colour
from cryoice_scipion.core.results.picture_layers import LOW_PASSES
from cryoice_scipion.core.results.review_files import LABEL_CLASSES, SIDE
from cryoice_scipion.core.serve import review_routes, teach_routes, try_routes
from cryoice_scipion.core.serve.pictures import SPECTRUM_EDGE
from cryoice_scipion.core.serve.place import Place
from cryoice_scipion.core.serve.safety import Guard
from cryoice_scipion.core.serve.uploads import MOST_BYTES, sentence

_HERE = Path(__file__).parent
_PAGES = ("try", "review", "teach")


def make_app(place: Place) -> Starlette:
    """Return the application of a server."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        place.screener.warm_up()
        yield
        if place.reviewed is not None:
            place.reviewed.teaching.stop()
        place.screener.close()

    async def failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, CryoIceError)
        return JSONResponse({"error": sentence(error, place.folder)}, 422)

    async def broken(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)
        reason = f"cannot read or write a file ({error.strerror or error})"
        told = CryoIceError("Server", reason, "free disk space, or check its permissions")
        return JSONResponse({"error": sentence(told, place.folder)}, 500)

    routes: List[BaseRoute] = [
        Route("/", lambda request: RedirectResponse("/review" if place.run else "/try")),
        *(Route(f"/{name}", _page(place, name)) for name in _PAGES),
        *try_routes.routes(place),
        *review_routes.routes(place),
        *teach_routes.routes(place),
        Mount("/static", StaticFiles(directory=_HERE / "static")),
    ]
    guard = Middleware(Guard, token=place.token, form_token=place.form_token, largest=MOST_BYTES)
    handlers = {CryoIceError: failed, OSError: broken}
    return Starlette(routes=routes, middleware=[guard], lifespan=lifespan, exception_handlers=handlers)


def _page(place: Place, name: str) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of one page."""
    environment = Environment(
        loader=FileSystemLoader(str(_HERE / "pages")), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    pictures = {"low_pass": thumbnails.LOW_PASS, "low_passes": LOW_PASSES, "side": thumbnails.SIDE}
    environment.globals.update(palette=_palette(), pictures=pictures, pages=_PAGES, label_classes=LABEL_CLASSES)
    environment.globals.update(spectrum_edge=SPECTRUM_EDGE, side=SIDE)

    async def answer(request: Request) -> Response:
        template = environment.get_template(f"{name}.html.j2")
        run = place.run.resolve().name if place.run else ""
        text = template.render(page=name, token=place.form_token, run=run, model=Path(place.model).name)
        return HTMLResponse(text)

    return answer


def _palette() -> Dict[str, Any]:
    """Return the colours of classes, grades and coordinates."""
    return {
        "classes": {name: class_colour(name) for name in CLASSES if name != GOOD},
        "grades": {name: grade_colour(name) for name in ALL_GRADES},
        "kept": KEPT,
        "rejected": REJECTED,
    }
