# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the pickled rows of a numpy table with text columns. Nothing is executed, and numpy does not see the pickle.

numpy's own objects are not used to rebuild a pickle, because a damaged one can crash the process.
"""

from __future__ import annotations

import pickle
from typing import IO, Any, Dict, List, Tuple

import numpy as np

Columns = Dict[str, Any]


class _Stub:
    """Replace an array or data type of numpy; it keeps the state that the pickle gives it."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Encoded:
    """Replace ``codecs.encode``, which pickles use for raw bytes."""

    def __new__(cls, text: str, encoding: str = "latin1") -> Any:
        """Return the bytes."""
        return str(text).encode("latin1")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("bytes have no state")


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _Stub,
    ("numpy._core.multiarray", "_reconstruct"): _Stub,
    ("numpy", "ndarray"): _Stub,
    ("numpy", "dtype"): _Stub,
    ("_codecs", "encode"): _Encoded,
}


class _TextOnly(pickle._Unpickler):  # in Python: that in C allocates whatever a damaged file asks for
    """Load numbers, text and stubs, and refuse everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a stub.

        Raises
        ------
        pickle.UnpicklingError
            At any name that is not one of numpy's arrays.
        """
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _KNOWN[module, name]


def load_columns(stream: IO[bytes], dtype: np.dtype[Any]) -> Columns:
    """Return the columns of a pickled table.

    Parameters
    ----------
    dtype : numpy.dtype
        The type of a row, from the header of the file.

    Raises
    ------
    ValueError, pickle.UnpicklingError and others
        When it is damaged, or holds anything but numbers and text.
    """
    rows = _contents(_TextOnly(stream).load(), list)
    names = dtype.names or ()
    if not names or any(not isinstance(row, tuple) or len(row) != len(names) for row in rows):
        raise ValueError("its rows are not those of a table")
    return {name: _column(dtype[name], [row[index] for row in rows]) for index, name in enumerate(names)}


def _contents(stub: Any, kind: type) -> Any:
    """Return the values of a pickled array: a list of objects, or bytes."""
    state = stub.state if isinstance(stub, _Stub) else None
    if not isinstance(state, tuple) or not state or not isinstance(state[-1], kind):
        raise ValueError("it is not a pickled array")
    return state[-1]


def _column(dtype: np.dtype[Any], values: List[Any]) -> Any:
    if dtype.hasobject:
        if not all(isinstance(value, (str, bytes)) for value in values):
            raise ValueError("a text column holds other things than text")
        texts = np.empty(len(values), dtype=object)
        texts[:] = values
        return texts
    base, shape = dtype.subdtype or (dtype, ())  # type: np.dtype[Any], Tuple[int, ...]
    plain = [_numbers(base, shape, value) if isinstance(value, _Stub) else value for value in values]
    if not all(isinstance(value, (int, float, str, bytes, np.ndarray)) for value in plain):
        raise ValueError("a column holds other things than numbers and text")
    return np.array(plain, dtype=base).reshape((len(values), *shape))


def _numbers(base: np.dtype[Any], shape: Tuple[int, ...], stub: _Stub) -> Any:
    return np.frombuffer(_contents(stub, bytes), dtype=base).reshape(shape)
