# SPDX-License-Identifier: GPL-3.0-or-later
"""FORMATS: the table of coordinate formats that readers, messages, help texts and docs use.

To add a format, write a module with a function ``read(path) -> Picks`` and add its entry here. Another package can call
:func:`register`.
"""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Callable, List, Optional, Tuple, Union

if TYPE_CHECKING:
    from cryoice_scipion.core.formats.joining import Picks


@dataclasses.dataclass(frozen=True)
class CoordinateFormat:
    """One format of coordinate files."""

    program: str  # that writes it
    suffixes: Tuple[str, ...]  # of the files, lower case
    read: Callable[[Path], Picks]
    content: str  # what a file holds, for the documentation
    unspecific: bool = False  # logs and lists have these suffixes too: used only if no other format is in a folder


def _reader(module: str) -> Callable[[Path], Picks]:
    """Return the function ``read`` of a module of this package, which loads pandas when the first file is read."""

    def read(path: Path) -> Picks:
        picks: Picks = importlib.import_module(f"cryoice_scipion.core.formats.{module}").read(path)
        return picks

    return read


FORMATS: List[CoordinateFormat] = [
    CoordinateFormat(
        "RELION", (".star",), _reader("relion"),
        "centres on one micrograph or many, RELION 3.1 or older; or RELION's list of coordinate files",
    ),
    CoordinateFormat(
        "EMAN", (".box",), _reader("eman_box"), "boxes of one micrograph: corner, width, height, often a score"
    ),
    CoordinateFormat(
        "EMAN2", (".json",), _reader("eman_json"),
        "centres on one micrograph, from `info/NAME_info.json`; boxes that mark bad areas or background are left out",
        unspecific=True,
    ),
    CoordinateFormat("crYOLO", (".cbox",), _reader("cryolo_cbox"), "boxes of one micrograph, with the confidence"),
    CoordinateFormat(
        "cryoSPARC", (".cs",), _reader("cryosparc_cs"),
        "particles on many micrographs; the compressed format of cryoSPARC 4 needs the package cryosparc-tools",
    ),
    CoordinateFormat(
        "cryoSPARC", (".csg",), _reader("cryosparc_cs"),
        "a result group: the particles of the .cs files that it names, joined by uid", unspecific=True,
    ),
    CoordinateFormat(
        "Xmipp", (".pos",), _reader("xmipp_pos"), "centres on one micrograph; disabled picks are left out"
    ),
    CoordinateFormat(
        "CryoPPP, Topaz and others", (".csv", ".txt"), _reader("text_columns"),
        "a table with a header line that names the columns x and y", unspecific=True,
    ),
]  # fmt: skip


def register(added: CoordinateFormat) -> None:
    """Add a format. Its suffixes override those of the formats before it."""
    FORMATS.append(added)


def suffix_of(path: Union[str, Path]) -> str:
    """Return a file's suffix in lower case (".star"), which names its format."""
    return (path if isinstance(path, Path) else Path(path)).suffix.lower()


def format_of(path: Union[str, Path]) -> Optional[CoordinateFormat]:
    """Return the format of a file, by its suffix, or None."""
    return _format_with(suffix_of(path))


def _format_with(suffix: str) -> Optional[CoordinateFormat]:
    return next((one for one in reversed(FORMATS) if suffix in one.suffixes), None)


def is_coordinate_file(name: Union[str, Path]) -> bool:
    """Return whether a file holds coordinates, by its suffix."""
    return format_of(name) is not None


def is_unspecific(suffix: str) -> bool:
    """Return whether files with this suffix (".txt") may also be logs or lists."""
    found = _format_with(suffix)
    return found is not None and found.unspecific


def suffixes_in_words() -> str:
    """Return the suffixes of all formats as text: ".star, .box or .csv"."""
    suffixes = list(dict.fromkeys(suffix for one in FORMATS for suffix in one.suffixes))
    return f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"


def formats_in_words() -> str:
    """Return all formats as text: "RELION .star, EMAN .box"."""
    return ", ".join(f"{one.program} {' '.join(one.suffixes)}" for one in FORMATS)
