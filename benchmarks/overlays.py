# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw what a model says of all annotated real micrographs beside what was annotated, into an untracked folder.

usage: python benchmarks/overlays.py [--model NAME|DIR] [--output out/overlays]
Left what the model calls bad at its threshold, right the annotation; one PNG a micrograph. Do not publish them: the
micrographs are others'.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from evaluate_maps import HERE, real_sets
from PIL import Image
from tqdm import tqdm
from train_default_model import BUILD, REAL

from cryoice_scipion.constants import CLASSES, DEFAULT_MODEL, GOOD
from cryoice_scipion.core.detectors.model_folder import resolve_model
from cryoice_scipion.core.evaluation.labelled_sets import EvaluatedMap, Settings, evaluate_set
from cryoice_scipion.core.evaluation.labels import LEFT_OUT
from cryoice_scipion.core.images.caption import Caption
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.images.thumbnails import BadAreas, draw_thumbnail, grey_base, write_base
from cryoice_scipion.core.maps import bad_area

SIDE = 900  # px of each half


def draw(evaluated: EvaluatedMap, path: Path) -> None:
    """Draw one micrograph twice."""
    loaded, said = evaluated.loaded, evaluated.counts
    good = CLASSES.index(GOOD)
    labels = np.where(evaluated.labels == LEFT_OUT, good, evaluated.labels).astype(np.uint8)
    bad = said.bad / max(1, said.bad + said.clean)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base.png"
        write_base(base, grey_base(loaded.image, loaded.border, loaded.pixel_size, SIDE))
        codes = bad_area.class_of_cells(evaluated.cells, evaluated.good)
        area = bad_area.bad_area(evaluated.cells, evaluated.good)
        halves = []
        for name, cells, sampling, share in (
            ("model", codes, evaluated.cells.sampling, area),
            ("annotation", labels, evaluated.sampling, bad),
        ):
            half = Path(folder) / f"{name}.png"
            title = f"{name}: {evaluated.image.stem}"
            areas, frame = BadAreas(cells, cells != good, sampling), Frame(loaded.image.shape, loaded.pixel_size)
            draw_thumbnail(base, half, areas, frame, caption=Caption(title, share))
            halves.append(Image.open(half).convert("RGB"))
        both = Image.new("RGB", (sum(half.width for half in halves), max(half.height for half in halves)), "white")
        both.paste(halves[0], (0, 0))
        both.paste(halves[1], (halves[0].width, 0))
        both.save(path)


def main() -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--output", type=Path, default=HERE.parent / "out" / "overlays")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    from cryoice_scipion.core.detectors.loading import load_detector

    detector = load_detector(resolve_model(args.model), args.device)
    args.output.mkdir(parents=True, exist_ok=True)
    for data in real_sets(args.build / REAL):
        for evaluated in tqdm(evaluate_set(detector, data.images, Settings(), tqdm.write), data.name, len(data.images)):
            draw(evaluated, args.output / f"{evaluated.image.stem}.png")
    print(f"written to {args.output}")


if __name__ == "__main__":
    main()
