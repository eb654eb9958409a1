# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare whole maps after training on a few labels of real micrographs: writes results/few_labels_maps.json and .md.

usage: python benchmarks/few_labels_maps.py --unseen DIR [--build DIR]
The labels and the micrographs are those of few_labels.py, which evaluates patches and must have run with the same
folders. DIR holds a model that was trained on simulated micrographs alone (``--simulated-only`` of
train_default_model.py). It is evaluated as it is and fine-tuned, beside the patch + FFT network that is trained from
nothing. The measure is the AUC of bad against clean cells, of each test micrograph that has both.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import few_labels  # noqa: E402
from about import about, record  # noqa: E402
from few_labels_page import NUMBERS, SCRATCH, SHIPPED, TUNED, interval  # noqa: E402
from region_metrics import paired_means  # noqa: E402
from train_default_model import BUILD, REAL  # noqa: E402

from cryoice_scipion.core.config import ModelConfig, TrainConfig, ViewConfig  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import fingerprint, resolve_model  # noqa: E402
from cryoice_scipion.core.detectors.network_detector import Detector, NetworkDetector  # noqa: E402
from cryoice_scipion.core.evaluation.labelled_sets import Settings, evaluate_set  # noqa: E402
from cryoice_scipion.core.evaluation.labels import find_labelled  # noqa: E402
from cryoice_scipion.core.evaluation.map_metrics import auc_of_one  # noqa: E402
from cryoice_scipion.core.evaluation.tables import number as short  # noqa: E402
from cryoice_scipion.core.evaluation.tables import table  # noqa: E402
from cryoice_scipion.core.training.fine_tuning import fit_head, load_base  # noqa: E402
from cryoice_scipion.core.training.patches.patch_set import EMBEDDING, PatchSet  # noqa: E402

CPU = torch.device("cpu")


def tuned(some: PatchSet, model: str, base: NetworkDetector) -> Detector:
    """Return the model fine-tuned to labelled patches."""
    table = few_labels.with_split(some.table)
    views = {EMBEDDING: some.further[EMBEDDING]}
    fitted = fit_head(views, table, TrainConfig(base=model), "cpu", lambda _: None, False)
    return NetworkDetector(base.config, fitted.network, CPU)


def new(some: PatchSet) -> Detector:
    """Return a new network that is trained on labelled patches."""
    fitted = few_labels.new_network(some)
    views = [ViewConfig(kind=name, sampling=some.sampling, window=64) for name in few_labels.NEW_VIEWS]
    config = ModelConfig(
        name="new", network="patch_fft", classes=fitted.classes, views=views, stride=16, network_options=fitted.options
    )
    return NetworkDetector(config, fitted.network, CPU)


def aucs(detector: Detector, real: Path, stems: List[str]) -> Dict[str, float]:
    """Return the AUC of each micrograph that has bad and clean cells."""
    found = {
        item.counts.name: auc_of_one(item.counts)
        for item in evaluate_set(detector, find_labelled(real, stems), Settings())
    }
    return {name: value for name, value in found.items() if value is not None}


def half(build: Path, model: str, base: NetworkDetector, source: str, first: int) -> Dict[str, Dict[str, float]]:
    """Return the AUC by method and number of labels, and by micrograph of the half that is tested."""
    (files, kind), real = few_labels.REAL_SETS[source], build / REAL
    stems = [path.stem for path in sorted((real / "micrographs").glob(files))]
    cache = build / "few_labels" / fingerprint(resolve_model(model)) / f"{source.split(',')[0]}_{first}.pkl"
    labelled: Dict[int, Any] = pickle.loads(cache.read_bytes())["labelled"]
    patches = few_labels.cut(real, base, stems[first::2], kind)
    tested = stems[1 - first :: 2]
    found = {SHIPPED: aucs(base, real, tested)}
    for number in NUMBERS:
        some = few_labels.subset(patches, labelled[number])
        found[f"{TUNED}, {number}"] = aucs(tuned(some, model, base), real, tested)
        found[f"{SCRATCH}, {number}"] = aucs(new(some), real, tested)
    return found


def page(result: Dict[str, Any]) -> str:
    """Return the page as Markdown."""
    methods = [SHIPPED, *(f"{name}, {number}" for number in NUMBERS for name in (TUNED, SCRATCH))]
    means, differences = [], []
    for source, found in result["sources"].items():
        micrographs = list(found[SHIPPED])
        values = {method: np.array([found[method][name] for name in micrographs]) for method in methods}
        means.append([source, str(len(micrographs)), *(short(float(values[method].mean())) for method in methods)])
        for other in (SHIPPED, SCRATCH):
            pairs = [(other if other == SHIPPED else f"{other}, {number}", f"{TUNED}, {number}") for number in NUMBERS]
            cells = [interval(paired_means([values[method] for method in pair])["difference"]) for pair in pairs]
            differences.append([source, other, *cells])
    lines = [
        "# Whole maps after training on a few labels",
        "",
        "AUC of bad against clean cells of real micrographs without labels: the mean over those that have both. The "
        "labels are 5, 20 or 50 BAD patches and three times as many GOOD ones of the other half of the micrographs, "
        "as in [few labels](few_labels.md). The untouched model, which is fine-tuned, has only seen simulated "
        "micrographs.",
        "",
        table(["source", "micrographs", *methods], means),
        "",
        "AUC of the fine-tuned model less that of the other, with 95 % intervals over resampled micrographs:",
        "",
        table(["source", "less", *(f"{number} labels" for number in NUMBERS)], differences),
        "",
        "`python benchmarks/few_labels_maps.py` makes this page and `few_labels_maps.json` (commit "
        f"{result['commit']}, {result['device']}).",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unseen", required=True, help="a model folder trained on simulated micrographs alone")
    parser.add_argument("--build", type=Path, default=BUILD)
    args = parser.parse_args()
    base, result = load_base(args.unseen), {**about(), "sources": {}}
    for source in few_labels.REAL_SETS:
        both = [half(args.build, args.unseen, base, source, first) for first in (0, 1)]
        result["sources"][source] = {name: {**both[0][name], **both[1][name]} for name in both[0]}
    record(result, HERE / "results" / "few_labels_maps.json")
    (HERE / "results" / "few_labels_maps.md").write_text(page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
