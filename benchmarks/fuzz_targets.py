# SPDX-License-Identifier: GPL-3.0-or-later
"""The readers that fuzz_readers.py tries: small valid files of each, and a check of what it returns."""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import json
import re
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np
from other_seeds import MODEL, OTHER_SEEDS, as_map
from reader_seeds import damaged_seed, seeds_of

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.detectors.model_folder import MODEL_JSON, load_config, write_sums
from cryoice_scipion.core.errors import CryoIceError, PixelSizeError
from cryoice_scipion.core.formats.cryosparc_group import read_group_table
from cryoice_scipion.core.formats.pick_tables import MICROGRAPH, X, Y
from cryoice_scipion.core.formats.table import FORMATS, CoordinateFormat
from cryoice_scipion.core.images.naming import expand_micrographs
from cryoice_scipion.core.images.reading import read_micrograph, resolve_pixel_size
from cryoice_scipion.core.images.thumbnails import read_base
from cryoice_scipion.core.regions.labels import read_labels
from cryoice_scipion.core.results.outliers import read_features
from cryoice_scipion.core.results.review_files import read_verdicts
from cryoice_scipion.core.results.run_reader import read_records, read_summary

Fault = Tuple[str, str]  # the kind of a fault and its details; empty: none
Read = Callable[[Path, bytes], Fault]  # returns what is wrong with the result of the reader
Packed = Callable[[bytes], bytes]  # returns the content of the file from the bytes that were damaged
NO_FAULT: Fault = ("", "")


class Target(NamedTuple):
    """One reader."""

    file: str  # name of the file that it reads
    seeds: Tuple[bytes, ...]  # contents of small valid files
    read: Read
    is_text: bool = True
    packed: Packed = bytes


def _coordinates(one: CoordinateFormat, path: Path, data: bytes) -> Fault:
    picks = one.read(path)
    if any(len(line.splitlines()) > 1 for line in (*picks.warnings, *picks.not_read.values())):
        return "several lines", repr(list(picks.warnings))[:300]
    values = picks.table[[X, Y]].to_numpy(dtype=float)
    if MICROGRAPH not in picks.table or not np.isfinite(values).all():
        return "bad table", str(picks.table.head(3))
    rows, counted = rows_in(path.suffix, data), len(picks.table) + sum(picks.left_out.values())
    return NO_FAULT if rows in (None, counted) else ("lost rows", f"{rows} rows, {counted} read or counted")


def rows_in(suffix: str, data: bytes) -> Optional[int]:
    """Return the number of coordinates in a file, counted without its reader; None where this cannot be told."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if suffix == ".json":
        return _boxes_in(text)
    lines = [line for line in text.split("\n") if line.strip()]
    if suffix == ".box":
        return sum(not line.lstrip(" \t").startswith("#") for line in lines)
    if suffix not in (".csv", ".txt") or not lines:
        return None
    has_header = not re.fullmatch(r'[\s\d.eE+"-]+', lines[0])
    return len(lines) - has_header


def _boxes_in(text: str) -> Optional[int]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    boxes = content.get("boxes") if isinstance(content, dict) else None
    return len(boxes) if isinstance(boxes, list) else None


def _micrographs(path: Path, data: bytes) -> Fault:
    tasks = expand_micrographs([str(path)])
    sizes = [task.pixel_size for task in tasks if task.pixel_size is not None]
    for task in tasks:
        with contextlib.suppress(CryoIceError):  # what a list names is used as a path
            read_micrograph(task.path)
    is_sound = bool(tasks) and all(task.path and task.stem for task in tasks) and all(size > 0 for size in sizes)
    return NO_FAULT if is_sound else ("bad list", str(tasks[:3]))


def _image(path: Path, data: bytes) -> Fault:
    micrograph = read_micrograph(path)
    pixels = micrograph.as_float32()
    if pixels.shape != micrograph.shape or pixels.dtype != np.float32 or not pixels.flags.carray:
        return "bad pixels", f"{pixels.shape} {pixels.dtype}, and the header says {micrograph.shape}"
    try:
        size, _ = resolve_pixel_size(micrograph, None)
    except PixelSizeError:
        return NO_FAULT
    return NO_FAULT if 0.1 < size < 100 else ("bad pixel size", str(size))


def _map(path: Path, data: bytes) -> Fault:
    found = ClassMap.load(path).checked("m1")
    shapes = found.log_odds.shape, found.border.shape
    return NO_FAULT if shapes[0] == shapes[1] and found.median_logit is not None else ("bad map", str(shapes))


def _group(path: Path, data: bytes) -> Fault:
    group = path.parent / "group.csg"
    slots = {name: {"metafile": f">{file}", "num_items": 3} for name, file in _FILES.items()}
    group.write_text(json.dumps({"results": slots}), encoding="utf-8")  # JSON is YAML
    found = read_group_table(group)
    counted = len(found.table) + found.lost
    return NO_FAULT if counted >= 3 else ("lost rows", f"{counted} rows")


_FILES = {"location": "particles.cs", "pick_stats": "second.cs"}


def _model(path: Path, data: bytes) -> Fault:
    write_sums(path.parent)
    load_config(path.parent)
    return NO_FAULT


def _sums(path: Path, data: bytes) -> Fault:
    (path.parent / MODEL_JSON).write_bytes(MODEL)
    load_config(path.parent)
    return NO_FAULT


def _of_file(read: Callable[[Path], Any]) -> Read:
    """Return the function for a reader of a file, of whose result nothing is checked."""

    def tried(path: Path, data: bytes) -> Fault:
        read(path)
        return NO_FAULT

    return tried


def _of_folder(read: Callable[[Path], Any]) -> Read:
    """Return the function for a reader that is given the folder of the file."""
    return _of_file(lambda path: read(path.parent))


def _gz(data: bytes) -> bytes:
    return gzip.compress(data, 1)


def _text(read: Read, packed: Packed = bytes) -> Tuple[Read, bool, Packed]:
    return read, True, packed


def _binary(read: Read, packed: Packed = bytes) -> Tuple[Read, bool, Packed]:
    return read, False, packed


_OTHERS: Dict[str, Tuple[Read, bool, Packed]] = {
    "micrograph.mrc": _binary(_image),
    "micrograph.mrc.gz": _binary(_image, _gz),
    "micrograph.mrc.bz2": _binary(_image, bz2.compress),
    "micrograph.tif": _binary(_image),
    "micrograph.png": _binary(_image),
    "micrograph.jpg": _binary(_image),
    "micrographs.star": _text(_micrographs),
    "exposures.cs": _binary(_micrographs),
    "second.cs": _binary(_group),
    "labels.json": _text(_of_file(read_labels)),
    "review.json": _text(_of_folder(read_verdicts)),
    "settings.json": _text(_of_file(ScreenConfig.load)),
    "model.json": _text(_model),
    "SHA256SUMS": _text(_sums),
    "summary.json": _text(_of_folder(read_summary)),
    "journal.jsonl": _text(_of_folder(read_records)),
    "map.npz": _binary(_map, as_map),
    "features.npy": _binary(_of_file(read_features)),
    "picture.jpg": _binary(_of_file(read_base)),
}
#: The readers, by the suffix of coordinate files, or by the name of the file.
TARGETS: Dict[str, Target] = {
    **{
        suffix: Target(f"mic{suffix}", seeds_of(suffix), functools.partial(_coordinates, one))
        for one in FORMATS
        for suffix in one.suffixes
    },
    **{name: Target(name, OTHER_SEEDS[name], *how) for name, how in _OTHERS.items()},
}


def damaged(name: str, number: int) -> bytes:
    """Return the damaged file of this number for a reader; the same one each time."""
    target = TARGETS[name]
    return target.packed(damaged_seed(f"{name} {number}", target.seeds, target.is_text))
