# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter new picks on the maps of a screening: verdicts are those of a screening, and every pick comes out once."""

import json
from pathlib import Path

import pytest
from journals import unsealed
from pyworkflow.protocol import MODE_RESUME
from pyworkflow.protocol.executor import StepExecutor
from random_model import write_random_model
from scipion_data import BOX, BROKEN, NAMES, PIXEL_SIZE, Scipion, items, point, write_data
from simple_grader import CLASSES

from cryoice_scipion.constants import FAILED, NO_MICROGRAPH, WAITING
from cryoice_scipion.core.images.naming import stem_of
from cryoice_scipion.core.maps.scoring import BOX_TO_DIAMETER
from cryoice_scipion.core.results.run_folder import JOURNAL
from cryoice_scipion.core.screening.region_search_files import SPACING
from cryoice_scipion.protocols import CryoIceProtFilter, CryoIceProtRegions, CryoIceProtScreen
from cryoice_scipion.protocols.protocol_screen import FOLDER

pytestmark = pytest.mark.scipion


@pytest.fixture(scope="module")
def scipion(tmp_path_factory):
    """A project with a screening, and its picks on the same micrographs and on two other sets of them."""
    folder = write_data(tmp_path_factory.mktemp("data"))
    model = write_random_model(tmp_path_factory.mktemp("model") / "m", level=0.0, classes=CLASSES)
    project = Scipion.begin("FilterProject")
    full = project.import_micrographs(folder / "full", PIXEL_SIZE, "mic_0*.mrc")
    some = project.import_micrographs(folder / "full", PIXEL_SIZE, "mic_[09][1359].mrc")  # one was not screened
    binned = project.import_micrographs(folder / "binned", 2 * PIXEL_SIZE)
    star = folder / "all.star"
    project.star, project.full = star, full
    project.picks, project.on_some = (project.import_picks(star, micrographs) for micrographs in (full, some))
    project.on_binned = project.import_picks(star, binned, coordinatesPixelSize=PIXEL_SIZE)
    protocol = project.newProtocol(
        CryoIceProtScreen, useGpu=False, modelSource=2, modelFolder=str(model), contrast=1, threshold=0.55
    )
    point(protocol.inputCoordinates, project.picks)
    project.screening = project.run_here(protocol)
    return project


def new_filter(scipion, picks=None, **values):
    protocol = scipion.newProtocol(CryoIceProtFilter, **values)
    protocol.inputScreening.set(scipion.screening)
    point(protocol.inputCoordinates, picks or scipion.picks)
    return protocol


def outputs(protocol):
    """Return kept, rejected and pending coordinates, and check that each of the input is in one of them."""
    names = ("outputCoordinates", "outputCoordinatesRejected", "outputCoordinatesPending")
    found = [items(getattr(protocol, name)) for name in names]
    given = items(protocol.inputCoordinates.get())
    assert sorted(key for output in found for key in output) == sorted(given)
    for output in found:
        assert all((item.getX(), item.getY()) == (given[key].getX(), given[key].getY()) for key, item in output.items())
    return found


def verdicts(coordinates):
    return {key: (item._cryoiceGoodness.get(), item._cryoiceClass.get()) for key, item in coordinates.items()}


def test_verdicts_are_those_of_a_screening_with_these_picks(scipion):
    protocol = scipion.run_here(new_filter(scipion))
    kept, rejected, pending = outputs(protocol)
    assert kept and verdicts(kept) == verdicts(items(scipion.screening.outputCoordinates))
    assert rejected and verdicts(rejected) == verdicts(items(scipion.screening.outputCoordinatesRejected))
    assert not pending
    assert protocol.outputCoordinates.getBoxSize() == BOX
    text = "\n".join(protocol.summary())
    assert (
        f"{len(kept) + len(rejected)} coordinates: {len(kept)} kept, {len(rejected)} rejected; threshold 0.55" in text
    )
    assert "of the screening" in text


def test_coordinates_without_a_box_size_need_a_diameter_only(scipion):
    picks = scipion.import_picks(scipion.star, scipion.full)
    picks[0].outputCoordinates.setBoxSize(None)
    diameter = BOX * PIXEL_SIZE * BOX_TO_DIAMETER
    assert new_filter(scipion, picks)._validate() == [
        "The coordinates have no box size. Enter 'Particle diameter (Å)'."
    ]
    filtered = scipion.run_here(new_filter(scipion, picks, particleDiameter=diameter))
    screening = scipion.newProtocol(CryoIceProtScreen, particleDiameter=diameter)
    for name in ("useGpu", "modelSource", "modelFolder", "contrast", "threshold"):
        getattr(screening, name).set(getattr(scipion.screening, name).get())
    point(screening.inputCoordinates, picks)
    scipion.run_here(screening)
    usual = verdicts(items(scipion.screening.outputCoordinates))
    for protocol in (filtered, screening):
        assert verdicts(items(protocol.outputCoordinates)) == usual
        assert protocol.outputCoordinates.getBoxSize() is None
    regions = scipion.newProtocol(CryoIceProtRegions)
    regions.inputScreening.set(screening)
    scipion.run_here(regions)
    assert regions.outputCoordinatesBad.getBoxSize() == SPACING / PIXEL_SIZE
    found, ended = items(regions.outputRegions), regions.loadSteps()[0].endTime.get()
    scipion.go_on_here(regions)
    assert regions.isFinished() and regions.loadSteps()[0].endTime.get() > ended  # it has searched again
    assert list(items(regions.outputRegions)) == list(found)


def test_micrographs_of_another_set_are_matched_by_name_and_their_pixel_size_may_differ(scipion):
    by_place = {
        (stem_of(item.getMicName()), item.getX(), item.getY()): key
        for key, item in items(scipion.picks[0].outputCoordinates).items()
    }
    usual = set(items(scipion.screening.outputCoordinates))
    protocol = scipion.run_here(new_filter(scipion, scipion.on_some))
    kept, rejected, pending = outputs(protocol)
    assert len(kept) + len(rejected) == 3 * 28
    assert [stem_of(item.getMicName()) for item in pending.values()] == [BROKEN] * 3
    assert {item._cryoiceClass.get() for item in pending.values()} == {NO_MICROGRAPH}
    assert "3 coordinates are pending, because the screening has no micrograph" in "\n".join(protocol.summary())
    for key in kept:
        item = kept[key]
        assert by_place[stem_of(item.getMicName()), item.getX(), item.getY()] in usual
    for item in rejected.values():
        assert by_place[stem_of(item.getMicName()), item.getX(), item.getY()] not in usual
    binned = scipion.run_here(new_filter(scipion, scipion.on_binned))
    kept, rejected, _ = outputs(binned)
    assert binned.outputCoordinates.getMicrographs().getSamplingRate() == 2 * PIXEL_SIZE
    assert len(kept) + len(rejected) == 5 * 28
    assert abs(len(kept) - len(usual)) <= 0.1 * len(usual)  # positions were rounded to binned pixels


def test_settings_of_the_form_replace_those_of_the_screening(scipion):
    strict = scipion.run_here(new_filter(scipion, threshold=0.7, particleDiameter=200.0))
    all_kept = scipion.run_here(new_filter(scipion, threshold=-1.0))
    usual = items(scipion.screening.outputCoordinates)
    assert set(outputs(strict)[0]) < set(usual) < set(outputs(all_kept)[0])
    assert outputs(all_kept)[1] == {}
    assert "set in the form" in "\n".join(strict.summary())
    grade = next(iter(items(scipion.screening.outputMicrographs).values()))._cryoiceGrade.get()
    graded = scipion.run_here(new_filter(scipion, rejectGrades=grade))
    of = {key: item._cryoiceGrade.get() for key, item in items(scipion.screening.outputMicrographs).items()}
    kept, rejected, _ = outputs(graded)
    assert set(kept) == {key for key, item in usual.items() if of[item.getMicId()] != grade}
    assert {item.getMicId() for item in rejected.values()} >= {key for key in of if of[key] == grade} & {
        item.getMicId() for item in usual.values()
    }
    assert "because of their bad area or grade" in "\n".join(graded.summary())
    point(strict.inputCoordinates, scipion.on_binned)
    assert strict._validate() == [
        "'Coordinates' was changed after the run had begun. Restore the old value, or choose Restart."
    ]
    wrong = new_filter(scipion, classMargins="ice=50")
    assert any("unknown class ice" in line for line in wrong._validate())


def test_picks_on_failed_micrographs_are_rejected(scipion):
    journal = Path(scipion.proj.path) / scipion.screening.getPath(*FOLDER) / JOURNAL
    whole = journal.read_text()
    lines = [json.loads(line) for line in unsealed(whole).splitlines()]
    for line in lines:
        if line.get("kind") == "screened" and line["record"]["stem"] == NAMES[0]:
            line["record"].update(status=FAILED, reason="is truncated", scores=[])
    protocol = new_filter(scipion)
    try:
        journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
        scipion.run_here(protocol)
    finally:
        journal.write_text(whole)
    _, rejected, pending = outputs(protocol)
    failed = [item for item in rejected.values() if item._cryoiceClass.get() == FAILED]
    assert failed and {stem_of(item.getMicName()) for item in failed} == {NAMES[0]} and not pending
    text = "\n".join(protocol.summary())
    assert "All coordinates on 1 micrograph are rejected, because its screening failed" in text
    assert "no micrograph could be screened" not in text and "left out" not in text


def test_picks_on_micrographs_that_wait_are_pending_until_the_filter_is_continued(scipion):
    journal = Path(scipion.proj.path) / scipion.screening.getPath(*FOLDER) / JOURNAL
    whole, waiting = journal.read_text(), set(NAMES[:2])
    text = unsealed(whole).splitlines()
    lines = [json.loads(line) for line in text]
    early = [line.get("kind") != "screened" or line["record"]["stem"] not in waiting for line in lines]
    protocol = new_filter(scipion)
    try:
        journal.write_text("".join(line + "\n" for line, there in zip(text, early) if there))
        scipion.run_here(protocol)
        _, _, pending = outputs(protocol)
        assert {stem_of(item.getMicName()) for item in pending.values()} == waiting
        assert {item._cryoiceClass.get() for item in pending.values()} == {WAITING}
        words = "coordinates are pending, because their micrographs are not screened yet"
        assert f"{len(pending)} {words}" in "\n".join(protocol.summary())
    finally:
        journal.write_text(whole)
    protocol.runMode.set(MODE_RESUME)
    protocol.setStepsExecutor(StepExecutor(protocol.getHostConfig()))
    protocol.run()
    assert protocol.isFinished(), protocol.getErrorMessage()
    kept, _, pending = outputs(protocol)
    assert verdicts(kept) == verdicts(items(scipion.screening.outputCoordinates))
    assert not pending
    assert all(output.isStreamClosed() for _, output in protocol.iterOutputAttributes())


def test_what_cannot_be_filtered_is_said_before_the_run(scipion):
    empty = scipion.newProtocol(CryoIceProtScreen)
    scipion.proj.saveProtocol(empty)
    protocol = new_filter(scipion)
    protocol.inputScreening.set(empty)
    assert protocol._validate() == ["The screening has no screened micrograph yet. Wait for the first ones."]
    assert new_filter(scipion)._validate() == []
