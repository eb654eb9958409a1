# SPDX-License-Identifier: GPL-3.0-or-later
"""Cut labelled patches out of micrographs, and store them as a folder that training reads.

real.npy
    (n, 64, 64), normalised patches.
fft.npy
    (n, 64, 64), their log power spectra, for inspection. Training computes them from the augmented patches.
local.npy, coarse.npy, spectrum.npy
    (n, 64, 64), (n, 2, 64, 64) and (n, features): further views, NaN beyond a micrograph's resolution; see
    ``views/patch_spectrum.py``.
embedding.npy
    (n, features), what the last layer of a network reads at each position, for fine-tuning.
patches.csv, patches.json
    One row a patch, and how the set was made.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cryoice_scipion.constants import BORDER, GOOD
from cryoice_scipion.core.config import PatchConfig
from cryoice_scipion.core.detectors.network_detector import NetworkDetector
from cryoice_scipion.core.detectors.unet import EMBEDDING
from cryoice_scipion.core.errors import CryoIceError, SettingsError, counted
from cryoice_scipion.core.evaluation.labels import COLUMNS, LabelledMicrograph
from cryoice_scipion.core.images.identity import content_of
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.json_files import read_json
from cryoice_scipion.core.screening.csv_table import write_csv
from cryoice_scipion.core.training.patches.background import draw_background
from cryoice_scipion.core.views.micrograph import check_sampling, micrograph_spectra, micrograph_view
from cryoice_scipion.core.views.patch_spectrum import WINDOW, MicrographViews
from cryoice_scipion.core.views.patches import cut, fft_view, full_plane, normalise
from cryoice_scipion.core.views.spectrum import Spectra

REAL, FFT, TABLE, META = "real.npy", "fft.npy", "patches.csv", "patches.json"
BACKGROUND = "background"
# the views beside the patch, and the types they are stored in
KINDS = {"local": np.float16, "coarse": np.float16, "spectrum": np.float32, EMBEDDING: np.float32}
ALL_VIEWS = ("patch", "fft", "local", "coarse", "spectrum")  # that need no network
Arrays = Dict[str, NDArray[np.generic]]


@dataclasses.dataclass
class PatchSet:
    """Labelled patches of one sampling."""

    real: NDArray[np.float32]  # (n, window, window)
    table: pd.DataFrame  # label, micrograph, x, y (px of the micrograph), origin, sampling (Å/px), copy (0: as is)
    sampling: float  # Å/px
    messages: List[str] = dataclasses.field(default_factory=list)  # what was left out, and why
    further: Arrays = dataclasses.field(default_factory=dict)  # further views by name, of KINDS
    #: What tells the file of each micrograph from others, by name; micrographs that are missing here are not known.
    contents: Dict[str, str] = dataclasses.field(default_factory=dict)

    def views(self, kinds: Sequence[str]) -> Arrays:
        """Return the arrays that a network of these views takes, by name; "fft" is computed from "patch".

        Raises
        ------
        SettingsError
            When the set was cut without one of them.
        """
        absent = [kind for kind in kinds if kind in KINDS and kind not in self.further]
        if absent:
            remedy = "give the micrographs and coordinates, not patches" if EMBEDDING in absent else "cut them anew"
            raise SettingsError("patches", f"hold no {' and no '.join(absent)} view", remedy)
        return {"patch": self.real, **{kind: self.further[kind] for kind in kinds if kind in KINDS}}

    def save(self, folder: Path) -> None:
        """Write the set as a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / REAL, self.real)
        spectra = np.lib.format.open_memmap(folder / FFT, mode="w+", dtype=np.float32, shape=self.real.shape)  # type: ignore[no-untyped-call]
        for start in range(0, len(self.real), 1024):
            half = fft_view(torch.from_numpy(self.real[start : start + 1024]))
            spectra[start : start + 1024] = full_plane(half).numpy()
        spectra.flush()
        for kind in KINDS:
            if kind in self.further:
                np.save(folder / f"{kind}.npy", self.further[kind])
            else:
                (folder / f"{kind}.npy").unlink(missing_ok=True)  # left from an older set in this folder
        write_csv(folder / TABLE, self.table)
        head = {"sampling": self.sampling, "counts": self.counts(), "messages": self.messages}
        head["micrographs"] = self.contents
        (folder / META).write_text(json.dumps(head, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> PatchSet:
        """Read a set that :meth:`save` wrote.

        Raises
        ------
        SettingsError
            When a file is missing, or the files have different numbers of patches.
        """
        try:
            head = read_json(folder / META)
            real = np.load(folder / REAL, allow_pickle=False)
            paths = {kind: folder / f"{kind}.npy" for kind in KINDS}
            further = {kind: np.load(path, allow_pickle=False) for kind, path in paths.items() if path.is_file()}
            table = pd.read_csv(folder / TABLE, keep_default_na=False, dtype={"micrograph": str})
        except (OSError, ValueError) as error:
            raise SettingsError(folder, f"is no patch set ({error})", "make one with 'cryoice patches'") from None
        for name, array in ((REAL, real), *((paths[kind].name, array) for kind, array in further.items())):
            if len(array) != len(table):
                raise SettingsError(
                    folder,
                    f"{name} holds {counted(len(array), 'patch', 'patches')}, {TABLE} {len(table)}",
                    "make it anew",
                )
        contents = dict(head.get("micrographs", {}))
        return cls(real, table, float(head["sampling"]), list(head["messages"]), further, contents)

    def counts(self) -> Dict[str, int]:
        """Return the number of patches of each origin and label."""
        groups = self.table[self.table["copy"] == 0].groupby(["origin", "label"]).size()
        return {f"{origin} {label}": int(number) for (origin, label), number in groups.items()}


def cut_patches(
    micrographs: Sequence[LabelledMicrograph],
    config: PatchConfig,
    progress: bool = True,
    views: Sequence[str] = ALL_VIEWS,
    embedder: Optional[NetworkDetector] = None,
) -> PatchSet:
    """Cut patches at the labelled positions out of their micrographs, and draw backgrounds.

    Micrographs that cannot be read are left out with a message. So are positions outside the frame or on its border,
    since detectors find borders themselves.

    Parameters
    ----------
    micrographs : sequence of LabelledMicrograph
    config : PatchConfig
    progress : bool
        Whether to show a bar.
    views : sequence of str
        The views to cut; the patch itself always is.
    embedder : NetworkDetector, optional
        Needed for the view "embedding": the detector whose features are stored. No copies at a jittered sampling are
        made then.

    Raises
    ------
    SettingsError
        When no patch is left.
    """
    only_clean = any(item.clean for item in micrographs)
    cutter = _Cutter(config, views, embedder)
    parts: List[Tuple[Arrays, pd.DataFrame]] = []
    for index, item in enumerate(tqdm(micrographs, desc="patches", unit="mic", disable=not progress)):
        try:
            background = config.background and not item.complete and (item.clean or not only_clean)
            rng = np.random.default_rng([config.seed, index])
            parts += cutter.cut(item, background, rng)
        except CryoIceError as error:
            what = "" if item.path.rpartition("@")[2] in str(error) else f"{item.path}: "
            cutter.messages.append(f"left out: {what}{error}")
    if not sum(len(table) for _, table in parts):
        reason = cutter.messages[0] if cutter.messages else "give coordinates"
        raise SettingsError("patches", "none could be cut", reason)
    joined = {kind: np.concatenate([arrays.pop(kind) for arrays, _ in parts]) for kind in list(parts[0][0])}
    table = pd.concat([table for _, table in parts], ignore_index=True)
    contents = {item.stem: content_of(item.path) for item in micrographs}
    return PatchSet(joined.pop("patch"), table, config.sampling, cutter.messages, joined, contents)


class _Cutter:
    """Cuts the patches of one micrograph after the other, with the same settings."""

    def __init__(self, config: PatchConfig, views: Sequence[str], embedder: Optional[NetworkDetector]) -> None:
        self.config = config
        self.copies = 0 if embedder else config.jitter_copies
        self.spectra = config.window == WINDOW and bool({"local", "coarse", "spectrum"} & set(views))
        self.embedder = embedder
        self.messages: List[str] = []

    def cut(
        self, item: LabelledMicrograph, background: bool, rng: np.random.Generator
    ) -> List[Tuple[Arrays, pd.DataFrame]]:
        """Return views and rows of one micrograph: at the sampling itself, then of each copy at a jittered one."""
        config = self.config
        micrograph = load_micrograph(item.path, config.pixel_size or item.pixel_size)
        pixel_size, border = micrograph.pixel_size, micrograph.border
        check_sampling(pixel_size, config.sampling)
        points = _usable(item.points_on(micrograph), item.stem, border, self.messages)
        points = _at_most(points, config.max_per_micrograph, rng, item.stem, self.messages)
        parts = []
        bright, cpu = item.is_bright(config.contrast), torch.device("cpu")
        spectra = micrograph_spectra(micrograph.image, pixel_size, border, cpu) if self.spectra else None
        for copy in range(1 + self.copies):
            jitter = rng.uniform(-1.0, 1.0) * config.sampling_jitter if copy else 0.0
            sampling = config.sampling * (1.0 + jitter)
            view, inside = micrograph_view(micrograph.image, pixel_size, border, sampling, cpu)
            view = normalise(view, inside, bright)
            scale = pixel_size / sampling
            if copy == 0 and background:
                points = _with_background(points, view, inside, scale, config, rng)
            if points.empty:
                break
            centres = torch.from_numpy(points[["x", "y"]].to_numpy(dtype=np.float64) * scale)
            table = points.assign(micrograph=item.stem, sampling=round(sampling, 4), copy=copy)
            views = _views(view, centres, config.window, spectra, pixel_size, scale)
            if self.embedder is not None:
                features = self.embedder.features(micrograph.image, pixel_size, border, bright)
                views[EMBEDDING] = _embedded(features, centres.numpy() / self.embedder.stride)
            parts.append((views, table))
        return parts


def _embedded(features: torch.Tensor, centres: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the feature vectors (n, features) of the map cells that contain positions (n, 2), x and y in cells."""
    column, row = (np.clip(centres[:, axis].astype(np.int64), 0, int(features.shape[2 - axis]) - 1) for axis in (0, 1))
    found: NDArray[np.float32] = features.numpy()[:, row, column].T.copy()
    return found


def _views(
    view: torch.Tensor, centres: torch.Tensor, window: int, spectra: Optional[Spectra], pixel_size: float, scale: float
) -> Arrays:
    """Return the views around positions (px of the context view); only the patch if there are no spectra."""
    if spectra is None:
        return {"patch": cut(view, centres, window).numpy()}
    native = centres / scale * (pixel_size / spectra.sampling)
    views = MicrographViews(view, spectra).cut(centres, native)
    return {kind: array.numpy().astype(KINDS.get(kind, np.float32)) for kind, array in views.items()}


def _usable(points: pd.DataFrame, stem: str, border: NDArray[np.bool_], messages: List[str]) -> pd.DataFrame:
    """Return the points on the image; report the number outside the frame and on the border."""
    x, y = points["x"].to_numpy(dtype=np.float64), points["y"].to_numpy(dtype=np.float64)
    rows, columns = border.shape
    inside = (x >= 0) & (y >= 0) & (x < columns) & (y < rows)
    on_border = np.zeros(len(x), dtype=bool)
    on_border[inside] = border[y[inside].astype(int), x[inside].astype(int)]
    on_border |= (points["label"] == BORDER).to_numpy() & inside
    for number, where in ((int((~inside).sum()), "outside the frame"), (int(on_border.sum()), "on the border")):
        if number:
            messages.append(f"{stem}: {counted(number, 'coordinate')} {where} left out")
    return points[inside & ~on_border]


def _at_most(
    points: pd.DataFrame, number: int, rng: np.random.Generator, stem: str, messages: List[str]
) -> pd.DataFrame:
    """Return at most ``number`` points of a micrograph; GOOD ones are left out first, at random."""
    surplus = len(points) - number
    if surplus <= 0:
        return points.reset_index(drop=True)
    messages.append(f"{stem}: {counted(surplus, 'coordinate')} beyond {number} left out, at random")
    order = rng.permutation(len(points))
    bad_first = order[np.argsort((points["label"] == GOOD).to_numpy()[order], kind="stable")]
    return points.iloc[np.sort(bad_first[:number])].reset_index(drop=True)


def _with_background(
    points: pd.DataFrame,
    view: torch.Tensor,
    inside: torch.Tensor,
    scale: float,
    config: PatchConfig,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the points with clean positions added.

    Their number is that of the GOOD points, or of all points if there are no GOOD ones.
    """
    good = points["label"] == GOOD
    positions = points[["x", "y"]].to_numpy(dtype=np.float64) * scale
    number = round(config.background_ratio * (int(good.sum()) or len(points) or config.max_per_micrograph // 4))
    drawn = draw_background(view, inside, positions, positions[~good.to_numpy()], number, config.window, rng) / scale
    extra = pd.DataFrame({"x": drawn[:, 0], "y": drawn[:, 1], "label": GOOD, "origin": BACKGROUND}, columns=COLUMNS)
    return pd.concat([points, extra], ignore_index=True) if len(extra) else points
