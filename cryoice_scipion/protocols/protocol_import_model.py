# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol that imports a model folder into the project."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, List

from pyworkflow.protocol import params

from cryoice_scipion.constants import DEFAULT_MODEL
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.objects import CryoIceModel
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol

OUTPUT_MODEL = "outputModel"


class CryoIceProtImportModel(CryoIceProtocol):
    """Imports a trained ice detector into the project.

    The input is a model folder written by the command *cryoice train* or by the protocol *train ice detector*, for
    example in another project. The protocol checks the integrity of the files and copies the folder into the project.
    """

    _label = "import ice detector"
    _possibleOutputs = {OUTPUT_MODEL: CryoIceModel}

    def _defineParams(self, form: Any) -> None:
        form.addSection(label="Import")
        form.addParam(
            "modelFolder",
            params.FolderParam,
            default=DEFAULT_MODEL,
            important=True,
            label="Model folder",
            help="The folder that contains model.json and the weights, or the name of a model that comes with the "
            f"plugin ({DEFAULT_MODEL}). Code in the folder is never executed. A folder with a missing or modified file "
            "is refused.",
        )
        form.addParam(
            "copyModel",
            params.BooleanParam,
            default=True,
            expertLevel=params.LEVEL_ADVANCED,
            label="Copy the folder?",
            help="*Yes* (default): copy the folder into the project. *No*: link to the folder, which must then not be "
            "moved or changed.",
        )

    def _insertAllSteps(self) -> None:
        # Continue repeats a step whose arguments have changed.
        for step in (self.importStep, self.createOutputStep):
            self._insertFunctionStep(step, self.modelFolder.get(), self.copyModel.get(), needsGPU=False)

    def importStep(self, folder: str, is_copied: bool) -> None:
        """Copy or link the model folder, then check its files."""
        with self._oneLine():
            source, target = resolve_model(folder), Path(self._modelPath())
            if target.is_symlink():
                target.unlink()
            shutil.rmtree(target, ignore_errors=True)
            if is_copied:
                shutil.copytree(str(source), str(target))
            else:
                target.symlink_to(source, target_is_directory=True)
            load_config(target)

    def createOutputStep(self, *_: Any) -> None:
        """Create the output model."""
        model = CryoIceModel(self._modelPath())
        model.copyConfig(load_config(Path(self._modelPath())))
        self._defineOutputs(**{OUTPUT_MODEL: model})

    def _modelPath(self) -> str:
        return self._getExtraPath("model")

    def _validate(self) -> List[str]:
        return self._complaints(lambda: load_config(resolve_model(self.modelFolder.get() or "")))

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_MODEL):
            return ["Not imported yet."]
        return [f"Model: {self.outputModel}", f"Imported from: {self.modelFolder.get()}"]

    def _methods(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_MODEL):
            return []
        return [f"The ice detector was imported from {self.modelFolder.get()}."]

    def _citations(self) -> List[str]:
        return []
