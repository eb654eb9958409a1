# SPDX-License-Identifier: GPL-3.0-or-later
"""Each real micrograph judged by a last layer that was fitted without it: results/leave_one_out.json.

usage: python benchmarks/leave_one_out.py [--model NAME|DIR] [--build DIR]
Only the last layer is fitted anew for each micrograph, on cells of all other training micrographs of ``make
default-model`` (its build folder is needed); what lies below it has seen the micrographs that are not marked as held
out. So the figures are between those of a model that was never shown a micrograph and those of one that was.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from about import about  # noqa: E402
from train_default_model import SETS  # noqa: E402

from cryoice_scipion.constants import BAD, BORDER, CLASSES, DEFAULT_MODEL, GOOD  # noqa: E402
from cryoice_scipion.core.data.fields import Field  # noqa: E402
from cryoice_scipion.core.evaluation.labels import LEFT_OUT  # noqa: E402
from cryoice_scipion.core.networks.bundle import resolve_model  # noqa: E402
from cryoice_scipion.core.networks.dense import DenseNet  # noqa: E402
from cryoice_scipion.core.networks.detector import NetworkDetector  # noqa: E402
from cryoice_scipion.core.training.fit import allowed_classes, bad_log_odds, loss_of  # noqa: E402
from cryoice_scipion.core.training.metrics import called_bad, fit_temperature, threshold_for_clean_area  # noqa: E402
from cryoice_scipion.core.views.two_scale import local_view  # noqa: E402

BUILD = HERE.parent / "out" / "default-model"
PER_SIMULATED, PER_REAL = 250, 6000  # cells of a micrograph
RIDGE = 1e-4


@torch.inference_mode()
def features_of(network: DenseNet, path: Path) -> Tuple[torch.Tensor, np.ndarray]:
    """Return the feature vectors (n, features) of the labelled cells of a field, and their labels."""
    field = Field.load(path)
    view = torch.from_numpy(field.view.astype(np.float32))
    spectrum = torch.from_numpy(field.spectrum.astype(np.float32))
    found = network.map(torch.stack([view, local_view(view)]), spectrum, field.labels.shape).flatten(1).T
    labels = field.labels.ravel()
    known = (labels != LEFT_OUT) & (labels != CLASSES.index(BORDER))
    return found[torch.from_numpy(known)], labels[known]


def fit(features: torch.Tensor, allowed: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return weights, bias and unit of a last layer: the most likely one with a small ridge, from nothing."""
    spread = features.std(dim=0).clamp(min=1e-3)
    weights = torch.zeros(allowed.shape[1], features.shape[1], requires_grad=True)
    bias = torch.zeros(allowed.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=80, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(torch.addmm(bias, features / spread, weights.T), allowed) + RIDGE * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach(), bias.detach(), spread


def figures(labels: np.ndarray, odds: np.ndarray, threshold: float) -> Dict[str, Any]:
    """Return AUC by class, and the shares of clean and of bad area that are called bad."""
    called = called_bad(1.0 / (1.0 + np.exp(-odds)), threshold)
    good = labels == CLASSES.index(GOOD)
    result: Dict[str, Any] = {
        "clean_called_bad": float(called[good].mean()) if good.any() else None,
        "bad_found": float(called[~good].mean()) if (~good).any() else None,
    }
    for code in np.unique(labels[~good]):
        rows = good | (labels == code)
        if good.any():
            result[f"AUC {CLASSES[code]}"] = float(roc_auc_score(~good[rows], odds[rows]))
    return result


def main() -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--build", type=Path, default=BUILD)
    args = parser.parse_args()
    detector = NetworkDetector.load(resolve_model(args.model))
    network, config = detector.network, detector.config
    held_out = json.loads(config.trained_on["settings"])["hold_out"]
    rng = np.random.default_rng(0)
    codes = np.array([*CLASSES])
    parts: List[Tuple[str, torch.Tensor, np.ndarray]] = []  # name, features, labels: a sample of each micrograph
    whole: Dict[str, Tuple[torch.Tensor, np.ndarray]] = {}
    names = [name for name, *_ in SETS]
    paths = [
        path for name in (*names, "real_annotated") for path in sorted((args.build / "fields" / name).glob("*.npz"))
    ]
    for path in tqdm(paths, desc="features", unit="mic"):
        real = path.parent.name == "real_annotated"
        if not real and any(fnmatch.fnmatchcase(path.stem, name) for name in held_out):
            continue
        features, labels = features_of(network, path)
        rows = rng.permutation(len(labels))[: PER_REAL if real else PER_SIMULATED]
        parts.append((path.stem if real else "", features[torch.from_numpy(rows)], labels[rows]))
        if real:
            whole[path.stem] = (features, labels)
    result: Dict[str, Any] = {**about(), "model": config.name, "micrographs": {}}
    for stem in tqdm(sorted(whole), desc="left out", unit="mic"):
        others = [(features, labels) for name, features, labels in parts if name != stem and name not in held_out]
        labels = np.concatenate([item for _, item in others])
        usable = np.isin(codes[labels], [*config.classes, BAD])
        allowed = torch.from_numpy(allowed_classes(codes[labels][usable].tolist(), config.classes))
        given = torch.cat([item for item, _ in others])[torch.from_numpy(usable)]
        weights, bias, spread = fit(given, allowed)
        features, truth = whole[stem]
        bad = codes[labels][usable] != GOOD
        known = torch.addmm(bias, given / spread, weights.T).double()
        temperature = fit_temperature(lambda value, known=known: bad_log_odds(known / value).numpy(), bad)
        p_bad = torch.sigmoid(bad_log_odds(known / temperature)).numpy()
        threshold = threshold_for_clean_area(p_bad, bad)
        odds = bad_log_odds(torch.addmm(bias, features / spread, weights.T) / temperature).numpy()
        row = {"threshold": threshold, **figures(truth, odds, threshold)}
        result["micrographs"][stem] = {**row, "held out": stem in held_out}
        tqdm.write(f"{stem[-45:]}: " + ", ".join(f"{key} {value}" for key, value in row.items()))
    (HERE / "results" / "leave_one_out.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
