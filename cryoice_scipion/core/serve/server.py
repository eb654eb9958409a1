# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the server on this computer's own address, and print the address of the page."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any, Optional

from cryoice_scipion.constants import DISTRIBUTION
from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.results.run_folder import JOURNAL

_HOST = "127.0.0.1"


class Stop:
    """Ends the server on a signal, also on one that comes before there is a server.

    The first signal raises no exception: raised while a library is loaded, it may be lost, or end the process with a
    core dump.
    """

    def __init__(self) -> None:
        self._is_asked = False
        self._server: Any = None

    def ask(self) -> bool:
        """End the server; return whether this was asked before and there is no server yet: the start may hang."""
        was_asked, self._is_asked = self._is_asked, True
        if self._server is not None:
            self._server.should_exit = True
        return was_asked and self._server is None

    def run(self, server: Any, listener: socket.socket) -> None:
        """Run the server of uvicorn until it is ended; do not run it if that was asked before."""
        self._server = server  # first, so that a signal in between is not lost
        if not self._is_asked:
            server.run(sockets=[listener])


def serve(run: Optional[Path], model: str, port: int, device: str, stop: Optional[Stop] = None) -> None:
    """Serve the page until the process is interrupted.

    Parameters
    ----------
    run : pathlib.Path, optional
        The output folder of a screening.
    port : int
        0 takes a free one.
    stop : Stop, optional
        Ends the server.

    Raises
    ------
    CryoIceError
        When the extra is not installed, the run or the model is missing, or the port is in use.
    """
    try:
        import python_multipart  # noqa: F401 (Starlette reads forms with it)
        import uvicorn

        from cryoice_scipion.core.serve.app import make_app
        from cryoice_scipion.core.serve.place import make_place
    except ModuleNotFoundError as error:
        reason = f"the Python package {error.name} is not installed"
        raise CryoIceError("serve", reason, f"install the extra: pip install '{DISTRIBUTION}[serve]'") from None
    if run is not None and not (run / JOURNAL).is_file():
        raise SettingsError(run, "holds no screening", "give the output folder of 'cryoice screen'")
    listener = _listen(port)
    with tempfile.TemporaryDirectory(prefix="cryoice_serve_") as folder:
        place = make_place(model, device, run, Path(folder))
        config = uvicorn.Config(make_app(place), access_log=False, log_level="warning", timeout_graceful_shutdown=3)
        address = f"http://{_HOST}:{listener.getsockname()[1]}/?token={place.token}"
        print(f"Open this address in a browser on this computer:\n{address}\nStop with Ctrl-C.", flush=True)
        (stop or Stop()).run(uvicorn.Server(config), listener)


def _listen(port: int) -> socket.socket:
    """Return a listening socket.

    Raises
    ------
    SettingsError
        When the port is in use or not allowed.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = f"{port} cannot be used ({getattr(error, 'strerror', None) or error})"
        raise SettingsError("port", reason, "choose another one, or 0 for a free one") from None
    listener.listen(64)
    return listener
