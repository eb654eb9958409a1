# SPDX-License-Identifier: GPL-3.0-or-later
"""The model folder: model.json, weights.safetensors, history.csv, card.md, plots, SHA256SUMS. Imports no torch.

``sha256sum -c SHA256SUMS`` also checks a folder. Weights are safetensors, so that loading them executes no code.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Dict, Iterator, Union

from cryoice_scipion.constants import CLASSES, DEFAULT_MODEL, GOOD, GRADES
from cryoice_scipion.core.config import SCHEMA_VERSION, ModelConfig
from cryoice_scipion.core.detectors.kinds import KINDS
from cryoice_scipion.core.errors import CryoIceError, ModelError, SettingsError, one_line

MODEL_JSON = "model.json"
WEIGHTS = "weights.safetensors"
HISTORY = "history.csv"
CARD = "card.md"
SUMS = "SHA256SUMS"
DASHBOARD = "dashboard"  # folder with the event files of TensorBoard, which are no part of the model
UNFINISHED = "unfinished.pt"  # checkpoint from which an interrupted training continues
_PACKAGED = Path(__file__).resolve().parents[2] / "models"
_LARGEST_TEXT = 4 << 20  # bytes of model.json, SHA256SUMS, and what is shown of a card
_LONGEST = 200  # characters of an error of a library
_REMEDY = "copy the whole model folder again, or train the model again"


def resolve_model(model: Union[str, Path]) -> Path:
    """Return the folder of a model given by its path, or by the name of one that comes with the package.

    Raises
    ------
    ModelError
        When there is no such folder.
    """
    remedy = f"give a model folder, or '{DEFAULT_MODEL}' for the shipped model"
    if not str(model):
        raise ModelError("model", "no folder is given", remedy)
    for folder in (Path(model), _PACKAGED / str(model)):
        if (folder / MODEL_JSON).is_file():
            return folder.resolve()
    if Path(model).is_dir():
        raise ModelError(model, f"is not a model folder ({MODEL_JSON} is missing)", _REMEDY)
    raise ModelError(model, "no such model", remedy)


def load_config(folder: Path) -> ModelConfig:
    """Check the files of a model folder, and return the content of model.json.

    Raises
    ------
    ModelError
        When a file is missing, was altered, or is of a version that this package cannot read.
    """
    check_sums(folder)
    try:
        _check_size(folder, MODEL_JSON)
        config = ModelConfig.load(folder / MODEL_JSON)
    except SettingsError as error:
        raise ModelError(folder / MODEL_JSON, error.reason, "use the version of this package that wrote it") from None
    has_weights = config.network not in KINDS or KINDS[config.network].has_weights
    if has_weights and WEIGHTS not in read_sums(folder):
        raise ModelError(folder, f"{SUMS} does not list {WEIGHTS}", _REMEDY)
    if config.schema_version > SCHEMA_VERSION:
        raise ModelError(
            folder,
            f"was written by a newer version (schema {config.schema_version}, supported: {SCHEMA_VERSION})",
            "update this package",
        )
    if config.network in KINDS:
        _check_classes(folder, config)
    return config


def _check_classes(folder: Path, config: ModelConfig) -> None:
    """Make sure that a grader gives the grades of this version, and a detector classes that it knows, good first."""
    classes, grades = config.classes, KINDS[config.network].grades
    known = GRADES if grades else CLASSES
    is_known = set(classes) <= set(known) and len(set(classes)) == len(classes)
    if not is_known or (tuple(classes) != GRADES if grades else classes[0] != GOOD):
        given = ", ".join(classes)[:_LONGEST]
        reason = f"has the classes {given}, and this version knows {', '.join(known)}, in this order"
        raise ModelError(folder / MODEL_JSON, reason, "use the version of this package that wrote it")


@contextlib.contextmanager
def fitting(folder: Path, config: ModelConfig) -> Iterator[None]:
    """Turn every error while a network is built and its weights are read into one line.

    Raises
    ------
    ModelError
        When the weights of the folder are not those of the network that model.json describes.
    """
    try:
        yield
    except CryoIceError:
        raise
    except Exception as error:  # torch, numpy and safetensors raise many kinds for files of strangers
        reason = f"does not fit the network '{config.network}' ({one_line(error)[:_LONGEST] or type(error).__name__})"
        remedy = "copy the whole model folder again, or train the model again with this version"
        raise ModelError(folder / WEIGHTS, reason, remedy) from error


def read_card(folder: Path) -> str:
    """Return the text of the model card; empty without one."""
    path = own_file(folder, CARD)
    if not os.path.isfile(path):
        return ""
    with path.open("rb") as stream:
        return stream.read(_LARGEST_TEXT).decode("utf-8", "replace")


def own_file(folder: Path, name: str) -> Path:
    """Return the path of a file in a model folder.

    Raises
    ------
    ModelError
        When it lies elsewhere, by its name or because it is a link: a model of a stranger must not read other files.
    """
    path = folder / name
    try:
        is_inside = path.resolve().parent == folder.resolve()
    except (OSError, ValueError, RuntimeError):  # a link to itself, a name that no file can have
        is_inside = False
    if not is_inside:
        raise ModelError(folder, f"{name} lies outside the folder", "get the model again from its source")
    return path


def check_sums(folder: Path) -> None:
    """Compare every file of a model folder with its recorded SHA-256.

    Raises
    ------
    ModelError
        That names the first file that is missing or altered.
    """
    for name, recorded in read_sums(folder).items():
        if not os.path.isfile(own_file(folder, name)):
            raise ModelError(folder, f"{name} is missing", _REMEDY)
        if _sha256(folder / name) != recorded:
            raise ModelError(folder, f"{name} was modified or is damaged (its SHA-256 differs)", _REMEDY)


def read_sums(folder: Path) -> Dict[str, str]:
    """Return the recorded SHA-256 of each file of a model folder."""
    path = own_file(folder, SUMS)
    if not os.path.isfile(path):
        raise ModelError(folder, f"{SUMS} is missing", _REMEDY)
    _check_size(folder, SUMS)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ModelError(path, f"cannot be read ({error.strerror or error})", "check its permissions") from None
    except UnicodeDecodeError:
        raise ModelError(folder, f"{SUMS} is damaged", _REMEDY) from None
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines) if name}
    if MODEL_JSON not in sums:
        raise ModelError(folder, f"{SUMS} does not list {MODEL_JSON}", _REMEDY)
    return sums


def _check_size(folder: Path, name: str) -> None:
    size = os.path.getsize(folder / name)
    if size > _LARGEST_TEXT:
        raise ModelError(folder, f"{name} has {size:,} bytes, and at most {_LARGEST_TEXT:,} are read", _REMEDY)


def write_sums(folder: Path) -> None:
    """Record the SHA-256 of every file in a model folder, as the last step of saving a model."""
    left_out = (SUMS, UNFINISHED)
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in left_out)
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def fingerprint(folder: Path) -> str:
    """Return a digest of model.json and weights; folders with the same fingerprint give the same maps."""
    sums = read_sums(folder)
    return hashlib.sha256((sums[MODEL_JSON] + sums.get(WEIGHTS, "")).encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise ModelError(path, f"cannot be read ({error.strerror or error})", "check its permissions") from None
    return digest.hexdigest()
