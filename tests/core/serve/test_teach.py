# SPDX-License-Identifier: GPL-3.0-or-later
"""Teach: labels in one file; a job that trains, compares and screens again; saved models."""

import json
import shutil
import sys
import time

import pytest
from serving import FakeCommand, client_of, make_run, make_test_place

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.results.run_folder import RunFolder
from cryoice_scipion.core.results.run_reader import read_records
from cryoice_scipion.core.serve import teaching
from cryoice_scipion.core.serve.commands import Command
from cryoice_scipion.core.serve.labels import Labels

BAD = {"x": 4.0, "y": 20.0, "width": 16.0, "height": 16.0, "class": "support", "good": False}
GOOD = {"x": 150.0, "y": 20.0, "width": 40.0, "height": 100.0, "class": "good", "good": True}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("teach"))


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


@pytest.fixture
def client(run, tmp_path, monkeypatch):
    monkeypatch.setattr(teaching, "Command", FakeCommand)
    with client_of(make_test_place(tmp_path / "own", run)) as client:
        yield client


def label(client, number, labels):
    answer = client.post("/api/labels", json={"stem": f"mic{number:03d}", "labels": labels})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_two_pages_add_and_remove_labels_of_one_micrograph(client):
    other = {**BAD, "x": 50.0}

    def change(shown, labels):
        answer = client.post("/api/labels", json={"stem": "mic001", "labels": labels, "shown": shown})
        assert answer.status_code == 200, answer.text
        return client.get("/api/labels").json().get("mic001", [])

    assert change([], [BAD]) == [BAD]
    assert change([], [other]) == [BAD, other], "this page has not seen the first one"
    assert change([BAD], [BAD, GOOD]) == [BAD, other, GOOD]
    assert change([BAD, GOOD], [GOOD]) == [other, GOOD]
    assert change([BAD, GOOD], [BAD]) == [other], "the first one, which another page removed, stays removed"
    assert client.post("/api/labels", json={"stem": "mic001", "labels": [], "shown": [{}]}).status_code == 422


def act(client, act, **more):
    return client.post("/api/teach", json={"act": act, **more})


def finished(client):
    """Return the state when the job has ended."""
    for _ in range(1000):
        state = client.get("/api/teach").json()
        if not state["job"]["running"]:
            return state
        time.sleep(0.01)
    raise AssertionError(state)


def test_labels_are_in_one_file_and_survive_a_restart(client, run, tmp_path):
    label(client, 1, [BAD, GOOD])
    assert label(client, 2, [BAD])["counts"] == {"good": 1, "good_micrographs": 1, "bad": 2, "bad_micrographs": 2}
    expected = {"mic001": [BAD, GOOD], "mic002": [BAD]}
    assert json.loads((run / "labels.json").read_text()) == {"version": 1, "micrographs": expected}
    with client_of(make_test_place(tmp_path / "again", run)) as again:
        assert again.get("/api/labels").json() == expected
    label(client, 2, [])
    assert json.loads((run / "labels.json").read_text())["micrographs"] == {"mic001": [BAD, GOOD]}


@pytest.mark.parametrize(
    "change",
    [
        {"class": "good"}, {"good": 7}, {"x": "left"}, {"width": 0}, {"height": float("inf")}, {"good": True},
        {"class": "x" * 41}, {"z": 1},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_labels_are_refused(change, tmp_path):
    labels = Labels(tmp_path)
    with pytest.raises(CryoIceError, match="micrographs.mic.0"):
        labels.replace("mic", [{**BAD, **change}])
    assert not (tmp_path / "labels.json").exists()


def test_labels_of_other_micrographs_are_refused(client):
    answer = client.post("/api/labels", json={"stem": "../mic001", "labels": [BAD]})
    assert answer.status_code == 422 and "no micrograph of the run" in answer.json()["error"]


def test_whole_micrographs_of_a_selection_are_marked(client, run):
    label(client, 2, [BAD])
    answer = client.post("/api/labels/whole", json={"ids": [2, 4], "class": "thick"})
    assert answer.json()["counts"]["bad_micrographs"] == 2
    client.post("/api/labels/whole", json={"ids": [3], "class": "good"})
    labels = client.get("/api/labels").json()
    whole = {"x": 10.4, "y": 8.0, "width": 187.2, "height": 144.0, "class": "thick", "good": False}
    assert labels["mic002"] == [BAD, pytest.approx(whole)] and labels["mic004"] == [pytest.approx(whole)]
    assert labels["mic003"][0]["good"]
    for wrong in ({"ids": [1], "class": "odd"}, {"ids": [], "class": "good"}, {"ids": [77], "class": "good"}):
        assert client.post("/api/labels/whole", json=wrong).status_code == 422
    assert client.get("/api/labels").json() == labels


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "labels.json").write_text('{"micrographs": {"a": [{"x": 1}]}}')
    with pytest.raises(CryoIceError, match="labels.json: micrographs.a.0.y is missing"):
        Labels(tmp_path)


def test_what_is_missing_is_said_before_the_training(client):
    label(client, 1, [BAD, GOOD])
    answer = act(client, "train")
    assert answer.status_code == 422
    assert answer.json()["error"] == "Training: mark bad places on at least two micrographs (now on 1)."
    assert len(client.get("/api/teach").json()["missing"]) == 2


def test_train_compare_save_and_screen_again(client, run):
    label(client, 1, [BAD, GOOD])
    label(client, 3, [BAD, GOOD])
    assert act(client, "train").status_code == 200
    state = finished(client)
    assert not state["job"]["error"] and state["trained"]
    assert state["measures"] == {"after": 0.95, "before": 0.9}
    compared = {one["name"]: one["marked"] for one in state["compared"]}
    assert compared == {"mic001.mrc": True, "mic002.mrc": False, "mic003.mrc": True, "mic004.mrc": False}
    used, given = (json.loads((run / name / "labels.json").read_text())["micrographs"] for name in ("teach", ""))
    assert used == {record.path: given[record.stem] for record in read_records(run) if record.stem in given}
    found = client.get(f"/api/teach/{state['compared'][0]['id']}").json()
    assert found["before"]["name"] == found["after"]["name"] == state["compared"][0]["name"]
    assert found["after"]["regions"] and found["after"]["bad_area"] is not None

    assert act(client, "save", name="../x").status_code == 422
    assert act(client, "save", name="mine").json()["models"] == [{"name": "mine", "screened": ""}]
    assert "exists already" in act(client, "save", name="mine").json()["error"]
    assert act(client, "screen", name="other").status_code == 422
    assert act(client, "screen", name="mine").status_code == 200
    state = finished(client)
    assert not state["job"]["error"] and state["models"][0]["screened"] == str(run / "screened_mine")
    words = FakeCommand.words
    assert words[words.index("--model") + 1] == str(run / "models" / "mine")
    assert words.count("--coordinates") == 2 and (run / "screened_mine" / "journal.jsonl").is_file()


def test_the_new_screening_has_the_settings_of_the_run():
    from cryoice_scipion.core.cli import build_parser
    from cryoice_scipion.core.cli.screen_options import screen_config

    config = ScreenConfig(
        pixel_size=1.2, particle_diameter=150, margin=20, margins={"support": 50}, ignore=["aggregate"], min_area=9,
        max_bad_area=0.5, reject_grades=["film"], flip_y=True, coordinates_pixel_size=2.4, box_size=200,
    )  # fmt: skip
    words = ["screen", "m.mrc", "--output", "o", *teaching._settings(config)]
    assert screen_config(build_parser(words).parse_args(words)) == config


def test_marks_of_another_server_stay(client, run, tmp_path):
    with client_of(make_test_place(tmp_path / "again", run)) as again:
        label(client, 1, [BAD])
        label(again, 2, [GOOD])
        label(client, 3, [BAD])
        assert client.get("/api/labels").json() == {"mic001": [BAD], "mic002": [GOOD], "mic003": [BAD]}
        assert client.get("/api/teach").json()["counts"]["good"] == 1


def test_another_server_that_teaches_on_the_run_is_waited_for(client, run):
    label(client, 4, [BAD])
    (run / "teach").mkdir()
    other = RunFolder(run / "teach")
    other.lock()
    act(client, "find")
    assert "is working in this folder; wait until it ends" in finished(client)["job"]["error"]
    other.unlock()
    act(client, "find")
    assert not finished(client)["job"]["error"]


def test_a_job_that_waits_for_the_device_can_be_stopped(run, tmp_path, monkeypatch):
    monkeypatch.setattr(teaching, "Command", FakeCommand)
    place = make_test_place(tmp_path / "own", run)
    with client_of(place) as client:
        label(client, 4, [BAD])
        with place.screener.reserved("a test"):
            act(client, "find")
            act(client, "stop")
        assert finished(client)["job"]["error"] == "The search was stopped."


def test_find_more_like_these(client, run):
    assert "no bad place is marked" in act(client, "find").json()["error"]
    label(client, 4, [{**BAD, "x": 20.0, "width": 40.0, "height": 40.0}])
    assert act(client, "find").status_code == 200
    state = finished(client)
    assert not state["job"]["error"]
    assert state["found"], "the strip of the other micrographs"
    best = state["found"][0]
    assert best["name"].startswith("mic") and best["class"] == "support" and 0 <= best["confidence"] <= 1
    assert {one["name"] for one in state["found"]} & {"mic002", "mic003"}
    x, y, width, height = best["box"]
    mark = {**BAD, "x": x, "y": y, "width": width, "height": height}
    label(client, int(best["name"][-1]), [mark])
    assert best not in client.get("/api/teach").json()["found"], "it is marked now"


def test_a_second_job_is_refused_and_a_failure_is_one_sentence(client, monkeypatch):
    label(client, 1, [BAD, GOOD])
    label(client, 3, [BAD, GOOD])

    def slow(self, log):
        time.sleep(0.3)
        raise CryoIceError("train", "no GOOD patches", "mark more")

    monkeypatch.setattr(FakeCommand, "run", slow)
    act(client, "train")
    assert "is still running" in act(client, "train").json()["error"]
    assert finished(client)["job"]["error"] == "train: no GOOD patches; mark more"
    assert not client.get("/api/teach").json()["trained"]


def test_a_training_that_is_stopped_leaves_no_model(client, run, monkeypatch):
    """A command that gets SIGTERM still saves the weights of its epochs."""
    label(client, 1, [BAD, GOOD])
    label(client, 3, [BAD, GOOD])

    def stopped(self, log):
        (run / "teach" / "model").mkdir()
        (run / "teach" / "model" / "model.json").write_text("{}")
        raise CryoIceError("The job", "was stopped")

    monkeypatch.setattr(FakeCommand, "run", stopped)
    act(client, "train")
    assert not finished(client)["trained"]


def script(text):
    """Return a command that runs Python code instead of cryoice."""
    command = Command([])
    command._words = [sys.executable, "-c", text]
    return command


def test_a_command_reports_its_bars_and_lines(tmp_path):
    bars = []
    command = script(
        "from tqdm import tqdm\nfor _ in tqdm(range(2), desc='patches', mininterval=0): pass\nprint('done: 1')"
    )
    command._on_bar = lambda name, share: bars.append((name, share))
    command.run(tmp_path / "log.txt")
    assert bars[0] == ("patches", 0.0) and bars[-1] == ("patches", 1.0)
    assert command.lines == ["done: 1"] and (tmp_path / "log.txt").read_text() == "done: 1\n"


def test_a_failed_command_gives_its_last_line(tmp_path):
    with pytest.raises(CryoIceError, match="^labels: are too few; add some$"):
        script("print('cryoice train: labels: are too few; add some'); raise SystemExit(2)").run(tmp_path / "log.txt")


def test_a_command_is_stopped_with_its_children(tmp_path):
    import threading

    command = script(
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).wait()"
    )
    threading.Timer(0.3, command.stop).start()
    with pytest.raises(CryoIceError, match="was stopped"):
        command.run(tmp_path / "log.txt")
