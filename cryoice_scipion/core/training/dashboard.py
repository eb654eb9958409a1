# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a training for TensorBoard while it runs. The numbers are those of history.csv, which is always written."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any, Mapping, Optional

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.model_folder import DASHBOARD
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.reports.mistakes import hardest, mistakes_picture
from cryoice_scipion.core.reports.plots import calibration_figure
from cryoice_scipion.core.training.metrics import expected_calibration_error
from cryoice_scipion.core.training.model_card import flat
from cryoice_scipion.core.training.trainers import Epoch, Positions, Result, TrainRequest, train_model

_THRESHOLD = 0.5  # on goodness; the recommended one is known only at the end
_EMBEDDED = 500  # positions in the projector
_SHOWN = 24  # px of a thumbnail in the projector
_METRICS = ("_auc", "_ap", "_ece")  # of a model, in the table of hyperparameters
_PLAIN = (str, int, float, bool)


def require_tensorboard() -> None:
    """Check that TensorBoard is installed.

    Raises
    ------
    SettingsError
        When it is not; the message has the command that installs it.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise SettingsError(
            "--dashboard", "TensorBoard is not installed", f"{sys.executable} -m pip install tensorboard"
        )


class Dashboard:
    """The event files of one training."""

    def __init__(self, folder: Path) -> None:
        """Start anew: event files of an earlier training in this folder are deleted.

        Raises
        ------
        SettingsError
            When TensorBoard is not installed.
        """
        require_tensorboard()
        tensorboard: Any = importlib.import_module("torch.utils.tensorboard")  # needs the package
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = tensorboard.SummaryWriter(str(folder), flush_secs=5)
        self._last: Optional[Epoch] = None

    def epoch(self, epoch: Epoch) -> None:
        """Write the curves, precision and recall, calibration, and the worst mistakes of an epoch."""
        step = int(epoch.row["epoch"])
        for name, value in epoch.row.items():
            if name != "epoch":
                self._writer.add_scalar(_title(name), value, step)
        if epoch.positions is not None:
            self._write_positions(epoch.positions(), step)
        self._writer.flush()
        self._last = epoch

    def _write_positions(self, positions: Positions, step: int) -> None:
        table = positions.table
        bad, p_bad = (table["label"] != GOOD).to_numpy(), table["p_bad"].to_numpy()
        self._writer.add_scalar("validation/ece", expected_calibration_error(p_bad, bad), step)
        self._writer.add_pr_curve("precision_recall", bad, p_bad, step)
        self._writer.add_image("calibration", _pixels(calibration_figure(p_bad, bad)), step, dataformats="HWC")
        found = hardest(table, _THRESHOLD)
        picture = mistakes_picture(
            found, positions.patches(found.index.to_numpy()) if len(found) else np.zeros((0, 8, 8))
        )
        self._writer.add_image("worst mistakes", np.asarray(picture), step, dataformats="HWC")

    def finish(self, config: TrainConfig, metrics: Mapping[str, float]) -> None:
        """Write the hyperparameters beside the metrics, and the embedding; then close the files."""
        shown = {name: value for name, value in metrics.items() if name.endswith(_METRICS)}
        self.hyperparameters(dict(flat(config.model_dump())), shown)
        if self._last is not None and self._last.positions is not None:
            self._embed(self._last.positions(), int(self._last.row["epoch"]))
        self.close()

    def hyperparameters(self, settings: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Write the row of this training in the table of hyperparameters."""
        row = {name: value if isinstance(value, _PLAIN) else _words(value) for name, value in settings.items()}
        summaries: Any = importlib.import_module("torch.utils.tensorboard.summary")
        results = {f"result/{name}": value for name, value in metrics.items() if np.isfinite(value)}
        for summary in summaries.hparams(row, dict(results)):
            self._writer.file_writer.add_summary(summary)
        for name, value in results.items():
            self._writer.add_scalar(name, value)

    def close(self) -> None:
        """Close the files."""
        self._writer.close()

    def _embed(self, positions: Positions, step: int) -> None:
        """Write what the last layer reads at some validation positions, with thumbnails, for the projector."""
        table, features = positions.table, positions.features()
        rows = np.sort(np.random.default_rng(0).permutation(len(table))[:_EMBEDDED])
        names = ["label", "p_bad", "micrograph", "x", "y"]
        words = [[_words(value) for value in row] for row in table.iloc[rows][names].itertuples(index=False)]
        pictures = _thumbnails(positions.patches(rows))
        self._writer.add_embedding(features[rows], words, pictures, step, "last_layer", names)


def train_with_dashboard(request: TrainRequest, folder: Optional[Path] = None) -> Result:
    """Train a model and write its dashboard meanwhile; otherwise as ``trainers.train_model``.

    ``folder`` is that of the event files, by default ``dashboard`` in the model folder.

    Raises
    ------
    SettingsError
        When TensorBoard is not installed.
    """
    dashboard = Dashboard(folder or request.output / DASHBOARD)
    try:
        result = train_model(dataclasses.replace(request, on_epoch=dashboard.epoch))
        dashboard.finish(request.config, result.config.metrics)
        return result
    finally:
        dashboard.close()


def _words(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _title(name: str) -> str:
    """Return a name with its group: the curves of train and validation losses are drawn in groups."""
    part, _, rest = name.partition("_")
    return f"{part}/{rest}" if rest and part in ("train", "validation") else name


def _pixels(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as an image (rows, columns, 3)."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3]
    return pixels


def _thumbnails(patches: NDArray[np.float32]) -> Any:
    """Return small grey pictures (n, 3, rows, columns) from 0 to 1 of normalised patches."""
    import torch
    from torch.nn import functional

    small = functional.interpolate(torch.from_numpy(np.array(patches))[:, None], (_SHOWN, _SHOWN), mode="area")
    low, high = torch.quantile(small.flatten()[:1000000], torch.tensor([0.01, 0.99])).tolist()
    return ((small - low) / max(high - low, 1e-6)).clamp(0, 1).expand(-1, 3, -1, -1)
