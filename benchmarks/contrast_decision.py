# SPDX-License-Identifier: GPL-3.0-or-later
"""Count how often contrast "auto" is right: python benchmarks/contrast_decision.py.

Sessions of 1, 3 and 20 simulated micrographs with dark or bright particles, in which one large object with a bright
fringe covers a share of the field of every micrograph. Writes ``benchmarks/results/contrast_decision.json`` and
``benchmarks/results/contrast_decision.md``. The vote needs no network. ``--cache`` keeps the simulated micrographs at
8 Å/px.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import torch
from scipy import ndimage

from cryoice_scipion.constants import CLASSES, GOOD
from cryoice_scipion.core.images.borders import find_border
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.maps.session_baseline import BRIGHT, MAJORITY, MINIMUM, is_bright
from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.scene import simulate
from cryoice_scipion.core.views.micrograph import contrast_cells, micrograph_view, skewness

ROOT = Path(__file__).resolve().parents[1]
SIDE, PIXEL_SIZE = 1024, 3.0  # px, Å/px
SAMPLING = 8.0  # Å/px of cached micrographs; the statistic is measured at 32 Å
SPECIMENS, EACH = 24, 6  # specimens, and micrographs of each under one condition
FIRST = 24  # number of the first specimen: the rule was chosen on the specimens before it
COVERED = (0.0, 0.1, 0.3, 0.6)  # share of the field under the object
OBJECTS = ("thick", "poly", "carbon")
NUMBERS = (1, 3, 20)  # micrographs of a session
SESSIONS = 48  # of each row
FRINGE = (2.0, 20.0)  # deviations of the micrograph at 32 Å, at the object's edge
WIDTH = (40.0, 250.0)  # Å: where the fringe has fallen to 1/e


def specimen(number: int) -> SceneConfig:
    """Return a clean micrograph of a specimen with dark particles; everything is drawn widely, as for training."""
    rng = np.random.default_rng([20, number])
    config = SceneConfig.random(rng, SIDE, SIDE, PIXEL_SIZE, [])
    values = {"inverted": False, "illumination": float(rng.uniform(-0.15, 0.15)) if number % 3 == 0 else 0.0}
    return config.model_copy(update=values)


def micrograph(number: int, copy: int, covered: float) -> Tuple[np.ndarray, np.ndarray]:
    """Return one micrograph of a specimen with a large object, and its border."""
    rng = np.random.default_rng([21, number, copy, int(100 * covered)])
    config = specimen(number)
    update: Dict[str, Any] = {"defocus_um": config.defocus_um * float(rng.uniform(0.6, 1.4))}
    if covered:
        update.update(kinds=[OBJECTS[number % len(OBJECTS)]], areas=[covered])
    scene = simulate(config.model_copy(update=update), rng)
    image = scene.pixels
    if covered:
        image = image + _fringe(image, scene.labels, rng)
    return image.astype(np.float32), find_border(image)


def _fringe(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a bright fringe around what is not good."""
    objects = (labels != CLASSES.index(GOOD)) & (labels != CLASSES.index("border"))
    if not objects.any():
        return np.zeros_like(image)
    distance = ndimage.distance_transform_edt(~objects) * PIXEL_SIZE
    deviation = ndimage.uniform_filter(image, round(32 / PIXEL_SIZE))[~objects].std()
    strength = deviation * np.exp(rng.uniform(*np.log(FRINGE)))
    fringe = strength * np.exp(-distance / rng.uniform(*WIDTH)) * ~objects
    return np.asarray(fringe, dtype=np.float32)


def view_of(image: np.ndarray, border: np.ndarray, pixel_size: float) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return a micrograph at 8 Å/px, and which of its pixels are no border."""
    return micrograph_view(image, pixel_size, border, SAMPLING, torch.device("cpu"))


def skewness_of(view: torch.Tensor, inside: torch.Tensor) -> float:
    """Return the statistic of a micrograph at 8 Å/px."""
    return skewness(contrast_cells(view, SAMPLING).numpy(), inside.numpy(), SAMPLING)


def measured(cache: Path) -> List[Dict[str, Any]]:
    """Return the statistic of all micrographs, dark and bright."""
    rows = []
    for covered in COVERED:
        for number in range(FIRST, FIRST + SPECIMENS):
            for copy in range(EACH):
                path = cache / f"{int(100 * covered):02d}_{number:02d}_{copy}.npz"
                if not path.is_file():
                    view, inside = view_of(*micrograph(number, copy, covered), PIXEL_SIZE)
                    np.savez(path, view=view.numpy(), inside=inside.numpy())
                stored = np.load(path)
                view, inside = torch.from_numpy(stored["view"]), torch.from_numpy(stored["inside"])
                values = {name: skewness_of(sign * view, inside) for name, sign in (("dark", 1), ("bright", -1))}
                rows.append({"covered": covered, "specimen": number, "copy": copy, **values})
    return rows


def decide(
    rows: Sequence[Dict[str, Any]], contrast: str, number: int, rng: np.random.Generator
) -> List[Dict[str, Any]]:
    """Return the sessions of one row of the table: each of one specimen, with its micrographs drawn from the pool."""
    sessions = []
    for index in range(SESSIONS):
        number_of_specimen = FIRST + index % SPECIMENS
        chosen = [row for row in rows if row["specimen"] == number_of_specimen]
        drawn = rng.choice(len(chosen), number, replace=number > len(chosen))
        bright = is_bright([chosen[i][contrast] for i in drawn])
        with_particles = specimen(number_of_specimen).coverage > 0
        sessions.append({"particles": with_particles, "right": bright == (contrast == "bright")})
    return sessions


def table(rows: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Return the counts of right decisions by contrast, number of micrographs and covered share."""
    found = []
    for contrast in ("dark", "bright"):
        for number in NUMBERS:
            for covered in COVERED:
                pool = [row for row in rows if row["covered"] == covered]
                rng = np.random.default_rng([22, number, int(100 * covered)])
                sessions = decide(pool, contrast, number, rng)
                counts = {}
                for name, particles in (("with_particles", True), ("without_particles", False)):
                    part = [session["right"] for session in sessions if session["particles"] == particles]
                    counts[name] = {"sessions": len(part), "right": sum(part)}
                found.append({"contrast": contrast, "micrographs": number, "covered": covered, **counts})
    return found


def real_micrographs(folder: Path) -> List[Dict[str, Any]]:
    """Return the statistic of real micrographs, as ``shared/real/prepare.py`` writes them; all particles are dark."""
    values = []
    for path in sorted(folder.rglob("*.mrc")):
        pixel_size = 8.0 if "micassess" in path.parts else 1.77
        loaded = load_micrograph(str(path), pixel_size)
        view = view_of(loaded.image, loaded.border, pixel_size)
        source = "MicAssess" if "micassess" in path.parts else "EMPIAR-10017"
        values.append({"source": source, "name": path.stem, "skewness": round(skewness_of(*view), 3)})
    return values


def page(result: Dict[str, Any]) -> str:
    """Return the page of the documentation."""
    lines = [
        "# Contrast decision",
        "",
        "Contrast *auto* takes particles for dark. It inverts a session only when the session has at least "
        f"{MINIMUM} reference micrographs and at least {100 * MAJORITY:.0f} % of them vote for bright particles. "
        "A session of one or two micrographs is never inverted. With bright particles, set `--contrast bright`.",
        "",
        "**The vote of a micrograph.** The micrograph is averaged over 32 Å. Steep edges longer than 800 Å are left "
        "out, with 200 Å around them. Detail wider than about 300 Å is removed. The skewness is computed in tiles of "
        "about 500 Å, and the median over the tiles counts. A micrograph with a median above "
        f"{BRIGHT:g} votes for bright. A large crystal, a film edge or a bright fringe has no majority of the tiles.",
        "",
        "**Simulated sessions.** The table has right decisions / sessions. One large object (thick ice, a poly-crystal "
        "or carbon film, by specimen) with a bright fringe covers the given share of every micrograph. The fringe is "
        "2 to 20 deviations bright and 40 to 250 Å wide. Bright sessions are the negatives of dark ones.",
        "",
        "| particles | micrographs | 0 % covered | 10 % | 30 % | 60 % |",
        "|---|---|---|---|---|---|",
    ]
    for contrast in ("dark", "bright"):
        kinds = ("with_particles", "without_particles") if contrast == "dark" else ("with_particles",)
        for kind in kinds:
            for number in NUMBERS:
                cells = [
                    f"{row[kind]['right']} / {row[kind]['sessions']}"
                    for row in result["table"]
                    if (row["contrast"], row["micrographs"]) == (contrast, number)
                ]
                name = contrast if kind == "with_particles" else f"none ({contrast} session)"
                lines.append(f"| {name} | {number} | {' | '.join(cells)} |")
    dark = [row["dark"] for row in result["micrographs"]]
    lines += [
        "",
        "Bright sessions of 1 micrograph stay dark by rule. Those of 3 and 20 that stay dark have few, faint or very "
        f"large particles. Of {len(dark)} dark micrographs, "
        f"{sum(value > BRIGHT for value in dark)} vote for bright on their own.",
        "",
        f"There are {SPECIMENS} specimens with {EACH} micrographs each per condition, {SIDE} × {SIDE} px at "
        f"{PIXEL_SIZE:g} Å/px, with the simulator's full range of specimens, defocus, filters and value ranges, and "
        f"with gradients. A session has one specimen. Its micrographs are drawn from the {EACH} of its condition, so "
        "they repeat in sessions of 20. The rule was chosen on 24 other specimens. "
        "Sessions without particles give no sign of their contrast, and stay dark.",
        "",
    ]
    if result["real"]:
        largest = max(row["skewness"] for row in result["real"])
        lines += [
            f"**Real micrographs.** All {len(result['real'])} real micrographs with dark particles (EMPIAR-10017 and "
            f"MicAssess) vote for dark. Their largest skewness is {largest:.2f}.",
            "",
        ]
    lines += [
        "`python benchmarks/contrast_decision.py` makes this page and `benchmarks/results/contrast_decision.json`.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="where simulated micrographs are kept")
    parser.add_argument("--real", type=Path, metavar="DIR", help="what shared/real/prepare.py wrote")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    rows = measured(args.cache)
    rounded = [
        {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()} for row in rows
    ]
    rule = {"bright_above": BRIGHT, "majority": MAJORITY, "fewest_micrographs": MINIMUM}
    result = {"rule": rule, "table": table(rows), "micrographs": rounded, "real": []}
    if args.real:
        result["real"] = real_micrographs(args.real)
    (ROOT / "benchmarks" / "results" / "contrast_decision.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
    (ROOT / "benchmarks" / "results" / "contrast_decision.md").write_text(page(result), encoding="utf-8")
    print(page(result))


if __name__ == "__main__":
    main()
