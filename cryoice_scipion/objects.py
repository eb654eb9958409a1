# SPDX-License-Identifier: GPL-3.0-or-later
"""Scipion object of a trained model."""

from __future__ import annotations

import os
from typing import Any, List, Optional

from pwem.objects import EMObject
from pyworkflow.object import Float, String

from cryoice_scipion.core.config import ModelConfig, TrainConfig


class CryoIceModel(EMObject):
    """A trained ice detector: the path of its model folder, its recommended threshold and its accuracy."""

    def __init__(self, path: Optional[str] = None, **kwargs: Any) -> None:
        EMObject.__init__(self, **kwargs)
        self._path = String(path)
        self._name = String()
        self._network = String()
        self._classes = String()
        self._threshold = Float()
        self._measuredOn = String()
        self._auc = Float()
        self._averagePrecision = Float()
        self._f1 = Float()
        self._ece = Float()

    def getPath(self) -> Optional[str]:
        """Return the model folder."""
        return self._path.get()

    def getFileName(self) -> Optional[str]:
        """Return the file that describes the model."""
        return os.path.join(self.getPath(), "model.json") if self._path.hasValue() else None

    def getFiles(self) -> set:
        """Return the files of the model folder, for Scipion's export."""
        path = self.getPath()
        return {os.path.join(path, name) for name in os.listdir(path)} if path and os.path.isdir(path) else set()

    def getThreshold(self) -> Optional[float]:
        """Return the recommended threshold on the goodness of a coordinate."""
        return self._threshold.get()

    def getMetric(self, name: str) -> Optional[float]:
        """Return ``auc``, ``averagePrecision``, ``f1`` or ``ece``; None if unknown."""
        return getattr(self, f"_{name}").get()

    def getMeasuredOn(self) -> Optional[str]:
        """Return the micrographs on which accuracy was measured: held out ("test") or "validation"."""
        return self._measuredOn.get()

    def copyConfig(self, config: ModelConfig) -> None:
        """Copy name, network, threshold and metrics from the configuration of a model."""
        self._name.set(config.name)
        self._network.set(config.network)
        self._classes.set(", ".join(config.classes))
        self._threshold.set(config.recommended_threshold)
        self._measuredOn.set(measured_on(config))
        for attribute, name in METRICS.items():
            getattr(self, attribute).set(config.metrics.get(f"{self._measuredOn}_{name}"))

    def __str__(self) -> str:
        named = self._name.hasValue() and self._name.get() != TrainConfig().name
        words: List[str] = [self._name.get() if named else self._network.get() or "CryoIceModel (empty)"]
        if self._auc.hasValue():
            words.append(f"AUC {_short(self._auc.get())}")
        if self._threshold.hasValue():
            words.append(f"threshold {_short(self._threshold.get())}")
        return ", ".join(words)


#: Attribute of CryoIceModel -> name of the metric in the model configuration.
METRICS = {"_auc": "auc", "_averagePrecision": "ap", "_f1": "f1", "_ece": "ece"}


def measured_on(config: ModelConfig) -> str:
    """Return "test" if accuracy was measured on held-out micrographs, else "validation"."""
    return "test" if "test_auc" in config.metrics else "validation"


def _short(value: float) -> str:
    """Format 0.97 as .97."""
    text = f"{value:.2f}"
    return text[1:] if text.startswith("0.") else text
