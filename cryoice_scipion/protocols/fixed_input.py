# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse to continue a run whose input was changed in the form: its outputs would mix both inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.json_files import read_json
from cryoice_scipion.producers import name_of_output


class FixedInput:
    """Parameters that must stay the same once a protocol has outputs, because *Continue* appends to them."""

    _fixed: Sequence[str] = ()  # names of the parameters
    _possibleOutputs: Dict[str, Any]
    _getExtraPath: Any
    isContinued: Any
    getParam: Any
    hasAttribute: Any
    evalParamCondition: Any

    def _recordInput(self) -> None:
        """Write the values of these parameters to a file, unless outputs were made from those that are there."""
        path = self._recordPath()
        if self._hasOutputs() and path.is_file():
            return
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self._fixedValues(), indent=1) + "\n", encoding="utf-8")

    def _validateContinued(self) -> List[str]:
        """Return an error for each of these parameters that was changed before *Continue*."""
        if not (self.isContinued() and self._hasOutputs()):
            return []
        try:
            known = read_json(self._recordPath())
        except (OSError, ValueError):
            return []
        now = self._fixedValues()
        changed = [name for name in now if known.get(name) and now[name] and known[name] != now[name]]
        remedy = "was changed after the run had begun. Restore the old value, or choose Restart."
        return [f"'{self.getParam(name).label.get()}' {remedy}" for name in changed]

    def _fixedValues(self) -> Dict[str, str]:
        """Return the values by parameter; empty for those that the form does not show."""
        return {name: self._textOf(name) if self.evalParamCondition(name) else "" for name in self._fixed}

    def _textOf(self, name: str) -> str:
        value = getattr(self, name)
        return name_of_output(value) if value.isPointer() else str(value.get())

    def _hasOutputs(self) -> bool:
        return any(self.hasAttribute(name) for name in self._possibleOutputs)

    def _recordPath(self) -> Path:
        return Path(self._getExtraPath("input.json"))
