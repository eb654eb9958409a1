# SPDX-License-Identifier: GPL-3.0-or-later
"""Mistakes a user can make, each said in one line: what, why, and the remedy."""

from __future__ import annotations


def one_line(text: object) -> str:
    """Return a text, such as an error's message, in one line."""
    return " ".join(str(text).split())


class CryoIceError(Exception):
    """A user's mistake or a broken input. ``str(error)`` is one line that names it.

    The command line prints it without a traceback; the screening records it as the
    reason why a micrograph failed.
    """

    def __init__(self, what: object, reason: str, remedy: str = "") -> None:
        """Build the line ``what: reason; remedy``.

        Parameters
        ----------
        what : object
            The file, folder or option that is at fault.
        reason : str
            Why it cannot be used.
        remedy : str
            What the user can do about it.
        """
        self.what, self.reason, self.remedy = str(what), reason, remedy
        super().__init__(f"{what}: {reason}" + (f"; {remedy}" if remedy else ""))


class ImageError(CryoIceError):
    """An image cannot be read, or is not one micrograph."""


class PixelSizeError(CryoIceError):
    """No believable pixel size is known."""


class CoordinatesError(CryoIceError):
    """A coordinate file cannot be read or used."""


class NoCoordinatesError(CoordinatesError):
    """A file is sound, but it is no file of coordinates."""


class MapError(CryoIceError):
    """A detector's map of a micrograph holds values that are not numbers."""


class ModelError(CryoIceError):
    """A model folder is missing, damaged, or of another version."""


class SettingsError(CryoIceError):
    """Settings that are not valid or do not go together."""


class WorkerError(CryoIceError):
    """The worker could not start, died, or answered with an error."""


class Terminated(KeyboardInterrupt):  # noqa: N818 (no error, but the system's wish that we end)
    """SIGTERM came: the end is the same as that by Ctrl-C."""
