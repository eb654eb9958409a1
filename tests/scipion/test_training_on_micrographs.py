# SPDX-License-Identifier: GPL-3.0-or-later
"""*train on micrographs*: a detector of clean micrographs, a grader of graded ones, and a screening with them."""

import numpy as np
import pytest
from noise import write_image
from scipion_data import Scipion, point

from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.model_folder import load_config
from cryoice_scipion.protocols import CryoIceProtScreen, CryoIceProtTrain, CryoIceProtTrainMicrographs
from cryoice_scipion.protocols.protocol_train_micrographs import AUTOENCODER, GRADER

pytestmark = pytest.mark.scipion
NUMBER, SIDE, PIXEL_SIZE = 10, 320, 4.0


@pytest.fixture(scope="module")
def micrographs(tmp_path_factory):
    """A project with micrographs of noise; every second one has waves."""
    project, folder = Scipion.begin("MicrographsProject")(), tmp_path_factory.mktemp("micrographs")
    for number in range(NUMBER):
        noise = np.random.default_rng(number).normal(100, 10, (SIDE, SIDE))
        write_image(folder / f"m{number}.mrc", noise + number % 2 * 20 * np.sin(np.arange(SIDE) / 6), PIXEL_SIZE)
    lines = [f"m{number}.mrc,{('great', 'film')[number % 2]}" for number in range(NUMBER)]
    (folder / "grades.csv").write_text("\n".join(["micrograph,grade", *lines]) + "\n")
    return project, folder, project.import_micrographs(folder, PIXEL_SIZE)


def training(micrographs, **values):
    protocol = micrographs[0].newProtocol(CryoIceProtTrainMicrographs, useGpu=False, **values)
    point(protocol.inputMicrographs, micrographs[2])
    return protocol


def test_a_detector_of_clean_micrographs_is_trained_and_is_a_model_of_the_screening(micrographs):
    project = micrographs[0]
    protocol = project.run_here(training(micrographs, modelName="mine"))
    config = load_config(protocol.getModelFolder())
    assert (config.name, config.network) == ("mine", "one_class")
    assert "'Model' of *screen micrographs*" in protocol.summary()[0]
    screening = CryoIceProtScreen(modelSource=1)
    screening.inputModel.set(protocol.outputModel)
    assert screening._getConfig().model == protocol.outputModel.getPath()
    assert screening._validateSettings() == []


def test_a_training_with_other_settings_or_input_is_done_again_on_continue(micrographs):
    project, folder, _ = micrographs
    protocol = project.run_here(training(micrographs, modelName="first"))
    protocol.modelName.set("second")
    project.go_on_here(protocol)
    assert load_config(protocol.getModelFolder()).name == "second"
    assert "second" in protocol.summary()[0]
    weights = (protocol.getModelFolder() / "weights.safetensors").read_bytes()
    point(protocol.inputMicrographs, project.import_micrographs(folder, PIXEL_SIZE, "m[0-5].mrc"))
    project.go_on_here(protocol)
    assert protocol.isFinished(), protocol.getErrorMessage()
    assert (protocol.getModelFolder() / "weights.safetensors").read_bytes() != weights


def test_a_grader_is_trained_and_is_the_grader_of_the_screening(micrographs):
    project, folder, _ = micrographs
    values = {"network": GRADER, "gradesFile": str(folder / "grades.csv"), "epochs": 1, "holdOut": "m8, m9"}
    protocol = project.run_here(training(micrographs, **values))
    config = load_config(protocol.getModelFolder())
    assert config.network == "resnet" and config.network_options["depth"] == 10
    assert protocol.outputModel.getMeasuredOn() == "test"
    summary = "\n".join(protocol.summary())
    assert "'Grader' of *screen micrographs*" in summary and "held-out" in summary
    screening = CryoIceProtScreen()
    screening.inputGrader.set(protocol.outputModel)
    assert screening._getConfig().grader == protocol.outputModel.getPath()
    assert screening._validateSettings() == []


def test_a_grader_that_is_still_to_be_trained_is_waited_for(micrographs):
    project = micrographs[0]
    later = training(micrographs, network=GRADER)
    project.proj.saveProtocol(later)
    screening = CryoIceProtScreen(useGpu=False)
    point(screening.inputGrader, (later, "outputModel"))
    words = "'Grader (optional)' is chosen, but does not exist yet. Wait for its protocol, or leave it empty."
    assert words in screening._validate()
    screening.gradeMicrographs.set(False)
    assert words not in screening._validate()
    training_too = CryoIceProtTrain(useGpu=False)
    point(training_too.cleanMicrographs, (later, "outputMicrographs"))
    assert [line[:28] for line in training_too._validate()] == ["'Clean micrographs (optional"]


def test_the_error_of_the_command_is_the_error_of_the_protocol(micrographs):
    project, folder, _ = micrographs
    protocol = training(micrographs, network=GRADER, gradesFile=str(folder / "grades.csv"))
    (folder / "m0.mrc").rename(folder / "m0.away")
    project.proj.launchProtocol(protocol, wait=True)
    (folder / "m0.away").rename(folder / "m0.mrc")
    message = project.proj.getProtocol(protocol.getObjId(), fromRuns=False).getErrorMessage()
    assert "cryoice train: " in message and "m0.mrc" in message
    assert "non-zero exit status" not in message


def test_the_form_says_what_the_core_is_told(micrographs):
    settings = training(micrographs, network=AUTOENCODER, textureWeight=True, contrast=1, epochs=4)._getConfig()
    wanted = {"network": "autoencoder", "name": "model", "batch": 16, "learning_rate": 0.002, "validation": 0.5}
    patches = {"sampling": 8.0, "contrast": "bright"}
    assert settings == TrainConfig.make(**wanted, epochs=4, texture_weight=True, patches=patches)
    assert training(micrographs, network=AUTOENCODER)._getConfig().epochs == 15
    (error,) = training(micrographs, network=GRADER, gradesFile="none.csv")._validate()
    assert error == "Table of grades: there is no such file. Choose a CSV file."


@pytest.mark.parametrize(
    "held_out, grade, words",
    [
        ("m9, none*", "great", "Held-out micrographs: no graded micrograph has the name none*."),
        ("m[0-2]", "great", "7 graded micrographs are too few. A training needs 8 or more. Hold out fewer."),
        ("", "nice", "unknown grade nice"),
    ],
)
def test_a_grader_that_cannot_be_trained_is_told_in_the_form(micrographs, tmp_path, held_out, grade, words):
    names = "".join(f"m{number}.mrc,{grade}\n" for number in range(NUMBER))
    (tmp_path / "grades.csv").write_text(f"micrograph,grade\n{names}")
    values = {"network": GRADER, "gradesFile": str(tmp_path / "grades.csv"), "holdOut": held_out}
    (error,) = training(micrographs, **values)._validate()
    assert words in error
