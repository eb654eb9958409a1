# SPDX-License-Identifier: GPL-3.0-or-later
"""Look up map results in the journal of a run."""

from __future__ import annotations

from typing import Callable, Dict, Iterable, Iterator, Mapping, Sequence

from cryoice_scipion.core.records import MapResult
from cryoice_scipion.core.results.journal_lines import Mapped, RunLine


class StoredMapResults(Mapping[int, MapResult]):
    """The map results of a journal, by id. They stay on disk; only their byte offsets are in memory."""

    def __init__(self, lines_at: Callable[[Sequence[int]], Iterable[RunLine]]) -> None:
        """Begin without any; the function returns the lines of the journal at byte offsets."""
        self.offsets: Dict[int, int] = {}
        self._lines_at = lines_at

    def __getitem__(self, key: int) -> MapResult:
        """Return the latest map result of a micrograph."""
        (line,) = self._lines_at([self.offsets[key]])
        assert isinstance(line, Mapped)
        return line.result

    def __contains__(self, key: object) -> bool:
        """Return whether a micrograph is mapped."""
        return key in self.offsets

    def __iter__(self) -> Iterator[int]:
        """Iterate over the ids, in the order in which the micrographs were first mapped."""
        return iter(self.offsets)

    def __len__(self) -> int:
        """Return the number of mapped micrographs."""
        return len(self.offsets)
