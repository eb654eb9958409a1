# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate a model's maps and the classical ones: writes results/evaluate_maps.json and results/evaluation.md.

usage: python benchmarks/evaluate_maps.py [--model NAME|DIR] [--limit N] [--build DIR] [--device cpu] [--output DIR]
On the held-out simulated micrographs of the build folder of ``make default-model``; on more of what these have few of,
simulated here for nothing else; and on the annotated real ones (made from ../shared/real where they are not in the
build folder). Each set is evaluated with its own data-set reference, as a screening of it would be. --limit: that many
held-out ones in all, and none that are simulated here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "real"), str(HERE.parent)]
import classical  # noqa: E402
from about import about  # noqa: E402
from evaluation_page import page  # noqa: E402
from rasterise import ANNOTATIONS  # noqa: E402
from train_default_model import BUILD, HOLD_OUT, REAL, SEEN_COARSE, SETS, SHARED, SetRow, draw_set  # noqa: E402
from training_folder import write as write_real  # noqa: E402

from cryoice_scipion.constants import CLASSES, DEFAULT_MODEL, GOOD  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import fingerprint, resolve_model  # noqa: E402
from cryoice_scipion.core.evaluation.cell_counts import CellCounts, count_cells  # noqa: E402
from cryoice_scipion.core.evaluation.labelled_sets import EvaluatedMap, Settings, evaluate_set  # noqa: E402
from cryoice_scipion.core.evaluation.labels import LabelledMicrograph, find_labelled  # noqa: E402
from cryoice_scipion.core.evaluation.map_metrics import (  # noqa: E402
    ALL,
    BAD_CLASSES,
    auc_difference,
    metrics_of_maps,
    shares_of,
)
from cryoice_scipion.core.images.naming import matches_name  # noqa: E402

SIMULATED, FRAMES = "simulated, held out", "simulated, raw frames"
EMPIAR, MICASSESS, HELD_OUT = "EMPIAR-10017", "MicAssess", "real, held out"
MODEL = "model"
RAW = ("--raw-share", 1, "--published-share", 0, "--clean-share", 0.4)
# What the held-out micrographs have less than 40 of (docs/accuracy.md), or not by itself. A third are clean.
MORE: Dict[str, Tuple[SetRow, ...]] = {
    "simulated, single crystals": (
        ("single_1.0", 30, 1280, 1.0, 31, ("--kinds", "single")),
        ("single_1.5", 30, 1024, 1.5, 32, ("--kinds", "single")),
    ),
    "simulated, crystalline ice": (("poly_1.2", 60, 1280, 1.2, 33, ("--kinds", "poly")),),
    "simulated, vacuum": (("vacuum_1.6", 80, 1024, 1.6, 34, ("--kinds", "vacuum")),),
    FRAMES: (
        ("raw_1.2", 25, 1280, 1.2, 41, RAW),
        ("raw_2.5", 25, 1024, 2.5, 42, (*SEEN_COARSE, *RAW)),
        ("raw_3.7", 25, 1024, 3.7, 43, (*SEEN_COARSE, *RAW)),
        ("raw_5.0", 25, 1024, 5.0, 44, (*SEEN_COARSE, *RAW)),
        ("raw_7.0", 25, 768, 7.0, 45, (*SEEN_COARSE, *RAW)),
    ),
}


@dataclasses.dataclass
class DataSet:
    """Micrographs that are evaluated with one reference."""

    group: str
    name: str
    images: List[LabelledMicrograph]


@dataclasses.dataclass
class Counted:
    """All maps of one data set, counted."""

    group: str
    cell_counts: Dict[str, List[CellCounts]]  # by map
    notes: Dict[str, str]  # by micrograph
    shift: float


def simulated_sets(build: Path, limit: Optional[int]) -> Iterator[DataSet]:
    """Yield the held-out micrographs of the simulated sets that are there, about as many of each."""
    names = [name for name in HOLD_OUT if name.startswith("sim_")]
    there = [name for name, *_ in SETS if (build / name / "labels").is_dir()]
    for place, name in enumerate(there):
        number = None if limit is None else (limit - place + len(there) - 1) // len(there)
        images = find_labelled(build / name, names)[:number]
        if images:
            yield DataSet(SIMULATED, name, images)


def more_sets(build: Path) -> Iterator[DataSet]:
    """Yield the sets that are simulated for the evaluation alone, those that are there."""
    for group, rows in MORE.items():
        for name in (name for name, *_ in rows if (build / name / "labels").is_dir()):
            yield DataSet(group, name, find_labelled(build / name))


def group_of(stem: str) -> str:
    """Return the data set that a real micrograph is of."""
    return EMPIAR if stem.startswith("Falcon_") else MICASSESS


def real_sets(folder: Path) -> Iterator[DataSet]:
    """Yield the annotated real micrographs by where they are from; their folder is made when it is not up to date."""
    drawn = [(folder / "labels" / f"{path.stem}.mrc", path) for path in ANNOTATIONS.glob("*/*.json")]
    stale = any(not label.is_file() or label.stat().st_mtime < path.stat().st_mtime for label, path in drawn)
    if stale and SHARED.is_dir():
        write_real(SHARED, folder, [], [])
    if not (folder / "labels").is_dir():
        print("no ../shared/real here: no real micrographs are evaluated")
        return
    images = find_labelled(folder)
    for group in (EMPIAR, MICASSESS):
        chosen = [image for image in images if group_of(image.stem) == group]
        if chosen:
            yield DataSet(group, group, chosen)


def is_held_out(image: LabelledMicrograph, model: Any) -> bool:
    """Return whether a model has not seen a micrograph: its training held it out, or had no set of that name."""
    learned_from = model.trained_on.get("label images")  # a text that names the sets
    if learned_from is not None and Path(image.path).parents[1].name not in learned_from:
        return True
    try:
        names = json.loads(model.trained_on["settings"])["hold_out"]
    except (KeyError, ValueError, TypeError):
        names = HOLD_OUT
    return any(matches_name(image.stem, name) for name in names)


def count(detector: Any, data: DataSet, settings: Settings, bar: tqdm) -> Counted:
    """Evaluate one data set with the model and the classical maps."""
    cell_counts: Dict[str, List[CellCounts]] = {name: [] for name in (MODEL, *classical.NAMES)}
    waiting: List[tuple] = []  # name, spectra, labels, sampling: the distance is fitted when all are there
    shift, notes = 0.0, {}
    for evaluated in evaluate_set(detector, data.images, settings, tqdm.write):
        name = evaluated.counts.name = f"{data.name}/{evaluated.image.stem}"
        cell_counts[MODEL].append(evaluated.counts)
        shift, notes[name] = (
            evaluated.reference.logit_offset,
            "held out" if is_held_out(evaluated.image, detector.config) else "",
        )
        waiting.append((name, *classical_maps(evaluated, cell_counts), evaluated.labels, evaluated.sampling))
        bar.update()
    cell_counts[classical.MAHALANOBIS] = distances(waiting)
    return Counted(data.group, cell_counts, notes, shift)


def classical_maps(evaluated: EvaluatedMap, cell_counts: Dict[str, List[CellCounts]]) -> tuple:
    """Count the maps that need no fit; return the local spectra and the cells left out."""
    loaded, name, shape = evaluated.loaded, evaluated.counts.name, evaluated.labels.shape
    image = classical.scaled(-loaded.image if evaluated.reference.contrast == "bright" else loaded.image, loaded.border)
    maps = classical.local_maps(image, loaded.pixel_size, shape, evaluated.sampling)
    spectra = classical.local_spectra(image, loaded.pixel_size)
    if spectra.iciness is not None:
        grid = (spectra.first, spectra.stride, shape, evaluated.sampling)
        maps[classical.ICINESS] = classical.at_cells(spectra.iciness, *grid)
    outside = evaluated.left_out
    for kind, scores in maps.items():
        cell_counts[kind].append(count_cells(name, evaluated.labels, scores, left_out=outside))
    return spectra, outside


def distances(waiting: List[tuple]) -> List[CellCounts]:
    """Fit the Mahalanobis distance to the cleanest micrographs of a set, and count it on all."""
    good = CLASSES.index(GOOD)
    at_windows = []
    for _, spectra, outside, labels, sampling in waiting:
        evaluated = np.where(outside, 255, labels)
        places = [
            np.minimum(((spectra.first + np.arange(size) * spectra.stride) / sampling).astype(int), count - 1)
            for size, count in zip(spectra.features.shape, evaluated.shape)
        ]
        at_windows.append(evaluated[places[0][:, None], places[1][None, :]])
    clean = [int((codes == good).sum()) for codes in at_windows]
    shares = [number / max(1, int((codes != 255).sum())) for number, codes in zip(clean, at_windows)]
    chosen = classical.cleanest(clean, shares)
    if not chosen:
        return []
    parts = [waiting[place][1].features[at_windows[place] == good] for place in chosen]
    fewest = max(2000, min(len(part) for part in parts))  # so that no large micrograph outweighs the others
    model = classical.Mahalanobis(np.concatenate([part[:: max(1, len(part) // fewest)] for part in parts]))
    counted = []
    for name, spectra, outside, labels, sampling in waiting:
        scores = model.log_distance(spectra.features)
        scores = classical.at_cells(scores, spectra.first, spectra.stride, labels.shape, sampling)
        counted.append(count_cells(name, labels, scores, left_out=outside))
    return counted


def group_figures(cell_counts: Dict[str, List[CellCounts]]) -> Dict[str, Any]:
    """Return the figures of all maps over one group of micrographs, and how far the model is from each other map."""
    ours = cell_counts[MODEL]
    model = metrics_of_maps(ours)
    others = {name: cell_counts[name] for name in classical.NAMES if cell_counts[name]}
    there = [name for name in (ALL, *BAD_CLASSES) if name in model["by_class"]]
    return {
        MODEL: model,
        "classical": {name: metrics_of_maps(items) for name, items in others.items()},
        "model_minus": {
            name: {kind: auc_difference(ours, items, kind).to_json() for kind in there}
            for name, items in others.items()
        },
    }


def evaluate(model: str, build: Path, device: str, limit: Optional[int], reference: int) -> Dict[str, Any]:
    """Evaluate everything; return what the JSON file holds."""
    from cryoice_scipion.core.detectors.loading import load_detector

    path = resolve_model(model)
    detector = load_detector(path, device)
    sets = [*simulated_sets(build, limit), *([] if limit else more_sets(build)), *real_sets(build / REAL)]
    settings = Settings(reference=reference)
    with tqdm(total=sum(len(data.images) for data in sets), desc="maps", unit="mic") as bar:
        counted = [count(detector, data, settings, bar) for data in sets]
    result: Dict[str, Any] = {
        **about(device if device != "cpu" else ""),
        "model": detector.config.name,
        "fingerprint": fingerprint(path),
        "threshold": detector.config.recommended_threshold,
        "map_sampling": detector.config.sampling,
        "cell": settings.sampling,
        "reference_shift": {data.name: round(item.shift, 3) for data, item in zip(sets, counted)},
        "groups": {},
    }
    for group in (SIMULATED, *MORE, EMPIAR, MICASSESS, HELD_OUT):
        result["groups"].update(one_group(group, counted))
    return result


def one_group(group: str, counted: List[Counted]) -> Dict[str, Any]:
    """Return the figures of a group by its name, and its micrographs one by one where they are real."""
    wanted = (EMPIAR, MICASSESS) if group == HELD_OUT else (group,)
    parts = [item for item in counted if item.group in wanted]
    notes = {name: note for part in parts for name, note in part.notes.items()}
    cell_counts = {
        name: [item for part in parts for item in part.cell_counts[name] if group != HELD_OUT or notes[item.name]]
        for name in (MODEL, *classical.NAMES)
    }
    if not cell_counts[MODEL]:
        return {}
    rows = [{**shares_of(item), "notes": notes[item.name]} for item in cell_counts[MODEL]]
    return {group: {**group_figures(cell_counts), "by_micrograph": rows}}


def main() -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--limit", type=int, help="held-out simulated micrographs in all (default: all, and more)")
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--reference", type=int, default=20, help="micrographs of the data-set reference; 0: none")
    parser.add_argument("--output", type=Path, help="a folder for both files instead of their places in the repository")
    args = parser.parse_args()
    for row in [] if args.limit else [row for rows in MORE.values() for row in rows]:
        draw_set(args.build, *row)
    result = evaluate(args.model, args.build, args.device, args.limit, args.reference)
    target = args.output or HERE / "results"
    target.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    (target / "evaluate_maps.json").write_text(text, encoding="utf-8")
    markdown = page(result)
    (args.output or HERE / "results").joinpath("evaluation.md").write_text(markdown, encoding="utf-8")
    print(markdown)


if __name__ == "__main__":
    main()
