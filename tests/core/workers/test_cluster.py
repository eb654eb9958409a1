# SPDX-License-Identifier: GPL-3.0-or-later
"""Screening on a Dask cluster: three worker processes on this machine, of which some are killed."""

import contextlib
import csv
import dataclasses
import logging
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from random_model import write_random_model
from standin import executor, make_tasks

from cryoice_scipion.core.cli import build_parser
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.model_folder import fingerprint
from cryoice_scipion.core.errors import ImageError, ModelError, SettingsError, WorkerError
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.workers import cluster as clusters
from cryoice_scipion.core.workers import cluster_task, schedulers
from cryoice_scipion.core.workers.cluster import cluster_executors
from cryoice_scipion.core.workers.interface import WorkerDied

PRELOAD = Path(__file__).parents[2] / "cluster_worker.py"
LOG = logging.getLogger("cluster")


@pytest.fixture(scope="module")
def local_clusters():
    """Return the list of the clusters that were started; the last one is in use."""
    made = []
    yield made
    for one in made:
        one.close()


@pytest.fixture
def cluster(local_clusters, tmp_path_factory):
    """Return three workers with the stand-in detector, and the folder whose kill.txt kills them.

    Dask may give up a worker that was killed; then there is a new cluster.
    """
    distributed = pytest.importorskip("distributed")
    end = time.monotonic() + 60  # three workers take half a minute to start on a machine that is busy
    while local_clusters and time.monotonic() < end:
        if is_whole(local_clusters[-1]):
            return local_clusters[-1]
        time.sleep(0.1)
    folder = tmp_path_factory.mktemp("cluster")
    os.environ["CRYOICE_TEST_FOLDER"] = str(folder)
    made = distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, memory_limit=None, dashboard_address=":0", preload=[str(PRELOAD)],
        local_directory=str(folder), silence_logs=logging.CRITICAL,
    )  # fmt: skip
    made.folder = folder
    local_clusters.append(made)
    return made


def is_whole(cluster):
    """Return whether all workers live, and the scheduler has them; for a while, it also has those that were killed."""
    nannies = list(cluster.workers.values())
    with contextlib.suppress(psutil.NoSuchProcess):
        living = [one for one in nannies if one.pid and psutil.Process(one.pid).status() != psutil.STATUS_ZOMBIE]
        return len(living) == 3 and {one.worker_address for one in nannies} == set(cluster.scheduler.workers)


@pytest.fixture
def make_executors(cluster, model, monkeypatch):
    """Return a function that connects to the cluster."""
    monkeypatch.setattr(schedulers, "SETTLE", 0.1)
    monkeypatch.setattr(clusters, "_POLL", 0.1)
    monkeypatch.setattr(clusters, "_PATIENCE", 0.2)
    monkeypatch.setattr(clusters, "_REFUSED_LIMIT", 0.5)
    return lambda **options: cluster_executors(
        cluster.scheduler_address, ScreenConfig(model=str(model)), options.get("device", "cpu"), LOG
    )


def screen(folder, tasks, executors):
    config = ScreenConfig(reference=3, full_size_masks=True, outlier=False)  # without torch: it would load four times
    with ScreeningRun(folder, config, executors) as run:
        return {record.id: record for record in run.process(tasks)}


def files_of(folder):
    """Return the files of a run that its results are in, by name; of the table the rows without the time."""
    names = ("probability", "masks", "thumbnails", ".maps")
    found = [path for name in names for path in (folder / name).rglob("*") if path.is_file()]
    with open(folder / "micrographs.csv", newline="") as stream:
        table = sorted(({**row, "seconds": ""} for row in csv.DictReader(stream)), key=lambda row: int(row["id"]))
    return table, {str(path.relative_to(folder)): path.read_bytes() for path in found}


def without_times(records):
    return {key: dataclasses.replace(one, seconds=0.0) for key, one in records.items()}


def test_three_workers_of_which_one_is_killed_give_the_files_of_one_machine(
    cluster, make_executors, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    tasks = make_tasks(Path("m"), 12)  # relative paths, and the workers are in another folder
    Path(tasks[8].path).write_bytes(b"")
    (cluster.folder / "kill.txt").write_text("mic005")
    there = screen(Path("there"), tasks, make_executors())
    assert (cluster.folder / "kill.txt").read_text() == ""
    here = screen(Path("here"), tasks, [executor()])
    assert without_times(there) == without_times(here)
    assert here[9].status == "failed"
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")


def test_a_micrograph_that_kills_three_workers_fails_and_the_run_goes_on(cluster, make_executors, tmp_path):
    tasks = make_tasks(tmp_path / "m", 5)
    (cluster.folder / "kill.txt").write_text("mic004\nmic004\nmic004")
    found = screen(tmp_path / "o", tasks, make_executors())
    assert [found[i].status for i in (1, 2, 3, 4, 5)] == ["accepted"] * 3 + ["failed", "accepted"]
    assert "its process ended 3 times while it was computed (on tcp://127.0.0.1:" in found[4].reason
    assert "read the log of the Dask worker" in found[4].reason


def test_errors_of_a_worker_keep_their_class_and_the_paths_of_the_request(make_executors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (one, *_), (task,) = make_executors(), make_tasks(Path("m"), 1)
    Path("journal.jsonl").touch()
    for executors in (one, executor()):
        Path(task.path).write_bytes(b"")
        with pytest.raises(ImageError, match=r"^m/mic001.mrc: "):
            executors.map(task, ScreenConfig(), "auto", Path("."))


def test_workers_of_another_version_or_without_the_file_system_end_the_run_with_one_line(
    make_executors, tmp_path, monkeypatch
):
    (task,) = make_tasks(tmp_path / "m", 1)
    with pytest.raises(WorkerError, match=r"journal.jsonl: there is no such file on this machine; use a file system"):
        make_executors()[0].map(task, ScreenConfig(), "auto", tmp_path)
    monkeypatch.setattr(clusters, "VERSION", "0.0.0")
    with pytest.raises(WorkerError, match=r"but the plugin is version 0.0.0; install the same version"):
        screen(tmp_path / "o", [task], make_executors())


@pytest.fixture
def start_scheduler(monkeypatch, model):
    """Return a function that starts a scheduler at one address, with a worker in this process."""
    distributed, started = pytest.importorskip("distributed"), []
    monkeypatch.setattr(cluster_task, "load_executor", lambda *_: executor())
    monkeypatch.setattr(schedulers, "SETTLE", 0.1)
    monkeypatch.setattr(clusters, "_POLL", 0.1)
    cluster_task.load.cache_clear()

    def start():
        port = started[0].scheduler.port if started else 0
        made = distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, memory_limit=None, dashboard_address=None, processes=False,
            protocol="tcp://", scheduler_port=port, silence_logs=logging.CRITICAL,
        )  # fmt: skip
        started.append(made)
        return made

    yield start
    cluster_task.load.cache_clear()
    for made in started:
        made.close()


def test_a_run_goes_on_when_the_scheduler_is_started_again(start_scheduler, model, tmp_path, caplog):
    scheduler, tasks = start_scheduler(), make_tasks(tmp_path / "m", 12)
    config = ScreenConfig(reference=3, full_size_masks=True, outlier=False)
    executors = cluster_executors(scheduler.scheduler_address, ScreenConfig(model=str(model)), "cpu", LOG)

    def start_again():
        end = time.monotonic() + 60
        while "the connection to the scheduler is lost" not in caplog.text and time.monotonic() < end:
            time.sleep(0.05)
        start_scheduler()

    with ScreeningRun(tmp_path / "there", config, executors) as run, ThreadPoolExecutor() as thread:
        there = {}
        for record in run.process(tasks):
            there[record.id] = record
            if len(there) == 4:
                scheduler.close()
                started = thread.submit(start_again)
        started.result()
    here = screen(tmp_path / "here", tasks, [executor()])
    assert without_times(there) == without_times(here)
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    assert "the connection to the scheduler is lost" in caplog.text
    assert "the scheduler is back" in caplog.text


def test_a_run_ends_when_the_scheduler_does_not_come_back_and_continues_later(
    start_scheduler, model, tmp_path, monkeypatch
):
    monkeypatch.setattr(clusters, "_NONE_LIMIT", 0.5)
    monkeypatch.setattr(schedulers, "CONNECT_LIMIT", 0.2)
    scheduler, tasks = start_scheduler(), make_tasks(tmp_path / "m", 6)
    config = ScreenConfig(reference=3, full_size_masks=True, outlier=False)
    executors = cluster_executors(scheduler.scheduler_address, ScreenConfig(model=str(model)), "cpu", LOG)
    lost = r"connection to the scheduler is lost .* and has not come back within 0 s; start the scheduler and workers"
    with ScreeningRun(tmp_path / "there", config, executors) as run, pytest.raises(WorkerError, match=lost):
        for _ in run.process(tasks):
            scheduler.close()
    executors = cluster_executors(start_scheduler().scheduler_address, ScreenConfig(model=str(model)), "cpu", LOG)
    with ScreeningRun(tmp_path / "there", config, executors, RunOptions(resume=True)) as run:
        list(run.process(tasks))
    screen(tmp_path / "here", tasks, [executor()])
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")


def test_an_answer_that_is_lost_with_the_scheduler_is_no_failure_of_the_micrograph(make_executors):
    class Cancelled:
        status = "finished"

        def result(self, timeout):
            raise RuntimeError("cancelled for reason: scheduler-connection-lost")

    cluster = make_executors()[0]._cluster
    with pytest.raises(clusters.SchedulerLost):
        cluster._answer_of(Cancelled(), clusters.Slot("tcp://there:1", "cpu", cluster._connection.client))


def test_a_worker_that_is_lost_between_its_work_and_the_answer_is_no_endless_wait(
    cluster, make_executors, tmp_path, monkeypatch
):
    executors, (task,), fetch = make_executors(), make_tasks(tmp_path / "m", 1), clusters.Cluster._answer_of

    def killed_first(self, future, slot):
        nanny = next(one for one in cluster.workers.values() if one.worker_address == slot.worker)
        os.kill(nanny.pid, signal.SIGKILL)
        return fetch(self, future, slot)

    monkeypatch.setattr(clusters.Cluster, "_answer_of", killed_first)
    monkeypatch.setattr(clusters, "_FETCH", 1.0)
    with pytest.raises(WorkerDied, match="was lost"):
        executors[0].map(task, ScreenConfig(), "auto", tmp_path)
    for one in executors:
        one.close()


def test_each_device_of_a_worker_gets_an_executor(make_executors):
    executors = make_executors(device="cuda:0,1")
    assert {slot.device for slot in executors[0]._cluster._free} == {"cuda:0", "cuda:1"}
    assert len(executors) == 6
    for one in executors:
        one.close()


def test_a_worker_loads_the_model_of_the_run_and_refuses_another(tmp_path):
    model = write_random_model(tmp_path / "model")
    options = {"model": str(model), "device": "cpu", "threads": 1, "version": ""}
    assert cluster_task.load(expected_fingerprint=fingerprint(model), **options).device == "cpu"
    with pytest.raises(ModelError, match="differs from the model of the run; copy the same model folder"):
        cluster_task.load(expected_fingerprint="another", **options)
    said = cluster_task.work({**options, "expected_fingerprint": "another", "patience": 0.0}, {})
    assert "differs from the model" in said["refused"]


@pytest.mark.parametrize(
    "scheduler, error, words",
    [
        ("tcp://127.0.0.1:9", WorkerError, "tcp://127.0.0.1:9: the scheduler cannot be reached within 0 s .*check its"),
        ("there.json", SettingsError, "is neither an address nor an existing scheduler file; give an address"),
        ("slurm:0", SettingsError, "is neither an address"),
        ("slurm:2", WorkerError, "workers cannot be started .*; set cores, memory, walltime and queue"),
    ],
)
def test_a_scheduler_that_cannot_be_used_is_an_error_in_one_line(model, monkeypatch, scheduler, error, words):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setattr(schedulers, "CONNECT_LIMIT", 0.2)
    with pytest.raises(error, match=words):
        cluster_executors(scheduler, ScreenConfig(model=str(model)), "cpu", LOG)
    assert schedulers.check_scheduler("there.json")


@pytest.mark.parametrize("scheduler, package", [("tcp://there:1", "distributed"), ("slurm:2", "dask-jobqueue")])
def test_without_dask_the_error_names_the_extra(monkeypatch, scheduler, package):
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    with pytest.raises(SettingsError, match=rf"needs the package {package}; .*'scipion-em-cryoice\[cluster\]'"):
        schedulers.connect(scheduler, LOG)


def test_the_environment_variable_is_the_default_of_the_option(monkeypatch):
    words = ["screen", "m", "--output", "o"]
    assert build_parser(words).parse_args(words).cluster == ""
    monkeypatch.setenv("CRYOICE_SCHEDULER", "tcp://there:1")
    assert build_parser(words).parse_args(words).cluster == "tcp://there:1"
