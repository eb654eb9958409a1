# SPDX-License-Identifier: GPL-3.0-or-later
"""cryoSPARC .cs: particles with their position on the micrograph. Nothing in a file is executed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any, Dict, List

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.constants import UNREADABLE
from cryoice_scipion.core.errors import CoordinatesError, NoCoordinatesError
from cryoice_scipion.core.formats.joining import Picks
from cryoice_scipion.core.formats.pick_tables import MICROGRAPH, PIXEL_SIZE, SCORE, X, Y

_NUMPY, _STREAM = b"\x93NUMPY", b"\x95CSDAT"
_PATH, _SHAPE = "location/micrograph_path", "location/micrograph_shape"
_AT = ("location/center_x_frac", "location/center_y_frac")
_PIXEL_SIZE, _SCORE, _UID = "location/micrograph_psize_A", "pick_stats/ncc_score", "uid"
#: What text columns of older versions are pickled with.
_HARMLESS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def read(path: Path) -> Picks:
    """Read particles of cryoSPARC: centres, micrographs, their pixel size, the picker's score and the uid.

    Raises
    ------
    CoordinatesError
        When the file cannot be read, or holds anything but numbers and text.
    NoCoordinatesError
        When it holds no positions on micrographs, such as a file of exposures.
    """
    columns = _columns(path)
    missing = [name for name in (_PATH, _SHAPE, *_AT) if name not in columns]
    if missing:
        reason = f"has no positions on micrographs (no column {missing[0]})"
        raise NoCoordinatesError(path, reason, "give the particles of a picking job")
    shape = np.asarray(columns[_SHAPE], dtype=np.float64).reshape(-1, 2)
    x, y = (np.asarray(columns[name], dtype=np.float64) for name in _AT)
    table = pd.DataFrame({X: x * shape[:, 1], Y: y * shape[:, 0], MICROGRAPH: _texts(columns[_PATH])})
    for name, column in ((PIXEL_SIZE, _PIXEL_SIZE), (SCORE, _SCORE)):
        if column in columns:
            table[name] = np.asarray(columns[column], dtype=np.float64)
    if _UID in columns:
        table["cryosparcUid"] = [str(uid) for uid in columns[_UID]]  # text: 64 bits do not fit a float
    placed = np.isfinite(table[X]) & np.isfinite(table[Y]) & (shape > 0).all(axis=1) & table[MICROGRAPH].ne("")
    lost = int((~placed).sum())
    if not lost:
        return Picks(table)
    if lost == len(table):
        raise CoordinatesError(
            path, "no particle has a position on a micrograph", "give the particles of a picking job"
        )
    warning = f"{path}: {lost} particles without a position on a micrograph are left out"
    return Picks(table[placed].reset_index(drop=True), None, {UNREADABLE: lost}, [warning])


def _columns(path: Path) -> Dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            start = stream.read(6)
            stream.seek(0)
            if start == _NUMPY:
                return _of_records(path, _load(stream))
    except OSError as error:
        raise CoordinatesError(path, f"cannot be read ({error.strerror or error})", "check the path") from None
    except (ValueError, EOFError, pickle.UnpicklingError, KeyError, TypeError, AttributeError, IndexError) as error:
        reason = f"is damaged or holds more than numbers and text ({type(error).__name__}: {error})"
        raise CoordinatesError(path, " ".join(reason.split()), "export it anew from cryoSPARC") from None
    if start != _STREAM:
        raise CoordinatesError(path, "is not a cryoSPARC file", "check the file and its extension")
    return _of_stream(path)


def _load(stream: IO[bytes]) -> npt.NDArray[Any]:
    """Return the array of a .npy stream; object columns may hold nothing but text."""
    numpy_format: Any = np.lib.format  # has no types
    version = numpy_format.read_magic(stream)
    readers = {(1, 0): numpy_format.read_array_header_1_0, (2, 0): numpy_format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the numpy format")
    _, _, dtype = readers[version](stream)
    if dtype.hasobject:
        array: npt.NDArray[Any] = _TextOnly(stream).load()
    else:
        stream.seek(0)
        array = numpy_format.read_array(stream, allow_pickle=False)
    return array


class _TextOnly(pickle.Unpickler):
    """Rebuild arrays of numbers and text, and refuse everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a harmless class or function of a pickle.

        Raises
        ------
        pickle.UnpicklingError
            At any other name.
        """
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _of_records(path: Path, array: npt.NDArray[Any]) -> Dict[str, Any]:
    if not isinstance(array, np.ndarray) or array.dtype.names is None or array.ndim != 1:
        raise CoordinatesError(path, "is not a table of cryoSPARC", "export it anew from cryoSPARC")
    return {name: array[name] for name in array.dtype.names}


def _of_stream(path: Path) -> Dict[str, Any]:
    """Return the columns of the compressed format of cryoSPARC 4 and later, read by its own library."""
    try:
        from cryosparc.dataset import Dataset
    except ImportError:
        remedy = "install cryosparc-tools (pip install cryosparc-tools), or save the dataset in the numpy format"
        raise CoordinatesError(path, "is in the compressed format of cryoSPARC", remedy) from None
    try:
        dataset = Dataset.load(str(path))
        return {name: np.asarray(dataset[name]) for name in dataset.fields()}
    except Exception as error:  # the library's own errors are of many kinds
        raise CoordinatesError(path, f"cannot be read ({' '.join(str(error).split())})", "export it anew") from None


def _texts(values: Any) -> List[str]:
    """Return text values; a leading ">" marks a path inside the project of cryoSPARC."""
    texts = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]
    return [text.lstrip(">").strip("\0") for text in texts]
