# SPDX-License-Identifier: GPL-3.0-or-later
"""The model folder: model.json, weights.safetensors, history.csv, card.md, plots, SHA256SUMS. Imports no torch.

``sha256sum -c SHA256SUMS`` also checks a folder. Weights are safetensors, so that loading them executes no code.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Dict, Union

from cryoice_scipion.constants import DEFAULT_MODEL
from cryoice_scipion.core.config import SCHEMA_VERSION, ModelConfig
from cryoice_scipion.core.detectors.kinds import KINDS
from cryoice_scipion.core.errors import ModelError, SettingsError

MODEL_JSON = "model.json"
WEIGHTS = "weights.safetensors"
HISTORY = "history.csv"
CARD = "card.md"
SUMS = "SHA256SUMS"
DASHBOARD = "dashboard"  # folder with the event files of TensorBoard, which are no part of the model
UNFINISHED = "unfinished.pt"  # checkpoint from which an interrupted training continues
_PACKAGED = Path(__file__).resolve().parents[2] / "models"
_REMEDY = "copy the whole model folder again, or train the model again"


def resolve_model(model: Union[str, Path]) -> Path:
    """Return the folder of a model given by its path, or by the name of one that comes with the package.

    Raises
    ------
    ModelError
        When there is no such folder.
    """
    for folder in (Path(model), _PACKAGED / str(model)):
        if (folder / MODEL_JSON).is_file():
            return folder.resolve()
    if Path(model).is_dir():
        raise ModelError(model, f"is not a model folder ({MODEL_JSON} is missing)", _REMEDY)
    raise ModelError(model, "no such model", f"give a model folder, or '{DEFAULT_MODEL}' for the shipped model")


def load_config(folder: Path) -> ModelConfig:
    """Check the files of a model folder, and return the content of model.json.

    Raises
    ------
    ModelError
        When a file is missing, was altered, or is of a version that this package cannot read.
    """
    check_sums(folder)
    try:
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
    return config


def unfit_weights(folder: Path, config: ModelConfig, error: Exception) -> ModelError:
    """Return the error to raise when the weights of a folder are not those of the network that model.json names."""
    reason = f"does not fit the network '{config.network}' ({str(error).splitlines()[0]})"
    return ModelError(folder / WEIGHTS, reason, "train it again with this version, or use the version that wrote it")


def read_card(folder: Path) -> str:
    """Return the text of the model card; empty without one."""
    path = own_file(folder, CARD)
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def own_file(folder: Path, name: str) -> Path:
    """Return the path of a file in a model folder.

    Raises
    ------
    ModelError
        When it lies elsewhere, by its name or because it is a link: a model of a stranger must not read other files.
    """
    path = folder / name
    if path.resolve().parent != folder.resolve():
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
        if not own_file(folder, name).is_file():
            raise ModelError(folder, f"{name} is missing", _REMEDY)
        if _sha256(folder / name) != recorded:
            raise ModelError(folder, f"{name} was modified or is damaged (its SHA-256 differs)", _REMEDY)


def read_sums(folder: Path) -> Dict[str, str]:
    """Return the recorded SHA-256 of each file of a model folder."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except OSError:
        raise ModelError(folder, f"{SUMS} is missing", _REMEDY) from None
    except UnicodeDecodeError:
        raise ModelError(folder, f"{SUMS} is damaged", _REMEDY) from None
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines) if name}
    if MODEL_JSON not in sums:
        raise ModelError(folder, f"{SUMS} does not list {MODEL_JSON}", _REMEDY)
    return sums


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
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
