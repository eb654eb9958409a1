# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the regions of bad area, and fit their confidence: python benchmarks/regions.py.

The maps are those that grades.py keeps in its build folder. Their sessions are simulated again up to the labels, with
every deposit numbered. Regions, and connected components at the shipped threshold, are compared with the true regions.
Confidence is measured on sessions that it was not fitted to. ``--ship`` fits it to all sessions, and writes the
coefficients into the package. Writes ``results/regions.json`` and ``regions.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import regions_page  # noqa: E402
from about import about  # noqa: E402
from grades import EXPECTED  # noqa: E402
from region_metrics import Found, ap_of, match, paired, pq_of  # noqa: E402
from region_truth import Truth, truths  # noqa: E402

from cryoice_scipion.constants import GRADES  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model  # noqa: E402
from cryoice_scipion.core.grades.grade import grade_of_areas  # noqa: E402
from cryoice_scipion.core.maps.bad_area import Cells, good_mask, probabilities  # noqa: E402
from cryoice_scipion.core.regions.confidence import DEFAULT, UNCERTAIN_BELOW, ConfidenceModel  # noqa: E402
from cryoice_scipion.core.regions.evidence import EVIDENCE, evidence_of_regions  # noqa: E402
from cryoice_scipion.core.regions.instances import EIGHT, find_instances  # noqa: E402

RESULTS = HERE / "results" / "regions.json"
TUNED_ON = 8  # the first sessions of each group: extent and neck width were chosen on them
CLASSES = ("crystalline", "contamination", "thick", "support", "aggregate", "vacuum")
FOLDS, INNER = 6, 5  # parts of the sessions: to measure the confidence, and to fit its curve
KNOTS = 8  # of the curve
STRENGTH = 0.3  # inverse regularisation
RESAMPLED = 300
BINS = 15  # of the calibration error
_DIGITS = 5


def components(cells: Cells, threshold: float) -> Found:
    """Return the connected components of each class at the threshold, ranked by their mean P(BAD)."""
    bad = ~good_mask(cells, threshold) & ~cells.border
    names = cells.bad_classes[:-1]
    likeliest = cells.by_class[: len(names)].argmax(axis=0)
    labels, classes = np.zeros(bad.shape, dtype=np.int32), []  # type: NDArray[np.int32], List[str]
    for index, name in enumerate(names):
        parts, number = ndimage.label(bad & (likeliest == index), structure=EIGHT)
        labels[parts > 0] = parts[parts > 0] + len(classes)
        classes += [name] * number
    means = ndimage.mean(cells.probability, labels, np.arange(1, len(classes) + 1))
    return Found(labels, classes, np.atleast_1d(means), np.ones(len(classes), dtype=bool))


def rightness(found: Found, truth: Truth) -> NDArray[np.bool_]:
    """Return whether more than half of each region is bad area of its class."""
    right = [
        np.isin(
            truth.labels[found.labels == number], [key for key, kind in truth.classes.items() if kind == name]
        ).mean()
        for number, name in enumerate(found.classes, 1)
    ]
    return np.array(right) > 0.5


@dataclasses.dataclass
class Rows:
    """Evidence, predictions and truth of regions."""

    evidence: NDArray[np.float64]  # (regions, evidence)
    classes: NDArray[np.str_]
    right: NDArray[np.bool_]  # whether the class is
    session: NDArray[np.int64]
    weight: NDArray[np.float64]  # how often such micrographs are expected

    def of(self, picked: NDArray[np.bool_]) -> Rows:
        """Return some of the regions."""
        return Rows(*(getattr(self, field.name)[picked] for field in dataclasses.fields(self)))


def weights_of(data: Sequence[Truth]) -> NDArray[np.float64]:
    """Return the weight of each micrograph: simulated sessions have more bad ones than real ones."""
    grades = []
    for truth in data:
        sizes = np.bincount(truth.labels.ravel(), minlength=max(truth.classes, default=0) + 1)
        shares = dict.fromkeys(CLASSES, 0.0)
        for key, name in truth.classes.items():
            shares[name] += float(sizes[key]) / truth.labels.size
        grades.append(grade_of_areas(shares))
    counts = {name: grades.count(name) for name in GRADES}
    return np.array([EXPECTED[name] / counts[name] * len(grades) for name in grades])


def weighted(data: Rows) -> ConfidenceModel:
    """Return a logistic model with weights for each class, which are drawn to common ones; its curve is empty."""
    mean, scale = data.evidence.mean(axis=0), np.maximum(data.evidence.std(axis=0), 1e-3)
    rows = (data.evidence - mean) / scale
    own = (data.classes[:, None] == np.array(CLASSES)).astype(float)
    crossed = (own[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
    model = LogisticRegression(C=STRENGTH, max_iter=3000)
    model.fit(np.hstack([rows, own, crossed]), data.right, sample_weight=data.weight)
    common, bias, special = np.split(model.coef_[0], [rows.shape[1], rows.shape[1] + len(CLASSES)])
    tables = (mean, scale, common + special.reshape(len(CLASSES), -1), bias + model.intercept_[0])
    numbers = [np.round(values, _DIGITS).tolist() for values in tables]
    return ConfidenceModel(
        names=list(EVIDENCE), classes=list(CLASSES), mean=numbers[0], scale=numbers[1], weights=numbers[2],
        bias=numbers[3], scores=[0.0], confidences=[0.5],
    )  # fmt: skip


def fit(data: Rows) -> ConfidenceModel:
    """Return the model of the confidence; its curve is fitted to scores of sessions left out of the weights."""
    scores, parts = np.zeros(len(data.right)), np.unique(data.session, return_inverse=True)[1] % INNER
    for part in range(INNER):
        out = parts == part
        scores[out] = weighted(data.of(~out)).scores_of(data.evidence[out], data.classes[out])
    order = np.argsort(scores, kind="stable")
    passed = np.cumsum(data.weight[order])
    bins = np.split(order, np.searchsorted(passed, passed[-1] * np.arange(1, KNOTS) / KNOTS))
    at = np.array([np.average(scores[one], weights=data.weight[one]) for one in bins])
    shares = np.array(
        [(np.average(data.right[one], weights=data.weight[one]) * len(one) + 0.5) / (len(one) + 1) for one in bins]
    )
    model = weighted(data)
    model.scores = np.round(at, _DIGITS).tolist()
    model.confidences = np.round(IsotonicRegression().fit_transform(at, shares), _DIGITS).tolist()
    return model


def out_of_fold(data: Rows) -> NDArray[np.float64]:
    """Return the confidence of each region from a fit without its session."""
    values = np.zeros(len(data.right))
    for fold in range(FOLDS):
        out = data.session % FOLDS == fold
        values[out] = fit(data.of(~out)).confidences_of(data.evidence[out], data.classes[out])
    return values


def calibration_error(values: NDArray[np.float64], right: NDArray[np.bool_], weight: NDArray[np.float64]) -> float:
    """Return the mean gap between confidence and share of right classes in 15 bins (Guo et al. 2017)."""
    bins = np.minimum((values * BINS).astype(int), BINS - 1)
    gaps = [abs(float((weight * (values - right))[bins == one].sum())) for one in range(BINS)]
    return sum(gaps) / float(weight.sum())


def compare(
    plain: Sequence[Found], ours: Sequence[Found], data: Sequence[Truth], sessions: Sequence[int]
) -> Dict[str, Any]:
    """Return AP50 and panoptic quality of both methods, by class and on average."""
    number = max(sessions) + 1
    matches = {name: [match(found, data, sessions, name) for found in (plain, ours)] for name in CLASSES}
    result: Dict[str, Any] = {}
    for title, value in (("ap50", ap_of), ("pq", pq_of)):
        rows = {
            name: paired([functools.partial(value, one) for one in both], number, RESAMPLED)
            for name, both in matches.items()
        }

        def mean(weights: NDArray[np.int64], which: int, value: Any = value) -> float:
            return float(np.nanmean([value(both[which], weights) for both in matches.values()]))

        rows["mean"] = paired([functools.partial(mean, which=which) for which in (0, 1)], number, RESAMPLED)
        result[title] = rows
    return result


def _means(weight: NDArray[np.float64], *columns: NDArray[Any]) -> List[float]:
    return [round(float(np.average(column, weights=weight)), 3) for column in columns]


def measured(data: Sequence[Truth], threshold: float) -> Tuple[Dict[str, Any], ConfidenceModel]:
    """Return the results on the sessions that nothing was chosen on, and the model fitted to all sessions."""
    names = sorted({truth.session for truth in data})
    sessions = np.array([names.index(truth.session) for truth in data])
    cells = [probabilities(truth.classmap, 0.0) for truth in data]
    plain = [components(one, threshold) for one in cells]
    ours: List[Found] = []
    evidence: List[NDArray[np.float64]] = []
    for one in cells:
        labels, classes = find_instances(one, threshold)
        ours.append(Found(labels, classes, np.zeros(len(classes)), np.zeros(len(classes), dtype=bool)))
        evidence.append(evidence_of_regions(one, labels, classes))
    right = [rightness(found, truth) for found, truth in zip(ours, data)]
    numbers_found = [len(found.classes) for found in ours]
    rows = Rows(
        np.concatenate(evidence), np.array([name for found in ours for name in found.classes]), np.concatenate(right),
        np.repeat(sessions, numbers_found), np.repeat(weights_of(data), numbers_found),
    )  # fmt: skip
    values, all_right = out_of_fold(rows), rows.right
    start = 0
    for found in ours:
        stop = start + len(found.classes)
        found.scores, found.counted = values[start:stop], values[start:stop] >= UNCERTAIN_BELOW
        start = stop
    new = np.array([truth.exposure.session >= TUNED_ON for truth in data])
    numbers = np.unique(sessions[new], return_inverse=True)[1].tolist()
    picked = np.flatnonzero(new)
    tested = np.repeat(new, numbers_found)
    weight, certain = rows.weight[tested], values[tested] >= UNCERTAIN_BELOW
    bins = np.minimum((values[tested] * 10).astype(int), 9)
    tenths = [bins == one for one in range(10) if (bins == one).any()]
    result = compare([plain[i] for i in picked], [ours[i] for i in picked], [data[i] for i in picked], numbers)
    result.update(
        micrographs=len(picked),
        sessions=len(set(numbers)),
        regions=int(tested.sum()),
        components=sum(len(plain[i].classes) for i in picked),
        true={name: sum(list(data[i].classes.values()).count(name) for i in picked) for name in CLASSES},
        ece=round(calibration_error(values[tested], all_right[tested], weight), 4),
        ece_unweighted=round(calibration_error(values[tested], all_right[tested], np.ones(len(weight))), 4),
        certain=_means(weight, certain)[0],
        right_certain=_means(weight[certain], all_right[tested][certain])[0],
        calibration=[
            [int(one.sum()), *_means(weight[one], values[tested][one], all_right[tested][one])] for one in tenths
        ],
    )  # fmt: skip
    return result, fit(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE.parent / "out" / "grades", help="what grades.py has filled")
    parser.add_argument("--ship", action="store_true", help="write the coefficients into the package")
    options = parser.parse_args()
    threshold = load_config(resolve_model("default")).recommended_threshold
    result, model = measured(list(truths(options.build)), threshold)
    if options.ship:
        DEFAULT.write_text(model.model_dump_json() + "\n", encoding="utf-8")
    result["about"] = about()
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    RESULTS.with_suffix(".md").write_text(regions_page.page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
