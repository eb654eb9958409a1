# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice cryosparc`` with the real client of cryosparc-tools, against a stand-in for the server."""

import io
import os
import signal

import numpy as np
import pytest
from cryosparc_project import exposures, micrograph, particles, write_project
from cryosparc_server import Server, running
from random_model import write_random_model

from cryoice_scipion.core.cli import main, screen
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.integrations import cryosparc_job

pytest.importorskip("cryosparc", minversion="5", reason="cryosparc-tools 5 is not installed")
from cryosparc.dataset import Dataset  # noqa: E402
from cryosparc.tools import CryoSPARC  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_random_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture
def server(tmp_path):
    outputs = {"J10": {"micrographs": ("exposure", Dataset(exposures()))},
               "J42": {"picked": ("particle", Dataset(particles())),
                       "picked_particles": ("particle", Dataset(particles()))}}  # fmt: skip
    return Server(write_project(tmp_path / "project"), outputs)


@pytest.fixture
def command(server, model, tmp_path, monkeypatch):
    """Return what runs the command on the stand-in."""
    environment = {"password": "secret", "host": None, "base_port": None, "email": None}  # read at import
    for name, value in environment.items():
        monkeypatch.setitem(CryoSPARC.__init__.__kwdefaults__, name, value)

    def run(*options, particles="J42", email="a@example.org"):
        with running(server) as url:
            words = ["cryosparc", "--url", url, "--email", email, "--project", "P3", "--workspace", "W1"]
            words += ["--exposures", "J10", *(["--particles", particles] if particles else [])]
            words += ["--output", str(tmp_path / "out"), "--model", str(model), "--device", "cpu"]
            return main([*words, "--contrast", "dark", *options])

    return run


def saved(server, name):
    return Dataset.load(io.BytesIO(server.saved[name]))


def test_accepted_and_rejected_items_are_the_outputs_of_the_job(server, command, tmp_path):
    (server.folder / micrograph("b")).unlink()
    assert command("--particle-diameter", "60") == 1  # a micrograph that cannot be read
    assert server.status == "completed"
    table = particles()
    accepted, rejected = saved(server, "particles_accepted"), saved(server, "particles_rejected")
    assert sorted([*accepted["uid"], *rejected["uid"]]) == sorted(table["uid"])
    kept = read_picks(tmp_path / "out" / "coordinates" / "kept.star").table["cryosparcUid"].astype(np.uint64)
    assert len(kept) and sorted(accepted["uid"]) == sorted(kept)
    assert all(name == "uid" or name.startswith("location/") for name in accepted.fields())
    assert saved(server, "exposures_rejected")["uid"].tolist() == exposures("b")["uid"].tolist()
    path = saved(server, "exposures_accepted")["micrograph_blob/path"]
    assert path.tolist() == [micrograph("a"), micrograph("c")]  # as in the project, not absolute
    sources = {name: one["connections"] for name, one in server.spec["inputs"].items()}
    assert sources == {"exposures": [{"job_uid": "J10", "output": "micrographs"}],
                       "particles": [{"job_uid": "J42", "output": "picked_particles"}]}  # fmt: skip
    assert {name: one["passthrough"] for name, one in server.spec["outputs"].items()} == {
        "exposures_accepted": "exposures", "exposures_rejected": "exposures",
        "particles_accepted": "particles", "particles_rejected": "particles"}  # fmt: skip
    texts = [text for kind, text in server.log if kind == "text"]
    assert "3 exposures and 120 particles" in texts[0] and "2 micrographs accepted" in texts[1]
    assert "120 coordinates in 1 file" in texts[2]
    assert len(server.images) == 2 and all(image.startswith(b"\x89PNG") for image in server.images)


def test_without_particles_only_micrographs_are_sorted(server, command):
    server.finished["J10"]["micrographs"] = ("exposure", Dataset(exposures("a")))
    assert command(particles=None) == 0
    assert set(server.saved) == {"exposures_accepted", "exposures_rejected"}


def test_a_wrong_output_is_said_before_a_job_is_created(server, command, capsys):
    assert command(particles="J42:particles_selected") == 2
    assert "has no output particles_selected with location" in capsys.readouterr().err
    assert "jobs.create" not in server.calls


def test_a_screening_that_fails_or_is_interrupted_marks_the_job_as_failed(server, command, monkeypatch, capsys):
    assert command() == 2  # no particle diameter
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "particle diameter" in error and "Traceback" not in error
    assert server.status == "failed" and ("error" in {kind for kind, _ in server.log}) and not server.saved
    server.status, server.spec = "building", {"inputs": {}, "outputs": {}}

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(screen, "main", interrupted)
    assert command("--particle-diameter", "60", "--resume") == 130
    assert server.status == "failed" and not server.saved


def test_sigterm_while_the_results_are_saved_marks_the_job_as_failed(server, command, monkeypatch):
    def terminated(*_):
        assert callable(signal.getsignal(signal.SIGTERM))  # else these tests would end
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(screen, "main", lambda _: 0)
    monkeypatch.setattr(cryosparc_job, "_save", terminated)
    assert command() == 143
    assert server.status == "failed"


def test_a_server_that_does_not_answer_and_a_folder_elsewhere_are_one_line(server, command, capsys, tmp_path):
    server.folder = tmp_path / "nowhere"
    assert command() == 2 and "is not on this machine" in capsys.readouterr().err
    words = ["cryosparc", "--url", "http://127.0.0.1:9", "--email", "a@example.org", "--project", "P3"]
    words += ["--workspace", "W1", "--exposures", "J10", "--output", str(tmp_path / "out")]
    with pytest.warns(UserWarning):  # of cryosparc-tools, about each attempt
        assert main(words) == 2
    error = capsys.readouterr().err
    assert "Could not connect to CryoSPARC" in error and "check --url, or --host and --base-port" in error
