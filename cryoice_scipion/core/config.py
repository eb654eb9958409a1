# SPDX-License-Identifier: GPL-3.0-or-later
"""Validated settings that can be read from and written to JSON. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Type, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cryoice_scipion.constants import ALL_GRADES, BAD, CLASSES, DEFAULT_MODEL, GOOD, LARGEST_POSITION, PIXEL_SIZES
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.json_files import read_json

SCHEMA_VERSION = 1
_PIXEL_SIZE: Dict[str, Any] = dict(zip(("ge", "le"), PIXEL_SIZES))
_LOG_ODDS = 1000.0  # beyond any that a detector gives
_LONGEST = 1e5  # Å; larger than any micrograph
_SEED: Dict[str, Any] = {"ge": 0, "le": 2**32 - 1}
_NAME = "^[a-z][a-z0-9_]*$"
Config = TypeVar("Config", bound="Settings")


class Settings(BaseModel):
    """Base class of all settings. Unknown names are errors, so that typing errors are found. Numbers are finite."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=(), allow_inf_nan=False)

    @classmethod
    def make(cls: Type[Config], **values: object) -> Config:
        """Return validated settings.

        Raises
        ------
        SettingsError
            One line that lists each invalid setting and the reason.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            raise _one_line("settings", error) from None

    @classmethod
    def load(cls: Type[Config], path: Path) -> Config:
        """Read settings from a JSON file.

        Raises
        ------
        SettingsError
            If the file is missing, is not JSON, or contains invalid settings.
        """
        try:
            values = read_json(path, unique=True)
        except (OSError, ValueError) as error:
            raise SettingsError(path, f"is not a readable JSON file ({error})", "check the path and the file") from None
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _one_line(str(path), error) from None

    def to_text(self) -> str:
        """Return the settings as JSON text."""
        return self.model_dump_json(indent=2) + "\n"


#: What a value must be, by pydantic's name of the fault; in braces the limits.
_WORDS = {
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be {le:g} or less",
    "finite_number": "must be a finite number",
    **dict.fromkeys(("float_parsing", "float_type"), "must be a number"),
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "must be true or false"),
    "extra_forbidden": "is not a setting",
    "missing": "is missing",
}


def _one_line(what: str, error: ValidationError) -> SettingsError:
    faults = [(".".join(map(str, fault["loc"])), _in_words(fault)) for fault in error.errors()]
    found = SettingsError(what, "; ".join(f"{name} {words}".strip() for name, words in faults))
    found.faults = faults
    return found


def _in_words(fault: Any) -> str:
    """Return what is wrong with a value, as the end of a sentence."""
    kind, given = fault["type"], fault["input"]
    if kind == "string_pattern_mismatch":
        words = "must be " + fault["ctx"]["pattern"].strip("^$()").replace("|", ", ")
    elif kind in _WORDS:
        words = _WORDS[kind].format(**fault.get("ctx", {}))
    else:
        words = re.sub("^Value error, ", "", fault["msg"])  # pydantic's prefix
    is_told = fault["loc"] and kind not in ("extra_forbidden", "missing")
    return f"{words} ({'nothing' if given is None else given} is given)" if is_told else words


class ScreenConfig(Settings):
    """Settings of a screening. They affect results, so a resumed run needs the same settings."""

    model: str = DEFAULT_MODEL  # "default", or the path of a model folder
    threshold: Optional[float] = None  # None: the model's recommended one; -1: keep all
    margin: float = Field(0.0, ge=0, le=_LONGEST)  # Å beyond the particle's edge
    margins: Dict[str, float] = Field(default_factory=dict)  # Å, by class; overrides margin
    ignore: List[str] = Field(default_factory=list)  # bad classes treated as good
    min_area: float = Field(0.0, ge=0)  # nm²; smaller bad regions are treated as good
    contrast: str = Field("auto", pattern="^(auto|dark|bright)$")
    reference: int = Field(20, ge=0)  # number of micrographs that decide contrast and session baseline
    max_bad_area: float = Field(1.0, ge=0, le=1)
    pixel_size: Optional[float] = Field(None, **_PIXEL_SIZE)  # Å/px, overrides the headers
    particle_diameter: Optional[float] = Field(None, gt=0, le=_LONGEST)  # Å; None: see scoring.py
    box_size: Optional[float] = Field(None, gt=0, le=LARGEST_POSITION)  # px, if the coordinate files have none
    coordinates_pixel_size: Optional[float] = Field(None, **_PIXEL_SIZE)  # Å/px; None: from the files
    flip_y: bool = False  # coordinates count rows from the other end
    full_size_masks: bool = False
    box_files: bool = False  # also write EMAN .box files. Does not affect results; may change on resume
    outlier: bool = True  # measure how unlike the session's reference each micrograph is; changes nothing else
    grade: bool = True  # grade micrographs, if the model tells the classes of bad area apart
    grader: str = ""  # path of a model folder that grades micrographs; "": the shipped grader
    miss_cost: float = Field(1.0, gt=0)  # see grades/grade.py: decide
    reject_grades: List[str] = Field(default_factory=list)  # micrographs of these grades are discarded
    regions: bool = True  # list the regions of bad area, each with its class and its size
    region_maps: bool = False  # also write the number of the region of each map cell
    thumbnails: bool = True
    max_thumbnails: int = Field(2000, ge=-1)  # -1: no limit. Does not affect results; may change on resume

    @field_validator("threshold")
    @classmethod
    def _threshold_is_sensible(cls, value: Optional[float]) -> Optional[float]:
        if value is not None and value != -1 and not 0 <= value <= 1:
            raise ValueError("must be -1 (keep all) or from 0 to 1")
        return value

    @model_validator(mode="after")
    def _classes_are_known(self) -> ScreenConfig:
        known = [name for name in CLASSES if name != GOOD]
        unknown = sorted({*self.ignore, *self.margins} - set(known))
        if unknown:
            raise ValueError(f"unknown class {', '.join(unknown)}; the classes of bad area are {', '.join(known)}")
        if any(not 0 <= margin <= _LONGEST for margin in self.margins.values()):
            raise ValueError(f"margins must be from 0 to {_LONGEST:g} Å")
        return self

    @model_validator(mode="after")
    def _grades_are_known(self) -> ScreenConfig:
        unknown = sorted(set(self.reject_grades) - set(ALL_GRADES))
        if unknown:
            raise ValueError(f"unknown grade {', '.join(unknown)}; the grades are {', '.join(ALL_GRADES)}")
        if self.reject_grades and not self.grade:
            raise ValueError("micrographs cannot be rejected by grade, because grading is switched off")
        return self

    def margin_of(self, name: str) -> float:
        """Return the margin of a bad class in Å."""
        return self.margins.get(name, self.margin)


def parse_margins(words: Sequence[str]) -> Tuple[float, Dict[str, float]]:
    """Return the general margin and the margins by class (Å), from words such as "50" and "support=100".

    Raises
    ------
    SettingsError
        If a word has another form.
    """
    margin, margins = 0.0, {}  # type: float, Dict[str, float]
    for word in words:
        name, equals, value = word.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            raise SettingsError(
                f"margin {word!r}", "is not a number of Å", "give for example 50 or support=100"
            ) from None
        if equals:
            margins[name.strip()] = number
        else:
            margin = number
    return margin, margins


class ViewConfig(Settings):
    """One input of a detector; core/views/__init__.py describes the views."""

    kind: str = Field("patch", pattern=_NAME)
    sampling: float = Field(4.0, **_PIXEL_SIZE)  # Å/px, or Å per cell; of spectra: the finest that is used
    window: Optional[int] = Field(64, ge=8, le=100_000)  # px of that sampling; None: the whole micrograph
    required: bool = True  # False: the model also works without it, for example where the pixels are too coarse


class ModelConfig(Settings):
    """The content of ``model.json``: everything that is needed to use a model."""

    schema_version: int = SCHEMA_VERSION
    name: str
    created: str = ""
    network: str = "patch_fft"
    network_options: Dict[str, int] = Field(default_factory=dict)
    classes: List[str] = Field(default_factory=lambda: [GOOD, BAD], min_length=2)
    views: List[ViewConfig] = Field(min_length=1)
    stride: int = Field(16, ge=1, le=4096)  # px of the first view's sampling: side of a map cell
    temperature: float = Field(1.0, gt=0)
    recommended_threshold: float = Field(0.5, ge=0, le=1)  # smallest goodness (1 - P(BAD)) of a good cell of a mask
    pick_threshold: Optional[float] = Field(
        None, ge=0, le=1
    )  # smallest goodness of a kept coordinate; None: recommended_threshold
    baseline_logit: float = Field(0.0, ge=-_LOG_ODDS, le=_LOG_ODDS)  # session_logit of the validation micrographs
    offset_limit: float = Field(0.0, ge=0, le=_LOG_ODDS)  # log-odds: the largest offset of a session that is subtracted
    offset_tolerance: float = Field(4.0, ge=0, le=_LOG_ODDS)  # above baseline_logit; beyond it, a session is unusual
    metrics: Dict[str, float] = Field(default_factory=dict)
    trained_on: Dict[str, str] = Field(default_factory=dict)  # free text by topic, for the model card

    @model_validator(mode="after")
    def _no_pick_in_the_mask_is_kept(self) -> ModelConfig:
        if self.pick_threshold is not None and self.pick_threshold < self.recommended_threshold:
            raise ValueError("pick_threshold is below recommended_threshold: picks inside the mask would be kept")
        return self

    @property
    def threshold_for_picks(self) -> float:
        """Return the smallest goodness of a coordinate that is kept."""
        return self.recommended_threshold if self.pick_threshold is None else self.pick_threshold

    @property
    def sampling(self) -> float:
        """Return the side of a map cell in Å."""
        return self.views[0].sampling * self.stride


class AugmentConfig(Settings):
    """Random changes of training patches, from a seed."""

    rotations: bool = True  # by 90 degrees
    flips: bool = True
    invert: bool = False  # contrast inversion, for data whose contrast is unknown
    noise: float = Field(0.3, ge=0)  # largest standard deviation added, in robust deviations of the micrograph
    scale: float = Field(0.2, ge=0, lt=1)  # largest relative change of the contrast
    shift: float = Field(0.3, ge=0)  # largest change of the grey level, which differs between micrographs
    spectrum_dropout: float = Field(
        0.25, ge=0, lt=1
    )  # share of spectra that are cut at the limit of coarser pixels, or left out


class PatchConfig(Settings):
    """Settings for cutting labelled patches."""

    sampling: float = Field(4.0, **_PIXEL_SIZE)  # Å/px
    window: int = Field(64, ge=8)
    pixel_size: Optional[float] = Field(None, **_PIXEL_SIZE)  # Å/px of the micrographs; None: their headers
    contrast: str = Field("dark", pattern="^(dark|bright)$")
    background: bool = True  # draw clean positions as additional GOOD patches
    background_ratio: float = Field(1.0, ge=0)  # background patches per GOOD patch
    jitter_copies: int = Field(1, ge=0, le=100)  # further copies at a jittered sampling
    sampling_jitter: float = Field(0.05, ge=0, lt=0.5)
    max_per_micrograph: int = Field(500, ge=1)
    seed: int = Field(0, **_SEED)


class TrainConfig(Settings):
    """Settings of a training."""

    name: str = "model"
    patches: PatchConfig = Field(default_factory=PatchConfig)
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    # A kind of detectors/kinds.py. "auto": the kind of ``base``, or patch_fft without ``base``.
    network: str = Field("auto", pattern=_NAME)
    views: List[str] = Field(default_factory=lambda: ["patch", "fft"])  # see detectors/choice.py
    width: int = Field(16, ge=2, le=1024)  # channels of the first layer
    depth: int = Field(18, ge=1)  # resnet: layers with weights
    epochs: int = Field(30, ge=1)
    patience: int = Field(6, ge=1)  # epochs without a better validation loss
    batch: int = Field(128, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    validation: float = Field(0.25, gt=0, lt=1)  # share of micrographs
    hold_out: List[str] = Field(default_factory=list)  # stems kept aside as the test set
    class_weights: bool = False
    per_micrograph_reference: bool = False  # treat each micrograph as a session, as for simulated ones
    mixed_precision: bool = False  # U-Net: bfloat16 where it is safe; halves the time if the processor supports it
    texture_weight: bool = False  # autoencoder: give pixels whose surroundings have little texture more weight
    base: str = ""  # model (folder or name) that training starts from; "": random weights
    seed: int = Field(0, **_SEED)
