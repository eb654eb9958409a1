# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a screening, and the model folder: the fields of the classes that validate them; the kinds of detectors.

The build fails if a field has no description here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Tuple

from cryoice_scipion.core.config import ModelConfig, ScreenConfig, ViewConfig
from cryoice_scipion.core.detectors import model_folder
from cryoice_scipion.core.detectors.kinds import KINDS
from site_builder.markdown import code, described, table

_SCREEN: Dict[str, Tuple[str, str]] = {  # unit, description
    "model": ("", 'Name of a shipped model, or a model folder. In Python, give it to `load("…")` instead.'),
    "threshold": ("0 to 1", "Smallest goodness of a kept coordinate. −1 keeps all. None: the model's recommendation."),
    "margin": ("Å", "Bad area within this distance of the particle's edge rejects the coordinate."),
    "margins": ("Å", "Margins of single classes, such as `{'support': 100}`."),
    "ignore": ("", "Classes that count as good."),
    "min_area": ("nm²", "Smaller bad regions count as good."),
    "contrast": ("", "Contrast of the particles: `auto`, `dark` or `bright`."),
    "reference": ("micrographs", "Number of first micrographs that decide the contrast of the session."),
    "max_bad_area": ("0 to 1", "A micrograph with more bad area is discarded."),
    "pixel_size": ("Å/px", "Pixel size. It overrides the headers. None: the headers'."),
    "particle_diameter": ("Å", "Particle diameter. None: the coordinate file's, else two thirds of the box size."),
    "box_size": ("px", "Box size of coordinates whose file does not contain it."),
    "coordinates_pixel_size": ("Å/px", "Pixel size that the coordinates are in. Empty: from the coordinate files."),
    "flip_y": ("", "Whether the coordinates count rows from the other end of the image."),
    "outlier": ("", "Measure how unlike the session's reference each micrograph is. Grades use this measurement."),
    "regions": ("", "List the regions of bad area, each with its class and its size."),
    "region_maps": ("", "Also write the number of the region of each map cell."),
    "grade": ("", "Grade micrographs, if the model tells the classes of bad area apart."),
    "grader": ("", "Folder of a trained grader. Empty: the shipped grader."),
    "miss_cost": ("", "Cost of a bad micrograph with a good grade, relative to that of a good one with a bad grade."),
    "reject_grades": ("", "Micrographs of these grades are discarded."),
    "full_size_masks": ("", "Also write masks of the micrographs' own size."),
    "thumbnails": ("", "Write thumbnails."),
    "box_files": ("", "Whether EMAN .box files of the kept coordinates are written too. It may change on resume."),
    "max_thumbnails": ("", "Largest number of thumbnails. −1: no limit. It may change on resume."),
}
_MODEL: Dict[str, str] = {
    "schema_version": "Version of the format of `model.json`.",
    "name": "Name of the model.",
    "created": "Date, and version of the package.",
    "network": "Detector kind; see [Detector kinds](detector-kinds.md).",
    "network_options": "Options of the detector kind, such as the number of channels.",
    "classes": "Classes of the model, in the order of its outputs.",
    "views": "Inputs of the detector; see below.",
    "stride": "Side of a map cell, in pixels of the first view.",
    "temperature": "Calibration: log-odds are divided by it.",
    "recommended_threshold": "Threshold on the goodness of single cells. Masks use it.",
    "pick_threshold": "Threshold on the goodness of coordinates. None: `recommended_threshold`.",
    "baseline_logit": "Level of the session reference on held-out micrographs (log-odds).",
    "offset_limit": "Largest session offset that is subtracted (log-odds).",
    "offset_tolerance": "A session further than this above `baseline_logit` is flagged as unusual (log-odds).",
    "metrics": "Accuracy on validation and test micrographs. The model card shows it.",
    "trained_on": "Description of the training data, by topic. The model card shows it.",
}
_VIEW: Dict[str, str] = {
    "kind": "Name of the view; see [Views](../explanation/method.md#views).",
    "sampling": "Sampling in Å/px, or Å per cell. For spectra: the finest sampling that is used.",
    "window": "Side of the window in pixels of that sampling. None: the whole micrograph.",
    "required": "`false`: the model also works without this view, if the pixels are too coarse for it.",
}
_FILES = (
    (model_folder.MODEL_JSON, "Description of the model; see below."),
    (model_folder.WEIGHTS, "Weights, as safetensors. Loading them executes nothing. Untrained kinds have none."),
    (model_folder.CARD, "Model card: training data, accuracy, limits. `cryoice info` prints it."),
    (model_folder.HISTORY, "Loss and accuracy of each epoch."),
    ("*.png, mistakes.csv", "Plots, and the patches on which model and labels disagree most."),
    (
        "sweep.csv, importance.png",
        "Trials of a sweep, and the importance of the settings; see [Tune the training](../how-to/tune-training.md).",
    ),
    (
        f"{model_folder.DASHBOARD}/",
        "Event files of TensorBoard, if the training wrote a dashboard. Not part of the model.",
    ),
    (model_folder.SUMS, "SHA-256 of each file. `sha256sum -c SHA256SUMS` checks the folder."),
)


def screen_settings() -> str:
    """Return the settings of a screening."""
    return _fields(ScreenConfig, {name: text for name, (_, text) in _SCREEN.items()}, _SCREEN)


def model_fields() -> str:
    """Return the fields of model.json."""
    return _fields(ModelConfig, _MODEL)


def view_fields() -> str:
    """Return the fields of one view in model.json."""
    return _fields(ViewConfig, _VIEW)


def model_files() -> str:
    """Return the files of a model folder."""
    return table(("File", "Content"), [(code(name), text) for name, text in _FILES])


def detector_kinds() -> str:
    """Return the kinds of detectors, with the shipped models of each."""
    folders = sorted(Path(model_folder._PACKAGED).iterdir())
    shipped: Dict[str, str] = {}
    for folder in (folder for folder in folders if (folder / model_folder.MODEL_JSON).is_file()):
        network = json.loads((folder / model_folder.MODEL_JSON).read_text(encoding="utf-8"))["network"]
        shipped[network] = ", ".join(filter(None, [shipped.get(network, ""), code(folder.name)]))
    rows = [
        (
            code(kind.name),
            kind.help,
            ", ".join(map(code, kind.views)),
            "yes" if kind.trainer else "no",
            "yes" if kind.has_weights else "no",
            shipped.get(kind.name, ""),
            code(kind.module),
        )
        for kind in KINDS.values()
    ]
    header = ("Kind", "Method", "Views for `--views`", "Trained", "Weights", "Shipped model", "Module")
    return table(header, rows)


def _fields(settings: Any, texts: Dict[str, str], units: Dict[str, Tuple[str, str]] = {}) -> str:  # noqa: B006
    """Return the fields of a class of settings."""
    rows = []
    for name, text in zip(settings.model_fields, described(settings.model_fields, texts, settings.__name__)):
        field = settings.model_fields[name]
        default = "required" if field.is_required() else code(field.get_default(call_default_factory=True))
        unit = (units[name][0],) if units else ()
        rows.append((code(name), default, *unit, text))
    return table(("Name", "Default", *(("Unit",) if units else ()), "Meaning"), rows)
