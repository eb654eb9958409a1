# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice evaluate``: measure a model on labelled data; with label images, its maps as well as patches."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List

from tqdm import tqdm

from cryoice_scipion.constants import DEFAULT_MODEL
from cryoice_scipion.core.cli.sources import (
    add_patch_arguments,
    add_source_arguments,
    labelled_of,
    make_folder,
    patch_options,
    say,
    sources_of,
)
from cryoice_scipion.core.config import PatchConfig, ScreenConfig
from cryoice_scipion.core.errors import ModelError, counted
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.workers.devices import find_device

if TYPE_CHECKING:
    from cryoice_scipion.core.detectors.network_detector import Detector

JSON_NAME, MARKDOWN_NAME = "evaluation.json", "evaluation.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="a model folder, or the name of a shipped one (default %(default)s)"
    )
    parser.add_argument("--threshold", type=float, help="on goodness (default: the model's recommended one)")
    parser.add_argument(
        "--output", type=Path, metavar="PATH",
        help=f"also write the results: to this file if it ends in .json, else to {JSON_NAME} and {MARKDOWN_NAME} "
        "in this folder",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:0 (default %(default)s)")
    parser.add_argument("--patches", type=Path, metavar="DIR", help="patch set of 'cryoice patches', instead of labels")
    parser.add_argument(
        "--reference", type=int, default=20, metavar="N",
        help="maps: number of micrographs of each folder that set the session baseline; 0: none "
        "(default %(default)s, as in screening)",
    )  # fmt: skip
    add_source_arguments(parser)
    add_patch_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.detectors.loading import load_detector
    from cryoice_scipion.core.detectors.model_folder import resolve_model
    from cryoice_scipion.core.detectors.network_detector import NetworkDetector
    from cryoice_scipion.core.detectors.unet import EMBEDDING
    from cryoice_scipion.core.training.metrics import in_words
    from cryoice_scipion.core.training.patches.evaluate import evaluate
    from cryoice_scipion.core.training.patches.patch_set import PatchSet, cut_patches  # torch: only when needed

    ScreenConfig.make(threshold=args.threshold)  # refuses one that is out of range
    if args.output and args.output.suffix != ".json":
        make_folder(args.output)
    detector = load_detector(resolve_model(args.model), find_device(args.device))
    if not isinstance(detector, NetworkDetector):
        raise ModelError(args.model, "has no network that classifies patches", "use it with 'cryoice screen'")
    if args.patches:
        patches = PatchSet.load(args.patches)
    else:
        config = PatchConfig.make(**{"jitter_copies": 0, "sampling": detector.sampling, **patch_options(args)})
        views = detector.network.views
        embedder = detector if EMBEDDING in views else None
        patches = cut_patches(labelled_of(args, config.seed)[0], config, views=views, embedder=embedder)
        say(patches.messages)
    threshold = detector.config.recommended_threshold if args.threshold is None else args.threshold
    figures = evaluate(detector, patches, threshold)
    lines = [f"{kind}: {in_words(values)}" for kind, values in figures.items()]
    print("\n".join(lines))
    result: Dict[str, Any] = {"threshold": threshold, **figures}
    text = "\n".join(["# Evaluation", "", "## Patches", "", *[f"- {line}" for line in lines], ""])
    if args.simulated:
        result["maps"], page = _maps(detector, args)
        print(f"\n{page}")
        text += f"\n## Picks, sessions and maps\n\n{page}\n"
    if args.output:
        _write(args.output, result, text)
    return 0


def _maps(detector: Detector, args: argparse.Namespace) -> tuple[Dict[str, Any], str]:
    """Evaluate verdicts and maps of all folders with label images; return the results, also as Markdown."""
    from cryoice_scipion.core.evaluation import pick_verdicts, tables
    from cryoice_scipion.core.evaluation.cell_counts import CellCounts
    from cryoice_scipion.core.evaluation.labelled_sets import Settings, evaluate_set
    from cryoice_scipion.core.evaluation.labels import find_labelled
    from cryoice_scipion.core.evaluation.map_metrics import metrics_of_maps, shares_of
    from cryoice_scipion.core.maps.scoring import pick_threshold
    from cryoice_scipion.core.maps.session_baseline import is_unusual, session_logit_of

    settings = Settings(args.contrast or "auto", args.reference, args.threshold, args.pixel_size)
    config = ScreenConfig.make(threshold=args.threshold)
    threshold = pick_threshold(config.threshold, detector.config)
    cells: List[CellCounts] = []
    verdicts: List[pick_verdicts.PickVerdicts] = []
    sessions: Dict[str, Any] = {}
    folders = sources_of(args).simulated
    names = [folder.name for folder in folders]
    for folder in folders:
        images, picks, medians = find_labelled(folder), pick_verdicts.picks_of_folder(folder), []
        without = pick_verdicts.drop_without_size(picks)
        if without:
            words = ("pick is not evaluated, since it has", "picks are not evaluated, since they have")
            tqdm.write(f"{folder / 'picks.star'}: {counted(without, *words)} no particle diameter")
        name = folder.name if names.count(folder.name) == 1 else str(folder)
        bar = tqdm(evaluate_set(detector, images, settings, tqdm.write), f"maps of {folder.name}", len(images))
        for evaluated in bar:
            if len(folders) > 1:
                evaluated.counts.name = f"{name}/{evaluated.counts.name}"
            cells.append(evaluated.counts)
            medians += [evaluated.median_logit] if math.isfinite(evaluated.median_logit) else []
            if evaluated.image.stem in picks:
                verdicts.append(pick_verdicts.verdicts_of(evaluated, picks[evaluated.image.stem], config))
        logit = session_logit_of(medians) if medians else None
        unusual = logit is not None and is_unusual(logit, detector.config)
        sessions[name] = {"session_logit": logit, "unusual": unusual}
    result: Dict[str, Any] = {
        "picks": pick_verdicts.removed(verdicts, [threshold]),
        "sessions": sessions,
        **metrics_of_maps(cells),
        "by_micrograph": [shares_of(item) for item in cells],
    }
    lines = [tables.pick_table(result["picks"], [threshold]), ""] if verdicts else []
    lines += [
        f"- session {name}: session logit {tables.number(one['session_logit'], 2)}"
        + (", unusual" if one["unusual"] else "")
        for name, one in sessions.items()
    ]
    lines += ["", tables.class_table(result), "", *tables.threshold_lines(result)]
    return result, "\n".join([*lines, "", tables.micrograph_table(result["by_micrograph"])])


def _write(output: Path, result: Dict[str, Any], text: str) -> None:
    """Write JSON, and Markdown if the output is a folder."""
    single = output.suffix == ".json"
    content = json.dumps(result, indent=2) + "\n"
    files = {output: content} if single else {output / JSON_NAME: content, output / MARKDOWN_NAME: text}
    for path, words in files.items():
        with replacing(path) as temporary:
            temporary.write_text(words, encoding="utf-8")
