# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated data set in a folder: micrographs, label images and picks, as an experiment would leave them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import mrcfile
import numpy as np
import pandas as pd
from tqdm import tqdm

from cryoice_scipion.constants import BORDER, CLASSES, GOOD, VERSION
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.formats.coordinates import write_star
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.json_files import read_json
from cryoice_scipion.core.simulation.canvas import sample_labels
from cryoice_scipion.core.simulation.config import PUBLISHED, SceneConfig
from cryoice_scipion.core.simulation.contaminants import KINDS
from cryoice_scipion.core.simulation.optics import Array
from cryoice_scipion.core.simulation.scene import Scene, simulate

MICROGRAPHS, LABELS, TRUTH = "micrographs", "labels", "truth"
SUMMARY = "simulation.json"
ONE_SESSION, RAW_SHARE = "one_session", "raw_share"
#: Å/px of label images, or the micrograph's own where that is coarser.
LABEL_SAMPLING = 8.0
#: Of a session's defocus: what the micrographs of a session have.
_DEFOCI = (0.6, 1.4)
LABEL_TITLE = "cryoice classes: " + " ".join(f"{i}={name}" for i, name in enumerate(CLASSES))


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Settings of a simulated data set."""

    number: int  # of micrographs
    seed: int  # not negative
    rows: int = 2048  # px
    columns: int = 2048  # px
    pixel_size: float = 1.0  # Å/px
    clean_share: float = 0.3  # expected share of micrographs without contamination
    kinds: Optional[Sequence[str]] = None  # contaminants to choose from; None: all
    #: Expected share of micrographs that are high- and low-pass filtered and in 8 bits, as in public repositories.
    published_share: float = PUBLISHED
    raw_share: float = 0.0  # expected share of unprocessed frames: shaded, with the offset of a camera
    one_session: bool = False  # one specimen and microscope: only defocus and contamination differ

    def checked(self) -> Dict[str, Any]:
        """Return the settings that determine the files' content.

        Raises
        ------
        SettingsError
            When a setting makes no sense.
        """
        if self.number < 1:
            raise SettingsError("number", f"{self.number} is below 1")
        if self.seed < 0:
            raise SettingsError("seed", f"{self.seed} is negative")
        for name, share in (
            ("clean share", self.clean_share),
            ("published share", self.published_share),
            ("raw share", self.raw_share),
        ):
            if not 0 <= share <= 1:
                raise SettingsError(name, f"{share} is not from 0 to 1")
        chosen = list(self.kinds) if self.kinds else list(KINDS)
        SceneConfig.make(rows=self.rows, columns=self.columns, pixel_size=self.pixel_size, kinds=chosen)
        return {
            "version": VERSION,
            "seed": self.seed,
            "rows": self.rows,
            "columns": self.columns,
            "pixel_size": self.pixel_size,
            "clean_share": self.clean_share,
            "published_share": self.published_share,
            RAW_SHARE: self.raw_share,
            "kinds": chosen,
            "label_sampling": max(LABEL_SAMPLING, self.pixel_size),
            "classes": list(CLASSES),
            ONE_SESSION: self.one_session,
        }


def write_data_set(folder: Path, data_set: DataSet, progress: bool = True) -> List[Path]:
    """Write simulated micrographs with labels, picks and settings.

    ``micrographs/sim_0001.mrc`` float32; ``labels/sim_0001.mrc`` mode 0, class codes at 8 Å/px (or
    the micrograph's own sampling where that is coarser; cell i covers [8 i, 8 (i + 1)) Å, sizes are
    rounded up); ``truth/sim_0001.json`` its settings and picks; ``picks.star`` (good and bad ones mixed),
    ``good.star``, ``bad.star``; ``simulation.json``. Micrographs that are complete are left as they
    are, and each has its own seed, so an interrupted call can be repeated and gives the same files.

    Parameters
    ----------
    folder : Path
        Created if it does not exist.
    data_set : DataSet
        The settings.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of Path
        The micrographs.

    Raises
    ------
    SettingsError
        For settings that make no sense, and a folder that holds a data set made with other ones.
    CryoIceError
        When the folder cannot be written.
    """
    folder = Path(folder)
    settings, number = data_set.checked(), data_set.number
    _claim(folder, settings)
    truths = []
    for index in tqdm(range(1, number + 1), desc="simulating", unit="micrograph", disable=not progress):
        truth = _complete(folder, index)
        truths.append(truth if truth is not None else _write_one(folder, index, settings))
    _write_picks(folder, truths, data_set.seed)
    _write_json(folder / SUMMARY, {**settings, "number": number, "complete": True, "micrographs": _overview(truths)})
    return [folder / MICROGRAPHS / f"{_stem(index)}.mrc" for index in range(1, number + 1)]


def _stem(index: int) -> str:
    return f"sim_{index:04d}"


def _claim(folder: Path, settings: Dict[str, Any]) -> None:
    """Write the settings, or refuse a folder that was made with other ones."""
    path = folder / SUMMARY
    try:
        earlier = read_json(path)
    except FileNotFoundError:
        _write_json(path, {**settings, "complete": False})
        return
    except (OSError, ValueError) as error:
        raise SettingsError(path, f"cannot be read ({error})", "choose another folder") from None
    earlier = {"published_share": PUBLISHED, ONE_SESSION: False, RAW_SHARE: 0.0, **earlier}  # older folders do not say
    changed = [key for key, value in settings.items() if earlier.get(key) != value]
    if changed:
        reason = f"was made with another {', '.join(changed)}"
        raise SettingsError(folder, reason, "choose another folder, or the same settings")


def config_of(index: int, settings: Dict[str, Any]) -> Tuple[SceneConfig, np.random.Generator]:
    """Return the configuration of micrograph ``index`` of a data set, and the generator to simulate it with."""
    rng = np.random.default_rng([settings["seed"], index])
    number = 0
    if rng.random() >= settings["clean_share"]:
        number = int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
    kinds = rng.choice(settings["kinds"], min(number, len(settings["kinds"])), replace=False)
    chosen = [str(kind) for kind in kinds]
    size = (settings["rows"], settings["columns"], settings["pixel_size"])
    shares = (settings["published_share"], settings[RAW_SHARE])
    config = SceneConfig.random(rng, *size, chosen, *shares)
    if settings[ONE_SESSION]:
        session = SceneConfig.random(np.random.default_rng(settings["seed"]), *size, [], *shares)
        defocus = session.defocus_um * float(rng.uniform(*_DEFOCI))
        config = session.model_copy(update={"kinds": config.kinds, "areas": config.areas, "defocus_um": defocus})
    return config, rng


def _write_one(folder: Path, index: int, settings: Dict[str, Any]) -> Dict[str, Any]:
    config, rng = config_of(index, settings)
    scene = simulate(config, rng)
    name = f"{_stem(index)}.mrc"
    sampling = settings["label_sampling"]
    _write_mrc(folder / MICROGRAPHS / name, scene.pixels, config.pixel_size, "cryoice simulated micrograph")
    cells = [int(np.ceil(size * config.pixel_size / sampling)) for size in scene.labels.shape]
    window = (slice(0, cells[0]), slice(0, cells[1]))
    labels = sample_labels(scene.labels, config.pixel_size, window, sampling).astype(np.int8)
    _write_mrc(folder / LABELS / name, labels, sampling, LABEL_TITLE)
    truth = _truth(scene, name)
    _write_json(folder / TRUTH / f"{_stem(index)}.json", truth)  # last: marks the micrograph as complete
    return truth


def _truth(scene: Scene, name: str) -> Dict[str, Any]:
    shares = np.bincount(scene.labels.ravel(), minlength=len(CLASSES)) / scene.labels.size
    return {
        "micrograph": name,
        "diameter": round(2 * scene.config.particle_radius / scene.config.pixel_size, 2),
        "areas": {name: round(float(share), 5) for name, share in zip(CLASSES, shares) if share > 0},
        "particles": np.round(scene.particles, 2).tolist(),
        "false_picks": np.round(scene.false_picks, 2).tolist(),
        "config": json.loads(scene.config.model_dump_json()),
    }


def _complete(folder: Path, index: int) -> Optional[Dict[str, Any]]:
    """Return the truth of a micrograph all of whose files are there, otherwise None."""
    name = f"{_stem(index)}.mrc"
    if not (folder / MICROGRAPHS / name).is_file() or not (folder / LABELS / name).is_file():
        return None
    try:
        truth: Dict[str, Any] = read_json(folder / TRUTH / f"{_stem(index)}.json")
    except (OSError, ValueError):
        return None
    return truth


def _overview(truths: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    return [
        {
            "micrograph": truth["micrograph"],
            "kinds": truth["config"]["kinds"],
            "bad_area": round(1 - sum(truth["areas"].get(name, 0) for name in (GOOD, BORDER)), 5),
            "good": len(truth["particles"]),
            "bad": len(truth["false_picks"]),
        }
        for truth in truths
    ]


def _table(truth: Dict[str, Any], key: str) -> pd.DataFrame:
    points = np.asarray(truth[key], dtype=float).reshape(-1, 2)
    return pd.DataFrame(
        {
            "rlnMicrographName": [f"{MICROGRAPHS}/{truth['micrograph']}"] * len(points),
            "rlnCoordinateX": points[:, 0],
            "rlnCoordinateY": points[:, 1],
            "cryoiceDiameter": [float(truth["diameter"])] * len(points),
        }
    )


def _write_picks(folder: Path, truths: List[Dict[str, Any]], seed: int) -> None:
    """Write all picks, mixed within each micrograph as a picker would leave them, and both kinds apart."""
    mixed = []
    for index, truth in enumerate(truths, start=1):
        both = pd.concat([_table(truth, "particles"), _table(truth, "false_picks")], ignore_index=True)
        mixed.append(both.iloc[np.random.default_rng([seed, index, 1]).permutation(len(both))])
    tables = {
        "picks.star": mixed,
        "good.star": [_table(truth, "particles") for truth in truths],
        "bad.star": [_table(truth, "false_picks") for truth in truths],
    }
    for name, parts in tables.items():
        write_star(folder / name, pd.concat(parts, ignore_index=True))


def _write_mrc(path: Path, array: Array, sampling: float, title: str) -> None:
    with replacing(path) as temporary, mrcfile.new(str(temporary), overwrite=True) as mrc:
        mrc.set_data(array)
        mrc.voxel_size = sampling
        mrc.header.label[0] = title[:79].ljust(80)  # instead of mrcfile's label, which holds the time
        mrc.header.nlabl = 1


def _write_json(path: Path, values: Dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
