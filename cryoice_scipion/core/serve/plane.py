# SPDX-License-Identifier: GPL-3.0-or-later
"""The map of the session for the page: micrographs with similar features are near each other."""

from __future__ import annotations

import threading
from typing import Any, Dict, Tuple

from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.results.run_reader import Records
from cryoice_scipion.core.results.session_map import MOST, PCA, TSNE, session_map
from cryoice_scipion.core.serve.run_view import RunView


class Plane:
    """Arrange the micrographs of a run, and keep the result until the run has changed."""

    def __init__(self, view: RunView) -> None:
        """Take the run without reading it."""
        self._view, self._lock = view, threading.Lock()
        self._made: Dict[str, Tuple[Records, Dict[str, Any]]] = {}  # by method: the run as it was, and the map

    def shown(self, method: str) -> Dict[str, Any]:
        """Return positions from 0 to 1, the nearest neighbours by id, and the share of the variance that is shown.

        Parameters
        ----------
        method : str
            "pca" or "tsne".

        Raises
        ------
        SettingsError
            When there is no such method.
        """
        if method not in MOST:
            raise SettingsError("method", f"'{method[:20]}' is not known", f"give {PCA} or {TSNE}")
        with self._lock:
            records = self._view.records()  # another object when the run has changed
            if method not in self._made or self._made[method][0] is not records:
                found = session_map({one.id: one.deviations for one in records.micrographs if one.deviations}, method)
                places = [[key, round(x, 4), round(y, 4)] for key, (x, y) in zip(found.ids, found.scaled().tolist())]
                content = {"points": places, "neighbours": found.neighbours, "explained": round(found.explained, 3)}
                self._made[method] = records, content
            return self._made[method][1]
