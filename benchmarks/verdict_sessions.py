# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate the sessions for verdicts.py and map them: with picks, clean on unseen detectors, and bad throughout.

usage: python benchmarks/verdict_sessions.py [--model NAME|DIR] [--build DIR] [--workers N] [--limit N]
Each micrograph is simulated, mapped and thrown away; its class map, label image and picks are kept in the build folder
as one .npz file. Files that are there already are not made again.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from cryoice_scipion.constants import DEFAULT_MODEL  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import WEIGHTS, load_config, read_sums, resolve_model  # noqa: E402
from cryoice_scipion.core.images.atomic import replacing  # noqa: E402
from cryoice_scipion.core.images.borders import find_border  # noqa: E402
from cryoice_scipion.core.images.checks import check_pixels  # noqa: E402
from cryoice_scipion.core.simulation.config import SceneConfig  # noqa: E402
from cryoice_scipion.core.simulation.folder import sample_labels  # noqa: E402
from cryoice_scipion.core.simulation.scene import simulate  # noqa: E402

BUILD = HERE.parent / "out" / "verdicts"
LABEL_SAMPLING = 8.0  # Å, side of a label cell
FIELD, LARGEST = 2200.0, 1792  # Å and px: side of a micrograph, whichever is smaller
PIXEL_SIZES = (0.9, 1.3, 1.8, 2.5, 3.6, 5.2)  # Å/px, of sessions with picks and of bad ones
#: Kinds that cover a micrograph from edge to edge in a bad session, and the share of the area they are asked to take.
BAD = {"poly": 1.0, "carbon": 0.99, "thick": 0.99, "vacuum": 1.0}
MIXED = ("poly", "single", "frost", "ethane", "carbon", "gold", "thick", "aggregate", "dirt", "vacuum")
PICKS, CLEAN, HARSH = "picks", "clean", "harsh"
#: Kinds that cover most of each micrograph, but not all of it.
HALF = {"poly": 0.6, "carbon": 0.6, "gold": 0.6, "thick": 0.6, "frost": 0.5}
NUMBERS = {  # sessions, and micrographs of each
    PICKS: (40, 4),
    HARSH: (30, 3),
    **{f"bad {kind}": (20, 3) for kind in BAD},
    **{f"half {kind}": (10, 3) for kind in HALF},
    CLEAN: (30, 3),
}


@dataclasses.dataclass(frozen=True)
class Exposure:
    """One micrograph of one session."""

    group: str
    session: int
    number: int

    @property
    def name(self) -> str:
        """Return the name of its file."""
        return f"{self.group.replace(' ', '_')}_{self.session:02d}_{self.number}"


def exposures(limit: Optional[int] = None) -> Iterator[Exposure]:
    """Yield all micrographs, of each group's first ``limit`` sessions."""
    for group, (sessions, each) in NUMBERS.items():
        for session in range(sessions if limit is None else min(limit, sessions)):
            for number in range(each):
                yield Exposure(group, session, number)


def config_of(exposure: Exposure) -> Tuple[SceneConfig, np.random.Generator]:
    """Return what a micrograph is like, and the generator to simulate it with."""
    seed = [77, list(NUMBERS).index(exposure.group), exposure.session]
    shared = np.random.default_rng(seed)
    rng = np.random.default_rng([*seed, exposure.number])
    clean = exposure.group in (CLEAN, HARSH)
    pixel_size = float(np.exp(shared.uniform(np.log(0.6), np.log(7.6)))) if clean else float(shared.choice(PIXEL_SIZES))
    side = int(min(LARGEST, FIELD / pixel_size)) // 2 * 2
    session = SceneConfig.random(shared, side, side, pixel_size, [])
    values: Dict[str, Any] = session.model_dump()
    values["defocus_um"] *= float(rng.uniform(0.8, 1.2))
    harsh = exposure.group == HARSH
    values.update(unseen_detector(shared, pixel_size, harsh) if clean else contamination(exposure.group, rng))
    return SceneConfig.make(**values), rng


def unseen_detector(rng: np.random.Generator, pixel_size: float, harsh: bool) -> Dict[str, Any]:
    """Return properties of a detector and of processing outside of the ranges that models are trained on.

    Harsh ones also have up to twice the gain residuals of training, and are lit unevenly.
    """
    ntf = float(rng.uniform(0.4, 0.6))  # training: 0.6 to 0.98
    values: Dict[str, Any] = {
        "ntf": ntf,
        "mtf": ntf * float(rng.uniform(0.25, 0.45)),  # training: 0.5 to 0.9 of the above
        "dose": float(rng.uniform(8, 16) if rng.random() < 0.5 else rng.uniform(75, 140)),  # training: 18 to 70
        "b_factor": float(rng.uniform(150, 260)),  # training: 30 to 140
        "illumination": float(rng.normal(0, 0.1 if harsh else 0.03)),
        "inverted": False,
    }
    if rng.random() < 0.3:
        values["gain_stripes"] = float(rng.uniform(0.005, 0.012) if harsh else rng.uniform(0, 0.005))
    if rng.random() < 0.3:
        values["low_pass"] = max(float(rng.uniform(6, 30)), 2.2 * pixel_size)
    if rng.random() < 0.2:
        values["voltage"] = 120_000.0  # training: 200 and 300 kV
    return values


def contamination(group: str, rng: np.random.Generator) -> Dict[str, Any]:
    """Return what is on a micrograph."""
    if group == PICKS:
        number = int(rng.choice([0, 1, 2, 3], p=[0.15, 0.45, 0.3, 0.1]))
        kinds = [str(kind) for kind in rng.choice(MIXED, number, replace=False)]
        return {"kinds": kinds, "areas": [float(rng.uniform(0.02, 0.25)) for _ in kinds], "inverted": False}
    share, kind = group.split()
    return {"kinds": [kind], "areas": [(BAD if share == "bad" else HALF)[kind]], "inverted": False}


def make(exposure: Exposure, model: Path, folder: Path) -> None:
    """Simulate and map one micrograph, and keep what verdicts are made and evaluated from."""
    path = folder / f"{exposure.name}.npz"
    if path.is_file():
        return
    config, rng = config_of(exposure)
    scene = simulate(config, rng)
    image, _ = check_pixels(scene.pixels.astype(np.float32), exposure.name)
    border = find_border(image)
    classmap = _detector(model).map(image, config.pixel_size, border)
    sampling = max(LABEL_SAMPLING, config.pixel_size)
    cells = [int(np.ceil(size * config.pixel_size / sampling)) for size in scene.labels.shape]
    labels = sample_labels(scene.labels, config.pixel_size, (slice(0, cells[0]), slice(0, cells[1])), sampling)
    with replacing(path) as temporary, open(temporary, "wb") as stream:
        np.savez(
            stream,
            logits=classmap.logits,
            border=classmap.border,
            classes=np.array(classmap.classes),
            sampling=classmap.sampling,
            skewness=classmap.skewness,
            labels=labels.astype(np.uint8),
            label_sampling=sampling,
            pixel_size=config.pixel_size,
            shape=np.array(scene.labels.shape),
            particles=scene.particles,
            false_picks=scene.false_picks,
            diameter=2 * config.particle_radius,
        )


_LOADED: Dict[Path, Any] = {}


def _detector(model: Path) -> Any:
    """Return the detector, loaded once in each process."""
    if model not in _LOADED:
        import torch

        from cryoice_scipion.core.detectors.loading import load_detector

        torch.set_num_threads(1)
        _LOADED[model] = load_detector(model, "cpu")
    return _LOADED[model]


def prepare(model: Path, build: Path, workers: int, limit: Optional[int] = None) -> Path:
    """Make all files that are missing; return the folder that holds those of this model."""
    folder = build / maps_key(model)
    folder.mkdir(parents=True, exist_ok=True)
    wanted: List[Exposure] = list(exposures(limit))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        jobs = [pool.submit(make, exposure, model, folder) for exposure in wanted]
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="simulated and mapped", unit="micrograph"):
            job.result()
    return folder


def maps_key(model: Path) -> str:
    """Return a digest of what decides the maps of a model: its weights and its temperature, not its thresholds."""
    text = read_sums(model).get(WEIGHTS, "") + repr(load_config(model).temperature)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def main() -> None:
    """Simulate and map."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|DIR")
    parser.add_argument("--build", type=Path, default=BUILD, metavar="DIR")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=int, metavar="N", help="sessions of each group (default: all)")
    args = parser.parse_args()
    print(prepare(resolve_model(args.model), args.build, args.workers, args.limit))


if __name__ == "__main__":
    main()
