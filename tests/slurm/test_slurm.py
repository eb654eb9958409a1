# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Slurm of one node: the scripts of the how-to page, and workers that the command starts itself."""

import csv
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from noise import write_noise
from random_model import write_random_model

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "cluster.md"
PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun")
NUMBER = 4  # micrographs
LIMIT = 60.0  # s
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={first}
SlurmdPort={second}
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
ReturnToService=2
MailProg=/bin/true
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName={host} CPUs=4 RealMemory=16000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE
"""
JOBQUEUE = """\
jobqueue:
  slurm:
    cores: 1
    memory: 2GB
    walltime: "00:10:00"
    interface: lo
    local-directory: {folder}
"""

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        os.getuid() != 0 or not all(map(shutil.which, PROGRAMS)), reason="needs root, and slurmd, slurmctld and munge"
    ),
]


def free_ports():
    """Return two ports that nothing uses."""
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("", 0))
        return one.getsockname()[1], two.getsockname()[1]


def wait_until(condition):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "Slurm takes too long"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Start a Slurm of this machine, and return the environment of its clients."""
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    host, (first, second) = socket.gethostname().split(".")[0], free_ports()
    text = CONFIGURATION.format(folder=folder, host=host, first=first, second=second)
    (folder / "slurm.conf").write_text(text)
    (folder / "jobqueue.yaml").write_text(JOBQUEUE.format(folder=folder))
    command = folder / "bin" / "cryoice"  # with a small model
    command.parent.mkdir()
    model = write_random_model(folder / "model")
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cryoice_scipion.core "$@" --model {model}\n')
    command.chmod(0o755)
    environment = dict(
        os.environ, SLURM_CONF=str(folder / "slurm.conf"), DASK_CONFIG=str(folder), OMP_NUM_THREADS="1",
        PATH=f"{command.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        PYTHONPATH=f"{Path(__file__).parents[2]}:{os.environ.get('PYTHONPATH', '')}",
    )  # fmt: skip
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
    subprocess.run(["mungekey", "--create", f"--keyfile={folder}/munge.key"], check=True)
    daemons = [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files],
        ["slurmctld", "-D", "-f", str(folder / "slurm.conf")],
        ["slurmd", "-D", "-f", str(folder / "slurm.conf")],
    ]
    running = []
    with open(folder / "daemons.log", "w") as log:
        for words in daemons:
            running.append(subprocess.Popen(words, env=environment, stdout=log, stderr=log))
            if words[0] == "munged":
                wait_until((folder / "munge.socket").exists)
    try:
        wait_until(lambda: "idle" in run(["sinfo", "--noheader"], environment, folder).stdout)
        yield environment
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(LIMIT)


def run(words, environment, folder):
    return subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, timeout=LIMIT)


@pytest.fixture(scope="module")
def session(tmp_path_factory, slurm):
    """Return a folder with micrographs and picks, and what one machine makes of them."""
    folder = tmp_path_factory.mktemp("session")
    rows = []
    for key in range(NUMBER):
        write_noise(folder / "micrographs" / f"mic{key}.mrc", key)
        rows += [f"mic{key}.mrc {x} {y}" for x in range(30, 240, 30) for y in (60, 130)]
    labels = "_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n"
    (folder / "picks.star").write_text("data_\n\nloop_\n" + labels + "\n".join(rows) + "\n")
    words = ["screen", "micrographs", "--coordinates", "picks.star", "--particle-diameter", "150"]
    done = run(["cryoice", *words, "--output", "screened"], slurm, folder)
    assert done.returncode == 0, done.stderr
    (folder / "screened").rename(folder / "here")
    return folder


def results(folder):
    """Return the files of a run; of its table the rows without the time."""
    names = [path for name in ("probability", "masks", "thumbnails") for path in (folder / name).iterdir()]
    with open(folder / "micrographs.csv", newline="") as stream:
        table = sorted(({**row, "seconds": ""} for row in csv.DictReader(stream)), key=lambda row: row["stem"])
    kept = [(folder / "coordinates" / f"{name}.star").read_text() for name in ("kept", "rejected")]
    return table, {path.name + path.suffix: path.read_bytes() for path in names}, kept


@pytest.mark.parametrize("section", ["One node", "Several nodes"])
def test_the_scripts_of_the_page_give_the_results_of_one_machine(slurm, session, section):
    script = re.search(rf"## {section}\n.*?```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S).group(1)
    (session / "screen.sh").write_text(script)
    words = ["sbatch", "--parsable", "--nodes=1", "--cpus-per-task=1", "--mem=2000", "--output=job.txt", "screen.sh"]
    job = run(words, slurm, session).stdout.strip()
    show = ["scontrol", "show", "job", job]
    wait_until(lambda: not re.search(r"JobState=(PENDING|RUNNING|COMPLETING)", run(show, slurm, session).stdout))
    assert "JobState=COMPLETED" in run(show, slurm, session).stdout, (session / "job.txt").read_text()
    assert results(session / "screened") == results(session / "here")
    shutil.rmtree(session / "screened")


def test_workers_that_slurm_starts_give_the_results_of_one_machine(slurm, session):
    words = ["screen", "micrographs", "--coordinates", "picks.star", "--particle-diameter", "150"]
    done = run(["cryoice", *words, "--output", "there", "--cluster", "slurm:2"], slurm, session)
    assert done.returncode == 0, done.stderr
    assert "slurm:2: workers: 2; 2 micrographs at a time" in done.stderr
    assert results(session / "there") == results(session / "here")
    # A cancelled job is listed, as completing, until all its processes have ended.
    wait_until(lambda: "dask-wor" not in run(["squeue"], slurm, session).stdout)
