# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the errors that users see. Each is one line: the file or option, the reason, and the remedy."""

from __future__ import annotations

import errno
import re
from typing import Sequence, Tuple

#: Characters that end a line, steer a terminal, or turn the direction in which a text is shown.
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+")
_LONGEST = 1000  # characters of a reason
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FREE_SPACE = "free disk space or choose a folder on another disk"  # the remedy for it


def plain(text: object) -> str:
    """Return a text, such as a file name, in which nothing ends a line, steers a terminal or turns the direction."""
    return _BREAKS.sub(" ", str(text))


def without_breaks(text: object) -> str:
    """Return a text, such as values from a damaged file, as :func:`plain` does; a very long one is cut."""
    line = plain(text)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


def one_line(text: object) -> str:
    """Return a text, such as an error's message, in one line."""
    return " ".join(str(text).split())


def plural(number: int, one: str, several: str = "") -> str:
    """Return the words for a number of things: ``one`` for 1, else ``several``, by default ``one`` with an s."""
    return one if number == 1 else several or f"{one}s"


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with its words, as :func:`plural` chooses them."""
    return f"{number} {plural(number, one, several)}"


class CryoIceError(Exception):
    """A mistake of the user or a damaged input. ``str(error)`` is one line.

    The command line prints it without a traceback. The screening records it as the reason why a micrograph failed.
    """

    def __init__(self, what: object, reason: str, remedy: str = "") -> None:
        """Build the line ``what: reason; remedy``.

        Parameters
        ----------
        what : object
            The file, folder or option that is at fault.
        reason : str
            The reason why it cannot be used.
        remedy : str
            The action that solves the problem.
        """
        self.what, self.reason, self.remedy = str(what), without_breaks(reason), remedy
        super().__init__(plain(f"{what}: {self.reason}" + (f"; {remedy}" if remedy else "")))


class ImageError(CryoIceError):
    """An image cannot be read, or is not one micrograph."""


class PixelSizeError(CryoIceError):
    """No plausible pixel size is known."""


class CoordinatesError(CryoIceError):
    """A coordinate file cannot be read or used."""


class NoCoordinatesError(CoordinatesError):
    """A file is valid, but it does not contain coordinates."""


class MapError(CryoIceError):
    """The map of a micrograph contains log-odds that are not finite."""


class ModelError(CryoIceError):
    """A model folder is missing, damaged, or of another version."""


class SettingsError(CryoIceError):
    """Settings are invalid or contradict each other."""

    #: Name of each invalid setting, and what is wrong with it, such as ("margin", "must be 0 or more (-5 is given)").
    #: The name is empty if several settings contradict each other.
    faults: Sequence[Tuple[str, str]] = ()


class WorkerError(CryoIceError):
    """The worker could not start, died, or answered with an error."""


class Terminated(KeyboardInterrupt):  # noqa: N818 (a request of the system, not an error)
    """The process received SIGTERM or SIGHUP. It ends in the same way as after Ctrl-C."""
