# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the detectors that learn from clean micrographs, and the shipped model: benchmarks/one_class_detectors.py.

Sessions are simulated by one_class_detector_sessions.py. A model of each kind is trained on the clean micrographs of
each session, and maps its other micrographs. Simulated micrographs, models and measurements are kept in the build
folder. A sweep (``SWEEP``) is part of the tables if its output is in the build folder too. Writes
``benchmarks/results/one_class_detectors.json`` and ``.md`` (one_class_detectors_page.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import pickle
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import pandas as pd
from scipy.special import expit
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import one_class_detectors_page  # noqa: E402
from about import about  # noqa: E402
from one_class_detector_sessions import (  # noqa: E402
    CLEAN,
    FITTED,
    NUMBERS,
    SESSIONS,
    TEST,
    labels_of,
    micrographs,
    prepare,
    session_folders,
)
from one_class_sessions import EDGE_TO_EDGE, LOCAL, UNSEEN  # noqa: E402

from cryoice_scipion.constants import CLASSES, GOOD  # noqa: E402
from cryoice_scipion.core.config import TrainConfig  # noqa: E402
from cryoice_scipion.core.detectors.kinds import KINDS  # noqa: E402
from cryoice_scipion.core.detectors.loading import load_detector  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import resolve_model  # noqa: E402
from cryoice_scipion.core.detectors.one_class_fit import fit_one_class, measure  # noqa: E402
from cryoice_scipion.core.evaluation.cell_counts import CellCounts, count_cells  # noqa: E402
from cryoice_scipion.core.evaluation.labels import SAMPLING, on_cells, read_labels  # noqa: E402
from cryoice_scipion.core.evaluation.map_metrics import ALL, auc_draws, interval, weights  # noqa: E402
from cryoice_scipion.core.images.atomic import replacing  # noqa: E402
from cryoice_scipion.core.images.loading import LoadedMicrograph, load_micrograph  # noqa: E402
from cryoice_scipion.core.training.sources import Sources  # noqa: E402
from cryoice_scipion.core.training.trainers import TrainRequest, train_model  # noqa: E402
from cryoice_scipion.core.views.session_features import session_features  # noqa: E402

RESULTS = HERE / "results" / "one_class_detectors.json"
SHIPPED, OUTLIER, ERROR = "shipped", "outlier", "error"
#: Settings of the trained models by name.
MODELS: Dict[str, Dict[str, Any]] = {
    "one_class": {"network": "one_class"},
    "pixels": {"network": "autoencoder", "views": ["pixels"]},
    "texture": {"network": "autoencoder", "views": ["pixels"], "texture_weight": True},
    "features": {"network": "autoencoder", "views": ["features"]},
}
SWEPT = "swept"
#: The sweep, in the build folder. It has one tuning session; frost, dirt and carbon are left out in turn.
SWEEP = (
    "cryoice sweep --network autoencoder --clean tuning_01/fitted/micrographs --simulated tuning_01/frost_in_places "
    "tuning_01/dirt_in_places tuning_01/carbon_in_places --trials 8 --best 3 --seeds 3 --output swept"
)
SCORE = 0.95  # quantile of the log-odds of the cells of a micrograph
MEASURED = "measured.pickle"


@dataclasses.dataclass
class Measured:
    """What a method says of one micrograph."""

    score: float  # high: bad
    mean: float = np.nan  # P(BAD)
    cells: Optional[CellCounts] = None


@dataclasses.dataclass
class Row:
    """One measured micrograph."""

    session: int
    kind: str
    methods: Dict[str, Measured]


def measure_session(session: Path, number: int) -> None:
    """Train the models of a session, map its micrographs, and keep the measurements in the folder of the session."""
    import torch

    torch.set_num_threads(1)
    detectors, seconds = {}, {}
    for name, settings in MODELS.items():
        started = time.process_time()
        detectors[name] = _trained(session, name, settings)
        seconds[name] = time.process_time() - started
    detectors[SHIPPED] = load_detector(resolve_model("default"))
    clean = [_session_features(load_micrograph(str(path))) for path in micrographs(session, FITTED)]
    record = fit_one_class(dict(enumerate(clean)), 1.0)
    rows = []
    for kind in (kind for kind in NUMBERS if kind != FITTED):
        for path in micrographs(session, kind):
            micrograph = load_micrograph(str(path))
            labels = read_labels(str(labels_of(path)), SAMPLING)
            found = {name: _measured(detector, micrograph, labels) for name, detector in detectors.items()}
            found[ERROR] = _reconstruction_error(detectors["pixels"], micrograph, labels)
            outlier = measure(record, None, _session_features(micrograph), 1.0) if record else None
            if outlier is not None:
                found[OUTLIER] = Measured(outlier.number)
            rows.append(Row(number, kind, found))
    with replacing(session / MEASURED) as temporary:
        temporary.write_bytes(pickle.dumps((rows, seconds)))


def _trained(session: Path, name: str, settings: Dict[str, Any]) -> Any:
    """Return the detector of a model that is trained on the clean micrographs of a session."""
    folder = session / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    config = TrainConfig.make(**{**KINDS[settings["network"]].defaults, **settings, "name": name})
    sources = Sources(clean=[str(session / FITTED / "micrographs")])
    train_model(TrainRequest(config, folder, sources, progress=False))
    return load_detector(folder)


def _session_features(micrograph: LoadedMicrograph) -> Any:
    return session_features(micrograph.image, micrograph.pixel_size, micrograph.border).values


def _measured(detector: Any, micrograph: LoadedMicrograph, labels: Any) -> Measured:
    """Return the score of a micrograph, and its cells by label."""
    classmap = detector.map(micrograph.image, micrograph.pixel_size, micrograph.border)
    odds = classmap.log_odds.astype(np.float64)
    inner = odds[~classmap.border]
    score = detector.score(classmap) if hasattr(detector, "score") else float(np.quantile(inner, SCORE))
    limit = np.log(1 / detector.config.recommended_threshold - 1)
    return Measured(score, float(expit(inner).mean()), _counted(odds, classmap, labels, limit))


def _counted(odds: Any, classmap: Any, labels: Any, limit: float) -> CellCounts:
    values, border = (on_cells(values, classmap.sampling, labels.shape, SAMPLING) for values in (odds, classmap.border))
    return count_cells("", labels, values, predicted_bad=values > limit, left_out=border)


def _reconstruction_error(detector: Any, micrograph: LoadedMicrograph, labels: Any) -> Measured:
    """Return the same for the logarithm of the reconstruction error alone: large is bad, small is good."""
    classmap = detector.map(micrograph.image, micrograph.pixel_size, micrograph.border)
    features = detector.features(micrograph.image, micrograph.pixel_size, micrograph.border).values.astype(np.float64)
    errors = np.nan_to_num(np.log(np.exp(features).sum(axis=-1)))
    classmap.logits = np.stack([np.zeros_like(errors), errors])
    return Measured(detector.score(classmap), cells=_counted(errors, classmap, labels, np.inf))


def weighted_auc(clean: Any, bad: Any, clean_weights: Any, bad_weights: Any) -> Any:
    """Return the AUC of bad against clean scores for each row of weights (draws, scores); equal scores count half."""
    above = np.asarray(bad)[:, None] - np.asarray(clean)[None, :]
    wins = (above > 0) + 0.5 * (above == 0)
    total = np.einsum("db,bc,dc->d", bad_weights, wins, clean_weights, optimize=True)
    return total / (bad_weights.sum(axis=1) * clean_weights.sum(axis=1))


class Columns:
    """The columns of the table for one method, for each draw of sessions."""

    def __init__(self, rows: Sequence[Row], method: str, drawn: Any) -> None:
        self.rows, self.method, self.drawn = rows, method, drawn

    def _of(self, kinds: Sequence[str]) -> Tuple[List[Measured], Any]:
        """Return the measurements of micrographs of some kinds, and their weight in each draw."""
        rows = [row for row in self.rows if row.kind in kinds]
        return [row.methods[self.method] for row in rows], self.drawn[:, [row.session for row in rows]]

    def micrographs(self, kinds: Sequence[str], key: str = "score") -> Any:
        """Return the AUC of micrographs of some kinds against clean ones."""
        (clean, clean_weights), (bad, bad_weights) = self._of((CLEAN,)), self._of(kinds)
        scores = ([getattr(one, key) for one in some] for some in (clean, bad))
        return weighted_auc(*scores, clean_weights, bad_weights)

    def cells(self, kinds: Sequence[str]) -> Any:
        """Return the AUC of bad against good cells of micrographs of some kinds."""
        found, weights = self._of(kinds)
        return auc_draws([one.cells for one in found if one.cells is not None], ALL, weights)

    def called_bad(self, kinds: Sequence[str], is_bad: bool) -> Any:
        """Return the share of the good or bad cells of some kinds that is called bad."""
        found, weights = self._of(kinds)
        counts = [one.cells for one in found if one.cells is not None]
        codes = [code for code in range(len(CLASSES)) if (code != CLASSES.index(GOOD)) == is_bad]
        called = [sum((one.predicted_bad or {}).get(code, 0) for code in codes) for one in counts]
        number = [sum(one.cells(code) for code in codes) for one in counts]
        return (weights @ np.array(called)) / (weights @ np.array(number))

    def all(self) -> Iterator[Tuple[str, Any]]:
        """Yield the columns that the method has."""
        yield "edge to edge", self.micrographs(tuple(EDGE_TO_EDGE))
        for kind in (*EDGE_TO_EDGE, *UNSEEN):
            yield kind, self.micrographs((kind,))
        if self.method == OUTLIER:
            return
        yield "in places", self.cells(tuple(LOCAL))
        for kind in LOCAL:
            yield kind, self.cells((kind,))
        if self.method == ERROR:
            return
        yield "clean area called bad", self.called_bad((CLEAN,), False)
        yield "area found, edge to edge", self.called_bad(tuple(EDGE_TO_EDGE), True)
        yield "area found, in places", self.called_bad(tuple(LOCAL), True)
        if self.method == SHIPPED:
            yield "edge to edge, by the mean P(BAD)", self.micrographs(tuple(EDGE_TO_EDGE), "mean")


def tables(rows: Sequence[Row], sessions: int) -> Dict[str, Any]:
    """Return value and interval of each column by method; sessions are drawn with replacement."""
    drawn = weights(sessions)
    return {
        method: {
            name: [round(number, 4) for number in dataclasses.astuple(interval(values))]
            for name, values in Columns(rows, method, drawn).all()
        }
        for method in rows[0].methods
    }


def clean_by_session(rows: Sequence[Row], sessions: int) -> Dict[str, List[float]]:
    """Return the share of the area of clean micrographs that is called bad, in each session, by method."""
    each = np.eye(sessions)
    with_map = (method for method in rows[0].methods if method not in (OUTLIER, ERROR))
    return {
        method: [round(float(share), 4) for share in Columns(rows, method, each).called_bad((CLEAN,), False)]
        for method in with_map
    }


def trials_of(build: Path) -> List[Dict[str, Any]]:
    """Return the trials of the sweep; none without its output."""
    path = build / SWEPT / "sweep.csv"
    return json.loads(pd.read_csv(path).to_json(orient="records")) if path.is_file() else []


def measured(build: Path, workers: int) -> Tuple[List[Row], Dict[str, float]]:
    """Return the micrographs of the test sessions, and the mean seconds that each training takes."""
    sessions = session_folders(build, TEST)
    missing = [number for number, session in enumerate(sessions) if not (session / MEASURED).is_file()]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = pool.map(measure_session, [sessions[number] for number in missing], missing)
        list(tqdm(jobs, total=len(missing), desc="measured", unit="session"))
    found = [pickle.loads((session / MEASURED).read_bytes()) for session in sessions]
    seconds = {name: round(float(np.mean([spent[name] for _, spent in found])), 1) for name in MODELS}
    return [row for rows, _ in found for row in rows], seconds


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Measure, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE.parent / "out" / "one_class_detectors", metavar="DIR")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(arguments)
    prepare(args.build, args.workers)
    tested, seconds = measured(args.build, args.workers)
    result = {
        **about(),
        "sessions": SESSIONS,
        "micrographs": {kind: number * SESSIONS[TEST] for kind, number in NUMBERS.items()},
        "training_seconds": seconds,
        "methods": tables(tested, SESSIONS[TEST]),
        "clean_called_bad_by_session": clean_by_session(tested, SESSIONS[TEST]),
        "sweep": {"command": SWEEP, "trials": trials_of(args.build)},
    }
    RESULTS.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = one_class_detectors_page.page(result)
    RESULTS.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
