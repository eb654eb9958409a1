# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker: a child process that computes, whose death costs a retry and nothing else."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import standin
from standin import executor, make_tasks

from cryoice_scipion.constants import VERSION
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import ImageError, WorkerError
from cryoice_scipion.core.results.run_folder import FolderError
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.workers import client as clients
from cryoice_scipion.core.workers.client import Limits, WorkerClient, begin_checks, check_worker
from cryoice_scipion.core.workers.interface import WorkerDied


@pytest.fixture
def client(model, tmp_path):
    """Return a client whose child runs the stand-in detector."""
    one = make_client(model, tmp_path)
    yield one
    one.close()


def make_client(model, tmp_path, words=None, **options):
    command = [sys.executable, *(words or [str(Path(standin.__file__)), "serve", str(tmp_path)])]
    return WorkerClient(sys.executable, str(model), "cpu", tmp_path / "log.txt", command, **options)


def kill_on(tmp_path, *stems):
    (tmp_path / "kill.txt").write_text("\n".join(stems))


def screen(folder, tasks, executors):
    with ScreeningRun(folder, ScreenConfig(reference=2), executors) as run:
        return {record.id: record for record in run.process(tasks)}


def told(records):
    return {key: (one.status, one.scores, one.areas, one.flags) for key, one in records.items()}


def test_a_worker_gives_what_this_process_gives(client, tmp_path):
    tasks = make_tasks(tmp_path / "m", 3)
    assert told(screen(tmp_path / "a", tasks, [client])) == told(screen(tmp_path / "b", tasks, [executor()]))
    assert "a library that prints on stdout" in (tmp_path / "log.txt").read_text()


def test_the_model_is_loaded_once_for_all_micrographs(client, tmp_path):
    first = client.start()
    tasks = make_tasks(tmp_path / "m", 2)
    for task in tasks:
        client.map(task, ScreenConfig(), "auto", tmp_path)
    ready = re.findall(r"worker (\d+) is ready", (tmp_path / "log.txt").read_text())
    assert ready == [str(first["pid"])]
    assert first["version"] == VERSION


def test_ctrl_c_in_the_terminal_does_not_end_a_worker_that_starts(model, tmp_path):
    """Ctrl-C reaches all processes of a group; before it handles signals, it would end a Python process."""
    ready = json.dumps({"ready": True, "version": VERSION})
    one = make_client(model, tmp_path, ["-c", f"import time; print('{ready}', flush=True); time.sleep(60)"])
    one.start()
    assert os.getpgid(one._child.pid) != os.getpgid(0)
    one._child.kill()
    one.close()


def test_sigterm_ends_a_worker_at_once(client, tmp_path):
    client.start()
    client._child.terminate()
    assert client._child.wait(60) == -signal.SIGTERM


def test_a_death_is_retried_on_a_fresh_worker(client, tmp_path):
    tasks = make_tasks(tmp_path / "m", 4)
    kill_on(tmp_path, "mic001", "mic003")
    assert told(screen(tmp_path / "a", tasks, [client])) == told(screen(tmp_path / "b", tasks, [executor()]))


def test_no_micrograph_is_blamed_for_a_worker_that_was_killed_between_two(client, tmp_path):
    (task,) = make_tasks(tmp_path / "m", 1)
    client.start()
    started = {client._child.pid}
    for _ in range(4):
        client._child.kill()
        client._child.wait()
        assert client.map(task, ScreenConfig(), "auto", tmp_path).raw_path
        started.add(client._child.pid)
    assert len(started) == 5


def test_a_micrograph_that_kills_three_workers_fails_and_the_run_goes_on(client, tmp_path):
    tasks = make_tasks(tmp_path / "m", 4)
    kill_on(tmp_path, *["mic003"] * 3)
    found = screen(tmp_path / "a", tasks, [client])
    assert [found[i].status for i in (1, 2, 3, 4)] == ["accepted", "accepted", "failed", "accepted"]
    assert "its process ended 3 times while it was computed (was ended by signal 9" in found[3].reason
    assert "log.txt" in found[3].reason


def test_errors_keep_their_class_and_words_on_the_way(client, tmp_path):
    task = make_tasks(tmp_path / "m", 1)[0]
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="choose another folder"):
        client.map(task, ScreenConfig(), "auto", tmp_path / "file")
    Path(task.path).write_bytes(b"")
    with pytest.raises(ImageError) as here:
        executor().map(task, ScreenConfig(), "auto", tmp_path)
    with pytest.raises(ImageError) as there:
        client.map(task, ScreenConfig(), "auto", tmp_path)
    assert str(here.value) == str(there.value)


def test_a_worker_that_hangs_is_ended(model, tmp_path):
    ready = json.dumps({"ready": True, "version": VERSION})
    one = make_client(
        model,
        tmp_path,
        ["-c", f"import time; print('{ready}', flush=True); time.sleep(60)"],
        limits=Limits.model_construct(item_timeout=0.5, memory_limit=None),
    )
    task = make_tasks(tmp_path / "m", 1)[0]
    with pytest.raises(WorkerDied, match="did not answer within"):
        one.map(task, ScreenConfig(), "auto", tmp_path)
    commands = [" ".join(child.cmdline()) for child in psutil.Process().children()]
    assert not any("time.sleep(60)" in command for command in commands)


@pytest.mark.parametrize(
    "code, words",
    [
        ("import sys; sys.exit(3)", "could not start on cpu .ended with status 3"),
        ('print(\'{"error": "torch is not there"}\')', "torch is not there"),
        ('print(\'{"ready": true, "version": "0.0.0"}\')', "is version 0.0.0, not"),
        ("print('hello')", "no answer"),
    ],
)
def test_a_worker_that_cannot_start_ends_the_run_with_its_one_line(model, tmp_path, code, words):
    tasks = make_tasks(tmp_path / "m", 2)
    with pytest.raises(WorkerError, match=words):
        screen(tmp_path / "o", tasks, [make_client(model, tmp_path, ["-c", code])])
    assert (tmp_path / "o" / "summary.json").is_file()


def test_a_device_that_cannot_start_leaves_its_work_to_the_others(model, client, tmp_path):
    tasks = make_tasks(tmp_path / "m", 4)
    broken = make_client(model, tmp_path, ["-c", "import sys; sys.exit(3)"])
    found = screen(tmp_path / "o", tasks, [broken, client])
    assert [found[i].status for i in (1, 2, 3, 4)] == ["accepted"] * 4


def test_a_worker_dies_with_its_parent_however_that_ends(model, tmp_path):
    """The parent is killed while the worker waits."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from cryoice_scipion.core.workers.client import WorkerClient\n"
        f"command = {[sys.executable, str(Path(standin.__file__)), 'serve', str(tmp_path)]!r}\n"
        f"one = WorkerClient('', {str(model)!r}, 'cpu', Path({str(tmp_path / 'log.txt')!r}), command)\n"
        "print(one.start()['pid'], flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(parent.stdout.readline()))
    assert worker.is_running()
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    end = time.monotonic() + 10
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, "the worker is an orphan"
        time.sleep(0.05)


def worker_command(*options):
    return [sys.executable, "-m", "cryoice_scipion.core", "worker", *options]


def first_line(*options):
    finished = subprocess.run(worker_command(*options), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert "Traceback" not in finished.stderr
    return finished.returncode, json.loads(finished.stdout.splitlines()[0])


@pytest.mark.parametrize(
    "options, words",
    [
        (["--expect-version", "99.0"], f"is version {VERSION}, but the plugin is version 99.0"),
        (["--device", "cuda:97"], "GPU 97 is not there"),
        (["--device", "tpu"], "is no device"),
    ],
)
def test_the_real_worker_refuses_with_one_line(model, options, words):
    status, said = first_line("--model", str(model), *options)
    assert status == 1
    assert words in said["error"]
    assert "\n" not in said["error"]


def test_the_real_worker_refuses_a_damaged_model(model):
    (model / "weights.safetensors").write_bytes(b"other")
    status, said = first_line("--model", str(model))
    assert status == 1
    assert "weights.safetensors was modified" in said["error"]


def test_the_check_finds_nothing_wrong_and_is_remembered(model, monkeypatch):
    assert check_worker(sys.executable, str(model), "cpu") == []
    monkeypatch.setattr(clients.subprocess, "run", lambda *words, **options: pytest.fail("asked again"))
    assert check_worker(sys.executable, str(model), "cpu") == []


def test_a_check_begun_in_the_background_is_awaited_and_not_repeated(model, monkeypatch):
    asked = []

    def run(command, **_):
        asked.append(command)
        time.sleep(0.5)
        return SimpleNamespace(stdout='{"problems": []}', stderr="", returncode=0)

    monkeypatch.setattr(clients.subprocess, "run", run)
    begun = time.monotonic()
    for _ in range(3):  # a form that opens, and inputs that are chosen in it
        begin_checks(sys.executable, str(model), ["cpu"])
        assert time.monotonic() - begun < 0.4
    assert check_worker(sys.executable, str(model), "cpu") == []
    assert len(asked) == 1


@pytest.mark.parametrize(
    "python, device, words",
    [
        ("no/such/python", "cpu", "cannot be started .No such file or directory.; set CRYOICE_PYTHON"),
        (sys.executable, "cuda:97", "GPU 97 is not there"),
        ("/bin/false", "cpu", "cannot run the core .status 1.; set CRYOICE_PYTHON"),
    ],
)
def test_the_check_says_in_one_line_what_is_wrong(model, python, device, words):
    (problem,) = check_worker(python, str(model), device)
    assert re.search(words, problem), problem


def test_the_check_names_a_model_that_is_not_there():
    (problem,) = check_worker(sys.executable, "no_such_model", "cpu")
    assert "no_such_model: no such model" in problem


def test_talking_to_a_worker_takes_no_torch():
    code = (
        "import sys, cryoice_scipion.core.screening.run, cryoice_scipion.core.workers.client\n"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
