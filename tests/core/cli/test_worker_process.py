# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice screen`` in worker processes: when they are used, and with what limits."""

import functools
import logging

import pytest
from random_model import write_random_model

from cryoice_scipion.core.cli import build_parser, main, running
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.screening.quarantine import Quarantine
from cryoice_scipion.core.workers import worker
from cryoice_scipion.core.workers.client import ANSWER_LIMIT, WorkerClient, worker_command


def executors(tmp_path, *options):
    model = tmp_path / "model"
    model.is_dir() or write_random_model(model)
    words = ["screen", "a.mrc", "--output", str(tmp_path / "o"), "--device", "cpu", "--resume", *options]
    return running._executors(
        build_parser(words).parse_args(words), ScreenConfig(model=str(model)), logging.getLogger()
    )


@pytest.mark.parametrize(
    ("options", "seconds", "memory"),
    [
        (["--worker-process"], ANSWER_LIMIT, None),
        (["--memory-limit", "4.5"], ANSWER_LIMIT, "4.5"),
        (["--item-timeout", "60"], 60.0, None),
    ],
)
def test_the_options_ask_for_a_worker_with_their_limits(tmp_path, options, seconds, memory):
    (one,) = executors(tmp_path, *options)
    assert isinstance(one, WorkerClient) and one._limit == seconds
    assert ("--memory-limit" in one._command) == bool(memory)
    assert memory is None or one._command[one._command.index("--memory-limit") + 1] == memory


def test_a_worker_is_used_after_a_session_that_died_of_a_micrograph(tmp_path):
    (tmp_path / "o").mkdir()
    assert not isinstance(executors(tmp_path)[0], WorkerClient)
    Quarantine(tmp_path / "o", resume=False, retry=False).blame("mic001")
    assert isinstance(executors(tmp_path)[0], WorkerClient)


@pytest.mark.parametrize("options", [["--memory-limit", "0"], ["--item-timeout", "-1"], ["--item-timeout", "inf"]])
def test_limits_that_are_none_are_refused(tmp_path, options):
    with pytest.raises(SettingsError, match=options[0][2:].replace("-", "_") + " must be"):
        executors(tmp_path, *options)


def test_the_memory_of_a_cluster_is_limited_elsewhere(tmp_path):
    with pytest.raises(SettingsError, match="does not apply to a cluster; give it to the Dask workers"):
        executors(tmp_path, "--memory-limit", "4", "--cluster", "tcp://nowhere:1")


def test_the_log_of_a_worker_holds_nothing_that_steers_a_terminal(monkeypatch, capsys, request):
    def serve(make_executor):
        try:
            raise ValueError("b\x1b[31m")
        except ValueError:
            logging.getLogger().exception("a\x1b[31m\nERROR: forged")
        return 0

    root = logging.getLogger()
    request.addfinalizer(functools.partial(root.setLevel, root.level))
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(worker, "serve", serve)
    assert main(["worker"]) == 0
    told = capsys.readouterr().err
    assert "a [31m ERROR: forged" in told and "ValueError: b [31m" in told and "\x1b" not in told


def test_a_worker_takes_the_words_of_its_client():
    words = worker_command("python", "default", "cpu", memory=2.0)
    words = words[words.index("worker") :]
    assert build_parser(words).parse_args(words).memory_limit == 2.0
