# SPDX-License-Identifier: GPL-3.0-or-later
"""The workflow templates: Scipion finds them, they fit the forms, and the chain runs to the end while data come."""

import json
import os
import re
from pathlib import Path

import pytest
from cryoice_feeding import install
from cryoice_feeding.protocols import CryoIceTestExtractor
from noise import write_noise
from pwem import Domain
from random_model import write_random_model
from scipion_data import items
from streaming import PIXEL_SIZE, SHAPE, Streams, coordinates, kill, wait_for

from cryoice_scipion.core.results.run_reader import read_summary

pytestmark = pytest.mark.scipion
ROOT = Path(__file__).resolve().parents[2]
STREAMING, RELION = "cryoice_scipion-streaming", "cryoice_scipion-streaming_relion"
#: Stands in for one that needs RELION; the streaming is pwem's in both.
STAND_INS = {"ProtRelionExtractParticles": CryoIceTestExtractor}
BOX = 30
ASKED = ["micrographs", "pattern", "voltage", "cs", "pixelsize", "timeout", "picks", "boxsize", "gpu", "gpus"]


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    """A project, with the tests' plugin installed."""
    install(tmp_path_factory.mktemp("plugin"))
    Domain.getProtocols().update({stand_in.__name__: stand_in for stand_in in STAND_INS.values()})
    os.environ["SCIPION_EM_NEW_FILE_CHECK_SEC"] = "1"  # for the import of micrographs, in its process
    yield Streams.begin("TemplateProject")()
    del os.environ["SCIPION_EM_NEW_FILE_CHECK_SEC"]


def template(name):
    """Return a template, as Scipion finds and reads it."""
    found = Domain.getPlugins()["cryoice_scipion"].Plugin().getTemplates()
    (one,) = [candidate for candidate in found if candidate.getObjId() == name]
    one.replaceEnvVariables()
    one.parseContent()
    return one


def filled(name, folder, **values):
    """Return the protocols of a template that is filled in as the command line does it."""
    for data in ("mics", "picks"):
        (folder / data).mkdir(exist_ok=True)
    values = {
        "micrographs": str(folder / "mics"), "picks": str(folder / "picks"), "pixelsize": str(PIXEL_SIZE),
        "boxsize": str(BOX), "gpu": "false", **values,
    }  # fmt: skip
    chosen = template(name)
    for alias, value in values.items():
        assert chosen.setParamValue(alias, value) == 1
    path = Path(chosen.createTemplateFile())
    protocols = json.loads(path.read_text())
    path.unlink()
    for protocol in protocols:
        if protocol["object.className"] in STAND_INS:
            protocol["object.className"] = STAND_INS[protocol["object.className"]].__name__
    return protocols


@pytest.mark.parametrize(("name", "more"), [(STREAMING, []), (RELION, ["extractbox"])])
def test_what_is_asked_for_can_be_given_on_the_command_line(name, more):
    params = template(name).getParams().values()
    assert [param.getAlias() for param in params] == ASKED + more
    for param in params:
        if param.getAlias() not in ("micrographs", "picks"):  # these have no default
            assert param.validate() is None, param.getTitle()
    assert template(name).description.startswith("Live session")
    assert "'" not in template(name).description  # Scipion hands it to a shell


@pytest.mark.parametrize("name", [STREAMING, RELION])
def test_every_parameter_is_one_of_the_form_and_every_pointer_names_an_output(streams, tmp_path, name):
    described = filled(name, tmp_path)
    loaded = streams.proj.loadProtocols(jsonStr=json.dumps(described))
    assert [type(protocol).__name__ for protocol in loaded.values()] == [
        protocol["object.className"] for protocol in described
    ]
    for values in described:
        protocol = loaded[values["object.id"]]
        attributes = dict(protocol.iterDefinitionAttributes())
        for key, value in values.items():
            if key.startswith("object."):
                continue
            assert key in attributes, f"{protocol}: {key}"
            if not attributes[key].isPointer():
                assert attributes[key].get() == value, f"{protocol}: {key}"
                continue
            source, output = value.split(".")
            assert attributes[key].getObjValue() is loaded[source]
            assert attributes[key].getExtended() == output
            assert output in dict(loaded[source].iterOutputAttributes(includePossible=True))
    assert {"threshold", "useGpu", "gpuList", "streamingBatchSize", "modelSource"} <= set(described[2])


def test_blocks_changed_as_the_how_to_says_fit_the_form_and_name_outputs(streams):
    text = (ROOT / "docs" / "how-to" / "replace-deep-micrograph-cleaner.md").read_text(encoding="utf-8")
    screening, extraction = json.loads(f"[{re.search(r'```json(.*?)```', text, re.DOTALL).group(1)}]")
    source, output = screening["inputCoordinates"].split(".")
    picker = {"object.className": "CryoIceProtImportCoordinates", "object.id": source}
    extraction["object.className"] = STAND_INS[extraction["object.className"]].__name__
    loaded = streams.proj.loadProtocols(jsonStr=json.dumps([picker, screening, extraction]))
    ours, next_one = loaded[screening["object.id"]], loaded[extraction["object.id"]]
    assert (ours.inputCoordinates.getObjValue(), ours.inputCoordinates.getExtended()) == (loaded[source], output)
    given = {key for key in screening if not key.startswith("object.")}
    assert given <= {key for key, _ in ours.iterDefinitionAttributes()}
    assert next_one.inputCoordinates.getObjValue() is ours
    assert next_one.inputCoordinates.getExtended() in dict(ours.iterOutputAttributes(includePossible=True))


def test_the_chain_runs_while_micrographs_and_picks_come(streams, tmp_path):
    described = filled(RELION, tmp_path, extractbox="32")
    model = write_random_model(tmp_path / "model", level=0.0)
    hurry = [
        {"fileTimeout": "1"},
        {"timeout": 3, "streamingSleepOnWait": 1},
        {"modelSource": 2, "modelFolder": str(model), "referenceMicrographs": 2},
        {},
    ]
    for values, more in zip(described, hurry):
        values.update(more)
    described[2]["threshold"] = 0.8  # between what this model gives to such noise
    described[2]["streamingSleepOnWait"] = described[3]["streamingSleepOnWait"] = 1
    picks = {number: coordinates(number)["coordinates"] for number in (1, 2, 3, 4)}

    def come(number):
        write_noise(tmp_path / "mics" / f"mic_{number:03d}.mrc", number, SHAPE)
        lines = [f"{x - BOX // 2}\t{y - BOX // 2}\t{BOX}\t{BOX}\n" for _, x, y in picks[number]]
        (tmp_path / "picks" / f"mic_{number:03d}.box").write_text("".join(lines))

    def sizes(protocol):
        return {name: output.getSize() for name, output in streams.now(protocol).iterOutputAttributes()}

    come(1)
    come(2)
    loaded = list(streams.proj.loadProtocols(jsonStr=json.dumps(described)).values())
    try:
        handed_on = ["outputMicrographs", "outputCoordinates", "outputCoordinates", "outputParticles"]
        for protocol, output in zip(loaded, handed_on):
            assert not protocol.validate(), protocol.validate()
            streams.proj.launchProtocol(protocol, wait=False)
            wait_for(lambda one=protocol, name=output: name in sizes(one) or streams.now(one).isFailed())
            streams.proj._updateProtocol(protocol)
        imported, picked, screening, extraction = loaded
        wait_for(lambda: sum(sizes(screening).values()) == 2 + 12)
        wait_for(lambda: sizes(extraction).get("outputParticles") == sizes(screening)["outputCoordinates"])
        assert streams.now(screening).outputCoordinates.isStreamOpen()
        come(3)
        come(4)
        wait_for(lambda: sum(sizes(screening).values()) == 4 + 24)
        Path(streams.proj.path, imported._getStopStreamingFilename()).touch()  # what the button does
        done = [streams.ended(protocol) for protocol in loaded]
    finally:
        for protocol in loaded:
            if not streams.now(protocol).isFinished() and streams.pid(protocol):
                kill(streams.pid(protocol))
    for protocol in done:
        assert protocol.isFinished(), protocol.getErrorMessage()
    check_all_came_once(done, picks)
    summary = read_summary(streams.folder(done[2]))
    assert (summary.micrographs, summary.backlog, summary.finished) == (4, 0, True)

    # The other template's end reads the same output when it is closed.
    streams.proj._updateProtocol(screening)
    last = dict(filled(STREAMING, tmp_path)[3], inputSet=f"{screening.getObjId()}.outputCoordinates")
    (best,) = streams.proj.loadProtocols(jsonStr=json.dumps([last])).values()
    streams.run_here(best)
    kept = items(done[2].outputCoordinates)
    expected = {key for key, item in kept.items() if item._cryoiceGoodness.get() >= 0.9}
    assert 0 < len(expected) < len(kept)
    assert set(items(best.outputCoordinates)) == expected


def check_all_came_once(done, picks):
    imported, picked, screening, extraction = done
    micrographs = items(imported.outputMicrographs)
    places = sorted(
        (micrographs[item.getMicId()].getMicName(), item.getX(), item.getY())
        for item in items(picked.outputCoordinates).values()
    )
    assert places == sorted((f"mic_{number:03d}.mrc", x, y) for number in picks for _, x, y in picks[number])
    kept, rejected = items(screening.outputCoordinates), items(screening.outputCoordinatesRejected)
    assert kept
    assert rejected
    assert not set(kept) & set(rejected)
    assert set(kept) | set(rejected) == set(items(picked.outputCoordinates))
    accepted, discarded = items(screening.outputMicrographs), items(screening.outputMicrographsDiscarded)
    assert sorted([*accepted, *discarded]) == sorted(micrographs)
    assert set(items(extraction.outputParticles)) == set(kept)
    for protocol in done:
        for name, output in protocol.iterOutputAttributes():
            assert output.isStreamClosed(), name
