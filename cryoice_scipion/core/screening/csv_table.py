# SPDX-License-Identifier: GPL-3.0-or-later
"""Write .csv files. That of a run grows by appending; monitoring programs read it.

Spreadsheets calculate a cell that begins like a formula. Names of files and folders may begin so, and come from others.
"""

from __future__ import annotations

import csv
import errno
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, Iterable, Optional, Sequence

from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.stems import RISKY_STARTS
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.run_folder import writing

if TYPE_CHECKING:
    import pandas as pd


class CsvTable:
    """A table with the rows of each micrograph, in the order in which the micrographs were first screened."""

    STORED = {"_rows": Dict[int, str]}  # attributes for a checkpoint

    def __init__(
        self, path: Path, columns: Sequence[str], rows_of: Callable[[MicrographRecord], Iterable[Dict[str, str]]]
    ) -> None:
        """Take the path. The first :meth:`refresh` rewrites the file, which repairs a row torn by a crash.

        Parameters
        ----------
        rows_of : callable
            Returns the rows of a micrograph, by column.
        """
        self.path, self._columns, self._rows_of = path, columns, rows_of
        self._rows: Dict[int, str] = {}  # text by micrograph
        self._sound = False  # whether all rows in the file are complete, so that one can be appended
        self._changed = False

    def note(self, record: MicrographRecord) -> None:
        """Add the rows of a micrograph, which the next refresh writes."""
        self._rows[record.id] = self._text(self._rows_of(record))
        self._changed = True

    def add(self, record: MicrographRecord) -> None:
        """Append the rows of a new micrograph; changed rows are written at the next refresh."""
        known = self._rows.get(record.id)
        self._rows[record.id] = text = self._text(self._rows_of(record))
        if known is not None:
            self._changed = self._changed or text != known
        elif self._sound:
            self._append(text)

    def _append(self, text: str) -> None:
        """Append rows in one write, so that a reader never sees half of one."""
        self._sound, data = False, text.encode("utf-8")
        with writing(self.path.parent):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                before = os.fstat(descriptor).st_size
                if os.write(descriptor, data) < len(data):
                    os.ftruncate(descriptor, before)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            finally:
                os.close(descriptor)
        self._sound = True

    def refresh(self) -> None:
        """Rewrite the whole table atomically, if a row changed or the file may have an incomplete row."""
        if self._sound and not self._changed:
            return
        with writing(self.path.parent), replacing(self.path) as temporary:
            with open(temporary, "w", encoding="utf-8") as stream:
                stream.write(self._text([{name: name for name in self._columns}]))
                stream.writelines(self._rows.values())
        self._sound, self._changed = True, False

    def _text(self, rows: Iterable[Dict[str, str]]) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writerows({name: without_formula(value) for name, value in row.items()} for row in rows)
        return text.getvalue()


def write_csv(path: Path, table: pd.DataFrame, float_format: Optional[str] = None) -> None:
    """Write a table as a .csv file, atomically."""
    texts = {name: column for name, column in table.items() if column.dtype.kind not in "biuf"}
    guarded = {name: [without_formula(one) if isinstance(one, str) else one for one in texts[name]] for name in texts}
    with replacing(path) as temporary:
        table.assign(**guarded).to_csv(temporary, index=False, float_format=float_format)


def without_formula(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula. Only a path, or a reason that names one, can be one."""
    if not text.startswith(RISKY_STARTS):
        return text
    try:
        float(text)
    except ValueError:
        return f"./{text}"
    return text
