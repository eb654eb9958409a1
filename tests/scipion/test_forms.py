# SPDX-License-Identifier: GPL-3.0-or-later
"""What Scipion shows of the plugin: protocols, forms, texts, viewers."""

import json
import re
from pathlib import Path

import pwem
import pytest
from pwem.objects import SetOfCoordinates
from pyworkflow.viewer import DESKTOP_TKINTER

import cryoice_scipion
from cryoice_scipion import protocols
from cryoice_scipion.constants import CRYOICE_PYTHON, CRYOICE_SCHEDULER, DEFAULT_MODEL
from cryoice_scipion.core.config import ScreenConfig, TrainConfig
from cryoice_scipion.core.workers.client import ANSWER_LIMIT
from cryoice_scipion.plugin import Plugin
from cryoice_scipion.protocols import protocol_screen
from cryoice_scipion.protocols.train_form import FROM_NOTHING, FROM_OBJECT

pytestmark = pytest.mark.scipion
CLASSES = [getattr(protocols, name) for name in protocols.__all__]
CONF = Path(cryoice_scipion.__file__).parent / "protocols.conf"


def own_parameters(cls):
    return dict(cls()._definition.iterParams())


def entries(node):
    for child in node if isinstance(node, list) else node.get("children", []):
        yield child
        yield from entries(child)


def read_tree(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r"Protocols SPA = (\[.*?\n\s*\])\s*\n(?=\S|\Z)", text + "\n", re.DOTALL).group(1))


def test_scipion_finds_every_protocol():
    found = pwem.Domain.getProtocols()
    assert {cls.__name__ for cls in CLASSES} <= set(found)
    assert all(not cls.isBase() and cls.getClassLabel().startswith("cryoice_scipion - ") for cls in CLASSES)


def test_the_tree_names_every_protocol_in_sections_that_pwem_has():
    ours = list(entries(read_tree(CONF)))
    theirs = list(entries(read_tree(Path(pwem.__file__).parent / "protocols.conf")))
    assert {e["value"] for e in ours if e["tag"] == "protocol"} == {cls.__name__ for cls in CLASSES}
    assert {e["text"] for e in ours if e["tag"] != "protocol"} <= {e["text"] for e in theirs}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_parameter_explains_itself(cls):
    for name, parameter in own_parameters(cls).items():
        assert parameter.help.get(), name
        assert parameter.label.get() or name in ("useGpu", "gpuList"), (
            name
        )  # pyworkflow clears the label of hidden ones
    assert cls.__doc__ and "\n" in cls.__doc__


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_texts_are_there_before_a_run(cls):
    protocol = cls()
    assert protocol._summary()
    assert protocol._methods() == []  # nothing was done yet
    bibtex = Path(cryoice_scipion.__file__).with_name("bibtex.py").read_text(encoding="utf-8")
    known = re.findall(r"@\w+\{(\w+),", bibtex)
    assert set(protocol._citations()) <= set(known)


def test_the_screening_takes_what_xmipps_templates_set():
    names = set(own_parameters(protocols.CryoIceProtScreen))
    theirs = {"inputCoordinates", "micsSource", "inputMicrographs", "useOtherScale", "threshold", "streamingBatchSize"}
    assert theirs | {"saveMasks", "saveMicThumbnailWithMask", "useGpu", "gpuList"} <= names
    assert {"margin", "contrast", "maxBadArea", "referenceMicrographs"} <= names


def test_defaults_of_the_forms_are_those_of_the_core():
    screening, training = protocols.CryoIceProtScreen(), protocols.CryoIceProtTrain()
    assert screening._getConfig() == ScreenConfig()
    assert training._getConfig() == TrainConfig(base=DEFAULT_MODEL)
    assert protocols.CryoIceProtTrain(startFrom=FROM_NOTHING)._getConfig() == TrainConfig()


def test_unusable_settings_are_told_in_the_words_of_the_core():
    screening = protocols.CryoIceProtScreen(threshold=1.5, useGpu=False)
    words = "'Threshold (empty: model default)' must be -1 (keep all) or from 0 to 1 (1.5 is given)."
    assert screening._validate() == [words]
    screening = protocols.CryoIceProtScreen(modelSource=2, modelFolder="/no/such/model", useGpu=False)
    assert any("/no/such/model: no such model" in error for error in screening._validate())
    for empty in (protocols.CryoIceProtScreen(modelSource=2, useGpu=False), protocols.CryoIceProtImportModel()):
        empty.modelFolder.set("")
        assert empty._validate() == [
            "model: no folder is given; give a model folder, or 'default' for the shipped model"
        ]
    assert protocols.CryoIceProtScreen(modelSource=1, useGpu=False)._validate() == []  # pyworkflow says what is missing


def test_an_empty_base_model_is_told_once():
    found = protocols.CryoIceProtTrain(startFrom=FROM_OBJECT, useGpu=False).validate()
    assert [line for line in found if "Model to start from" in line] == ["*Model to start from* cannot be EMPTY."]


def test_negative_sizes_are_refused_before_an_import(tmp_path):
    (tmp_path / "picks.box").write_text("10 10 64 64\n")
    imports = protocols.CryoIceProtImportCoordinates(coordinatesPath=str(tmp_path / "picks.box"), boxSize=-1)
    assert imports._validate() == ["'Box size (px; 0: from file)' must be 0 or more (-1 is given)."]
    imports = protocols.CryoIceProtImportCryoPPP(folder=str(tmp_path), samplingRate=-1.0)
    assert imports._validate() == ["'Pixel size (Å/px)' must be 0 or more (-1 is given)."]


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (protocols.CryoIceProtScreen, {"margin": -5.0}, "'Margin (Å)' must be 0 or more (-5.0 is given)."),
        (protocols.CryoIceProtScreen, {"maxBadArea": 30.0}, "'Maximum bad area (0 to 1)' must be 1 or less"),
        (protocols.CryoIceProtScreen, {"referenceMicrographs": -1}, "'Reference micrographs' must be 0 or more"),
        (
            protocols.CryoIceProtScreen,
            {"itemTimeout": 0.0},
            "'Time limit per micrograph (s)' must be 1 or more",
        ),
        (protocols.CryoIceProtScreen, {"memoryLimit": 0.5}, "'Memory limit per worker (GB; empty: none)' must be 1 or"),
        (protocols.CryoIceProtScreen, {"ignoreClasses": "ice"}, "Settings: unknown class ice;"),
        (protocols.CryoIceProtTrain, {"epochs": 0}, "'Epochs' must be 1 or more (0 is given)."),
        (protocols.CryoIceProtTrain, {"batchSize": 0}, "'Batch size' must be 1 or more (0 is given)."),
        (protocols.CryoIceProtTrain, {"backgroundRatio": -1.0}, "'Background examples per good coordinate' must be"),
    ],
)
def test_a_value_out_of_range_is_told_by_the_label_of_its_parameter(kind, values, words):
    (found,) = kind(useGpu=False, **values)._validate()
    assert found.startswith(words)


def test_each_citation_is_shown_once():
    for kind in CLASSES:
        shown = [line for line in kind().citations() if line.startswith("[[")]
        assert len(shown) == len(set(shown))


def test_a_training_without_input_is_told_so_without_a_traceback():
    assert protocols.CryoIceProtTrain(useGpu=False)._validate() == []  # pyworkflow says that the input is missing


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(Plugin, "seesGpu", classmethod(lambda cls: False))
    assert protocols.CryoIceProtScreen().useGpu.get() is False
    errors = protocols.CryoIceProtScreen(useGpu=True)._validateDevices()
    assert errors == ["GPU IDs: no NVIDIA GPU was found on this machine. Choose No."]


def test_a_job_of_a_queue_may_use_gpus_that_this_machine_lacks(monkeypatch):
    monkeypatch.setattr(Plugin, "seesGpu", classmethod(lambda cls: False))
    asked = []
    monkeypatch.setattr(protocol_screen, "check_worker", lambda *words: asked.append(words[-1]) or [])
    protocol = protocols.CryoIceProtScreen(useGpu=True, gpuList="2,3")
    protocol._useQueue.set(True)
    assert protocol._validate() == []
    assert asked == ["cpu"]
    assert protocol.getDevices() == ["cuda:0", "cuda:1"]


def test_a_form_begins_to_check_the_workers_when_it_opens(monkeypatch):
    begun = []
    monkeypatch.setattr(protocol_screen, "begin_checks", lambda *words: begun.append(words[1:]))
    protocol = protocols.CryoIceProtScreen(useGpu=False)
    assert protocol.getInputStatus() == (True, False, False)
    assert begun == [(DEFAULT_MODEL, ["cpu"])]
    protocol.useGpu.set(True)
    protocol.gpuList.set("none")  # Execute will say what is wrong
    protocol.getInputStatus()
    assert len(begun) == 1


def test_with_a_job_for_each_step_only_the_screening_uses_the_gpus_of_this_machine(monkeypatch):
    """Scipion then submits only commands, and the screening's workers are children of the protocol's process."""
    screening, training = (
        kind(useGpu=True, gpuList="2,3") for kind in (protocols.CryoIceProtScreen, protocols.CryoIceProtTrain)
    )
    for protocol in (screening, training):
        protocol._useQueue.set(True)
        protocol._queueParams.set(json.dumps(["main", {"QUEUE_FOR_JOBS": "Y"}]))
    assert screening.getDevices() == ["cuda:2", "cuda:3"]
    assert training.getDevices() == ["cuda:0", "cuda:1"]
    monkeypatch.setattr(Plugin, "seesGpu", classmethod(lambda cls: False))
    assert screening._validateDevices() == ["GPU IDs: no NVIDIA GPU was found on this machine. Choose No."]
    assert training._validateDevices() == []
    screening._queueParams.set(json.dumps(["main", {"QUEUE_FOR_JOBS": "N"}]))
    assert screening.getDevices() == ["cuda:0", "cuda:1"]
    assert screening._validateDevices() == []


@pytest.mark.parametrize("given", ["a", "0;1", "-1"])
@pytest.mark.parametrize("use", [True, False])
def test_gpu_ids_that_are_no_numbers_are_told_in_the_form(given, use):
    (error,) = protocols.CryoIceProtScreen(useGpu=use, gpuList=given)._validateDevices()
    assert error == f"GPU IDs: '{given}' is no list of numbers. Enter the IDs of the GPUs, for example 0 or 0,1."


def test_devices_are_those_of_the_form():
    assert protocols.CryoIceProtScreen(useGpu=True, gpuList="0,2")._validateDevices() in (
        [],
        ["GPU IDs: no NVIDIA GPU was found on this machine. Choose No."],
    )
    assert protocols.CryoIceProtScreen(useGpu=True, gpuList="0,2").getDevices() == ["cuda:0", "cuda:2"]
    assert protocols.CryoIceProtScreen(useGpu=False).getDevices() == ["cpu"]


def test_with_a_scheduler_other_machines_compute(monkeypatch):
    monkeypatch.setattr(Plugin, "seesGpu", classmethod(lambda cls: False))
    monkeypatch.setitem(Plugin._vars, CRYOICE_SCHEDULER, "no/such.json")
    protocol = protocols.CryoIceProtScreen(useGpu=True, gpuList="0,1", itemTimeout=60.0)
    (line,) = protocol._validate()
    assert "no/such.json: is neither an address nor an existing scheduler file" in line
    asked = []
    monkeypatch.setattr(protocol_screen, "cluster_executors", lambda *words: asked.append(words))
    protocol._openWorkers(ScreenConfig())
    scheduler, _, device, _, python, seconds = asked[0]
    assert (scheduler, device, python, seconds) == ("no/such.json", "cuda:0,1", Plugin.getPython(), 60.0)
    protocol.memoryLimit.set(4.0)
    (line,) = protocol._validate()
    assert line.startswith("'Memory limit per worker (GB; empty: none)' does not apply to a cluster.")


@pytest.mark.parametrize(
    ("values", "seconds", "memory"),
    [({}, ANSWER_LIMIT, []), ({"itemTimeout": 60.0, "memoryLimit": 4.5}, 60.0, ["--memory-limit", "4.5"])],
)
def test_the_workers_get_the_limits_of_the_form(values, seconds, memory, monkeypatch, tmp_path):
    protocol = protocols.CryoIceProtScreen(useGpu=False, **values)
    monkeypatch.setattr(protocol, "getStderrLog", lambda: str(tmp_path / "run.stderr"))
    (worker,) = protocol._openWorkers(ScreenConfig())
    assert worker._limit == seconds
    assert [word for word in worker._command if word in ("--memory-limit", "4.5")] == memory


def test_another_python_does_not_get_the_packages_of_this_one(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/some/where")
    assert Plugin.getEnviron()["PYTHONPATH"] == "/some/where"
    monkeypatch.setitem(Plugin._vars, CRYOICE_PYTHON, "/opt/other/bin/python")
    assert Plugin.getPython() == "/opt/other/bin/python"
    assert "PYTHONPATH" not in Plugin.getEnviron()


def test_our_outputs_open_in_our_viewer_and_other_sets_do_not(tmp_path):
    ours, other = tmp_path / "run" / "coordinates.sqlite", tmp_path / "other.sqlite"
    (tmp_path / "run" / "extra" / "screening").mkdir(parents=True)
    first = {}
    for path in (ours, other):
        output = SetOfCoordinates(filename=str(path))
        first[path] = pwem.Domain.findViewers(output, DESKTOP_TKINTER)[0].__name__
        output.close()
    assert first[ours] == "CryoIceOutputViewer"
    assert first[other] != "CryoIceOutputViewer"
