# SPDX-License-Identifier: GPL-3.0-or-later
"""The wizard on the threshold, in Scipion's own form: what it shows is what the run does then."""

import os
import re

import pytest
import pyworkflow.gui.project  # noqa: F401 (the form cannot be imported before it)
from gui import drive, main_window
from pyworkflow.gui.dialog import RESULT_CANCEL, RESULT_YES, ListDialog
from pyworkflow.gui.form import FormWindow
from pyworkflow.protocol import LEVEL_ADVANCED
from random_model import write_random_model
from scipion_data import BROKEN, EMPTY, NAMES, Scipion, items, point, write_data
from streaming import wait_for, workers_of

from cryoice_scipion.constants import CRYOICE_PYTHON, CRYOICE_SCHEDULER
from cryoice_scipion.plugin import Plugin
from cryoice_scipion.protocols import CryoIceProtScreen, CryoIceProtTrain, CryoIceProtTrainMicrographs
from cryoice_scipion.protocols.protocol_train_micrographs import GRADER
from cryoice_scipion.viewers.model_preview_window import PreviewDialog

pytestmark = pytest.mark.scipion
RECOMMENDED = 0.437


@pytest.fixture(scope="module")
def main():
    with main_window() as window:
        yield window


@pytest.fixture(scope="module")
def project():
    return Scipion.begin("WizardProject")


@pytest.fixture(scope="module")
def picks(project, tmp_path_factory):
    folder = write_data(tmp_path_factory.mktemp("data"))
    micrographs = project.import_micrographs(folder / "full", 4.0)
    return project.import_picks(folder / "all.star", micrographs)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_random_model(tmp_path_factory.mktemp("models") / "random", threshold=RECOMMENDED)


@pytest.fixture
def form(main, project, picks, model):
    """The real form of a screening, with the errors that it shows in ``errors``."""
    values = {"useGpu": False, "modelSource": 2, "modelFolder": str(model), "referenceMicrographs": 3}
    protocol = project.newProtocol(CryoIceProtScreen, **values)
    point(protocol.inputCoordinates, picks)
    form = FormWindow("screening", protocol, lambda *_: None, main)
    form.root.deiconify()
    form.root.update()
    form.errors = []
    form.showError = form.errors.append  # a window that waits for a click
    yield form
    form.root.destroy()


def test_every_parameter_and_the_buttons_have_room_on_a_screen_of_800_px(form):
    form.protocol.expertLevel.set(LEVEL_ADVANCED)
    form._onExpertLevelChanged()
    form.root.update()
    assert form.root.winfo_reqheight() <= 700  # the rest is the frame of the window and the panel of the desktop


def press_wizard(form, name="threshold"):
    """Press the button beside a parameter; returns when the window that it opens is closed."""
    form.wizParamName = name
    form.wizards[name]().show(form)


def dialog_of(form):
    return next((child for child in form.root.winfo_children() if isinstance(child, PreviewDialog)), None)


def choose(dialog, name):
    number = [row.stem for row in dialog.rows].index(name)
    dialog.names.selection_clear(0, "end")
    dialog.names.selection_set(number)
    dialog.names.event_generate("<<ListboxSelect>>")
    dialog.update()
    return dialog.rows[number].id


def mapped(dialog):
    """Return the id of the micrograph that is shown."""
    return dialog._mapped[0].id if dialog._mapped else None


def counted(dialog):
    """Return what the window says: coordinates kept, coordinates, bad area in per cent."""
    found = re.match(r"(\d+) of (\d+) coordinates kept.*\nbad area ([\d.]+) %", dialog.counts.cget("text"))
    return int(found[1]), int(found[2]), float(found[3])


@pytest.fixture(scope="module")
def labelled(project, tmp_path_factory):
    """Good and bad coordinates on five micrographs."""
    folder = write_data(tmp_path_factory.mktemp("labelled"))
    micrographs = project.import_micrographs(folder / "full", 4.0)
    return {kind: project.import_picks(folder / f"{kind}.star", micrographs) for kind in ("good", "bad")}


def training(project, good, bad, **values):
    protocol = project.newProtocol(CryoIceProtTrain, useGpu=False, **values)
    point(protocol.goodCoordinates, good)
    point(protocol.badCoordinates, bad)
    return protocol


def test_the_hold_out_list_has_the_numbers_of_good_and_bad_coordinates(main, project, labelled):
    protocol = training(project, **labelled)
    rows, _ = held_out_by_wizard(main, protocol)
    names = [name for name in NAMES if name != EMPTY]
    assert [(name, int(good), int(bad)) for name, good, bad in rows] == [(name, 14, 14) for name in names]
    assert protocol.holdOut.get() == ", ".join(names[1:3])


def test_the_hold_out_list_of_a_grader_has_the_grades(main, project, picks, tmp_path):
    grades = dict(zip(NAMES, ["great", "film", "decent", "thick", "great"]))
    (tmp_path / "grades.csv").write_text("micrograph,grade\n" + "".join(f"{n}.mrc,{g}\n" for n, g in grades.items()))
    table = {"network": GRADER, "gradesFile": str(tmp_path / "grades.csv")}
    protocol = project.newProtocol(CryoIceProtTrainMicrographs, useGpu=False, **table)
    protocol.inputMicrographs.set(picks[0].inputMicrographs.get())
    rows, words = held_out_by_wizard(main, protocol)
    assert [row[:2] for row in rows] == list(grades.items())
    assert [row[2] for row in rows] == ["good", "bad", "good", "bad", "good"]
    assert words.startswith("3 good and 2 bad micrographs have a grade.")
    assert protocol.holdOut.get() == f"{NAMES[1]}, {NAMES[2]}"


def held_out_by_wizard(main, protocol):
    """Select the second and the third micrograph in the list of held-out ones; return the rows and the text."""
    form = FormWindow("training", protocol, lambda *_: None, main)
    form.root.deiconify()
    form.root.update()
    rows, words = [], []

    def script():
        yield lambda: any(isinstance(child, ListDialog) for child in form.root.winfo_children())
        dialog = next(child for child in form.root.winfo_children() if isinstance(child, ListDialog))
        tree = dialog.tree
        rows.extend((tree.item(item, "text"), *tree.item(item, "values")) for item in tree.get_children())
        words.append(dialog.message)
        tree.selection_set(tree.get_children()[1:3])
        dialog._handleResult(RESULT_YES)

    check = drive(form.root, script())
    press_wizard(form, "holdOut")
    check()
    form.root.destroy()
    return rows, words[0]


def test_a_training_that_cannot_work_is_told_before_it_runs(project, labelled, tmp_path):
    assert training(project, **labelled).validate() == []
    (same,) = training(project, labelled["good"], labelled["good"]).validate()
    assert same == "Good and bad coordinates are the same set. Choose two sets."
    held = ", ".join(name for name in NAMES if name not in (EMPTY, "mic_01"))
    (words,) = training(project, **labelled, holdOut=held).validate()  # ten bad picks on one micrograph
    assert "Now they are: good on mic_01 (14); bad on mic_01 (14)" in words
    (words,) = training(project, **labelled, holdOut="mic_7").validate()
    assert words == "Held-out micrographs: no micrograph with coordinates has the name mic_7."
    (words,) = training(project, **labelled, validationShare=1.5).validate()
    assert words == "'Validation fraction' must be below 1 (1.5 is given)."


def test_the_preview_uses_the_room_of_its_window(form):
    def script():
        yield lambda: dialog_of(form) is not None
        dialog = dialog_of(form)
        yield lambda: dialog.counts.cget("text")
        for width, height in ((1000, 700), (1500, 900)):
            dialog.geometry(f"{width}x{height}")
            canvas = dialog.picture.canvas
            yield lambda: dialog.winfo_width() == width and 0.5 * width < canvas.winfo_width() < 0.7 * width  # noqa: B023
            assert canvas.winfo_height() > 0.6 * height
            dialog.picture.zoom_in_middle(3)
            yield lambda: not dialog.picture._painting
            assert not dialog.picture.view.is_fit
        dialog._handleResult(RESULT_CANCEL)

    check = drive(form.root, script())
    press_wizard(form)
    check()


def test_what_the_window_shows_is_what_the_run_keeps(form, project):
    said, ids = {}, {}

    def script():
        yield lambda: dialog_of(form) is not None
        dialog = dialog_of(form)
        yield lambda: dialog.counts.cget("text")
        assert dialog.slider.get() == RECOMMENDED
        yield lambda: "as in the run" in dialog.baseline.cget("text")
        kept = []
        for threshold in (0.0, 0.3, 0.6, 1.0):
            dialog.slider.set(threshold)
            yield lambda: not dialog._drawing
            kept.append(counted(dialog)[0])
        assert kept[0] == counted(dialog)[1] > kept[-1]
        assert kept == sorted(kept, reverse=True)
        dialog.recommend.invoke()
        yield lambda: not dialog._drawing
        assert dialog.slider.get() == RECOMMENDED
        dialog.slider.set(0.6)
        for name in ("mic_00", "mic_03"):
            ids[name] = choose(dialog, name)
            yield lambda name=name: mapped(dialog) == ids[name] and not dialog._drawing
            said[name] = counted(dialog)
        dialog._handleResult(RESULT_YES)

    check = drive(form.root, script())
    press_wizard(form)
    check()
    assert form.errors == []
    assert form.widgetDict["threshold"].get() == "0.6"
    assert form.protocol.threshold.get() == 0.6
    done = project.run_here(form.protocol)
    micrographs = items(done.outputMicrographs)
    for name, (kept, number, area) in said.items():
        outputs = [items(output) for output in (done.outputCoordinates, done.outputCoordinatesRejected)]
        on_it = [sum(item.getMicId() == ids[name] for item in output.values()) for output in outputs]
        assert (kept, number) == (on_it[0], sum(on_it))
        assert area == pytest.approx(100 * micrographs[ids[name]]._cryoiceBadArea.get(), abs=0.06)


def test_a_broken_micrograph_is_one_line_and_closing_changes_nothing_and_ends_the_worker(form):
    places = []

    def script():
        yield lambda: dialog_of(form) is not None
        dialog = dialog_of(form)
        yield lambda: dialog.counts.cget("text")
        places.append(dialog.preview.folder)
        assert len(workers_of(os.getpid())) == 1
        choose(dialog, BROKEN)
        yield lambda: BROKEN in dialog.state.cget("text") and "Mapping" not in dialog.state.cget("text")
        assert "\n" not in dialog.state.cget("text")
        assert "Traceback" not in dialog.state.cget("text")
        assert dialog.counts.cget("text") == ""  # nothing of the one before
        wanted = choose(dialog, "mic_01")
        yield lambda: mapped(dialog) == wanted
        assert dialog.state.cget("text") == ""
        dialog.slider.set(0.9)
        dialog._handleResult(RESULT_CANCEL)

    check = drive(form.root, script())
    press_wizard(form, "modelSource")
    check()
    assert form.protocol.threshold.get() is None
    wait_for(lambda: not places[0].exists() and not workers_of(os.getpid()), 20)


def test_a_worker_that_cannot_start_is_one_line_in_the_window(form, monkeypatch):
    monkeypatch.setitem(Plugin._vars, CRYOICE_PYTHON, "/no/such/python")

    def script():
        yield lambda: dialog_of(form) is not None
        dialog = dialog_of(form)
        yield lambda: "/no/such/python" in dialog.state.cget("text")
        assert "CRYOICE_PYTHON" in dialog.state.cget("text")
        dialog._handleResult(RESULT_CANCEL)

    check = drive(form.root, script())
    press_wizard(form)
    check()


@pytest.mark.parametrize("has_device", [True, False])  # a GPU that torch does not see, or none
@pytest.mark.parametrize("by", ["queue", "scheduler"])
def test_where_a_run_computes_elsewhere_the_preview_computes_here_and_says_so(form, monkeypatch, by, has_device):
    monkeypatch.setattr(Plugin, "seesGpu", classmethod(lambda cls: has_device))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    form.protocol.useGpu.set(True)
    form.protocol.gpuList.set("1")
    if by == "queue":
        form.protocol._useQueue.set(True)
    else:
        monkeypatch.setitem(Plugin._vars, CRYOICE_SCHEDULER, "scheduler.json")

    def script():
        yield lambda: dialog_of(form) is not None
        dialog = dialog_of(form)
        yield lambda: dialog.counts.cget("text")
        yield lambda: "as in the run" in dialog.baseline.cget("text")
        assert dialog.baseline.cget("text").endswith("This machine has no usable GPU, so the preview uses the CPU.")
        dialog._handleResult(RESULT_CANCEL)

    check = drive(form.root, script(), 30)
    press_wizard(form)
    check()
    assert form.errors == []


@pytest.mark.parametrize(
    "values, words",
    [
        ({"modelFolder": "/no/such/model"}, "/no/such/model: no such model"),
        ({"threshold": 3.0}, "must be -1 (keep all) or from 0 to 1 (3.0 is given)"),
        ({"inputCoordinates": None}, "Choose 'Coordinates'"),
    ],
)
def test_what_is_wrong_with_the_form_is_said_at_once(form, values, words):
    for name, value in values.items():
        getattr(form.protocol, name).set(value)
    press_wizard(form)
    assert len(form.errors) == 1
    assert words in form.errors[0]
