# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of a model, on a real screen: whatever the folder holds is shown, and wrong labels can be found by it."""

import shutil
import urllib.request

import numpy as np
import pandas as pd
import pytest
from gui import main_window, wait_for
from random_model import write_random_model

from cryoice_scipion.core.reports import mistakes, plots
from cryoice_scipion.objects import CryoIceModel
from cryoice_scipion.plugin import Plugin
from cryoice_scipion.protocols import CryoIceProtTrain
from cryoice_scipion.viewers import CryoIceModelViewer, dashboard
from cryoice_scipion.viewers.model_window import ModelView, ModelWindow

pytestmark = pytest.mark.scipion


@pytest.fixture(scope="module")
def main():
    with main_window() as window:
        yield window


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a model folder as training writes it, in which two labels are wrong."""
    folder = write_random_model(tmp_path_factory.mktemp("models") / "trained")
    rng = np.random.default_rng(0)
    bad = np.arange(60) % 3 == 0
    p_bad = np.clip(np.where(bad, 0.8, 0.2) + rng.normal(0, 0.05, 60), 0, 1)
    bad[7], bad[12] = True, False  # the network knows better
    table = pd.DataFrame(
        {
            "label": np.where(bad, "bad", "good"),
            "p_bad": p_bad,
            "micrograph": [f"mic_{k // 10}" for k in range(60)],
            "x": np.arange(60) * 10.0,
            "y": np.arange(60) * 20.0,
            "origin": "particle",
        }
    )
    plots.training_curves([{"epoch": 1, "train_loss": 0.5, "validation_auc": 0.9}], folder / "curves.png")
    plots.roc(p_bad, bad, folder / "roc.png", 0.5)
    plots.precision_recall(p_bad, bad, folder / "precision_recall.png", 0.5)
    plots.calibration(p_bad, bad, folder / "calibration.png")
    found = mistakes.hardest(table, 0.5)
    mistakes.write_mistakes(folder, found, rng.normal(size=(len(found), 64, 64)))
    return folder


@pytest.fixture
def window(main, folder):
    window = ModelWindow("a model", folder, main)
    window.root.deiconify()
    wait_for(window, window.tabs.winfo_viewable)
    yield window
    window.root.destroy()


def shown(widget):
    """Return the widgets below one."""
    return [widget, *(other for child in widget.winfo_children() for other in shown(child))]


def titles(window):
    return [window.tabs.tab(number, "text") for number in range(window.tabs.index("end"))]


def test_every_page_of_a_trained_model_can_be_turned_to(window):
    assert titles(window) == ["Training", "ROC, precision and recall", "Calibration", "Hardest mistakes", "Model card"]
    for number, pictures in enumerate((1, 2, 1, 1, 0)):
        window.tabs.select(number)
        window.root.update()
        page = window.root.nametowidget(window.tabs.select())
        canvases = [widget for widget in shown(page) if widget.winfo_class() == "Canvas" and widget.winfo_viewable()]
        kinds = [canvas.type(item) for canvas in canvases for item in canvas.find_all()]
        assert kinds == ["image"] * pictures


def test_the_model_card_is_rendered(main, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    card = "# default\n\nMade by `cryoice`.\n\n- one\n  - two *.mrc\n\n| measure | test |\n|---|---|\n| AUC | 0.95 |\n"
    (tmp_path / "copy" / "card.md").write_text(card)
    window = ModelWindow("a model", tmp_path / "copy", main)
    text = next(widget for widget in shown(window.root) if widget.winfo_class() == "Text")
    words = text.get("1.0", "end").split("\n")
    assert [line for line in words if line] == [
        "default", "Made by cryoice.", "•  one", "•  two *.mrc", "measure\ttest", "AUC\t0.95"
    ]  # fmt: skip
    tagged = {tag: text.get(*text.tag_ranges(tag)[:2]) for tag in ("h1", "code", "list2", "head")}
    assert tagged == {"h1": "default", "code": "cryoice", "list2": "•  two *.mrc", "head": "measure\ttest\n"}
    window.root.destroy()


def test_plots_are_as_large_as_the_window_allows(window):
    window.tabs.select(1)
    widths = []
    for size in ((900, 600), (1250, 900)):
        window.root.geometry("{}x{}".format(*size))
        wait_for(window, lambda size=size: window.root.winfo_width() == size[0])
        page = window.root.nametowidget(window.tabs.select())
        (canvas,) = (widget for widget in shown(page) if widget.winfo_class() == "Canvas")
        wait_for(window, lambda canvas=canvas: canvas.xview() == canvas.yview() == (0.0, 1.0))  # nothing to scroll
        widths.append(canvas.bbox("all")[2] / canvas.winfo_width())
    assert min(widths) > 0.9


def test_wrong_labels_are_listed_with_their_places_and_can_be_copied(window):
    rows = [window.mistakes.item(item, "values") for item in window.mistakes.get_children()]
    assert [(row[1], row[3], float(row[4]), float(row[5])) for row in rows] == [
        ("good", "mic_1", 120.0, 240.0),
        ("bad", "mic_0", 70.0, 140.0),
    ]
    window.tabs.select(3)
    window.mistakes.selection_set(window.mistakes.get_children())
    window.mistakes.focus_force()
    window.root.update()
    window.mistakes.event_generate("<Control-c>")
    copied = window.root.clipboard_get().splitlines()
    assert [line.split("\t")[3] for line in copied] == ["mic_1", "mic_0"]


def test_an_older_model_and_a_damaged_picture_are_shown_as_far_as_they_go(main, folder, tmp_path):
    older = tmp_path / "older"
    shutil.copytree(folder, older)
    for name in (mistakes.PICTURE, mistakes.TABLE, "precision_recall.png"):
        (older / name).unlink()
    (older / "curves.png").write_bytes(b"no picture")
    window = ModelWindow("older", older, main)
    assert titles(window) == ["Training", "ROC, precision and recall", "Calibration", "Model card"]
    texts = [
        widget.itemcget(item, "text")
        for widget in shown(window.root)
        if widget.winfo_class() == "Canvas"
        for item in widget.find_all()
        if widget.type(item) == "text"
    ]
    assert len(texts) == 1
    assert texts[0].startswith("curves.png: cannot be shown")
    window.root.destroy()


def test_a_double_click_on_a_model_or_its_protocol_opens_the_window(main, folder):
    viewer = CryoIceModelViewer(project=object(), parent=main)
    (view,) = viewer._visualize(CryoIceModel(str(folder)))
    assert isinstance(view, ModelView)
    before = set(main.root.winfo_children())
    view.show()
    (opened,) = set(main.root.winfo_children()) - before
    assert opened.title().startswith("Model ")
    opened.destroy()
    (message,) = viewer._visualize(CryoIceProtTrain())
    assert not isinstance(message, ModelView)


@pytest.fixture
def with_events(folder, tmp_path):
    """Return a copy of the model folder with a dashboard."""
    copied = tmp_path / "shown"
    shutil.copytree(folder, copied)
    (copied / "dashboard").mkdir()
    (copied / "dashboard" / "events.out.tfevents.1").write_bytes(b"")
    return copied


def test_the_dashboard_of_a_model_is_opened_once_and_shown_again(main, folder, with_events, monkeypatch):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    shown = []
    boards = dashboard.TensorBoards(shown.append)
    monkeypatch.setattr(dashboard, "BOARDS", boards)
    window = ModelWindow("a model", with_events, main)
    window.dashboard.invoke()
    wait_for(window, lambda: shown)
    with urllib.request.urlopen(shown[0]) as page:
        assert b"TensorBoard" in page.read()
    wait_for(window, lambda: window.told.get() == f"TensorBoard runs at {shown[0]}")
    window.dashboard.invoke()
    assert shown == [shown[0]] * 2
    boards.stop()
    window.root.destroy()
    plain = ModelWindow("without", folder, main)
    assert not hasattr(plain, "dashboard")
    plain.root.destroy()


def test_a_missing_tensorboard_is_told_with_the_command_that_installs_it(main, with_events, monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(Plugin, "getPython", lambda: str(python))
    said = []
    monkeypatch.setattr(ModelWindow, "showError", lambda self, message: said.append(message))
    window = ModelWindow("a model", with_events, main)
    window.dashboard.invoke()
    window.root.destroy()
    assert said == [f"TensorBoard is not installed. Install it with: {python} -m pip install tensorboard"]


def test_a_tensorboard_that_does_not_start_is_told(main, with_events, monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\nsleep 1; echo "no space left" >&2; exit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(Plugin, "getPython", lambda: str(python))
    window = ModelWindow("a model", with_events, main)
    window.dashboard.invoke()
    assert window.told.get() == "Starting TensorBoard ..."
    wait_for(window, lambda: window.told.get() == "TensorBoard did not start: no space left")
    window.root.destroy()


def test_a_training_that_runs_opens_its_dashboard(main, with_events, monkeypatch):
    viewer, training = CryoIceModelViewer(project=object(), parent=main), CryoIceProtTrain()
    monkeypatch.setattr(training, "getModelFolder", lambda: with_events)
    monkeypatch.setattr("cryoice_scipion.viewers.viewer_model.missing", lambda: "")
    (view,) = viewer._visualize(training)
    assert isinstance(view, dashboard.DashboardView)
    monkeypatch.setattr("cryoice_scipion.viewers.viewer_model.missing", lambda: "TensorBoard is not installed")
    (message,) = viewer._visualize(training)
    assert not isinstance(message, dashboard.DashboardView)
