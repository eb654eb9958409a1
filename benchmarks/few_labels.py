# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the gain from 5, 20 and 50 labelled BAD patches: writes results/few_labels.json and results/few_labels.md.

usage: python benchmarks/few_labels.py [--model NAME|DIR] [--unseen DIR] [--sessions N] [--build DIR]
Simulated: sessions of a specimen and a microscope that no training has seen, each with one or two kinds of
contamination. Real: the annotated micrographs of ``make default-model``. Labels are taken from half of the micrographs
of a session or source, and what is learned is evaluated on the other half (patches, GOOD and BAD alike). The shipped
model has seen the real micrographs; with --unseen, fine-tuning starts there also from a model that was trained on
simulated micrographs alone (``--simulated-only`` of train_default_model.py). Compared: the model as it is; fine-tuned
on the labels (``cryoice train --from``), and each last layer that a fine-tuning chooses from; the patch + FFT network
trained from scratch. Patches and networks are kept in the build folder: a second run only fine-tunes.
"""

from __future__ import annotations

import argparse
import dataclasses
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import mrcfile
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import linear
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import few_labels_page  # noqa: E402
from about import about, record  # noqa: E402
from few_labels_page import NUMBERS, SCRATCH, SHIPPED, TUNED  # noqa: E402
from region_metrics import paired, paired_means  # noqa: E402
from train_default_model import BUILD, REAL  # noqa: E402

from cryoice_scipion.constants import BAD, DEFAULT_MODEL, GOOD  # noqa: E402
from cryoice_scipion.core.config import PatchConfig, TrainConfig  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import fingerprint, resolve_model  # noqa: E402
from cryoice_scipion.core.detectors.network_detector import NetworkDetector  # noqa: E402
from cryoice_scipion.core.simulation.config import SceneConfig  # noqa: E402
from cryoice_scipion.core.simulation.scene import simulate  # noqa: E402
from cryoice_scipion.core.training.fine_tuning import fit_head, fit_layer, last_layer, load_base  # noqa: E402
from cryoice_scipion.core.training.head_choice import FREEDOM  # noqa: E402
from cryoice_scipion.core.training.patches.fit import Fitted, allowed_classes, bad_log_odds, fit, predict  # noqa: E402
from cryoice_scipion.core.training.patches.patch_set import EMBEDDING, PatchSet, cut_patches  # noqa: E402
from cryoice_scipion.core.training.points import from_label_images  # noqa: E402
from cryoice_scipion.core.training.splits import patch_weights  # noqa: E402

KINDS = ("single", "poly", "frost", "ethane", "carbon", "gold", "thick", "aggregate", "dirt", "vacuum")
# Data sets of real micrographs: their files, and what is BAD in them; none: all that is not GOOD
REAL_SETS = {
    "EMPIAR-10017": ("Falcon*.mrc", None),
    "MicAssess, ice crystals and dirt": ("[12]*.mrc", "contamination"),
}
MICROGRAPHS, SIDE, PIXEL_SIZE, SEED = 8, 768, 2.0, 4242
RESAMPLED = 300
NEW_VIEWS = ["patch", "fft"]
CHOSEN_ON = 60  # sessions: on these, the rule and the priors of the last layer were chosen
PLAIN = {"border": "none", "border_px": [0, 0, 0, 0], "inverted": False, "low_pass": None}


def write_session(folder: Path, kind: str, seed: int) -> None:
    """Simulate the micrographs of one specimen in one session; only defocus and what lies where differ."""
    rng = np.random.default_rng([SEED, seed])
    session = SceneConfig.random(rng, SIDE, SIDE, PIXEL_SIZE, kinds=[kind])
    session = session.model_copy(update=PLAIN)
    for name in ("micrographs", "labels"):
        (folder / name).mkdir(parents=True)
    for index in range(MICROGRAPHS):
        area = float(rng.uniform(0.15, 0.5)) if kind != "dirt" else 0.05
        changes = {"defocus_um": session.defocus_um * float(rng.uniform(0.8, 1.2)), "areas": [area]}
        scene = simulate(session.model_copy(update=changes), rng)
        for name, array, sampling in (("micrographs", scene.pixels, 1), ("labels", scene.labels[::4, ::4], 4)):
            with mrcfile.new(folder / name / f"m{index}.mrc") as mrc:
                mrc.set_data(array.astype(np.float32 if name == "micrographs" else np.int8))
                mrc.voxel_size = PIXEL_SIZE * sampling


def cut(folder: Path, detector: NetworkDetector, stems: List[str], kind: Optional[str] = None) -> PatchSet:
    """Return the patches of places drawn from the label images of some micrographs, of all kinds or GOOD and one."""
    items = [item for item in from_label_images(folder, 40, SEED) if item.stem in stems]
    if kind:
        items = [dataclasses.replace(item, points=_of_kind(item.points, kind)) for item in items]
    # A user says that a place is bad, not of which kind it is.
    items = [dataclasses.replace(item, points=_two_classes(item.points)) for item in items]
    return cut_patches(items, PatchConfig(jitter_copies=0), progress=False, embedder=detector)


def _of_kind(points: pd.DataFrame, kind: str) -> pd.DataFrame:
    return points[points["label"].isin([GOOD, kind])].reset_index(drop=True)


def _two_classes(points: pd.DataFrame) -> pd.DataFrame:
    return points.assign(label=np.where(points["label"] == GOOD, GOOD, BAD))


def chosen(patches: PatchSet, number: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of ``number`` BAD patches and of three times as many GOOD ones, by chance."""
    bad = (patches.table["label"] != GOOD).to_numpy()
    rows = [rng.permutation(np.flatnonzero(part))[:size] for part, size in ((bad, number), (~bad, 3 * number))]
    return np.sort(np.concatenate(rows))


def subset(patches: PatchSet, rows: np.ndarray) -> PatchSet:
    """Return some of the patches."""
    further = {kind: array[rows] for kind, array in patches.further.items()}
    table = patches.table.iloc[rows].reset_index(drop=True)
    return PatchSet(patches.real[rows], table, patches.sampling, [], further)


def new_network(few: PatchSet) -> Fitted:
    """Train a patch + FFT network; a quarter of the labels says when to stop."""
    config = TrainConfig(epochs=40, patience=8, batch=16)
    return fit(few.views(NEW_VIEWS), with_split(few.table), config, "cpu", lambda _: None, False)


def scratch(few: PatchSet, test: PatchSet) -> np.ndarray:
    """Return the log-odds of test patches from a new network."""
    return odds_of(new_network(few).network, test.views(NEW_VIEWS))


def odds_of(network: Any, views: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the log-odds of BAD of all patches."""
    rows = np.arange(len(next(iter(views.values()))))
    return bad_log_odds(torch.from_numpy(predict(network, views, rows, "cpu"))).numpy()


def with_split(table: pd.DataFrame) -> pd.DataFrame:
    """Return labelled patches with a quarter of them, of all micrographs, for validation."""
    bad = (table["label"] != GOOD).to_numpy()
    last = np.zeros(len(bad), bool)
    for part in (bad, ~bad):
        last[np.flatnonzero(part)[::4]] = True
    return table.assign(split=np.where(last, "validation", "train"))


def material(path: Path, halves: Callable[..., Tuple[PatchSet, PatchSet]], *given: Any) -> Dict[str, Any]:
    """Return tables and features of both halves, the labelled rows, and what new networks say of the second half.

    Of a simulated session with too few places, only tables and features.
    """
    real = halves is annotated
    if not path.is_file():
        train, test = halves(*given)
        kept: Dict[str, Any] = {"labelled": {}, "scratch": {}}
        for name, part in (("train", train), ("test", test)):
            kept[name] = (part.table[["micrograph", "label", "x", "y"]], part.further[EMBEDDING])
        rng = np.random.default_rng(SEED)
        for number in NUMBERS if real or has_enough(kept) else ():
            kept["labelled"][number] = chosen(train, number, rng)
            kept["scratch"][number] = scratch(subset(train, kept["labelled"][number]), test)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(kept))
    found: Dict[str, Any] = pickle.loads(path.read_bytes())
    return found


def has_enough(kept: Dict[str, Any]) -> bool:
    """Return whether both halves have as many places of both kinds as the largest number of labels."""
    bad = [(kept[half][0]["label"] != GOOD).to_numpy() for half in ("train", "test")]
    return all(one.sum() >= max(NUMBERS) and (~one).sum() >= 3 * max(NUMBERS) for one in bad)


def answers(kept: Dict[str, Any], model: str) -> Iterator[Tuple[int, str, Dict[str, np.ndarray]]]:
    """Yield a number of labels, the layer that fine-tuning chose, and the log-odds of the test patches by method."""
    (table, features), (_, test) = kept["train"], kept["test"]
    config, detector = TrainConfig(base=model), load_base(model)
    old, cells = last_layer(detector), torch.from_numpy(test)
    for number, rows in kept["labelled"].items():
        some = with_split(table.iloc[rows].reset_index(drop=True))
        fitted = fit_head({EMBEDDING: features[rows]}, some, config, "cpu", lambda _: None, False)
        found = {SCRATCH: kept["scratch"][number], TUNED: odds_of(fitted.network, {EMBEDDING: test})}
        allowed = torch.from_numpy(allowed_classes(some["label"].tolist(), detector.config.classes))
        given = (torch.from_numpy(features[rows]), allowed, torch.from_numpy(patch_weights(some)))
        layers = {SHIPPED: old, **{name: fit_layer(old, freedom, *given) for name, freedom in FREEDOM.items()}}
        found.update({name: bad_log_odds(linear(cells, *layer)).numpy() for name, layer in layers.items()})
        yield number, fitted.topics["last layer"].split()[0], found


def auc(table: pd.DataFrame, odds: np.ndarray, times: Optional[np.ndarray] = None) -> float:
    """Return the AUC of BAD among patches; ``times`` says how often each micrograph counts, in the order of names."""
    bad = (table["label"] != GOOD).to_numpy()
    weights = np.ones(len(bad)) if times is None else times[np.unique(table["micrograph"], return_inverse=True)[1]]
    used = weights > 0
    both = bad[used].any() and not bad[used].all()
    return float(roc_auc_score(bad[used], odds[used], sample_weight=weights[used])) if both else float("nan")


def evaluate(kept: Dict[str, Any], model: str, odds: Dict[int, Dict[str, np.ndarray]]) -> Dict[str, Any]:
    """Return AUC by number of labels and method, and the chosen layer; put the log-odds into ``odds``."""
    row: Dict[str, Any] = {}
    for number, layer, found in answers(kept, model):
        odds[number] = found
        row[str(number)] = {name: round(auc(kept["test"][0], one), 4) for name, one in found.items()}
        row[str(number)]["layer"] = layer
    return row


def over_sessions(rows: Sequence[Dict[str, Any]], number: int, other: str) -> Dict[str, List[float]]:
    """Return the mean AUC of another method and of fine-tuning, and their difference, over sessions."""
    arrays = [np.array([row[str(number)][name] for row in rows]) for name in (other, TUNED)]
    return paired_means(arrays)


def over_micrographs(
    halves: Sequence[Tuple[pd.DataFrame, Dict[int, Dict[str, np.ndarray]]]], number: int, other: str
) -> Dict[str, List[float]]:
    """Return the same for both halves of a real source; their micrographs are resampled."""
    counts = [table["micrograph"].nunique() for table, _ in halves]

    def value(times: np.ndarray, name: str) -> float:
        parts = np.split(times, np.cumsum(counts)[:-1])
        return float(np.mean([auc(table, odds[number][name], part) for (table, odds), part in zip(halves, parts)]))

    return paired([lambda times, name=name: value(times, name) for name in (other, TUNED)], sum(counts), RESAMPLED)


def simulated(folder: Path, detector: NetworkDetector, kind: str, session: int) -> Tuple[PatchSet, PatchSet]:
    """Return the patches of both halves of a simulated session."""
    write_session(folder, kind, session)
    stems = [f"m{index}" for index in range(MICROGRAPHS)]
    return cut(folder, detector, stems[:4]), cut(folder, detector, stems[4:])


def annotated(
    folder: Path, detector: NetworkDetector, kind: Optional[str], halves: Sequence[List[str]]
) -> Tuple[PatchSet, PatchSet]:
    """Return the patches of both halves of a real source."""
    return cut(folder, detector, halves[0], kind), cut(folder, detector, halves[1], kind)


def add_real(result: Dict[str, Any], build: Path, model: str, suffix: str = "") -> None:
    """Add the real sources to the result, with a model to start from; the suffix is added to their names."""
    detector, real = load_base(model), build / REAL
    cache = build / "few_labels" / fingerprint(resolve_model(model))
    for name, (files, kind) in REAL_SETS.items():
        stems = [path.stem for path in sorted((real / "micrographs").glob(files))]
        halves: List[Any] = []
        for first in (0, 1):
            order = (stems[first::2], stems[1 - first :: 2])
            kept = material(cache / f"{name.split(',')[0]}_{first}.pkl", annotated, real, detector, kind, order)
            halves.append((kept["test"][0], {}))
            result["real"][f"{name} {first + 1}{suffix}"] = evaluate(kept, model, halves[-1][1])
        result["differences"][f"{name}{suffix}"] = {
            str(number): {other: over_micrographs(halves, number, other) for other in (SHIPPED, SCRATCH)}
            for number in NUMBERS
        }


def main() -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--unseen", help="a model folder trained on simulated micrographs alone")
    parser.add_argument("--sessions", type=int, default=12 * len(KINDS))
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--output", type=Path, help="a folder for both files instead of their places in the repository")
    args = parser.parse_args()
    detector, cache = load_base(args.model), args.build / "few_labels" / fingerprint(resolve_model(args.model))
    result: Dict[str, Any] = {**about(), "model": detector.config.name, "simulated": {}, "real": {}, "differences": {}}
    with tempfile.TemporaryDirectory() as scratch_folder:
        for session in tqdm(range(args.sessions), desc="sessions"):
            kind = KINDS[session % len(KINDS)]
            where = Path(scratch_folder) / str(session)
            kept = material(cache / f"{session}.pkl", simulated, where, detector, kind, session)
            if has_enough(kept):
                result["simulated"][f"{kind} {session}"] = evaluate(kept, args.model, {})
    new = {name: row for name, row in result["simulated"].items() if int(name.split()[1]) >= CHOSEN_ON}
    for name, part in {"simulated": result["simulated"], **({"simulated, new sessions": new} if new else {})}.items():
        rows = list(part.values())
        result["differences"][name] = {
            str(number): {other: over_sessions(rows, number, other) for other in (SHIPPED, SCRATCH)}
            for number in NUMBERS
        }
    add_real(result, args.build, args.model)
    if args.unseen:
        add_real(result, args.build, args.unseen, ", not seen")
        result["unseen"] = load_base(args.unseen).config.trained_on["label images"]
    target = args.output or HERE / "results"
    record(result, target / "few_labels.json")
    (target / "few_labels.md").write_text(few_labels_page.page(result), encoding="utf-8")
    if args.output is None:
        few_labels_page.main()


if __name__ == "__main__":
    main()
