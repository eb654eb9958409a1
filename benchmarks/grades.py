# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare graders of whole micrographs, and fit the shipped one: python benchmarks/grades.py.

Sessions are simulated by grade_sessions.py. What graders see of each micrograph is kept in the build folder. (A) is a
logistic model of areas, session and power spectrum; (B) are residual networks on picture and power spectrum. All are
measured on sessions that they were not fitted to. ``--keep-networks`` takes the figures of (B), which do not depend on
the shipped model, from the last results. ``--real`` names what shared/real/prepare.py wrote, ``--sweep`` what
the command ``SWEEP`` wrote; ``--ship`` fits (A) to all sessions and writes the coefficients into the package. Writes
``results/grades.json`` and ``grades.md``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import grades_page  # noqa: E402
from about import about, recorded  # noqa: E402
from grade_sessions import SESSIONS, Exposure, exposures, make, sessions  # noqa: E402
from power_evidence import POWER, power_evidence  # noqa: E402

from cryoice_scipion.constants import BORDER, CLASSES, GRADES  # noqa: E402
from cryoice_scipion.core.config import TrainConfig  # noqa: E402
from cryoice_scipion.core.detectors.class_map import ClassMap  # noqa: E402
from cryoice_scipion.core.detectors.loading import load_detector  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model  # noqa: E402
from cryoice_scipion.core.detectors.one_class_fit import fit_one_class, measure  # noqa: E402
from cryoice_scipion.core.grades.evidence import MAP, SESSION, evidence_of, shares_of  # noqa: E402
from cryoice_scipion.core.grades.grade import grade_of_areas  # noqa: E402
from cryoice_scipion.core.grades.logistic import DEFAULT, NAMES, LogisticModel, row_of  # noqa: E402
from cryoice_scipion.core.grades.resnet import ResNet, grade_views, with_known  # noqa: E402
from cryoice_scipion.core.images.atomic import replacing  # noqa: E402
from cryoice_scipion.core.images.loading import load_micrograph, take_image  # noqa: E402
from cryoice_scipion.core.maps.bad_area import probabilities  # noqa: E402
from cryoice_scipion.core.training.grades.fit import (  # noqa: E402
    Example,
    bad_probabilities,
    fit,
    is_bad,
    logits_of,
    temperature_of,
)
from cryoice_scipion.core.training.grades.train import confusion  # noqa: E402
from cryoice_scipion.core.training.metrics import expected_calibration_error  # noqa: E402
from cryoice_scipion.core.views.power_spectrum import average_power  # noqa: E402
from cryoice_scipion.core.views.session_features import session_features  # noqa: E402

RESULTS = HERE / "results" / "grades.json"
FOLDS = 3
DEPTHS, WIDTH, EPOCHS = (10, 18, 34), 16, 20
COSTS = (1, 5, 20)
RESAMPLED = 1000
#: Its folders are of ``cryoice simulate --number 48 --size 320x320``, with --pixel-size 4, 6, 8 and --seed 1, 2, 3.
SWEEP = "cryoice sweep --network resnet --simulated s1 s2 s3 --epochs 8 --trials 8 --best 2 --seeds 2 --output swept"
STRENGTH = 1.0  # inverse regularisation of the logistic model
#: How often a grade is expected; the simulated sessions have more bad micrographs than real ones.
EXPECTED = dict(zip(GRADES, (0.45, 0.25, 0.10, 0.06, 0.06, 0.04, 0.04)))
WITHOUT_SESSION = 0.5  # weight of each micrograph once more, as if its session were not known
SHIPPED = "map, session"
#: The evidence that a logistic model is given.
EVIDENCE: Dict[str, Tuple[str, ...]] = {
    "map": MAP,
    "map, ring": (*MAP, *POWER[-3:]),
    "map, session": NAMES,
    "map, session, ring": (*NAMES, *POWER[-3:]),
    "map, session, power": (*NAMES, *POWER),
}
#: Folders of MicAssess, and whether their micrographs are good.
MICASSESS = {"great": True, "decent": True, "contamination": False, "crystalline_ice": False, "empty_no_ice": False}
NO_PARTICLES = "empty_vitreous"  # clean ice: good here, bad for MicAssess


def prepare(build: Path, workers: int) -> None:
    """Simulate and measure all micrographs that are not in the build folder yet."""
    build.mkdir(parents=True, exist_ok=True)
    missing = [one for group, number in sessions() for one in exposures(group, number)]
    missing = [one for one in missing if not (build / f"{one.name}.npz").is_file()]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = pool.map(keep, missing, [build] * len(missing), chunksize=4)
        list(tqdm(jobs, total=len(missing), desc="simulated and measured", unit="micrograph"))


_LOADED: List[Any] = []


def shipped() -> Any:
    """Return the shipped detector, loaded once in each process."""
    if not _LOADED:
        torch.set_num_threads(1)
        _LOADED.append(load_detector(resolve_model("default"), "cpu"))
    return _LOADED[0]


def keep(exposure: Exposure, build: Path) -> None:
    """Simulate a micrograph, and keep what graders see of it; of the reference only the features."""
    scene, pixel_size = make(exposure)
    micrograph = take_image(scene.pixels.astype(np.float32), pixel_size, exposure.name)
    seen = (micrograph.image, pixel_size, micrograph.border)
    features = session_features(*seen)
    counts = np.bincount(scene.labels.ravel(), minlength=len(CLASSES))
    found: Dict[str, Any] = {"values": features.values, "sampling": features.sampling, "areas": counts / counts.sum()}
    if exposure.number >= 0:
        classmap = shipped().map(*seen)
        found.update(logits=classmap.logits, border=classmap.border, cell=classmap.sampling)
        found.update(picture=grade_views(*seen)[0], power=average_power(*seen))
    path = build / f"{exposure.name}.npz"
    with replacing(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **found)


def evidence_from(stored: Any, reference: Any) -> Dict[str, float]:
    """Return the evidence of a stored micrograph."""
    classes = load_config(resolve_model("default")).classes
    classmap = ClassMap(stored["logits"], stored["border"], classes, float(stored["cell"]), 0.0)
    cells = probabilities(classmap, 0.0)
    outlier = measure(reference, None, stored["values"], float(stored["sampling"]))
    area = {"bad_area": sum(shares_of(cells).values())}
    return {**evidence_of(cells, outlier), **power_evidence(stored["power"]), **area}


class Data:
    """All tested micrographs."""

    def __init__(self, build: Path) -> None:
        self.evidence: List[Dict[str, float]] = []
        self.examples: List[Example] = []
        folds, self.group = [], []
        for index, (group, number) in enumerate(sessions()):
            stored = {one.number: np.load(build / f"{one.name}.npz") for one in exposures(group, number)}
            features = {key: one["values"] for key, one in stored.items() if key < 0}
            reference = fit_one_class(features, float(stored[-1]["sampling"]))
            for key, one in stored.items():
                if key < 0:
                    continue
                shares = one["areas"] / max(1e-9, 1 - one["areas"][CLASSES.index(BORDER)])
                grade = GRADES.index(grade_of_areas(dict(zip(CLASSES, shares.tolist()))))
                self.evidence.append(evidence_from(one, reference))
                views = one["picture"].astype(np.float32), with_known(one["power"])
                self.examples.append(Example(f"{group}/{number}/{key}", f"{group}/{number}", *views, grade))
                folds.append(index % FOLDS)
                self.group.append(group)
        self.grades = np.array([one.grade for one in self.examples])
        self.sources = np.array([one.source for one in self.examples])
        self.folds = np.array(folds)
        self.weights = weights_of(self.grades)

    @property
    def bad(self) -> Any:
        """Return which micrographs are bad."""
        return is_bad(self.grades)


def weights_of(grades: Any) -> Any:
    """Return the weight of each micrograph with which each grade is as frequent as expected; their mean is 1."""
    shares = np.bincount(grades, minlength=len(GRADES)) / len(grades)
    return np.array([EXPECTED[name] for name in GRADES])[grades] / shares[grades]


def fit_logistic(
    evidence: Sequence[Dict[str, float]], grades: Any, weights: Any, names: Sequence[str]
) -> LogisticModel:
    """Fit the logistic model, each micrograph once with all evidence and once without that of its session."""
    known = [{name: value for name, value in one.items() if name in names} for one in evidence]
    alone = [{name: value for name, value in one.items() if name not in SESSION} for one in known]
    table = np.array([[one.get(name, np.nan) for name in names] for one in known])
    mean, scale = np.nanmean(table, axis=0), np.nanstd(table, axis=0)
    rows = np.stack([row_of(one, names, mean, scale) for one in (*known, *alone)])
    model = LogisticRegression(C=STRENGTH, max_iter=5000)
    model.fit(rows, np.tile(grades, 2), np.concatenate([weights, WITHOUT_SESSION * weights]))
    return LogisticModel(
        names=list(names),
        mean=np.round(mean, 5).tolist(),
        scale=np.round(scale, 5).tolist(),
        weights=np.round(model.coef_, 4).tolist(),
        bias=np.round(model.intercept_, 4).tolist(),
    )


def logistic_probabilities(model: LogisticModel, evidence: Sequence[Dict[str, float]]) -> Any:
    """Return the probability of each grade (n, grades)."""
    mean, scale = np.array(model.mean), np.array(model.scale)
    rows = np.stack([row_of(one, model.names, mean, scale) for one in evidence])
    return softmax(rows @ np.array(model.weights).T + np.array(model.bias), axis=1)


def logistic_out_of_fold(data: Data, names: Sequence[str], weights: Any, with_session: bool = True) -> Any:
    """Return the probabilities of each micrograph from a model that was fitted to other sessions."""
    found = np.zeros((len(data.grades), len(GRADES)))
    for fold in range(FOLDS):
        train, test = np.flatnonzero(data.folds != fold), np.flatnonzero(data.folds == fold)
        model = fit_logistic([data.evidence[i] for i in train], data.grades[train], weights[train], names)
        tested = [
            {name: value for name, value in data.evidence[i].items()
             if name in names and (with_session or name not in SESSION)}
            for i in test
        ]  # fmt: skip
        found[test] = logistic_probabilities(model, tested)
    return found


def train_network(examples: Sequence[Example], depth: int, epochs: int, seed: int = 0) -> Tuple[ResNet, float]:
    """Return a network that was fitted to all but every fifth session, and its temperature from those."""
    names = sorted({one.source for one in examples})
    left_out = set(names[seed::5])
    training = [one for one in examples if one.source not in left_out]
    validation = [one for one in examples if one.source in left_out]
    config = TrainConfig(batch=16, learning_rate=0.002, epochs=epochs, width=WIDTH, seed=seed)
    torch.manual_seed(seed)
    network = ResNet(depth, WIDTH)
    bar = tqdm(total=epochs, desc=f"ResNet-{depth}", unit="epoch")
    fit(network, training, validation, config, torch.device("cpu"), lambda row: bar.update())
    grades = np.array([one.grade for one in validation])
    return network, temperature_of(logits_of(network, validation, torch.device("cpu")), grades)


def network_probabilities(network: ResNet, temperature: float, examples: Sequence[Example], shift: Any) -> Any:
    """Return probabilities (n, grades), shifted to the expected frequencies of grades."""
    return softmax(logits_of(network, examples, torch.device("cpu")) / temperature + shift, axis=1)


def expected_shift(grades: Any) -> Any:
    """Return what to add to logits that were fitted to grades of other frequencies than expected."""
    shares = np.bincount(grades, minlength=len(GRADES)) / len(grades)
    return np.log(np.array([EXPECTED[name] for name in GRADES]) / shares)


def networks_out_of_fold(data: Data, depth: int, epochs: int) -> Any:
    """Return the probabilities of each micrograph from a network that was fitted to other sessions."""
    found = np.zeros((len(data.grades), len(GRADES)))
    for fold in range(FOLDS):
        train, test = np.flatnonzero(data.folds != fold), np.flatnonzero(data.folds == fold)
        network, temperature = train_network([data.examples[i] for i in train], depth, epochs)
        shift = expected_shift(data.grades[train])
        found[test] = network_probabilities(network, temperature, [data.examples[i] for i in test], shift)
    return found


def summary(data: Data, values: Any, rows: Any) -> Dict[str, Any]:
    """Return the measures of probabilities on some micrographs, each with an interval from resampled sessions."""
    rng = np.random.default_rng(0)
    names = sorted(set(data.sources[rows]))
    of_session = {name: rows[data.sources[rows] == name] for name in names}
    draws = [np.concatenate([of_session[name] for name in rng.choice(names, len(names))]) for _ in range(RESAMPLED)]
    measures = {
        "auc": lambda some: roc_auc_score(data.bad[some], bad_probabilities(values[some])),
        "accuracy": lambda some: (values[some].argmax(axis=1) == data.grades[some]).mean(),
    }
    found: Dict[str, Any] = {"micrographs": len(rows), "sessions": len(names)}
    for name, of_rows in measures.items():
        low, high = np.quantile([of_rows(some) for some in draws], [0.025, 0.975])
        found[name] = [round(float(value), 3) for value in (of_rows(rows), low, high)]
    picked = rng.choice(rows, 20 * len(rows), p=data.weights[rows] / data.weights[rows].sum())
    found["ece"] = round(expected_calibration_error(bad_probabilities(values[picked]), data.bad[picked]), 3)
    return found


def summaries(data: Data, values: Any) -> Dict[str, Any]:
    """Return the measures over all micrographs, and of each group of sessions."""
    group = np.array(data.group)
    found = {"all": summary(data, values, np.arange(len(group)))}
    found.update({name: summary(data, values, np.flatnonzero(group == name)) for name in SESSIONS})
    return found


def miss_costs(data: Data) -> List[Dict[str, Any]]:
    """Compare thresholds on calibrated probabilities with training on weighted classes, for costs of a miss."""
    plain = bad_probabilities(logistic_out_of_fold(data, NAMES, data.weights))
    found = []
    for cost in COSTS:
        weighted = bad_probabilities(logistic_out_of_fold(data, NAMES, data.weights * np.where(data.bad, cost, 1)))
        for name, values, cut in (("threshold", plain, 1 / (1 + cost)), ("class weights", weighted, 0.5)):
            called = values > cut
            share = data.weights / data.weights.sum()
            missed, lost = share[data.bad & ~called].sum(), share[~data.bad & called].sum()
            picked = np.random.default_rng(0).choice(len(share), 20 * len(share), p=share)
            found.append(
                {
                    "cost": cost,
                    "method": name,
                    "missed": round(float(missed / share[data.bad].sum()), 4),
                    "lost": round(float(lost / share[~data.bad].sum()), 4),
                    "expected_cost": round(float(cost * missed + lost), 4),
                    "ece": round(expected_calibration_error(values[picked], data.bad[picked]), 3),
                }
            )
    return found


def real(folder: Path, model: LogisticModel, networks: Dict[str, Any]) -> Dict[str, Any]:
    """Return the grades that all graders give the micrographs of MicAssess, and the AUC of bad against good."""
    paths = [
        path for name in (*MICASSESS, NO_PARTICLES) for path in sorted((folder / "micassess" / name).glob("*.mrc"))
    ]
    rows = []
    for path in paths:
        micrograph = load_micrograph(str(path))
        seen = (micrograph.image, micrograph.pixel_size, micrograph.border)
        cells = probabilities(shipped().map(*seen), 0.0)
        values = {"A": logistic_probabilities(model, [evidence_of(cells)])[0]}
        example = Example(path.stem, "", *grade_views(*seen), 0)
        for name, (network, temperature, shift) in networks.items():
            values[name] = network_probabilities(network, temperature, [example], shift)[0]
        grades = {
            name: [GRADES[int(one.argmax())], round(float(bad_probabilities(one[None])[0]), 3)]
            for name, one in values.items()
        }
        grades["area"] = ["", round(sum(shares_of(cells).values()), 3)]
        rows.append({"micrograph": path.stem, "class": path.parent.name, "grades": grades})
    return {"micrographs": rows, "auc": {name: micassess_auc(rows, name) for name in rows[0]["grades"]}}


def micassess_auc(rows: Sequence[Dict[str, Any]], name: str) -> Dict[str, Any]:
    """Return the AUC with the micrographs of clean ice without particles as good, as bad, and left out."""
    found: Dict[str, Any] = {}
    for title, good in (("good", True), ("bad", False), ("left out", None)):
        truth = {**MICASSESS, NO_PARTICLES: good}
        used = [row for row in rows if truth[row["class"]] is not None]
        bad = np.array([not truth[row["class"]] for row in used])
        scores = np.array([row["grades"][name][1] for row in used])
        rng = np.random.default_rng(0)
        draws = (rng.integers(0, len(bad), len(bad)) for _ in range(RESAMPLED))
        values = [roc_auc_score(bad[some], scores[some]) for some in draws if 0 < bad[some].sum() < len(bad)]
        found[title] = [round(float(v), 3) for v in (roc_auc_score(bad, scores), *np.quantile(values, [0.025, 0.975]))]
    return found


def with_earlier(found: Dict[str, Any], earlier: Dict[str, Any]) -> None:
    """Add what the networks of earlier results gave to the same real micrographs."""
    grades = {one["micrograph"]: one["grades"] for one in earlier.get("micrographs", ())}
    pairs = [(one["grades"], grades.get(one["micrograph"], {})) for one in found["micrographs"]]
    for now, before in (*pairs, (found["auc"], earlier.get("auc", {}))):
        now.update({name: value for name, value in before.items() if name.startswith("B")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE.parent / "out" / "grades")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--real", type=Path, help="what shared/real/prepare.py wrote")
    parser.add_argument("--sweep", type=Path, help=f"what '{SWEEP}' wrote")
    parser.add_argument("--ship", action="store_true", help="write the coefficients of (A) into the package")
    parser.add_argument("--depths", type=int, nargs="*", default=list(DEPTHS), help="of the residual networks")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--keep-networks", action="store_true", help="take the figures of (B) from the last results")
    options = parser.parse_args()
    earlier = recorded(RESULTS) if options.keep_networks else {}
    depths = [] if earlier else options.depths
    prepare(options.build, options.workers)
    torch.set_num_threads(options.workers)
    data = Data(options.build)
    final = fit_logistic(data.evidence, data.grades, data.weights, NAMES)
    if options.ship:
        DEFAULT.write_text(final.model_dump_json() + "\n", encoding="utf-8")
    area = np.array([one["bad_area"] for one in data.evidence])
    baseline = np.zeros((len(area), len(GRADES)))
    baseline[:, 0], baseline[:, 2] = 1 - area, area
    values = {f"A: {name}": logistic_out_of_fold(data, names, data.weights) for name, names in EVIDENCE.items()}
    values["A: session not known"] = logistic_out_of_fold(data, NAMES, data.weights, with_session=False)
    for depth in depths:
        values[f"B: ResNet-{depth}"] = networks_out_of_fold(data, depth, options.epochs)
    graders = {"mean P(BAD) of the shipped model": summaries(data, baseline)}
    graders.update({name: summaries(data, some) for name, some in values.items()})
    graders.update({name: one for name, one in earlier.get("graders", {}).items() if name.startswith("B")})
    network = max((name for name in graders if name.startswith("B")), key=lambda name: graders[name]["all"]["auc"][0])
    matrices = {name: confusion(data.grades, some.argmax(axis=1)).tolist() for name, some in values.items()}
    matrices.update({name: one for name, one in earlier.get("confusion", {}).items() if name.startswith("B")})
    result: Dict[str, Any] = {
        "graders": graders,
        "confusion": {name: matrices[name] for name in (f"A: {SHIPPED}", network)},
        "miss_costs": miss_costs(data),
        "grades": np.bincount(data.grades, minlength=len(GRADES)).tolist(),
        "epochs": earlier.get("epochs", options.epochs),
        "about": about(),
    }
    if options.real:
        networks = {}
        for depth in depths:
            trained, temperature = train_network(data.examples, depth, options.epochs)
            networks[f"B{depth}"] = (trained, temperature, expected_shift(data.grades))
        result["real"] = real(options.real, final, networks)
        with_earlier(result["real"], earlier.get("real", {}))
    if "sweep" in earlier:
        result["sweep"] = earlier["sweep"]
    if options.sweep:
        trials = pd.read_csv(options.sweep / "sweep.csv").to_json(orient="records")
        result["sweep"] = {"command": SWEEP, "trials": json.loads(trials)}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    RESULTS.with_suffix(".md").write_text(grades_page.page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
