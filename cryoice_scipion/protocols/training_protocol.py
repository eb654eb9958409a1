# SPDX-License-Identifier: GPL-3.0-or-later
"""Base class of the protocols that train a model with the core."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, List

from pwem.objects import EMSet

from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.model_folder import load_config
from cryoice_scipion.objects import CryoIceModel
from cryoice_scipion.producers import name_of_output
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol

OUTPUT_MODEL = "outputModel"


class CryoIceTrainingProtocol(CryoIceProtocol):
    """Base class of the trainings. The steps ``convertInputStep`` and ``trainStep`` are those of each protocol."""

    _label = None  # pyworkflow's mark of a base class
    _possibleOutputs = {OUTPUT_MODEL: CryoIceModel}
    _trainedOn = ()  # names of the parameters that point to the input

    def _insertAllSteps(self) -> None:
        # Continue repeats a step whose arguments have changed, so all get everything that the model depends on.
        arguments = [self._getConfig().to_text(), *self._getInput()]
        self._insertFunctionStep(self.convertInputStep, *arguments, needsGPU=False)
        self._insertFunctionStep(self.trainStep, *arguments, needsGPU=self.useGpu.get())
        self._insertFunctionStep(self.createOutputStep, *arguments, needsGPU=False)

    def _getInput(self) -> List[str]:
        """Return each input set in words, with its number of items."""
        found = ((pointer, pointer.get()) for _, pointer in self.iterInputAttributes())
        return [f"{name_of_output(one)}, {given.getSize()} items" for one, given in found if isinstance(given, EMSet)]

    def createOutputStep(self, *_: str) -> None:
        """Create the output model."""
        model = CryoIceModel(self._modelPath())
        with self._oneLine():
            model.copyConfig(load_config(Path(self._modelPath())))
        self._defineOutputs(**{OUTPUT_MODEL: model})
        for name in self._trainedOn:
            self._defineSourceRelation(getattr(self, name), model)

    def getModelFolder(self) -> Path:
        """Return the model folder, which a running training may not have completed."""
        return Path(self._modelPath())

    def _writeConfig(self, settings: str) -> None:
        Path(self._configPath()).write_text(settings, encoding="utf-8")

    def _train(self, *arguments: Any, dashboard: bool) -> None:
        """Train with the core. A model folder left by a killed training is deleted first, because it is incomplete."""
        shutil.rmtree(self._modelPath(), ignore_errors=True)
        words = ["train", *arguments, "--output", self._modelPath(), "--config", self._configPath()]
        words += ["--dashboard"] if dashboard else []
        self.runCore(*words, "--device", self.getDevices()[0])

    def _getConfig(self) -> TrainConfig:
        """Return the settings of the form as a configuration of the core."""
        raise NotImplementedError

    def _modelPath(self) -> str:
        return self._getExtraPath("model")

    def _configPath(self) -> str:
        return self._getExtraPath("train.json")
