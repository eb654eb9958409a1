# SPDX-License-Identifier: GPL-3.0-or-later
"""A model folder for workers."""

import pytest
import standin

from cryoice_scipion.core.detectors.model_folder import write_sums


@pytest.fixture
def model(tmp_path):
    """Return a model folder that says what the stand-in detector is; its weights are never loaded."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.json").write_text(standin.VarianceDetector().config.to_text())
    (folder / "weights.safetensors").write_bytes(b"none")
    write_sums(folder)
    return folder
