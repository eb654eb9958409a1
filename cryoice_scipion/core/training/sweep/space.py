# SPDX-License-Identifier: GPL-3.0-or-later
"""The search space of a sweep: which settings of a training vary, and in which range. Imports no Optuna, no torch."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Type, Union

from pydantic import BaseModel

from cryoice_scipion.core.config import Settings, TrainConfig
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.json_files import read_json
from cryoice_scipion.core.training.model_card import flat

Value = Union[bool, int, float, str, List[Any]]
#: Settings that a sweep sets itself, or that change what is measured.
FIXED = ("name", "network", "base", "seed", "patches.seed", "hold_out")


class Range(Settings):
    """The values of one setting: a list, or all between two ends."""

    values: Optional[List[Any]] = None
    low: Optional[float] = None
    high: Optional[float] = None
    log: bool = False  # draw the logarithm evenly
    step: Optional[float] = None  # only every step, counted from low

    def ends(self) -> List[Any]:
        """Return the values that the training must accept: all of a list, or both ends."""
        return list(self.values) if self.values is not None else [self.low, self.high]

    def fault(self, whole: bool) -> str:
        """Return what is wrong with the range, or an empty text; ``whole``: the setting is a whole number."""
        if self.values is not None:
            extra = [name for name in ("low", "high", "log", "step") if getattr(self, name)]
            if extra:
                return f"has 'values' and '{extra[0]}'; give one of them"
            return "" if len(self.values) > 1 else "needs at least two 'values'"
        if self.low is None or self.high is None:
            return "needs 'low' and 'high', or 'values'"
        if self.low >= self.high:
            return f"low ({self.low:g}) is not below high ({self.high:g})"
        if self.log and self.low <= 0:
            return f"low ({self.low:g}) must be above 0 with 'log'"
        if self.log and self.step is not None:
            return "has 'log' and 'step'; give one of them"
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            return f"step ({self.step:g}) must be above 0 and at most high - low"
        parts = [value for value in (self.low, self.high, self.step) if value is not None]
        if whole and any(value != int(value) for value in parts):
            return "takes whole numbers only"
        return ""

    def contains(self, value: Any) -> bool:
        """Return whether a value may be drawn; of a range with steps, any value between the ends counts."""
        if self.values is not None:
            return value in self.values
        return self.low is not None and self.high is not None and self.low <= value <= self.high


class SearchSpace:
    """The ranges of all settings that vary, by name."""

    def __init__(self, ranges: Mapping[str, Any], config: TrainConfig, source: str) -> None:
        """Check the ranges.

        Parameters
        ----------
        ranges : mapping
            By the name of a setting of ``TrainConfig``; those of a group have its name in front, as "augment.noise".
        config : TrainConfig
            The settings that do not vary.
        source : str
            Where the ranges come from, for error messages.

        Raises
        ------
        SettingsError
            When a setting does not exist, or has an impossible range.
        """
        if not isinstance(ranges, Mapping) or not ranges:
            raise SettingsError(source, "names no settings", 'give for example {"width": {"values": [8, 16]}}')
        self.ranges: Dict[str, Range] = {}
        self.whole: Dict[str, bool] = {}  # whether a setting is a whole number
        self.config = config
        for name, values in ranges.items():
            self._add(name, values, source)

    @classmethod
    def load(cls, path: Path, config: TrainConfig) -> SearchSpace:
        """Read space.json.

        Raises
        ------
        SettingsError
            When the file is missing, is not JSON, or has an impossible range.
        """
        try:
            ranges = read_json(path, object)
        except (OSError, ValueError) as error:
            raise SettingsError(path, f"is not a readable JSON file ({error})", "check the path and the file") from None
        return cls(ranges, config, str(path))

    def _add(self, name: str, values: Any, source: str) -> None:
        kinds = sweepable()
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, 1)
            remedy = f"did you mean {near[0]}?" if near else f"the settings are {', '.join(kinds)}"
            raise SettingsError(f"{source}: {name}", "is no setting that a sweep can vary", remedy)
        whole = kinds[name] is int
        try:
            found = Range.make(**values) if isinstance(values, dict) else None
        except SettingsError as error:
            raise SettingsError(f"{source}: {name}", error.reason) from None
        if found is None:
            example = 'give {"low": 1, "high": 2} or {"values": [1, 2]}'
            raise SettingsError(f"{source}: {name}", "is no range", example)
        fault = found.fault(whole)
        if not fault and found.values is None and kinds[name] not in (int, float):
            fault = "is no number, so it needs 'values'"
        if fault:
            raise SettingsError(f"{source}: {name}", fault)
        for value in found.ends():
            try:
                with_settings(self.config, {name: value})
            except SettingsError as error:
                reason = error.faults[0][1] if error.faults else error.reason
                raise SettingsError(f"{source}: {name}", reason) from None
        self.ranges[name], self.whole[name] = found, whole

    def start(self) -> Dict[str, Value]:
        """Return the settings of the first trial: those of an ordinary training, where the ranges contain them."""
        now = dict(flat(self.config.model_dump()))
        return {name: now[name] for name, range_ in self.ranges.items() if range_.contains(now[name])}

    def to_json(self) -> Dict[str, Any]:
        """Return the ranges as JSON values."""
        return {name: range_.model_dump(exclude_defaults=True) for name, range_ in self.ranges.items()}


def sweepable() -> Dict[str, Any]:
    """Return the type of each setting that a sweep can vary, by its name."""
    return {name: kind for name, kind in _types(TrainConfig).items() if name not in FIXED}


def _types(model: Type[BaseModel], above: str = "") -> Dict[str, Any]:
    hints: Dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            hints.update(_types(kind, f"{above}{name}."))
        else:
            hints[above + name] = kind
    return hints


def with_settings(config: TrainConfig, settings: Mapping[str, Any]) -> TrainConfig:
    """Return a configuration with some settings replaced.

    Raises
    ------
    SettingsError
        When the training does not accept a value.
    """
    values = config.model_dump()
    for name, value in settings.items():
        group, _, key = name.rpartition(".")
        (values[group] if group else values)[key] = value
    return TrainConfig.make(**values)
