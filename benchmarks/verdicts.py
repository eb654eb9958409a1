# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate a model's verdicts on picks and sessions: writes results/verdicts.json and results/verdicts.md.

usage: python benchmarks/verdicts.py [--model NAME|DIR] [--build DIR] [--workers N] [--limit N] [--output DIR]
       [--install]
- Picks of three pickers on the seven real micrographs of EMPIAR-10017 (../shared/real), by what annotators see under
  them, with the rule before this one beside it.
- Picks on simulated sessions of specimens and microscopes that the model was not trained on.
- Sessions: clean ones on unseen detectors, and ones that are bad throughout; each with several bounds of the offset.
- The real micrographs as sessions of one, by class, and with flipped copies.
The pick threshold is chosen on half of the simulated sessions and on the real picks, see ``choose``. With --install it
goes into the model folder, with the session tolerance, and the tables go into the model card.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "real"), str(HERE.parent)]
from about import about, record  # noqa: E402
from rasterise import label_image, load_annotations  # noqa: E402
from train_default_model import SHARED  # noqa: E402
from verdict_sessions import BUILD, PICKS, maps_key, prepare  # noqa: E402
from verdicts_page import CARD_TITLE, card_section, page  # noqa: E402

from cryoice_scipion.constants import BORDER, CLASSES, DEFAULT_MODEL, GOOD  # noqa: E402
from cryoice_scipion.core.config import ModelConfig, ScreenConfig  # noqa: E402
from cryoice_scipion.core.detectors.class_map import ClassMap  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import CARD, MODEL_JSON, load_config, resolve_model, write_sums  # noqa: E402
from cryoice_scipion.core.evaluation.labels import on_cells, on_grid  # noqa: E402
from cryoice_scipion.core.evaluation.pick_verdicts import (  # noqa: E402
    CLEAN_PICK,
    PickVerdicts,
    by_distance,
    pick_verdicts,
    removed,
)
from cryoice_scipion.core.formats.coordinates import X, Y, read_picks, sizes_of  # noqa: E402
from cryoice_scipion.core.images.grid import Frame  # noqa: E402
from cryoice_scipion.core.maps import bad_area  # noqa: E402
from cryoice_scipion.core.maps.scoring import BOX_TO_DIAMETER, goodness_of  # noqa: E402
from cryoice_scipion.core.maps.session_baseline import is_unusual, offset_of, session_logit_of  # noqa: E402

PICKERS = ("picker_cryolo", "picker_deeppicker", "picker_topaz")
CELL = 4.0  # px of the grid on which annotators are compared
THRESHOLDS = (0.2, 0.25, 0.3, 0.4, 0.5)  # besides those of the model
STEP = 0.01  # between the pick thresholds that are tried
REAL_CLEAN_LOST, EXTRA_CLEAN_LOST = 0.004, 0.005  # see choose
BOUNDS = (0.0, 4.5, 5.6)  # log-odds: the offsets that are subtracted in the tables
#: Log-odds: between the excess of clean and mixed sessions and of those that are crystalline throughout.
TOLERANCE = 5.0
MARGINS = (0.0, 150.0, 300.0)  # Å
Row = Dict[str, Any]
Array = NDArray[Any]


class Mapped:
    """One simulated micrograph: its map, label image and picks."""

    def __init__(self, path: Path) -> None:
        """Read what verdict_sessions.py stored."""
        with np.load(path) as stored:
            self.map = ClassMap(
                stored["logits"],
                stored["border"],
                [str(name) for name in stored["classes"]],
                float(stored["sampling"]),
                float(stored["skewness"]),
            )
            self.labels, self.label_sampling = stored["labels"], float(stored["label_sampling"])
            self.pixel_size, self.shape = float(stored["pixel_size"]), [int(side) for side in stored["shape"]]
            self.picks = np.concatenate([stored["particles"].reshape(-1, 2), stored["false_picks"].reshape(-1, 2)])
            self.diameter = float(stored["diameter"])
        self.name = path.stem
        self.group, session, _ = path.stem.rsplit("_", 2)
        self.session = int(session)


def simulated(folder: Path) -> List[Mapped]:
    """Return all simulated micrographs that are there, by name."""
    return [Mapped(path) for path in sorted(folder.glob("*.npz"))]


def simulated_verdicts(mapped: Sequence[Mapped]) -> List[PickVerdicts]:
    """Return the verdicts on the picks of simulated sessions: of the simulated picker, and at random places."""
    found = []
    for one in mapped:
        rng = np.random.default_rng([one.session, int(one.name[-1])])
        anywhere = rng.uniform(0, 1, (60, 2)) * np.array(one.shape)[::-1]
        x, y = np.concatenate([one.picks, anywhere]).T
        cells = bad_area.probabilities(one.map, 0.0)
        radius = np.full(len(x), one.diameter / 2)
        goodness = goodness_of(cells, x, y, radius, ScreenConfig(), Frame(one.shape, one.pixel_size))[0]
        at = x * one.pixel_size, y * one.pixel_size
        found.append(pick_verdicts(one.name, one.labels, one.label_sampling, *at, goodness))
    return found


def real_maps(model: Path, build: Path) -> Dict[str, Tuple[ClassMap, float, List[int], str]]:
    """Return map, pixel size, shape and folder of each real micrograph by stem; those of two classes also flipped."""
    from cryoice_scipion.core.detectors.loading import load_detector
    from cryoice_scipion.core.detectors.network_detector import NetworkDetector
    from cryoice_scipion.core.images.loading import load_micrograph

    prepared, maps = build / "real", build / maps_key(model) / "real"
    if not prepared.is_dir():
        subprocess.run([sys.executable, str(SHARED / "prepare.py"), str(prepared)], check=True)
    maps.mkdir(parents=True, exist_ok=True)
    detector: Optional[NetworkDetector] = None
    found = {}
    for path in sorted(prepared.glob("**/*.mrc")):
        loaded = load_micrograph(str(path))
        for suffix, flip in (("", 1), (".flipped", -1)):
            if flip < 0 and path.parent.name != "crystalline_ice":
                continue
            stored = maps / f"{path.stem}{suffix}.npz"
            if not stored.is_file():
                detector = detector or load_detector(model, "cpu")
                image, border = (np.ascontiguousarray(array[:, ::flip]) for array in (loaded.image, loaded.border))
                detector.map(image, loaded.pixel_size, border).save(stored)
            shape = [int(side) for side in loaded.image.shape]
            found[path.stem + suffix] = (ClassMap.load(stored), loaded.pixel_size, shape, path.parent.name)
    return found


def real_verdicts(
    maps: Dict[str, Tuple[ClassMap, float, List[int], str]], before: bool = False, margin: float = 0.0
) -> List[PickVerdicts]:
    """Return the verdicts on the picks of all pickers on each micrograph of EMPIAR-10017.

    Parameters
    ----------
    before : bool
        Whether by the earlier rule: the mean of P(BAD) over a disc as wide as the box, inside the frame.
    """
    found = []
    for stem, (classmap, pixel_size, shape, folder) in maps.items():
        if folder != "empiar10017":
            continue
        codes = label_image(load_annotations(stem), CELL)
        tables = [read_picks(SHARED / "empiar10017" / "coordinates" / name / f"{stem}.box").table for name in PICKERS]
        x, y = (np.concatenate([table[axis].to_numpy(float) for table in tables]) for axis in (X, Y))
        box = np.concatenate([sizes_of(table)[1] for table in tables]) * pixel_size
        cells = bad_area.probabilities(classmap, 0.0)
        if before:
            goodness = mean_over_box(cells, x, y, box / 2, pixel_size, shape)
        else:
            radius, config = box * BOX_TO_DIAMETER / 2, ScreenConfig(margin=margin)
            goodness = goodness_of(cells, x, y, radius, config, Frame(shape, pixel_size))[0]
        at = x * pixel_size, y * pixel_size
        found.append(pick_verdicts(stem, codes, CELL * pixel_size, *at, goodness))
    return found


def mean_over_box(
    cells: bad_area.Cells, x: Array, y: Array, radius: Array, pixel_size: float, shape: Sequence[int]
) -> Array:
    """Return one minus the mean of P(BAD) over discs clipped to the frame: the rule before 0.2."""
    rows, columns = cells.probability.shape
    grid = np.mgrid[-1:1:41j, -1:1:41j].reshape(2, -1)
    down, across = grid[:, (grid**2).sum(axis=0) <= 1]
    at_x = x[:, None] * pixel_size + radius[:, None] * across
    at_y = y[:, None] * pixel_size + radius[:, None] * down
    inside = (at_x >= 0) & (at_x < shape[1] * pixel_size) & (at_y >= 0) & (at_y < shape[0] * pixel_size)
    row = np.clip(at_y // cells.sampling, 0, rows - 1).astype(int)
    column = np.clip(at_x // cells.sampling, 0, columns - 1).astype(int)
    goodness: Array = 1 - (cells.probability[row, column] * inside).sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
    outside = (x < 0) | (y < 0) | (x >= shape[1]) | (y >= shape[0])
    goodness[outside] = np.nan
    return goodness


def choose(real: Sequence[PickVerdicts], calibration: Sequence[PickVerdicts], least: float) -> float:
    """Return the pick threshold: the highest one that costs few clean picks, and at least that of the mask.

    Of the clean real picks it removes at most ``REAL_CLEAN_LOST``; of the clean simulated ones at most
    ``EXTRA_CLEAN_LOST`` more than the threshold of the mask does.
    """
    tried = [least, *np.round(np.arange(np.ceil(least / STEP) * STEP, 0.9, STEP), 2)]
    lost = [
        [removed(part, [cut])[CLEAN_PICK]["removed"][f"{cut:g}"]["value"] for cut in tried]
        for part in (real, calibration)
    ]
    allowed = [
        cut
        for cut, of_real, of_simulated in zip(tried, *lost)
        if of_real <= REAL_CLEAN_LOST and of_simulated <= lost[1][0] + EXTRA_CLEAN_LOST
    ]
    return float(max([least, *allowed]))


def group_rows(mapped: Sequence[Mapped], model: ModelConfig) -> List[Row]:
    """Return excess, flags, recall and false-positive area of each group of sessions, with each bound of the offset."""
    groups: Dict[str, Dict[int, List[Mapped]]] = {}
    for one in mapped:
        groups.setdefault(one.group.replace("_", " "), {}).setdefault(one.session, []).append(one)
    rows = []
    for group, sessions in groups.items():
        levels = [session_logit_of([one.map.median_logit for one in members]) for members in sessions.values()]
        excess = [level - model.baseline_logit for level in levels]
        row: Row = {
            "group": group,
            "sessions": len(sessions),
            "excess": [round(float(value), 2) for value in np.percentile(excess, [0, 50, 100])],
            "flagged": sum(is_unusual(level, model) for level in levels),
            "bounds": {},
        }
        for name in offsets(0.0):
            found = [
                shares_of(one, offsets(value)[name], model.recommended_threshold)
                for value, members in zip(excess, sessions.values())
                for one in members
            ]
            clean, bad = ([share for share in side if share is not None] for side in zip(*found))
            row["bounds"][name] = {
                "false_positive_area": round(float(np.mean(clean)), 5) if clean else None,
                "worst": round(float(np.max(clean)), 5) if clean else None,
                "bad_found": round(float(np.mean(bad)), 5) if bad else None,
            }
        rows.append(row)
    return rows


def offsets(excess: float) -> Dict[str, float]:
    """Return what is subtracted with each bound, and what was subtracted before 0.2."""
    before = max(0.0, min(excess, 2 * (excess - 3.447)))
    return {**{f"bound {bound:g}": offset_of(excess, bound) for bound in BOUNDS}, "before": before}


def shares_of(one: Mapped, offset: float, threshold: float) -> Tuple[Optional[float], Optional[float]]:
    """Return the share of clean cells that is called bad, and the share of bad cells that is found."""
    cells = bad_area.probabilities(one.map, offset)
    labels = on_grid(one.labels, one.label_sampling, 16.0)
    called, border = (
        on_cells(values, cells.sampling, labels.shape, 16.0)
        for values in (~bad_area.good_mask(cells, threshold), cells.border)
    )
    clean = (labels == CLASSES.index(GOOD)) & ~border
    bad = (labels < len(CLASSES)) & (labels != CLASSES.index(GOOD)) & (labels != CLASSES.index(BORDER)) & ~border
    return tuple(float(called[part].mean()) if part.sum() > 20 else None for part in (clean, bad))  # type: ignore[return-value]


def real_sessions(maps: Dict[str, Tuple[ClassMap, float, List[int], str]], model: ModelConfig) -> List[Row]:
    """Return level, flag and bad area of sessions made of the real micrographs."""
    stems = [stem for stem in maps if not stem.endswith(".flipped")]
    sessions: Dict[str, List[str]] = {}
    for folder in sorted({maps[stem][3] for stem in stems}):
        sessions[f"all of {folder}"] = [stem for stem in stems if maps[stem][3] == folder]
    crystalline = [stem for stem in maps if maps[stem][3] == "crystalline_ice"]
    sessions["crystalline_ice with flipped copies"] = crystalline
    for stem in stems:
        sessions[f"{stem[:24]} alone"] = [stem]
    rows = []
    for name, members in sessions.items():
        level = session_logit_of([maps[stem][0].median_logit for stem in members])
        row: Row = {"session": name, "micrographs": len(members), "excess": round(level - model.baseline_logit, 2)}
        row["unusual"] = bool(is_unusual(level, model))
        shift = offset_of(level - model.baseline_logit, model.offset_limit) if len(members) > 2 else 0.0
        for key, offset in (("bad_area", shift), ("bad_area_in_a_mixed_session", 0.0)):
            areas = []
            for stem in members:
                cells = bad_area.probabilities(maps[stem][0], offset)
                areas.append(bad_area.bad_area(cells, bad_area.good_mask(cells, model.recommended_threshold)))
            row[key] = round(float(np.mean(areas)), 4)
        rows.append(row)
    return rows


def kept_by_margin(maps: Dict[str, Tuple[ClassMap, float, List[int], str]], threshold: float) -> Iterator[Row]:
    """Yield how many of the real picks are kept with each margin."""
    for margin in MARGINS:
        verdicts = real_verdicts(maps, margin=margin)
        goodness = np.concatenate([one.goodness for one in verdicts])
        yield {"margin": margin, "picks": len(goodness), "kept": int((goodness >= threshold).sum())}


def evaluate(model: Path, build: Path, workers: int, limit: Optional[int]) -> Row:
    """Return all figures."""
    config = load_config(model)
    mapped = simulated(prepare(model, build, workers, limit))
    picked = [one for one in mapped if one.group == PICKS]
    halves = [[one for one in picked if one.session % 2 == half] for half in (0, 1)]
    calibration, test = (simulated_verdicts(half) for half in halves)
    maps = real_maps(model, build) if SHARED.is_dir() else {}
    real = real_verdicts(maps)
    mask = config.recommended_threshold
    used = choose(real, calibration, mask) if maps else config.threshold_for_picks
    thresholds = sorted({mask, used, *THRESHOLDS})
    result: Row = {
        "about": about(),
        "model": config.name,
        "mask_threshold": mask,
        "pick_threshold": used,
        "offset_tolerance": config.offset_tolerance,
        "thresholds": thresholds,
        "simulated": {"calibration": removed(calibration, thresholds), "test": removed(test, thresholds)},
        "simulated_by_distance": by_distance(test, used),
        "sessions": group_rows(mapped, config),
    }
    if maps:
        result["real"] = {
            "now": removed(real, thresholds),
            "before": removed(real_verdicts(maps, before=True), [mask]),
        }
        result["real_by_distance"] = by_distance(real, used)
        result["real_margins"] = list(kept_by_margin(maps, used))
        result["real_sessions"] = real_sessions(maps, config)
    return result


def install(model: Path, result: Row) -> None:
    """Write pick threshold and session tolerance into model.json, and the tables at the end of the card."""
    config = load_config(model)
    measured = {"pick_threshold": result["pick_threshold"], "offset_tolerance": TOLERANCE, "offset_limit": 0.0}
    config = ModelConfig.make(**{**config.model_dump(), **measured})
    (model / MODEL_JSON).write_text(config.to_text(), encoding="utf-8")
    card = model / CARD
    text = card.read_text(encoding="utf-8").partition(CARD_TITLE)[0]
    card.write_text(f"{text.rstrip()}\n\n{card_section(result)}", encoding="utf-8")
    write_sums(model)


def main() -> None:
    """Evaluate, and write JSON and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|DIR")
    parser.add_argument("--build", type=Path, default=BUILD, metavar="DIR")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, metavar="N", help="sessions of each group (default: all)")
    parser.add_argument("--install", action="store_true", help="write threshold, tolerance and tables into the model")
    parser.add_argument("--output", type=Path, metavar="DIR", help="for verdicts.json and verdicts.md")
    args = parser.parse_args()
    model = resolve_model(args.model)
    result = evaluate(model, args.build, args.workers, args.limit)
    if args.install:
        install(model, result)
    if args.output:
        record(result, args.output / "verdicts.json")
        (args.output / "verdicts.md").write_text(page(result), encoding="utf-8")
    elif args.limit is None:
        record(result, HERE / "results" / "verdicts.json")
        (HERE / "results" / "verdicts.md").write_text(page(result), encoding="utf-8")
    else:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
