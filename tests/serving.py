# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of ``cryoice serve`` for tests: with a stand-in detector, and a run of stand-in micrographs."""

import contextlib
import shutil
import threading
import time

import numpy as np
from simple_grader import CLASSES
from standin import executor, make_tasks

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, PickTable, X, Y
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.serve import place as places
from cryoice_scipion.core.serve.screener import Screener

TOKEN, FORM_TOKEN = "address-token", "form-token"


def make_run(folder, number=4, **settings):
    """Screen stand-in micrographs of growing bad area; every second coordinate lies in the bad strip."""
    import pandas as pd
    from standin import write_micrograph

    tasks = make_tasks(folder / "micrographs", number)
    for index, task in enumerate(tasks):
        write_micrograph(task.path, seed=index, bad_columns=24 + 24 * index)
    rows = [(pick.x, pick.y, 16.0, task.path) for task in tasks for pick in task.picks]
    table = PickTable(pd.DataFrame(rows, columns=[X, Y, "cryoiceDiameter", MICROGRAPH]), "coordinates")
    for task in tasks:
        for pick in task.picks:
            pick.id = rows.index((pick.x, pick.y, 16.0, task.path))
    config, options = ScreenConfig(reference=2, **settings), RunOptions(picks=table)
    with ScreeningRun(folder / "run", config, [executor(classes=CLASSES)], options) as run:
        list(run.process(tasks))
    return folder / "run"


def make_test_place(folder, run=None, make=None):
    """Return the state of a server whose worker is a stand-in; ``make`` returns another executor."""
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        stand_in = make or (lambda *_: executor(classes=CLASSES))
        before, places.Screener = places.Screener, lambda *words: Screener(*words, make=stand_in)
        stack.callback(setattr, places, "Screener", before)
        place = places.make_place("default", "cpu", run, folder)
    place.token, place.form_token = TOKEN, FORM_TOKEN
    return place


def client_of(place, **options):
    """Return a client that has opened the page."""
    from starlette.testclient import TestClient

    from cryoice_scipion.core.serve.app import make_app

    client = TestClient(make_app(place), base_url="http://127.0.0.1:8950", **options)
    client.get("/", params={"token": TOKEN}, follow_redirects=False)
    client.headers["x-cryoice-token"] = FORM_TOKEN
    return client


def mrc_bytes(folder, image, pixel_size=4.0):
    """Return an image as the content of an MRC file."""
    from noise import write_image

    write_image(folder / "image.mrc", image, pixel_size)
    return (folder / "image.mrc").read_bytes()


def micrograph(seed=0):
    """Return a small micrograph with a bad strip on its left."""
    image = np.random.default_rng(seed).normal(0, 1, (160, 208)).astype(np.float32)
    image[:, :64] *= 30
    return image


@contextlib.contextmanager
def served(place):
    """Serve in a thread, and yield the address with its token."""
    import uvicorn

    from cryoice_scipion.core.serve.app import make_app
    from cryoice_scipion.core.serve.server import _listen

    listener = _listen(0)
    server = uvicorn.Server(uvicorn.Config(make_app(place), log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/?token={TOKEN}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


class FakeCommand:
    """Instead of child processes: a training that copies the model, and a screening in this process."""

    words = []

    def __init__(self, words, on_bar=None):
        from cryoice_scipion.core.cli import build_parser

        self.arguments, self._on_bar, self.lines = build_parser(words).parse_args(words) if words else None, on_bar, []
        FakeCommand.words = words

    def run(self, log):
        given = self.arguments
        log.write_text("log\n")
        if given.command == "train":
            from cryoice_scipion.core.detectors.model_folder import resolve_model

            self._on_bar("patches", 1.0)
            shutil.copytree(resolve_model("default"), given.output)
            self.lines = ["validation: auc 0.950, ap 1.000", "before tuning: auc 0.900, ap 1.000"]
            return
        if given.command == "regions":
            given.main(given)
            return
        from cryoice_scipion.core.images.naming import expand_micrographs

        tasks = expand_micrographs(given.micrographs)
        with ScreeningRun(given.output, ScreenConfig(reference=0), [executor(classes=CLASSES)], RunOptions()) as run:
            list(run.process(tasks))

    def stop(self):
        pass
