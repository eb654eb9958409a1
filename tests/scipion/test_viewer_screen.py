# SPDX-License-Identifier: GPL-3.0-or-later
"""The screening viewer, its real window on a screen: what it shows is what the project holds, and what it saves too."""

import contextlib
import csv
import json
import shutil
import time
import tkinter as tk
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pwem
import pytest
import pyworkflow
from gui import screen, wait_for
from journals import unsealed
from pwem.objects import Coordinate, SetOfCoordinates
from pyworkflow.gui import Window
from pyworkflow.object import RELATION_SOURCE, Float, Pointer
from pyworkflow.project import Project
from pyworkflow.viewer import DESKTOP_TKINTER
from random_model import write_random_model
from scipion_data import BOX, BROKEN, EMPTY, NAMES, PIXEL_SIZE, Scipion, items, point, write_data
from scipion_data import places as true_places

from cryoice_scipion.core.formats.coordinates import SCORE, read_picks, write_star
from cryoice_scipion.core.formats.star import read_star
from cryoice_scipion.core.records import MicrographRecord, Summary
from cryoice_scipion.core.results.run_folder import JOURNAL, RunFolder
from cryoice_scipion.core.results.run_reader import read_records
from cryoice_scipion.core.screening.region_search_files import cell_of
from cryoice_scipion.protocols import CryoIceProtRegions, CryoIceProtScreen, CryoIceProtTrain
from cryoice_scipion.protocols.protocol_regions import FROM_FILE, MARKED
from cryoice_scipion.protocols.screen_summary import summary_lines
from cryoice_scipion.protocols.train_form import FROM_NOTHING
from cryoice_scipion.viewers import preferred
from cryoice_scipion.viewers.picture_reader import PictureReader
from cryoice_scipion.viewers.regions_window import SHOW, WRONG
from cryoice_scipion.viewers.screened_run import ScreenedRun
from cryoice_scipion.viewers.session_map_window import SessionMapWindow
from cryoice_scipion.viewers.viewer_screen import ScreenView
from cryoice_scipion.viewers.windows import open_window

pytestmark = pytest.mark.scipion


@pytest.fixture(scope="module")
def display():
    with screen():
        yield


@pytest.fixture(scope="module")
def scipion(tmp_path_factory):
    """A project in which micrographs were screened; the network's weights are random."""
    folder = write_data(tmp_path_factory.mktemp("data"))
    project = Scipion.begin("ViewerProject")
    project.micrographs = project.import_micrographs(folder / "full", PIXEL_SIZE)
    project.binned = project.import_micrographs(folder / "binned", 2 * PIXEL_SIZE)
    picks = read_picks(folder / "all.star").table
    picks[SCORE] = np.linspace(-1, 3, len(picks)).round(3)
    write_star(folder / "scored.star", picks)
    project.picks = project.import_picks(folder / "scored.star", project.micrographs)
    model = write_random_model(folder / "model")
    project.screening = project.newProtocol(CryoIceProtScreen, useGpu=False, modelSource=2, modelFolder=str(model))
    point(project.screening.inputCoordinates, project.picks)
    project.run_here(project.screening)
    return project


@pytest.fixture(scope="module")
def master(display):
    window = Window("project")
    yield window
    window.root.destroy()


@pytest.fixture
def open_on(scipion, master):
    """Open what a double click opens, and close it in the end."""
    windows = []

    def open_it(target):
        viewer = pwem.Domain.findViewers(target, DESKTOP_TKINTER)[0]
        (view,) = viewer(project=scipion.proj, parent=master)._visualize(target)
        return opened(view)

    def opened(view):
        view.show()
        windows.append(view.window)
        wait_for(view.window, lambda: is_drawn(view.window))
        return view.window

    open_it.view, open_it.master = opened, master
    yield open_it
    for window in windows:
        window.root.destroy()


def is_drawn(window):
    return window.records is not None and window.picture.layers is not None and window.table.chosen == window._wanted


def choose(window, name):
    key = next(record.id for record in window.records.micrographs if record.stem == name)
    window.go_to(key)
    wait_for(window, lambda: window._wanted == key and window.picture.layers is not None)
    return key


def marks(window):
    """Return how many kept and rejected coordinates are drawn."""
    return tuple(len(window.picture.canvas.find_withtag(name)) for name in ("kept", "rejected"))


def screened(scipion):
    """Return goodness by id of all coordinates in the project's outputs, and those that the run kept."""
    kept, rejected = (items(getattr(scipion.screening, f"outputCoordinates{end}")) for end in ("", "Rejected"))
    return {key: item._cryoiceGoodness.get() for key, item in {**kept, **rejected}.items()}, set(kept)


def above(goodness, threshold):
    return {key for key, value in goodness.items() if value is not None and value >= threshold}


def records(scipion):
    return read_records(Path(scipion.screening.getPath("extra", "screening")))


def test_it_opens_on_all_micrographs_and_pages_through_them_by_keys(scipion, open_on):
    window = open_on(scipion.screening)
    names = {record.id: record.stem for record in window.records.micrographs}
    assert sorted(names[key] for key in window.table.shown) == sorted([*NAMES, BROKEN])
    seen = []
    window.table.tree.focus_force()
    for _ in names:
        wait_for(window, lambda: is_drawn(window))
        seen.append(window.table.chosen)
        assert window.heading.title.name == names[seen[-1]]
        window.root.event_generate("<Right>")
    assert seen == window.table.shown
    window.root.event_generate("<Left>")
    wait_for(window, lambda: window.table.chosen == seen[-2])


def test_keys_work_after_a_choice_in_a_menu_and_after_a_threshold_was_typed(scipion, open_on):
    window = open_on(scipion.screening)
    panel, first = window.threshold, window.table.shown[0]
    for widget, event in (
        (window.table.choice, "<<ComboboxSelected>>"),
        (window.table.grade_choice, "<<ComboboxSelected>>"),
        (panel.choice, "<<ComboboxSelected>>"),
        (panel.entry, "<Return>"),
    ):
        window.go_to(first)
        widget.focus_force()
        wait_for(window, lambda widget=widget: window.root.focus_get() is widget)
        if widget is panel.entry:
            panel.entry.delete(0, tk.END)
            panel.entry.insert(0, "0.55")
        widget.event_generate(event)
        wait_for(window, lambda widget=widget: window.root.focus_get() is not widget)
        window.root.focus_get().event_generate("<Right>")
        wait_for(window, lambda: window.table.chosen == window.table.shown[1], 5)
    assert panel.threshold == 0.55


def test_the_list_says_what_the_records_say_and_sorts_the_worst_first(scipion, open_on):
    window = open_on(scipion.screening)
    for record in records(scipion):
        values = dict(zip(window.table.tree["columns"], window.table.tree.item(str(record.id), "values")))
        area = "" if record.bad_area is None else f"{100 * record.bad_area:.1f} %"
        assert (values["status"], values["bad_area"]) == (record.status, area)
        assert int(values["kept"]) == record.kept
    areas = {record.id: record.bad_area for record in records(scipion)}
    window.table.sort("bad_area")
    sorted_ones = [areas[key] for key in window.table.shown if areas[key] is not None]
    assert sorted_ones == sorted(sorted_ones, reverse=True)
    assert areas[window.table.shown[-1]] is None  # the one that failed
    window.table.sort("rejected")
    share = {one.id: 1 - one.kept / len(one.scores) for one in records(scipion) if one.scores}
    shares = [share[key] for key in window.table.shown if key in share]
    assert shares == sorted(shares, reverse=True)


def test_the_slider_keeps_what_the_outputs_goodness_says_and_the_marks_follow(scipion, open_on):
    window = open_on(scipion.screening)
    goodness, kept = screened(scipion)
    assert window.records.kept_number(window.threshold.threshold) == len(kept)  # begins where the run was
    key = choose(window, NAMES[1])
    own = {score.id for record in records(scipion) if record.id == key for score in record.scores}
    counts = set()
    for threshold in np.quantile([value for value in goodness.values() if value is not None], [0, 0.3, 0.6, 0.9]):
        window.threshold.slider.set(round(float(threshold), 3))
        wait_for(window, lambda t=threshold: abs(window.threshold.threshold - t) < 0.001)
        left = above(goodness, window.threshold.threshold)
        assert f"All micrographs: {len(left)} of {len(goodness)} kept" in window.threshold.counts.cget("text")
        assert f"This micrograph: {len(left & own)} of {len(own)} kept" in window.threshold.counts.cget("text")
        assert marks(window) == (len(left & own), len(own - left))
        counts.add(len(left))
    assert len(counts) == 4
    kept_column = window.table.tree["columns"].index("kept")
    wait_for(window, lambda: int(window.table.tree.item(str(key), "values")[kept_column]) == len(left & own))
    window.threshold.reset.invoke()
    assert window.records.kept_number(window.threshold.threshold) == len(kept)


def test_what_is_drawn_over_a_picture_can_be_switched(scipion, open_on):
    window = open_on(scipion.screening)
    choose(window, NAMES[1])
    circles, crosses = marks(window)
    assert circles and crosses
    switches, pictures = window.picture.switches.values(), []
    for switch, expected in zip(switches, [(circles, crosses)] * 2 + [(0, crosses), (0, 0)]):
        pictures.append(painted(window))
        switch.words.event_generate("<Button-1>")  # the label, not the small box
        window.root.update()
        assert marks(window) == expected
    assert len({bytes(picture) for picture in pictures[:3]}) == 3  # as it opens, with the map, without the mask


def test_the_text_has_the_colours_that_the_bad_area_has(scipion, open_on):
    from cryoice_scipion.core.images.palette import class_colour
    from cryoice_scipion.core.results.picture_layers import MASK_COLOUR

    folder = Path(scipion.screening.getPath("extra", "screening"))
    stored = folder / RunFolder(folder).raw_map(NAMES[2])
    share = next(record for record in records(scipion) if record.stem == NAMES[2]).areas["bad"]
    for colour in (class_colour("bad"), MASK_COLOUR):  # the second when the classes are no longer there
        window = open_on(scipion.screening)
        choose(window, NAMES[2])
        text = window.heading.text
        assert f"bad\u00a0{100 * share:.0f}\u00a0%" in text.get("1.0", "end")
        assert [text.get(*text.tag_ranges("bad")), text.tag_cget("bad", "foreground")] == ["■", colour]
        assert bytes.fromhex(colour[1:]) in painted(window)
        stored.rename(stored.with_suffix(".away")) if stored.is_file() else None
    stored.with_suffix(".away").rename(stored)


def painted(window):
    from PIL import ImageTk

    return np.asarray(ImageTk.getimage(window.picture._photo).convert("RGB")).tobytes()


def test_places_of_the_marks_are_those_of_the_coordinates(scipion, open_on):
    window = open_on(scipion.screening)
    key = choose(window, NAMES[1])
    picks = items(scipion.picks[0].outputCoordinates)
    own = [pick for pick in picks.values() if pick.getMicId() == key]
    view = window.picture.view
    assert view.scale * 512 == pytest.approx(min(view.width, view.height))
    wanted = sorted((view.left + (pick.getX() + 0.5) * view.scale) for pick in own)
    boxes = [window.picture.canvas.coords(item) for item in window.picture.canvas.find_withtag("picks")]
    centres = sorted({round((box[0] + box[2]) / 2, 3) for box in boxes})
    assert np.allclose(centres, sorted(set(np.round(wanted, 3))), atol=0.01)


def click(window, x, y, button=1):
    """Click on a position of the shown micrograph."""
    at_x, at_y = (round(value) for value in window.picture.view.to_canvas((x, y)))
    for event in (f"<ButtonPress-{button}>", f"<ButtonRelease-{button}>"):
        window.picture.canvas.event_generate(event, x=at_x, y=at_y)
    window.root.update()


def test_the_wheel_magnifies_what_is_under_the_mouse_dragging_moves_it_and_a_double_click_shows_all(scipion, open_on):
    window = open_on(scipion.screening)
    choose(window, NAMES[1])
    canvas, view, whole = window.picture.canvas, window.picture.view, sum(marks(window))
    under = view.to_micrograph(100, 120)
    for _ in range(5):
        canvas.event_generate("<Button-4>", x=100, y=120)
    wait_for(window, lambda: not window.picture._painting)
    assert view.to_micrograph(100, 120) == pytest.approx(under)
    assert 0 < sum(marks(window)) < whole  # only those that are seen are drawn
    record = next(one for one in window.records.micrographs if one.stem == NAMES[1])
    ring = canvas.coords(canvas.find_withtag("kept")[0])
    assert (ring[2] - ring[0]) * 4.0 / view.scale == pytest.approx(record.particle_diameter)  # Å
    left, top = view.left, view.top
    canvas.event_generate("<ButtonPress-1>", x=100, y=120)
    canvas.event_generate("<B1-Motion>", x=80, y=125)
    canvas.event_generate("<ButtonRelease-1>", x=80, y=125)
    assert (view.left, view.top) == pytest.approx((left - 20, top + 5))
    for moment in (10_000, 10_050):  # ms: a double click
        canvas.event_generate("<ButtonPress-1>", x=100, y=120, time=moment)
        canvas.event_generate("<ButtonRelease-1>", x=100, y=120, time=moment + 20)
    wait_for(window, lambda: view.is_fit and not window.picture._painting)
    assert sum(marks(window)) == whole


def test_low_pass_and_contrast_change_the_picture(scipion, open_on):
    window = open_on(scipion.screening)
    choose(window, NAMES[1])
    picture, spread = window.picture, []
    for slider, value in ((picture.contrast, 0.5), (picture.contrast, 1.0), (picture.low_pass, 100)):
        slider.set(value)
        window.root.update()
        wait_for(window, lambda: not picture._painting and not picture._filtering and not picture.note.cget("text"))
        spread.append(float(np.std(np.frombuffer(painted(window), np.uint8).astype(float))))
    assert spread[0] < spread[1]
    assert picture._detail[0][1] == 100
    assert not np.array_equal(picture._detail[1], picture.layers.grey)
    path = Path(picture.layers.path)
    content, before = path.read_bytes(), picture._detail[1]
    try:
        shutil.copy(path.with_name(f"{NAMES[3]}.mrc"), path)  # screened again, its record is another
        window._pictures._kept.clear()
        window._choose(window._wanted)
        wait_for(window, lambda: picture._detail[1] is not None and picture._detail[1] is not before)
        assert not np.array_equal(picture._detail[1], before)
    finally:
        path.write_bytes(content)


@pytest.fixture
def no_labels(scipion):
    """Remove what was marked before and after a test."""

    def remove():
        for name in ("labels.json", "review.json"):
            with contextlib.suppress(FileNotFoundError):
                Path(scipion.screening.getPath("extra", "screening", name)).unlink()

    remove()
    yield
    remove()


def test_marked_places_become_outputs_that_a_training_takes(scipion, open_on, no_labels):
    window = open_on(scipion.screening)
    window.labelling.with_run.set(False)
    wanted = {"good": {}, "bad": {}}
    for name, x in ((NAMES[0], 60), (NAMES[1], 90)):
        key = choose(window, name)
        for label, at in (("good", (x, 10)), ("bad", (400, x))):
            window.table.tree.focus_force()
            window.root.event_generate(f"<Key-{label[0]}>")
            click(window, *at)
            wanted[label].setdefault(key, []).append(at)
    click(window, 300, 300)  # bad
    click(window, 301, 300, button=3)  # no longer
    assert "2 good, 2 bad on 2 micrographs" in window.labelling.counts.cget("text")
    window.root.event_generate("<Key-3>")  # the class of the place, as in the menu
    assert window.labelling.cls.get() == "3 thick" and window.labelling.tool.get() == "bad"
    click(window, 400, 90)  # again: it replaces the place
    drawn = window.picture.canvas
    assert [drawn.itemcget(item, "text") for item in drawn.find_withtag("class")] == ["thick"]
    assert "2 good, 2 bad (thick 1) on 2 micrographs" in window.labelling.counts.cget("text")
    assert (len(drawn.find_withtag("good")), len(drawn.find_withtag("bad"))) == (1, 1)
    assert open_on(scipion.screening).labelling.labels.boxes == window.labelling.labels.boxes  # of the file
    window.saving.save_labels()
    wait_for(window, lambda: "Saved" in window.saving.told.cget("text"))
    protocol = fresh(scipion)
    for label, places in wanted.items():
        saved = getattr(protocol, f"outputCoordinates{label.capitalize()}_Viewer1")
        assert saved.getBoxSize() == BOX
        found = {}
        for item in items(saved).values():
            found.setdefault(item.getMicId(), []).append((item.getX(), item.getY()))
            assert item.getMicName()
            thick = label == "bad" and item.getMicName() == f"{NAMES[1]}.mrc"
            assert item.getAttributeValue("_cryoiceLabel") == ("thick" if thick else "bad" if label == "bad" else None)
        assert {key: np.allclose(found[key], places[key], atol=2) for key in places} == dict.fromkeys(places, True)
        assert saved.getMicrographs().getFileName() == scipion.micrographs[0].outputMicrographs.getFileName()
        assert saved.getObjId() in children(protocol)
    training = scipion.newProtocol(CryoIceProtTrain, useGpu=False)
    for pointer, label in ((training.goodCoordinates, "Good"), (training.badCoordinates, "Bad")):
        point(pointer, (protocol, f"outputCoordinates{label}_Viewer1"))
    assert training.validate() == ["2 bad coordinates are too few. A training needs 5 or more."]


def test_picks_of_the_run_are_added_but_not_near_a_place_of_the_other_kind(scipion, open_on, no_labels):
    window = open_on(scipion.screening)
    key = choose(window, NAMES[1])
    own = {
        item.getObjId(): item for item in items(scipion.picks[0].outputCoordinates).values() if item.getMicId() == key
    }
    kept = [item for item in own.values() if item.getObjId() in screened(scipion)[1]]
    window.labelling.tool.set("bad")
    click(window, kept[0].getX() + 3, kept[0].getY())  # near a pick: its centre is meant
    places = window.labelling.labels.of(NAMES[1])
    assert [place[:2] for place in places] == [(kept[0].getX(), kept[0].getY())]
    read = window.labelling.places(window.threshold.threshold)
    good, bad = (read[f"outputCoordinates{kind}"]()[key] for kind in ("Good", "Bad"))
    assert bad[0] == places[0]
    good = np.array([place[:2] for place in good])
    far = np.hypot(*(good - places[0][:2]).T) * 4.0  # Å
    assert 0 < len(good) < len(kept) and far.min() > 300
    window.labelling.undo_button.invoke()
    assert window.labelling.labels.boxes == {}


def test_a_micrograph_that_is_rejected_by_hand_is_so_in_list_counts_and_saved_sets(scipion, open_on, no_labels):
    window = open_on(scipion.screening)
    key, before = choose(window, NAMES[1]), window.records.kept_number(window.threshold.threshold)
    window.labelling.verdicts[False].invoke()
    wait_for(window, lambda: is_drawn(window))
    record = next(one for one in window.records.micrographs if one.id == key)
    assert (record.status, record.reason) == ("discarded", "discarded by hand")
    assert window.records.kept_number(window.threshold.threshold) < before
    assert "Why discarded: discarded by hand" in window.heading.text.get("1.0", "end")
    assert marks(window)[0] == 0
    window.saving.plus_micrographs.invoke()
    wait_for(window, lambda: "micrograph" in window.saving.told.cget("text"))
    protocol = fresh(scipion)
    accepted, discarded = protocol.outputMicrographs_Viewer1, protocol.outputMicrographsDiscarded_Viewer1
    assert key in items(discarded) and key not in items(accepted)
    assert len(items(accepted)) + len(items(discarded)) == len(NAMES) + 1
    choose(window, BROKEN)
    assert window.labelling.verdicts[True].cget("state") == "disabled"  # it has no picture to judge
    window.labelling.decide(True)
    assert BROKEN not in window.labelling.labels.verdicts
    choose(window, NAMES[1])
    window.labelling.verdicts[False].invoke()  # again: as the run decided
    assert window.records.kept_number(window.threshold.threshold) == before


def test_a_lasso_on_the_map_of_the_session_selects_micrographs(scipion, open_on, no_labels):
    window = open_on(scipion.screening)
    plane = SessionMapWindow(window)
    open_window(plane)
    wait_for(plane, lambda: plane.map is not None)
    assert plane.buttons["Undo"].cget("state") == "disabled"
    assert set(plane.map.ids) == {record.id for record in window.records.micrographs if record.stem != BROKEN}
    wait_for(plane, lambda: plane.canvas.get_tk_widget().winfo_width() > 100)
    plane.canvas.draw()
    at = plane.points.get_offsets()
    first = int(at[:, 0].argmax())

    def lasso(corners):
        widget = plane.canvas.get_tk_widget()
        path = plane.axes.transData.transform(corners)
        for event, (x, y) in zip(["<ButtonPress-1>", *["<B1-Motion>"] * (len(path) - 2), "<ButtonRelease-1>"], path):
            widget.event_generate(event, x=round(x), y=round(widget.winfo_height() - y))
        plane.root.update()

    lasso(at[first] + 0.04 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1), (-1, -1)]))
    key = plane.map.ids[first]
    assert plane.selected == [key]
    stem = next(record.stem for record in window.records.micrographs if record.id == key)
    plane.buttons["Reject"].invoke()
    assert window.labelling.labels.verdicts == {stem: False}
    assert plane.records[key].status == "discarded"
    plane.buttons["Show in the list"].invoke()
    assert window.table.shown == [key] and window.table.filter.get() == "selected on the map"
    assert plane.buttons["Undo"].cget("state") == "normal"
    plane.buttons["Undo"].invoke()
    assert plane.buttons["Undo"].cget("state") == "disabled"
    assert window.labelling.labels.verdicts == {}
    plane.selected = [key, 10**6]  # the latter was there before a restart of the run
    plane.decide(False)
    assert window.labelling.labels.verdicts == {stem: False}
    plane.buttons["Undo"].invoke()
    other = int(at[:, 0].argmin())
    lasso([at[other], at[other]])  # a click opens the micrograph
    wait_for(window, lambda: window._wanted == plane.map.ids[other])
    assert window.table.filter.get() == "all"
    plane.root.destroy()
    window.labelling.decide(True)  # the button of the closed map is forgotten
    window.labelling.undo()


def test_selected_bars_are_shown_on_the_picture(scipion, open_on):
    window = open_on(scipion.screening)
    key = choose(window, NAMES[1])
    panel, index = window.threshold, window._indices[key]
    axes = panel.axes.bbox.bounds
    x, height = axes[0] + 0.1 * axes[2], panel.canvas.get_tk_widget().winfo_height() - axes[1] - axes[3] / 2
    ends = (x, axes[0] + 0.6 * axes[2])
    widget = panel.canvas.get_tk_widget()
    widget.event_generate("<ButtonPress-3>", x=round(ends[0]), y=round(height))
    widget.event_generate("<B3-Motion>", x=round(ends[1]), y=round(height))
    widget.event_generate("<ButtonRelease-3>", x=round(ends[1]), y=round(height))
    goodness = window.records.goodness[window.records.of(index)]
    inside = (goodness >= panel.selected[0]) & (goodness < panel.selected[1])
    assert panel.selected == pytest.approx((0.1, 0.6), abs=0.05)
    assert len(window.picture.canvas.find_withtag("chosen")) == inside.sum() > 0
    panel.select(None)
    assert not window.picture.canvas.find_withtag("chosen")


def test_the_score_of_the_picker_is_a_second_threshold(scipion, open_on):
    window = open_on(scipion.screening)
    goodness, _ = screened(scipion)
    scores = {key: item._pickScore.get() for key, item in items(scipion.picks[0].outputCoordinates).items()}
    panel = window.threshold
    assert panel.minimum is None
    panel.choice.set("Picker's score")
    panel.choice.event_generate("<<ComboboxSelected>>")
    window.root.update()
    panel.set(1.0)
    left = {key for key in above(goodness, panel.threshold) if scores[key] >= 1.0}
    assert window.records.kept_number(panel.threshold) == len(left) < len(above(goodness, panel.threshold))
    low = sum(scores[key] < 1.0 for key, value in goodness.items() if value is not None)
    assert f"{low} with a low score of the picker" in panel.counts.cget("text")
    panel.both.invoke()
    joint = panel.joint
    assert joint.cells.get_array().sum() == sum(value is not None for value in goodness.values())
    assert [joint.lines[0].get_xdata()[0], joint.lines[1].get_ydata()[0]] == [panel.threshold, 1.0]
    panel.set(1.5)
    assert joint.lines[1].get_ydata()[0] == 1.5 and joint.lines[1].get_visible()
    joint.window.destroy()
    panel.reset.invoke()
    assert panel.minimum is None
    assert window.records.kept_number(panel.threshold) == len(above(goodness, panel.threshold))


@pytest.mark.parametrize("size", [(1270, 740), (1590, 940)])
def test_the_window_is_usable_at_any_size(scipion, open_on, size):
    window = open_on(scipion.screening)
    window.root.geometry("{}x{}".format(*size))
    wait_for(window, lambda: window.root.winfo_width() == size[0] and not window.picture._painting)
    assert window.picture.canvas.winfo_width() >= 0.42 * size[0]
    assert len(window.table.tree["displaycolumns"]) >= 3
    for switch in window.picture.switches.values():
        edge = switch.winfo_x() + switch.winfo_reqwidth()
        assert edge <= window.picture.winfo_width()
        assert switch.winfo_rooty() + switch.winfo_height() <= window.root.winfo_rooty() + size[1]
    for panel in (window.threshold, window.saving):
        cut = [one.cget("text") for one in texts_below(panel) if is_cut(one, panel)]
        assert cut == []
    middles = [one.winfo_y() + one.winfo_height() / 2 for one in (window.threshold.entry, window.threshold.reset)]
    assert abs(middles[0] - middles[1]) <= 1


def test_at_the_smallest_size_no_button_is_cut_and_the_histogram_is_seen(scipion, open_on):
    window = open_on(scipion.screening)
    window.root.geometry("900x560")
    wait_for(window, lambda: window.root.winfo_width() == 900 and not window.picture._painting)
    for panel in (window.table, window.saving):
        assert [one.cget("text") for one in texts_below(panel) if is_cut(one, panel)] == []
    choice = window.table.grade_choice
    assert choice.winfo_x() + choice.winfo_width() <= window.table.winfo_width()
    assert window.threshold.canvas.get_tk_widget().winfo_height() >= 50
    assert not window.timeline.winfo_ismapped()
    window.root.geometry("1200x760")
    wait_for(window, window.timeline.winfo_ismapped)
    assert window.timeline.canvas.get_tk_widget().winfo_height() >= 60


def texts_below(widget):
    """Return the visible labels, buttons and checkboxes inside a widget."""
    for child in widget.winfo_children():
        if isinstance(child, (tk.Label, tk.Button, tk.Checkbutton)) and child.winfo_viewable():
            yield child
        yield from texts_below(child)


def is_cut(widget, panel):
    """Return whether a widget has less room than it asks for, or reaches over the edge of its panel."""
    right = widget.winfo_rootx() + widget.winfo_reqwidth()
    return widget.winfo_width() < widget.winfo_reqwidth() or right > panel.winfo_rootx() + panel.winfo_width()


def test_a_long_name_keeps_both_ends_in_the_list_and_all_of_it_in_the_tooltip(scipion, open_on):
    window = open_on(scipion.screening)
    table, long = window.table, "FoilHole_12345678_Data_12345679_12345680_20260101_010203_fractions_aligned"
    key = str(table.shown[0])
    table._names[key] = long
    table._fit(table.tree.winfo_width())
    short = table.tree.set(key, "name")
    head, _, tail = short.partition("…")
    assert long.startswith(head) and long.endswith(tail) and len(short) > 12
    x, y, _, height = table.tree.bbox(key, "name")
    table.tree.event_generate("<Motion>", x=x + 5, y=y + height // 2)
    assert table._tip(type("Event", (), {"x": x + 5, "y": y + height // 2})) == long


def test_a_micrograph_without_a_stored_picture_is_read_itself_and_one_that_cannot_be_read_says_why(scipion, open_on):
    folder = Path(scipion.screening.getPath("extra", "screening"))
    (folder / RunFolder(folder).base(NAMES[3])).unlink()
    window = open_on(scipion.screening)
    choose(window, NAMES[3])
    assert window.picture.layers.grey is not None
    choose(window, BROKEN)
    text = [window.picture.canvas.itemcget(item, "text") for item in window.picture.canvas.find_all()]
    assert any(BROKEN in words and "\n" in words for words in text)
    choose(window, EMPTY)
    assert marks(window) == (0, 0)


def test_a_saved_set_is_an_output_of_the_protocol_that_others_can_use(scipion, open_on):
    window = open_on(scipion.screening)
    before = {name: items(output) for name, output in scipion.screening.iterOutputAttributes()}
    goodness, _ = screened(scipion)
    threshold = round(float(np.median([value for value in goodness.values() if value is not None])), 3)
    window.threshold.set(threshold)
    window.saving.plus.invoke()
    wait_for(window, lambda: "Saved" in window.saving.told.cget("text"))
    wanted = above(goodness, threshold)
    assert f"Saved {len(wanted)} coordinates as outputCoordinates_Viewer1." in window.saving.told.cget("text")
    protocol = fresh(scipion)
    saved = protocol.outputCoordinates_Viewer1
    chosen = items(saved)
    assert set(chosen) == wanted
    assert saved.getSize() == len(wanted)
    picks = items(scipion.picks[0].outputCoordinates)
    for key, item in chosen.items():
        was = picks[key]
        assert (item.getX(), item.getY(), item.getMicId()) == (was.getX(), was.getY(), was.getMicId())
        assert item._cryoiceGoodness.get() == goodness[key]
        assert item._cryoiceClass.hasValue()
    assert saved.getBoxSize() == BOX
    assert saved.isStreamClosed()
    assert saved.getMicrographs().getFileName() == scipion.micrographs[0].outputMicrographs.getFileName()
    assert saved.getObjId() in children(protocol)
    for name, was in before.items():
        assert {key: str(item.getObjDict()) for key, item in items(getattr(protocol, name)).items()} == {
            key: str(item.getObjDict()) for key, item in was.items()
        }


def test_a_saved_set_opens_at_its_own_threshold_and_a_further_one_gets_another_name(scipion, open_on):
    window = open_on(scipion.screening)
    goodness, _ = screened(scipion)
    names = []
    for threshold in (0.3, 0.2):
        window.threshold.set(threshold)
        window.saving.plus.invoke()
        wait_for(window, lambda: "Saved" in window.saving.told.cget("text"))
        names.append(window.saving.told.cget("text").split()[-1].strip("."))
    assert len(set(names)) == 2
    for threshold, name in zip((0.3, 0.2), names):
        again = open_on(getattr(fresh(scipion), name))
        assert again.records.kept_number(again.threshold.threshold) == len(above(goodness, threshold))


def test_nothing_is_saved_where_nothing_is_kept_and_it_says_so(scipion, open_on):
    window = open_on(scipion.screening)
    outputs = list(fresh(scipion)._outputs)
    window.threshold.set(1.0)
    window.saving.plus.invoke()
    window.root.update()
    assert "no coordinates are kept at this threshold; lower the threshold" in window.saving.told.cget("text")
    assert list(fresh(scipion)._outputs) == outputs


def fresh(scipion):
    """Return the protocol as it is in the project's database."""
    project = Project(pwem.Domain, scipion.proj.path)
    project.load()
    return project.getProtocol(scipion.screening.getObjId())


def children(protocol):
    return {relation["object_child_id"] for relation in protocol.getRelations() if relation["name"] == RELATION_SOURCE}


def test_saving_while_the_protocol_runs_leaves_its_database_alone_and_outlives_its_updates(scipion, open_on):
    window = open_on(scipion.screening)
    protocol = window.run._now()
    database = Path(protocol.getDbPath())
    shutil.copyfile(scipion.proj.getDbPath(), database)  # as launching does
    protocol.setStatus("running")
    untouched = database.read_bytes()
    window.threshold.set(0.25)
    window.saving.plus.invoke()
    wait_for(window, lambda: "Saved" in window.saving.told.cget("text"))
    name = window.saving.told.cget("text").split()[-1].strip(".")
    assert database.read_bytes() == untouched
    protocol.setStatus("finished")
    time.sleep(1.1)  # the resolution of pyworkflow's time stamps
    database.touch()
    scipion.proj._updateProtocol(protocol)  # what the project's window does with a protocol that runs
    scipion.proj.mapper.commit()
    window.run.keep_relations()
    protocol = fresh(scipion)
    assert name in [key for key, _ in protocol.iterOutputAttributes()]
    assert getattr(protocol, name).getSize() == len(above(screened(scipion)[0], 0.25))
    assert getattr(protocol, name).getObjId() in children(protocol)


def test_a_run_that_was_deleted_meanwhile_is_told_in_plain_words(scipion, open_on):
    window = open_on(scipion.screening)
    window.run._key = 10**6
    window.saving.plus.invoke()
    assert window.saving.told.cget("text").endswith("is no longer in the project; close this window")


def test_the_list_grows_with_the_records_of_a_run_that_goes_on(scipion, open_on, tmp_path):
    folder = Path(scipion.screening.getPath("extra", "screening"))
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if b'"screened"' in line]
    copy = tmp_path / "screening"
    shutil.copytree(folder, copy)
    (copy / JOURNAL).write_bytes(b"".join(lines[: places[2]]) + lines[places[2]][:100])
    run = ScreenedRun(scipion.proj, scipion.screening)
    run.folder = copy
    window = open_on.view(ScreenView(run, open_on.master))
    assert len(window.table.shown) == 2
    chosen = window.table.chosen
    (copy / JOURNAL).write_bytes(b"".join(lines))
    wait_for(window, lambda: len(window.table.shown) == len(places))
    assert window.table.chosen == chosen
    assert f"{len(places)} micrographs" in window.status_bar.words.cget("text")


def test_a_restart_of_the_run_clears_what_was_shown_of_it(scipion, open_on, tmp_path, monkeypatch):
    folder, stored = tmp_path / "screening", Path(scipion.screening.getPath("extra", "screening"))
    shutil.copytree(stored, folder)
    run = ScreenedRun(scipion.proj, scipion.screening)
    run.folder = folder
    window = open_on.view(ScreenView(run, open_on.master))
    panel, before = window.threshold, window.threshold.threshold
    choose(window, NAMES[1])
    window.labelling.decide(False)
    panel.axis.set("Picker's score")
    panel.choice.event_generate("<<ComboboxSelected>>")
    panel.set(1.0)
    plane = SessionMapWindow(window)
    wait_for(plane, lambda: plane.map is not None)
    plane.select(plane.map.ids[:2])
    changed = run._now()
    for name, value in {"threshold": 0.375, "margin": 50.0}.items():  # as a restart may change them
        monkeypatch.setattr(changed, name, Float(value))
    monkeypatch.setattr(run, "_now", lambda: changed)
    shutil.rmtree(folder)
    wait_for(window, lambda: not window.records.micrographs)
    text = [window.picture.canvas.itemcget(item, "text") for item in window.picture.canvas.find_all()]
    assert (window.picture.layers, marks(window), text) == (None, (0, 0), [""])
    assert window.heading.title.name == window.heading.text.get("1.0", "end").strip() == ""
    assert panel.counts.cget("text") == ""
    assert not len(panel.axes_of["Picker's score"].values)
    assert [one.words.cget("text") for one in window.picture.switches.values()][2:] == ["kept 0", "rejected 0"]
    assert window.labelling.undo_button.cget("state") == "disabled"  # the labels are gone with the folder
    assert {button.cget("state") for button in window.labelling.verdicts.values()} == {"disabled"}
    assert (panel.threshold, panel.run_threshold, run.margin) == (0.375, 0.375, 50.0) and before != 0.375
    wait_for(plane, lambda: plane.map.ids == [], 10)
    assert plane.selected == []
    plane.root.destroy()
    shutil.copytree(stored, folder)
    wait_for(window, lambda: is_drawn(window))
    assert window.heading.title.name == window.records.micrographs[0].stem
    assert panel.minimum == 1.0 and panel.axes_of["Picker's score"].low == -1  # as the user chose it


def test_micrographs_are_sorted_and_filtered_by_grade(scipion, open_on, tmp_path):
    shutil.copytree(scipion.screening.getPath("extra", "screening"), tmp_path / "screening")
    grades = dict(zip(NAMES, ["decent", "unsure", "great", "film", "contaminated", "great"]))
    journal, lines = tmp_path / "screening" / JOURNAL, []
    for line in map(json.loads, unsealed(journal.read_text()).splitlines()):
        if line["kind"] == "screened" and line["record"]["stem"] in grades:
            name = grades[line["record"]["stem"]]
            line["record"].update(grade=name, grade_confidence=0.75, grade_reason=f"Looks {name}.")
        lines.append(json.dumps(line) + "\n")
    journal.write_text("".join(lines))
    run = ScreenedRun(scipion.proj, scipion.screening)
    run.folder = tmp_path / "screening"
    window = open_on.view(ScreenView(run, open_on.master))
    names = {record.id: record.stem for record in window.records.micrographs}
    window.table.sort("grade")
    told = [grades.get(names[key], "") for key in window.table.shown]
    assert told == ["great", "great", "decent", "contaminated", "film", "unsure", ""]  # the one that failed has none
    for choice, shown in {"film": ["film"], "bad or unsure": ["contaminated", "film", "unsure"], "thick": []}.items():
        window.table.grade_choice.set(choice)
        window.table.grade_choice.event_generate("<<ComboboxSelected>>")
        window.root.update()
        assert [grades[names[key]] for key in window.table.shown] == shown
    choose(window, NAMES[0])  # a click on the timeline: the filters no longer hide it
    assert len(window.table.shown) == len(NAMES) + 1
    assert "Why decent: Looks decent. Confidence 0.75." in window.heading.text.get("1.0", "end")


def test_a_run_that_has_screened_nothing_yet_opens_and_says_so(scipion, master, tmp_path):
    run = ScreenedRun(scipion.proj, scipion.screening)
    run.folder = tmp_path / "not there yet"
    view = ScreenView(run, master)
    view.show()
    wait_for(view.window, lambda: view.window.records is not None)
    assert "No micrographs screened yet" in view.window.status_bar.words.cget("text")
    assert view.window.saving.plus.cget("state") == "disabled"
    for reference, number in ((None, 1), ({"micrographs": 20}, 0)):  # it says what it waits for
        waiting = Summary(backlog=3, reference=reference)
        view.window.status_bar.tell(view.window.records, waiting)
        assert view.window.status_bar.words.cget("text").count("results begin when the reference micrographs") == number
        assert "\n".join(summary_lines(waiting, "")).count("Results begin when") == number
    wait_for(view.window, lambda: view.window.timeline._line is not None)
    assert not view.window.timeline._line.get_visible()
    plane = SessionMapWindow(view.window)
    open_window(plane)
    wait_for(plane, lambda: plane.map is not None)
    assert plane.axes.get_legend() is None
    assert plane._described() == "The map needs 5 micrographs or more."
    few = [MicrographRecord(key, f"m{key}", f"m{key}.mrc", "accepted") for key in range(6)]
    view.window.records = SimpleNamespace(micrographs=few)  # without features
    assert plane._described() == "The map needs a run with 5 reference micrographs or more."
    plane.root.destroy()
    view.window.root.destroy()


def test_a_click_on_the_course_of_the_session_chooses_the_micrograph_under_it(scipion, open_on):
    window = open_on(scipion.screening)
    for index in (3, 1):
        x, _ = window.timeline.axes.transData.transform((index + 1.2, 50))
        left, bottom, width, height = window.timeline.axes.bbox.bounds
        widget = window.timeline.canvas.get_tk_widget()
        widget.event_generate("<Button-1>", x=round(x), y=round(widget.winfo_height() - bottom - height / 2))
        wait_for(window, lambda: window.table.chosen == window._wanted)
        assert window.table.chosen == window.records.micrographs[index].id


def test_each_output_opens_on_what_is_in_it(scipion, open_on):
    protocol = fresh(scipion)
    window = open_on(protocol.outputMicrographsDiscarded)
    assert [window.heading.title.name] == [BROKEN]
    assert len(window.table.shown) == protocol.outputMicrographsDiscarded.getSize()
    window = open_on(protocol.outputMicrographs)
    assert len(window.table.shown) == protocol.outputMicrographs.getSize()
    window = open_on(protocol.outputCoordinatesRejected)
    choose(window, NAMES[1])
    circles, crosses = marks(window)
    assert not circles
    assert crosses


def test_coordinates_of_other_micrographs_lie_where_they_were_looked_at(scipion):
    protocol = scipion.newProtocol(CryoIceProtScreen, useGpu=False, micsSource=1, useOtherScale=1)
    point(protocol.inputCoordinates, scipion.picks)
    point(protocol.inputMicrographs, scipion.binned)
    picks = items(scipion.picks[0].outputCoordinates)
    keys = sorted(picks)[:5]
    places = ScreenedRun(scipion.proj, protocol).positions(np.array([*keys, 10**6]))
    assert np.array_equal(places[:5], [(picks[key].getX() / 2, picks[key].getY() / 2) for key in keys])
    assert np.isnan(places[5]).all()


def test_our_viewer_comes_before_a_preferred_one_for_our_outputs_only(scipion, monkeypatch):
    javas = "pwem.viewers.DataViewer"
    monkeypatch.setattr(pyworkflow.Config, "VIEWERS", {"SetOfCoordinates": [javas], "Volume": [javas]})
    monkeypatch.setattr(pwem.Domain, "_preferred_viewers", None)
    preferred.prefer_ours()
    preferred.prefer_ours()
    ours = pwem.Domain.findViewers(scipion.screening.outputCoordinates, DESKTOP_TKINTER)
    others = pwem.Domain.findViewers(scipion.picks[0].outputCoordinates, DESKTOP_TKINTER)
    assert [viewer.__name__ for viewer in ours[:2]] == ["CryoIceOutputViewer", "DataViewer"]
    assert others[0].__name__ == "DataViewer"
    assert pyworkflow.Config.VIEWERS["Volume"] == [javas]
    assert "SetOfMicrographs" not in pyworkflow.Config.VIEWERS


STRIPES = {"x": 260, "y": 0, "width": 250, "height": 510, "class": "crystalline"}
CLEAN = {"x": 40, "y": 40, "width": 90, "height": 90, "good": True}


def search(scipion, **values):
    protocol = scipion.newProtocol(CryoIceProtRegions, **values)
    protocol.inputScreening.set(scipion.screening)
    return protocol


def write_labels(scipion, boxes):
    path = Path(scipion.screening.getPath("extra", "screening", "labels.json"))
    path.write_text(json.dumps({"version": 1, "micrographs": {NAMES[0]: boxes}}))


def test_regions_like_marked_places_are_outputs_and_labels_of_a_training(scipion, open_on, no_labels):
    write_labels(scipion, [STRIPES, CLEAN])
    done = scipion.run_here(search(scipion, search=MARKED))
    with open(done.getFolder() / "regions.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if float(row["confidence"]) >= 0.5]
    assert len({row["micrograph"] for row in rows}) > 1  # also on micrographs without labels
    found = sorted(items(done.outputRegions).values(), key=lambda item: item.getObjId())
    for row, item in zip(rows, found):
        assert item.getMicName() == f"{row['micrograph']}.mrc"
        assert item._cryoiceClass.get() == row["class"] == "crystalline"
        assert item._cryoiceConfidence.get() == pytest.approx(float(row["confidence"]))
        assert item.getX() == pytest.approx(float(row["x"]) + float(row["width"]) / 2, abs=1)
        assert item._cryoiceHeight.get() == pytest.approx(float(row["height"]), abs=1)
    assert len(found) == len(rows)
    (block,) = read_star(done.getFolder() / "bad.star")
    bad = items(done.outputCoordinatesBad).values()
    assert {item._cryoiceLabel.get() for item in bad} == {"crystalline"} and len(bad) == len(block.table)
    assert done.outputRegions.getMicrographs().getFileName() == scipion.micrographs[0].outputMicrographs.getFileName()
    assert f"crystalline {len(rows)}" in done.summary()[0]
    assert "similar to marked places" in done.methods()[0]
    assert (done.getFolder() / "contact_sheet.png").is_file() and (done.getFolder() / "labels.json").is_file()
    look_at_regions(scipion, open_on, done)
    training = scipion.newProtocol(CryoIceProtTrain, useGpu=False)
    point(training.goodCoordinates, scipion.picks)
    point(training.badCoordinates, (done, "outputCoordinatesBad"))
    assert training.validate() == []


def look_at_regions(scipion, open_on, done):
    """Open the window of the regions: mark one as wrong, and show it on its micrograph."""
    viewer = pwem.Domain.findViewers(done, DESKTOP_TKINTER)[0]
    (view,) = viewer(project=scipion.proj, parent=open_on.master)._visualize(done)
    view.show()
    window = view.window
    wait_for(window, lambda: window.canvas.find_withtag("chosen"))
    for columns in (1, 2):
        window._arrange(columns)
        left, top, *_ = cell_of(1, columns)
        assert (left < top) is (columns == 1)
        window.canvas.event_generate("<Button-1>", x=left + 5, y=top + 5)
        window.root.update()
        (row,) = window.chosen
        assert row["id"] == "2"
        window.tree.selection_set("0")
    window.tree.selection_set("1")
    window.buttons[WRONG].invoke()
    assert window.tree.set("1", "Marked") == "good"
    stored = json.loads(Path(scipion.screening.getPath("extra", "screening", "labels.json")).read_text())
    box = {name: float(row[name]) for name in ("x", "y", "width", "height")}
    assert {**box, "class": "bad", "good": True} in stored["micrographs"][row["micrograph"]]
    window.buttons[SHOW].invoke()
    shown = window.screening
    wait_for(shown, lambda: not shown.picture.view.is_fit and not shown.picture._painting)
    assert shown.heading.title.name == row["micrograph"]
    middle = shown.picture.view.to_micrograph(shown.picture.view.width / 2, shown.picture.view.height / 2)
    reach = 0.5 * max(box["width"], box["height"])
    assert abs(middle[0] - box["x"] - box["width"] / 2) <= reach
    assert abs(middle[1] - box["y"] - box["height"] / 2) <= reach
    shown.root.destroy()
    window.root.destroy()


def test_a_search_that_cannot_work_is_told_before_it_runs(scipion, no_labels, tmp_path):
    (words,) = search(scipion, search=MARKED).validate()
    assert words.startswith("No place is marked in the screening. Press Analyze results of the screening")
    write_labels(scipion, [CLEAN])
    assert search(scipion, search=MARKED).validate() == [
        "No place is marked as bad. Mark at least one place like those to find."
    ]
    write_labels(scipion, [])
    assert "has no labelled box" in search(scipion, search=MARKED).validate()[0]
    (words,) = search(scipion, search=FROM_FILE, labelsFile=str(tmp_path / "none.json")).validate()
    assert words == "Label file: there is no such file. Choose a file labels.json."
    assert search(scipion, top=0).validate() == ["'Regions on the contact sheet' must be 1 or more."]
    assert search(scipion).validate() == []


class ProjectView:
    """The view of a project's window, as far as the viewer uses it."""

    forms = None

    def getViewWidget(self):
        return self

    def refreshRuns(self):
        pass

    def _openProtocolForm(self, protocol):
        self.forms = [protocol]


def test_a_user_zooms_marks_trains_and_opens_the_form_of_a_screening_with_the_new_model(
    scipion, open_on, no_labels, monkeypatch
):
    window, project = open_on(scipion.screening), ProjectView()
    monkeypatch.setattr(window, "master", project)
    picture = window.picture
    for number, name in enumerate(NAMES[:2]):
        choose(window, name)
        for label in ("good", "bad"):
            window.table.tree.focus_force()
            window.root.event_generate(f"<Key-{label[0]}>")
            spots = true_places(number, label == "good")[:5]
            at_x, at_y = (round(value) for value in picture.view.to_canvas(spots[0]))
            for _ in range(3):  # the first one is marked in a magnified picture
                picture.canvas.event_generate("<Button-4>", x=at_x, y=at_y)
            click(window, *spots[0])
            picture.fit.invoke()
            for spot in spots[1:]:
                click(window, *spot)
    assert "10 good, 10 bad on 2 micrographs" in window.labelling.counts.cget("text")
    window.labelling.train_button.invoke()
    wait_for(window, lambda: project.forms)
    (training,) = project.forms
    for name, value in {"startFrom": FROM_NOTHING, "epochs": 1, "useGpu": False}.items():
        getattr(training, name).set(value)
    scipion.run_here(training)
    window.labelling.again_button.invoke()
    (again,) = project.forms
    assert again.inputModel.get().getPath() == training.outputModel.getPath() and again.useGpu.get() is False
    assert again.validate() == []


def test_positions_are_read_again_when_a_micrograph_was_scored_again(tmp_path):
    """Its record may be the same: moved picks are as many as before, and its map is the stored one."""
    run = SimpleNamespace(folder=tmp_path, positions=lambda ids: np.zeros((len(ids), 2)))
    pictures = PictureReader(run, SimpleNamespace(run=lambda work, done: done(work())))
    first, again = (MicrographRecord(1, "m", "m.mrc", "accepted") for _ in range(2))
    pictures.read(first, np.arange(3), lambda: True, lambda *_: None)
    assert pictures.known(first, 3) is not None
    assert pictures.known(again, 3) is None


def test_positions_and_scores_are_those_of_a_set_whose_tables_have_a_prefix(tmp_path):
    output = SetOfCoordinates(filename=str(tmp_path / "picks.sqlite"), prefix="Auto")
    item = Coordinate(x=11, y=22)
    item._score = Float(0.5)
    output.append(item)
    output.write()
    values = {"getRunName": "run", "getPath": str(tmp_path), "getUsedThreshold": 0.5, "getBoxScale": 2.0, "getObjId": 1}
    protocol = SimpleNamespace(**{name: lambda *_, value=value: value for name, value in values.items()})
    protocol.margin, protocol.inputCoordinates = Float(0.0), Pointer(output)
    run = ScreenedRun(None, protocol)
    assert run.positions(np.array([1])).tolist() == [[22.0, 44.0]]
    assert run.scores(np.array([1])).tolist() == [0.5]
    item._score = Float(0.9)  # another pick with the same id
    output.update(item)
    output.write()
    assert run.scores(np.array([1])).tolist() == [0.9]
