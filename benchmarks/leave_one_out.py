# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate each real micrograph with a model fitted without it: results/leave_one_out.json and .md.

usage: python benchmarks/leave_one_out.py [--model NAME|DIR] [--unseen DIR] [--build DIR]
For each annotated real micrograph the last two layers are fitted anew to cells of all others, temperature and
threshold are set on simulated validation micrographs, and the data-set reference is taken over its group, as in a
screening. The layers below them are those of --model, which has seen the micrographs that are not marked as held out;
and, to show what that is worth, those of --unseen, a model that was trained on simulated micrographs alone
(``--simulated-only`` of train_default_model.py), which is also evaluated as it is. One of the two alone keeps what was
found with the other before. The build folder of ``make default-model`` is needed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import torch
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "real"), str(HERE.parent)]
from about import about, record, recorded  # noqa: E402
from evaluate_maps import EMPIAR, MICASSESS, group_of, real_sets  # noqa: E402
from train_default_model import BUILD, HOLD_OUT, REAL, SETS  # noqa: E402

from cryoice_scipion.constants import CLASSES, DEFAULT_MODEL, GOOD  # noqa: E402
from cryoice_scipion.core.config import ModelConfig, TrainConfig  # noqa: E402
from cryoice_scipion.core.detectors.loading import load_detector  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import resolve_model  # noqa: E402
from cryoice_scipion.core.detectors.network_detector import NetworkDetector  # noqa: E402
from cryoice_scipion.core.detectors.unet import UNet  # noqa: E402
from cryoice_scipion.core.maps.session_baseline import offset_of, session_logit_of  # noqa: E402
from cryoice_scipion.core.training.metrics import is_bad  # noqa: E402
from cryoice_scipion.core.training.splits import TRAIN, VALIDATION  # noqa: E402
from cryoice_scipion.core.training.unet.calibration import MapCells, calibrate_maps  # noqa: E402
from cryoice_scipion.core.training.unet.refinement_head import (  # noqa: E402
    Cells,
    cells_of_micrograph,
    drawn,
    fit_cells,
    last_layers,
    with_refinement_head,
)
from cryoice_scipion.core.training.unet.training_micrographs import TrainingMicrograph, prepare_micrographs  # noqa: E402
from cryoice_scipion.core.training.unet.training_sets import TrainingSet, split_micrographs  # noqa: E402

CHECKED = 1000  # cells of a validation micrograph
SEED = 0
SHIPPED, UNSEEN = "the shipped model", "trained on simulated micrographs alone"
AS_IT_IS = f"{UNSEEN}, and the last two as well"


@dataclasses.dataclass
class Material:
    """The cells that one body makes of all micrographs."""

    body: UNet
    simulated: List[Cells]
    validation: Dict[str, Cells]
    real: Dict[str, Cells]  # drawn for training, by stem
    whole: Dict[str, Cells]  # all that are labelled


def body_of(detector: NetworkDetector) -> UNet:
    """Return the layers below the last two of a model."""
    options = detector.config.network_options
    body = UNet(len(detector.config.classes), options["width"])
    below = {k: v for k, v in detector.network.state_dict().items() if not k.startswith(("head.", "refine."))}
    body.load_state_dict({**body.state_dict(), **below})
    return body.eval()


def settings_of(detector: NetworkDetector) -> TrainConfig:
    """Return what a model was trained with."""
    return TrainConfig(**json.loads(detector.config.trained_on["settings"]))


def gather(detector: NetworkDetector, build: Path) -> Material:
    """Return the cells of all micrographs that a model was trained and validated on, and of the real ones."""
    config = settings_of(detector)
    rng = np.random.default_rng(SEED)
    sets = [TrainingSet(name, sorted((build / "fields" / name).glob("*.npz")), 1) for name, *_ in SETS]
    labelled = {name: {path.stem for path in (build / name / "labels").glob("*.mrc")} for name, *_ in SETS}
    for item in sets:
        item.micrographs = [path for path in item.micrographs if path.stem in labelled[item.name]]
    config = config.model_copy(update={"hold_out": [name for name in config.hold_out if name.startswith("sim_")]})
    split = split_micrographs(sets, config)
    found = Material(body_of(detector), [], {}, {}, {})
    for item in sets:
        for name, path in zip(item.names, tqdm(item.micrographs, desc=item.name, unit="mic", leave=False)):
            if split[name] == TRAIN:
                micrograph = TrainingMicrograph.load(path)
                found.simulated.append(
                    cells_of_micrograph(found.body, micrograph, drawn(micrograph, False, rng), "cpu")
                )
            elif split[name] == VALIDATION:
                micrograph = TrainingMicrograph.load(path)
                places = rng.permutation(micrograph.labelled)[:CHECKED]
                found.validation[name] = cells_of_micrograph(found.body, micrograph, places, "cpu")
    real = [image for data in real_sets(build / REAL) for image in data.images]  # after drawing them anew, if need be
    for path in prepare_micrographs(real, build / "fields" / REAL):
        micrograph = TrainingMicrograph.load(path)
        found.real[path.stem] = cells_of_micrograph(found.body, micrograph, drawn(micrograph, True, rng), "cpu")
        found.whole[path.stem] = cells_of_micrograph(found.body, micrograph, micrograph.labelled, "cpu")
    return found


@torch.inference_mode()
def evaluated(network: UNet, cells: Cells, name: str) -> MapCells:
    """Return what a network says of the cells of a micrograph."""
    logits = last_layers(network).eval()(cells[0][:, :, None, None])[:, :, 0, 0].numpy()
    return MapCells(name, VALIDATION, np.zeros((len(logits), 2)), cells[1].numpy().astype(np.uint8), logits)


def fitted_without(stem: str, found: Material, classes: List[str]) -> UNet:
    """Return the network with its last two layers fitted to all but one micrograph."""
    torch.manual_seed(SEED)
    network = with_refinement_head(found.body)
    others = [cells for name, cells in found.real.items() if name != stem and name not in HOLD_OUT]
    fit_cells(network, [*found.simulated, *others], classes, np.random.default_rng(SEED), False)
    return network


def evaluate_real(network: UNet, stem: str, found: Material) -> Tuple[Dict[str, Any], np.ndarray]:
    """Return the figures of a real micrograph, and its log-odds of BAD."""
    calibrated, reference = calibrate_maps(
        [evaluated(network, cells, name) for name, cells in found.validation.items()]
    )
    group = [name for name in found.whole if group_of(name) == group_of(stem)]
    maps = {name: evaluated(network, found.whole[name], name) for name in group}
    all_odds = {name: item.log_odds(calibrated.temperature) for name, item in maps.items()}
    level = session_logit_of([float(np.median(odds)) for odds in all_odds.values() if len(odds)])
    shift = offset_of(level - reference["baseline_logit"], ModelConfig.model_fields["offset_limit"].default)
    odds = all_odds[stem] - shift
    row = {"threshold": calibrated.threshold, "shift": shift}
    return {**row, **figures(maps[stem].labels, odds, calibrated.threshold)}, odds


def evaluate_all(network_for: Callable[[str], UNet], found: Material) -> Dict[str, Any]:
    """Return the figures of each real micrograph, by the network that is meant for it, and of all together."""
    rows: Dict[str, Any] = {}
    odds = {}
    for stem in tqdm(sorted(found.whole), desc="left out", unit="mic"):
        row, odds[stem] = evaluate_real(network_for(stem), stem, found)
        rows[stem] = {**row, "held out": stem in HOLD_OUT}
        tqdm.write(f"{stem[-40:]}: {row}")
    return {"micrographs": rows, "together": together(found, odds)}


def together(found: Material, odds: Dict[str, np.ndarray]) -> Dict[str, Dict[str, float]]:
    """Return the AUC by class over the micrographs of a data set with clean area, each evaluated without itself."""
    result = {}
    for group in (EMPIAR, MICASSESS):
        labels = {stem: found.whole[stem][1].numpy() for stem in odds if group_of(stem) == group}
        stems = [stem for stem, codes in labels.items() if (codes == CLASSES.index(GOOD)).any()]
        both = [np.concatenate([part[stem] for stem in stems]) for part in (labels, odds)]
        result[group] = figures(both[0], both[1], 0.5)["auc"]
    return result


def figures(labels: np.ndarray, odds: np.ndarray, threshold: float) -> Dict[str, Any]:
    """Return AUC by class, and the shares of clean and of bad area that are called bad."""
    called = is_bad(expit(odds), threshold)
    good = labels == CLASSES.index(GOOD)
    result: Dict[str, Any] = {
        "false_positive_area": float(called[good].mean()) if good.any() else None,
        "bad_found": float(called[~good].mean()) if (~good).any() else None,
        "auc": {},
    }
    for code in np.unique(labels[~good]):
        rows = good | (labels == code)
        if good.any():
            result["auc"][CLASSES[code]] = float(roc_auc_score(~good[rows], odds[rows]))
    return result


def page(result: Dict[str, Any]) -> str:
    """Return results/leave_one_out.md."""
    lines = [
        "# Real micrographs, each left out",
        "",
        "Made by `benchmarks/leave_one_out.py`. For each row the last two layers were fitted without that micrograph; "
        "temperature and threshold are set on simulated micrographs, the data-set reference on its group. Cells of 32 "
        "Å against what [annotators](annotators.md), three of most micrographs, agree on; how well they do is what can "
        "be asked for. The layers below these two are what the headings say; the shipped model's were trained on these "
        "micrographs, but for those that are marked. Where the last two are trained on simulated micrographs alone, "
        "they were not fitted anew: no real micrograph was ever seen.",
        "",
    ]
    for title, rows in result["bodies"].items():
        lines += [
            f"## Layers below: {title}",
            "",
            f"Trained for {rows['epochs']} epochs; evaluated at commit {rows['commit']}.",
            "",
        ]
        lines += ["| micrograph | AUC by class | clean called bad | bad found | notes |", "|---|---|---|---|---|"]
        for stem, row in rows["micrographs"].items():
            auc = ", ".join(f"{name} {value:.3f}" for name, value in row["auc"].items()) or "–"
            shares = " | ".join(_percent(row[key]) for key in ("false_positive_area", "bad_found"))
            note = "never trained on" if row["held out"] else ""
            lines.append(f"| {stem} | {auc} | {shares} | {note} |")
        lines += [""]
        for group, auc in rows["together"].items():
            values = ", ".join(f"{name} {value:.3f}" for name, value in auc.items())
            lines += [f"All micrographs of {group} that have clean area, taken together: {values}.", ""]
    return "\n".join(lines)


def _percent(share: Any) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def main() -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help=f"default: {DEFAULT_MODEL}, or none when --unseen is given")
    parser.add_argument("--unseen", type=Path, help="a model folder trained on simulated micrographs alone")
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--output", type=Path, help="a folder for both files instead of their places in the repository")
    args = parser.parse_args()
    bodies = {}
    if args.model or not args.unseen:
        model = args.model or DEFAULT_MODEL
        bodies[SHIPPED if model == DEFAULT_MODEL else Path(model).name] = resolve_model(model)
    if args.unseen:
        bodies[UNSEEN] = args.unseen
    written = (args.output or HERE / "results") / "leave_one_out.json"
    result: Dict[str, Any] = {**about(), "bodies": recorded(written).get("bodies", {})}
    for title, path in bodies.items():
        detector = load_detector(path)
        found, classes = gather(detector, args.build), detector.config.classes
        ways = {title: lambda stem, found=found, classes=classes: fitted_without(stem, found, classes)}
        if title == UNSEEN:
            ways[AS_IT_IS] = lambda stem, network=detector.network: network
        for name, network_for in ways.items():
            made = {"commit": result["commit"], "epochs": settings_of(detector).epochs}
            result["bodies"][name] = {**made, **evaluate_all(network_for, found)}
    record(result, written)
    text = page(result)
    (args.output or HERE / "results").joinpath("leave_one_out.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
