# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how well ``outlier`` finds micrographs that are unusual from edge to edge: python benchmarks/one_class.py.

Sessions are simulated by one_class_sessions.py. A micrograph is simulated, measured and thrown away; its features and
the bad area of the shipped model are kept in the build folder. ``--real`` names what shared/real/prepare.py wrote.
Writes ``benchmarks/results/one_class.json`` and ``benchmarks/results/one_class.md`` (one_class_page.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
from sklearn.ensemble import IsolationForest
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import one_class_page  # noqa: E402
from about import about  # noqa: E402
from one_class_sessions import (  # noqa: E402
    CLEAN,
    COUNTS,
    EDGE_TO_EDGE,
    NUMBERS,
    UNSEEN,
    Exposure,
    exposures,
    make,
    sessions,
)

from cryoice_scipion.core.detectors.one_class import left_out_distances  # noqa: E402
from cryoice_scipion.core.detectors.one_class_fit import (  # noqa: E402
    UNUSUAL,
    distribution_of,
    fit_one_class,
    measure,
)
from cryoice_scipion.core.detectors.tail import Tail  # noqa: E402
from cryoice_scipion.core.images.atomic import replacing  # noqa: E402
from cryoice_scipion.core.images.loading import load_micrograph, take_image  # noqa: E402
from cryoice_scipion.core.views.session_features import session_features  # noqa: E402

RESULTS = HERE / "results" / "one_class.json"
REFERENCE = 20  # micrographs of a reference
BAD = (*EDGE_TO_EDGE, *UNSEEN)
NEIGHBOURS = 5
RESAMPLED = 1000
#: Bad micrographs in a reference of 20: the kind and number of each.
COMPOSITIONS: Dict[str, Dict[str, int]] = {
    "clean": {},
    "5 % bad": {"thick": 1},
    "20 % bad, four kinds": dict.fromkeys(EDGE_TO_EDGE, 1),
    "20 % bad, two kinds": {"thick": 2, "vacuum": 2},
}
#: Gives the score of each tested micrograph from the features of the reference and of the tested ones.
Method = Callable[[List[Any], List[Any]], List[float]]


def prepare(build: Path, workers: int) -> None:
    """Simulate and measure all micrographs that are not in the build folder yet."""
    build.mkdir(parents=True, exist_ok=True)
    missing = [one for one in exposures() if not (build / f"{one.name}.npz").is_file()]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = pool.map(keep, missing, [build] * len(missing), chunksize=4)
        list(tqdm(jobs, total=len(missing), desc="simulated and measured", unit="micrograph"))


def keep(exposure: Exposure, build: Path) -> None:
    """Simulate a micrograph, and keep its features and, if it is a tested one, the bad area of the shipped model."""
    image, pixel_size = make(exposure)
    micrograph = take_image(image, pixel_size, exposure.name)
    features = session_features(micrograph.image, pixel_size, micrograph.border)
    area = np.nan
    if exposure.kind != CLEAN or exposure.number >= REFERENCE:
        classmap = _shipped().map(micrograph.image, pixel_size, micrograph.border)
        area = float((1 / (1 + np.exp(-classmap.log_odds[~classmap.border].astype(np.float64)))).mean())
    path = build / f"{exposure.name}.npz"
    with replacing(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, values=features.values, sampling=features.sampling, area=area)


_LOADED: List[Any] = []


def _shipped() -> Any:
    """Return the shipped detector, loaded once in each process."""
    if not _LOADED:
        import torch

        from cryoice_scipion.core.detectors.loading import load_detector
        from cryoice_scipion.core.detectors.model_folder import resolve_model

        torch.set_num_threads(1)
        _LOADED.append(load_detector(resolve_model("default"), "cpu"))
    return _LOADED[0]


@dataclasses.dataclass
class Session:
    """What is known of the micrographs of one session."""

    group: str
    features: Dict[str, List[Any]]  # by kind
    areas: Dict[str, List[float]]  # mean P(BAD) of the shipped model, by kind


def load(build: Path) -> List[Session]:
    """Return the sessions that :func:`prepare` measured."""
    found = []
    for group, number in sessions():
        features: Dict[str, List[Any]] = {}
        areas: Dict[str, List[float]] = {}
        for kind, count in NUMBERS.items():
            for index in range(count):
                with np.load(build / f"{Exposure(group, number, kind, index).name}.npz") as stored:
                    features.setdefault(kind, []).append(stored["values"])
                    areas.setdefault(kind, []).append(float(stored["area"]))
        found.append(Session(group, features, areas))
    return found


def outliers(reference: List[Any], tested: List[Any]) -> List[float]:
    """Return ``outlier`` as the package has it."""
    record = fit_one_class(dict(enumerate(reference)), 1.0)
    if record is None:
        raise ValueError("too few micrographs in the reference")
    found = (measure(record, None, values, 1.0) for values in tested)
    return [np.nan if one is None else one.number for one in found]


def scaled_by_micrograph(reference: List[Any], tested: List[Any]) -> List[float]:
    """Return ``outlier`` with the grey levels of each micrograph scaled by itself."""
    return outliers(*([_scaled(values) for values in several] for several in (reference, tested)))


def _scaled(values: Any) -> Any:
    """Return features as if the grey levels had been brought to median 0 and a median variance of 1."""
    flat = values.reshape(-1, values.shape[-1])
    level, variance = np.nanmedian(flat[:, 0]), np.nanmedian(flat[:, 1])
    changed = values - variance
    changed[..., 0] = (values[..., 0] - level) / np.exp(variance / 2)
    return changed


def distance_of_cells(reference: List[Any], tested: List[Any]) -> List[float]:
    """Return the mean Mahalanobis distance of the cells from all cells of the reference, relative to its median."""
    cells = [_cells(values) for values in reference]
    together = np.concatenate(cells)
    centre, covariance = together.mean(axis=0), np.cov(together.T)
    inverse = np.linalg.inv(0.99 * covariance + 0.01 * np.diag(np.diag(covariance)))

    def score(rows: Any) -> float:
        return float(np.sqrt(np.einsum("ij,jk,ik->i", rows - centre, inverse, rows - centre)).mean())

    unit = np.median([score(rows) for rows in cells])
    return [score(_cells(values)) / unit for values in tested]


def nearest_neighbours(reference: List[Any], tested: List[Any]) -> List[float]:
    """Return the mean distance to the nearest micrographs of the reference, in standardised mean features."""
    known = np.stack([_cells(values).mean(axis=0) for values in reference])
    centre, spread = known.mean(axis=0), known.std(axis=0) + 1e-9
    known = (known - centre) / spread

    def score(row: Any, others: Any) -> float:
        return float(np.sort(np.linalg.norm(others - row, axis=1))[:NEIGHBOURS].mean())

    unit = np.median([score(row, np.delete(known, index, axis=0)) for index, row in enumerate(known)])
    return [score((_cells(values).mean(axis=0) - centre) / spread, known) / unit for values in tested]


def isolation_forest(reference: List[Any], tested: List[Any]) -> List[float]:
    """Return the score of an isolation forest over the mean features (Liu, Ting and Zhou 2008)."""
    forest = IsolationForest(n_estimators=200, random_state=0)
    forest.fit(np.stack([_cells(values).mean(axis=0) for values in reference]))
    scores: List[float] = (-forest.score_samples(np.stack([_cells(values).mean(axis=0) for values in tested]))).tolist()
    return scores


def _cells(values: Any) -> Any:
    rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
    return rows[np.isfinite(rows).all(axis=1)]


METHODS: Dict[str, Method] = {
    "outlier": outliers,
    "outlier, scaled by each micrograph": scaled_by_micrograph,
    "distance of cells": distance_of_cells,
    "nearest neighbours": nearest_neighbours,
    "isolation forest": isolation_forest,
}
SHIPPED = "shipped model, mean P(BAD)"


def scores_of(session: Session, method: str, composition: Dict[str, int], number: int) -> Dict[str, List[float]]:
    """Return the scores of the tested micrographs of a session by kind."""
    tested = {kind: session.features[kind][composition.get(kind, 0) :] for kind in BAD}
    tested[CLEAN] = session.features[CLEAN][REFERENCE:]
    if method == SHIPPED:
        areas = {kind: session.areas[kind][-len(values) :] for kind, values in tested.items()}
        return areas
    spoilt = [values for kind, count in composition.items() for values in session.features[kind][:count]]
    reference = session.features[CLEAN][: number - len(spoilt)] + spoilt
    scores = iter(METHODS[method](reference, [values for kind in tested for values in tested[kind]]))
    return {kind: [next(scores) for _ in values] for kind, values in tested.items()}


def auc(clean: Sequence[float], bad: Sequence[float]) -> float:
    """Return the probability that a bad micrograph has a higher score than a clean one."""
    above = np.asarray(bad)[:, None] - np.asarray(clean)[None, :]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def _joined(rows: Sequence[Dict[str, List[float]]], kinds: Sequence[str]) -> List[float]:
    return [score for row in rows for kind in kinds for score in row[kind]]


def summary(rows: List[Dict[str, List[float]]], seed: int = 0) -> Dict[str, Any]:
    """Return the AUC over all sessions by kind, each with an interval from resampled sessions, and shares flagged."""
    groups = {"edge to edge": tuple(EDGE_TO_EDGE), **{kind: (kind,) for kind in BAD}}
    rng = np.random.default_rng(seed)
    drawn = [[rows[index] for index in rng.integers(0, len(rows), len(rows))] for _ in range(RESAMPLED)]
    found: Dict[str, Any] = {"sessions": len(rows), "auc": {}, "micrographs": {}, "flagged": {}}
    for name, kinds in groups.items():
        values = [auc(_joined(some, (CLEAN,)), _joined(some, kinds)) for some in drawn]
        low, high = np.quantile(values, [0.025, 0.975])
        value = auc(_joined(rows, (CLEAN,)), _joined(rows, kinds))
        found["auc"][name] = [round(float(number), 3) for number in (value, low, high)]
    for name, kinds in {**groups, CLEAN: (CLEAN,)}.items():
        scores = np.array(_joined(rows, kinds))
        found["micrographs"][name], found["flagged"][name] = len(scores), round(float((scores > UNUSUAL).mean()), 4)
    return found


def simulated(found: List[Session]) -> Dict[str, Any]:
    """Return all tables of the simulated sessions."""
    result: Dict[str, Any] = {"methods": {}, "compositions": {}, "sizes": {}}
    for group in dict.fromkeys(session.group for session in found):
        some = [session for session in found if session.group == group]
        result["methods"][group] = {
            method: summary([scores_of(one, method, {}, REFERENCE) for one in some]) for method in (*METHODS, SHIPPED)
        }
    counted = [session for session in found if session.group == COUNTS]
    for name, composition in COMPOSITIONS.items():
        rows = [scores_of(one, "outlier", composition, REFERENCE) for one in counted]
        result["compositions"][name] = summary(rows)
    for number in (6, 10, REFERENCE):
        result["sizes"][str(number)] = summary([scores_of(one, "outlier", {}, number) for one in counted])
    return result


def area_found(found: List[Session]) -> Dict[str, Any]:
    """Return the share of cells that a ``one_class`` model of 20 clean micrographs calls bad, by kind."""
    shares: Dict[str, List[float]] = {kind: [] for kind in (CLEAN, *BAD)}
    for session in found:
        reference = session.features[CLEAN][:REFERENCE]
        record = fit_one_class(dict(enumerate(reference)), 1.0)
        if record is None:
            continue
        tail, fit = Tail.of(left_out_distances(reference)), distribution_of(record)
        for kind, of_kind in shares.items():
            for values in session.features[kind][REFERENCE if kind == CLEAN else 0 :]:
                distances = fit.of_cells(values)
                of_kind.append(float((tail.log_odds(distances[np.isfinite(distances)]) > 0).mean()))
    return {kind: {"mean": round(float(np.mean(values)), 4), "number": len(values)} for kind, values in shares.items()}


def real(folder: Path) -> Dict[str, Any]:
    """Return ``outlier`` and rank of each real micrograph among those of its folder, each left out of the fit."""
    result: Dict[str, Any] = {}
    for name in ("empiar10017", "micassess"):
        features: Dict[str, Tuple[Any, float]] = {}
        for path in sorted((folder / name).rglob("*.mrc")):
            micrograph = load_micrograph(str(path))
            measured = session_features(micrograph.image, micrograph.pixel_size, micrograph.border)
            features[str(path.relative_to(folder / name).with_suffix(""))] = measured.values, measured.sampling
        stems = list(features)
        record = fit_one_class(dict(enumerate(values for values, _ in features.values())), features[stems[0]][1])
        if record is None:
            continue
        scores = {stems[key]: score / record.unit for key, score in zip(record.micrographs, record.scores)}
        order = sorted(scores, key=lambda stem: -scores[stem])
        result[name] = [{"micrograph": stem, "outlier": round(scores[stem], 2)} for stem in order]
    return result


def timed() -> Dict[str, float]:
    """Return the seconds that features of a frame of 4096 px take, in this process alone, and those of a fit."""
    rng = np.random.default_rng(0)
    image = rng.normal(100, 10, (4096, 4096)).astype(np.float32)
    border = np.zeros(image.shape, dtype=bool)
    spent = []
    for _ in range(5):
        started = time.process_time()
        measured = session_features(image, 1.0, border)
        spent.append(time.process_time() - started)
    reference = {key: measured.values + np.float32(rng.normal(0, 0.1)) for key in range(REFERENCE)}
    started = time.process_time()
    record = fit_one_class(reference, measured.sampling)
    fitted = time.process_time() - started
    started = time.process_time()
    if record is not None:
        measure(record, None, measured.values, measured.sampling)
    scored = time.process_time() - started
    size = len(json.dumps(dataclasses.asdict(record))) if record is not None else 0
    return {
        "features_s": round(min(spent), 3),
        "fit_s": round(fitted, 3),
        "score_s": round(scored, 3),
        "journal_bytes": float(size),
        "stored_bytes": float(measured.values.nbytes),
    }


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Measure, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE.parent / "build" / "one_class", metavar="DIR")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--real", type=Path, metavar="DIR", help="what shared/real/prepare.py wrote")
    args = parser.parse_args(arguments)
    prepare(args.build, args.workers)
    found = load(args.build)
    result = {**about(), "unusual_above": UNUSUAL, **simulated(found), "seconds": timed()}
    result["area_found"] = area_found([session for session in found if session.group == COUNTS])
    result["real"] = real(args.real) if args.real else {}
    RESULTS.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = one_class_page.page(result)
    RESULTS.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
