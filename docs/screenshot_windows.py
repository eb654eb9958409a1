# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the windows of the project that make_screenshots.py made, and take their pictures; it calls this on a screen."""

from __future__ import annotations

import os
import sys
import time
import tkinter as tk
from pathlib import Path
from tkinter import ttk
from typing import Any, Callable, Dict, List, Type

from make_screenshots import NoScreenshots, first, open_project, point, save
from PIL import Image, ImageGrab

MOST = 120.0  # s to wait for what a window is to show
REST = 1.0  # s until it is drawn


def main() -> int:
    """Take the pictures of the project in the folder that the command line names."""
    try:
        open_project(Path(sys.argv[1]))
        take_windows()
    except NoScreenshots as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


def take_windows() -> None:
    """Open each window of the project that this process works in, and take its picture."""
    from pyworkflow.gui.project import ProjectWindow

    from cryoice_scipion.core.results.run_reader import read_records
    from cryoice_scipion.protocols import CryoIceProtRegions, CryoIceProtScreen, CryoIceProtSimulate, CryoIceProtTrain
    from cryoice_scipion.protocols.protocol_screen import FOLDER

    main_window = ProjectWindow(os.getcwd())
    screening = first(main_window.project, CryoIceProtScreen)
    records = [one for one in read_records(Path(screening.getPath(*FOLDER))) if one.thumbnail]
    telling = max(records, key=lambda one: (0.05 < one.bad_area < 0.5, min(one.kept, len(one.scores) - one.kept)))
    with Image.open(Path(screening.getPath(*FOLDER)) / telling.thumbnail) as image:
        save(image, "scipion_thumbnail.jpg")
    take_project(main_window, screening)
    take_screening(main_window, screening, telling)
    take_regions(main_window, first(main_window.project, CryoIceProtRegions))
    take_model(main_window, first(main_window.project, CryoIceProtTrain))
    take_form(main_window, first(main_window.project, CryoIceProtSimulate), telling)


def wait_for(window: tk.Misc, happened: Callable[[], Any]) -> None:
    """Let windows live until something has happened, and then a moment, in which they are drawn."""
    end = time.monotonic() + MOST
    while not happened():
        if time.monotonic() > end:
            raise NoScreenshots(f"the window '{window.winfo_toplevel().title()}' never showed what it should")
        window.update()
        time.sleep(0.01)
    end = time.monotonic() + REST
    while time.monotonic() < end:
        window.update()
        time.sleep(0.01)


def take(window: Any, name: str) -> None:
    """Take a picture of a window, without the frame that a window manager gives it."""
    window.lift()
    wait_for(window, window.winfo_viewable)
    left, top = window.winfo_rootx(), window.winfo_rooty()
    box = (left, top, left + window.winfo_width(), top + window.winfo_height())
    save(ImageGrab.grab(box, xdisplay=os.environ["DISPLAY"]), name)


def below(widget: tk.Misc, kind: Type[Any]) -> List[Any]:
    """Return the widgets of a class inside one."""
    return [one for child in widget.winfo_children() for one in [child, *below(child, kind)] if isinstance(one, kind)]


def take_project(window: Any, screening: Any) -> None:
    """The window of the project, with our protocols in the tree and the screening chosen."""
    window.root.geometry("1660x720+0+0")
    window.root.deiconify()
    wait_for(window.root, window.root.winfo_viewable)
    view = window.getViewWidget()
    below(view, tk.PanedWindow)[0].sash_place(0, 360, 0)  # the names in the tree are long
    below(view, ttk.PanedWindow)[0].sashpos(0, 240)  # and there are few runs
    tree = view.protTree
    for item in view.protTreeItems:
        if item.endswith("CryoIceProtTrain"):
            tree.see(item)  # opens what is above it
    node = view.runsGraph.getNode(str(screening.getObjId()))
    view._runItemClick(node.item)
    take(window.root, "scipion_project.png")


def take_screening(window: Any, screening: Any, telling: Any) -> None:
    """The viewer of the screening, on a micrograph where much was kept and much was rejected."""
    from cryoice_scipion.viewers.screened_run import ScreenedRun
    from cryoice_scipion.viewers.session_map_window import SessionMapWindow
    from cryoice_scipion.viewers.viewer_screen import ScreenView
    from cryoice_scipion.viewers.windows import open_window

    view = ScreenView(ScreenedRun(window.project, screening), window)
    view.show()
    shown: Any = view.window
    wait_for(shown.root, lambda: shown.records is not None)
    shown.go_to(telling.id)
    wait_for(shown.root, lambda: shown.picture.layers and shown.heading.title.name == telling.stem)
    take(shown.root, "scipion_screening.jpg")
    plane = SessionMapWindow(shown)
    open_window(plane)
    plane.colour.set("grade")
    wait_for(plane.root, lambda: plane.map is not None)
    take(plane.root, "scipion_session_map.png")
    plane.root.destroy()
    shown.root.destroy()


def take_regions(window: Any, search: Any) -> None:
    """The regions that a search has found."""
    from cryoice_scipion.viewers.viewer_regions import CryoIceRegionsViewer

    (view,) = CryoIceRegionsViewer(project=window.project, parent=window)._visualize(search)
    view.show()
    shown: Any = view.window
    shown.root.geometry("1640x860+0+0")
    wait_for(shown.root, lambda: shown.canvas.find_withtag("chosen"))
    take(shown.root, "scipion_regions.jpg")
    shown.root.destroy()


def take_model(window: Any, training: Any) -> None:
    """The viewer of the trained model, two of its tabs."""
    from cryoice_scipion.viewers.model_window import ModelWindow

    model = training.outputModel
    shown = ModelWindow(f"Model {model}", Path(model.getPath()), window)
    shown.root.deiconify()
    tabs: Dict[str, str] = {shown.tabs.tab(number, "text"): number for number in shown.tabs.tabs()}
    for title, name in (
        ("ROC, precision and recall", "scipion_model.png"),
        ("Hardest mistakes", "scipion_mistakes.jpg"),
    ):
        if title not in tabs:
            raise NoScreenshots(f"the model's window has no tab '{title}', but {', '.join(tabs)}")
        shown.tabs.select(tabs[title])
        take(shown.root, name)
    shown.root.destroy()


def take_form(window: Any, simulated: Any, telling: Any) -> None:
    """The form of a new screening, and the preview that the wand beside its threshold opens."""
    from pyworkflow.gui.form import FormWindow

    from cryoice_scipion.protocols import CryoIceProtScreen
    from cryoice_scipion.viewers.model_preview_window import PreviewDialog
    from cryoice_scipion.wizards import CryoIceThresholdWizard

    protocol = window.project.newProtocol(CryoIceProtScreen, useGpu=False)
    point(protocol.inputCoordinates, simulated, "outputCoordinates")
    form = FormWindow("screen micrographs", protocol, lambda *_: None, window)
    form.adjustSize()
    form.root.deiconify()
    tabs = below(form.root, ttk.Notebook)[0]
    tabs.select(2)  # with the threshold
    take(form.root, "scipion_form.png")
    errors: List[Exception] = []

    def look_at_it(was_seen: bool = False) -> None:
        """Take the picture while the dialog's own loop runs, which begins after the dialog has become visible."""
        if not was_seen:
            is_seen = any(dialog.winfo_viewable() for dialog in below(form.root, PreviewDialog))
            form.root.after(500, look_at_it, is_seen)
            return
        try:
            (dialog,) = below(form.root, PreviewDialog)
            wait_for(dialog, lambda: dialog.rows)
            dialog.names.selection_clear(0, tk.END)
            dialog.names.selection_set([row.id for row in dialog.rows].index(telling.id))
            dialog.names.event_generate("<<ListboxSelect>>")
            wait_for(dialog, lambda: not dialog.state.cget("text") and " still " not in dialog.baseline.cget("text"))
            take(dialog, "scipion_preview.jpg")
        except Exception as error:  # noqa: BLE001 (Tk would print it and go on)
            errors.append(error)
        for dialog in below(form.root, PreviewDialog):
            dialog.cancel()

    form.root.after(100, look_at_it)
    CryoIceThresholdWizard().show(form)
    form.root.destroy()
    if errors:
        raise errors[0]


if __name__ == "__main__":
    sys.exit(main())
