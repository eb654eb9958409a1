# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse requests that do not come from the page itself: token, Host, Origin, size; and paths outside a folder."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Optional
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse

from cryoice_scipion.core.errors import CryoIceError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-cryoice-token"  # of requests that change something; another site cannot set it
_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?")
_POLICY = (
    "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
_NO_TOKEN = "This page needs the token that 'cryoice serve' printed. Open the whole address from the terminal."  # noqa: S105


class Guard:
    """Let only requests of the page through, and add the security headers to each answer.

    The printed address has the token. Opening it sets a cookie, which all other requests need. Requests that change
    something also need the header ``HEADER``. Only this computer's names are accepted as Host, so that a site cannot
    reach the page by a name of its own (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, token: str, form_token: str, largest: int) -> None:
        """Take the application, the token of the address, the token of the header and the largest body in bytes."""
        self._app, self._token, self._form_token, self._largest = app, token, form_token, largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        given = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token", "")
        refused = self._refused(scope, headers)
        if refused is not None:
            await refused(scope, receive, send_with_headers)
        elif given and _same(given, self._token) and scope["method"] == "GET":
            answer = RedirectResponse("/" + scope["path"].lstrip("/"), status_code=303)  # "//x" is another host
            # not "strict": a link in a terminal in the browser (JupyterLab) would open the page without its cookie
            answer.set_cookie(self._cookie(headers), self._token, httponly=True, samesite="lax")
            await answer(scope, receive, send_with_headers)
        elif not _same(cookie_parser(headers.get("cookie", "")).get(self._cookie(headers), ""), self._token):
            await PlainTextResponse(_NO_TOKEN, 403)(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    def _refused(self, scope: Scope, headers: Headers) -> Optional[PlainTextResponse]:
        host = headers.get("host", "")
        if not _HOST.fullmatch(host):
            return PlainTextResponse("This page is only for this computer.", 403)
        if headers.get("origin", f"http://{host}") != f"http://{host}":
            return PlainTextResponse("Requests of other sites are refused.", 403)
        if scope["method"] not in ("GET", "HEAD"):
            if not _same(headers.get(HEADER, ""), self._form_token):
                return PlainTextResponse("The page is older than the server. Load it again.", 403)
            length = headers.get("content-length", "")
            if not length.isdigit():
                return PlainTextResponse("The length of the request is missing.", 411)
            if int(length) > self._largest:
                text = f"The upload is larger than {self._largest >> 20:,} MiB. Bin the micrograph first."
                return PlainTextResponse(text, 413)
        return None

    def _cookie(self, headers: Headers) -> str:
        """Return the name of the cookie. Cookies do not distinguish ports, so the name does."""
        return f"cryoice_{headers.get('host', '').partition(':')[2] or 80}"


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(24)


def _same(one: str, two: str) -> bool:
    return hmac.compare_digest(one.encode(), two.encode())


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder.

    Raises
    ------
    CryoIceError
        When the path leads out of the folder, also by a symbolic link.
    """
    top = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(top, name))
    if os.path.commonpath([top, path]) != top:
        raise CryoIceError(name, "is outside the folder of the run")
    return Path(path)
