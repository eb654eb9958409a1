# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice screen --watch`` as a process of its own, while files come into its folders."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from noise import NUMBER, SHAPE

from cryoice_scipion.core import cli
from cryoice_scipion.core.cli import main
from cryoice_scipion.core.cli import watch as command
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.streaming.coordinate_watcher import CoordinateWatcher

pytest.importorskip("torch")
SETTLE = 0.3


def boxes(number, start=0, end=6):
    rng = np.random.default_rng(100 + number)
    rows = np.column_stack([rng.integers(0, SHAPE[1] - 20, 6), rng.integers(0, SHAPE[0] - 20, 6)])
    return "".join(f"{x} {y} 20 20\n" for x, y in rows[start:end])


def arguments(folder, output, model, *more):
    fixed = ["--output", output, "--model", model, "--device", "cpu", "--reference", 3]
    return [str(word) for word in ["screen", folder, *fixed, *more]]


class Process:
    """A watch that runs; killed at the end whatever happens."""

    def __init__(self, words, output):
        command = [sys.executable, "-m", "cryoice_scipion.core", *map(str, words)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.output, self.said, self.errors = output, "", ""
        self.child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
        self.child.communicate()

    def wait_for(self, condition):
        end = time.monotonic() + 60
        while not condition():
            assert self.child.poll() is None, self.child.communicate()
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.02)

    def wait_for_screened(self, number):
        self.wait_for(lambda: len(read_records(self.output)) >= number)

    def wait_for_picks(self, number):
        self.wait_for(lambda: sum(len(one.scores) for one in read_records(self.output)) >= number)

    def wait_until_up(self):
        self.wait_for((self.output / ".register.jsonl").exists)
        time.sleep(0.2)

    def end(self, signal_=None):
        """Send the signal and return the exit status."""
        if signal_ is not None:
            self.child.send_signal(signal_)
        self.said, self.errors = self.child.communicate(timeout=60)
        assert "Traceback" not in self.errors, self.errors
        return self.child.returncode


def rows_of(output):
    """Return goodness and class of each coordinate, by micrograph and place; each must be there once."""
    found = {}
    for name in ("kept", "rejected"):
        table = read_picks(output / "coordinates" / f"{name}.star").table
        for row in table.itertuples():
            key = (os.path.basename(row.rlnMicrographName), row.rlnCoordinateX, row.rlnCoordinateY)
            assert key not in found
            found[key] = (name, str(row.cryoiceGoodness), row.cryoiceClass)
    return found


def test_a_watch_ends_like_a_run_over_the_same_files(micrographs, model, tmp_path):
    """Files come slowly, in halves, under other names; coordinates before and after and in portions; with a break."""
    folder, picks, output = tmp_path / "m", tmp_path / "picks", tmp_path / "o"
    more = ["--watch", "--settle", SETTLE, "--coordinates", picks]
    with Process(arguments(folder, output, model, *more), output) as watch:
        watch.wait_until_up()
        picks.mkdir()
        (picks / "mic0.box").write_text(boxes(0))
        (picks / "mic2.box").write_text(boxes(2, 0, 3))
        (picks / "elsewhere.box").write_text(boxes(9))
        time.sleep(2 * SETTLE)
        folder.mkdir()
        data = (micrographs / "mic0.mrc").read_bytes()
        with open(folder / "mic0.mrc", "wb") as stream:
            stream.write(data[: len(data) // 2])
            stream.flush()
            time.sleep(SETTLE / 2)
            stream.write(data[len(data) // 2 :])
        watch.wait_for((output / "probability").exists)
        time.sleep(2 * SETTLE)
        shutil.copy(micrographs / "mic1.mrc", folder / "mic1.mrc.part")
        time.sleep(SETTLE)
        (folder / "mic1.mrc.part").rename(folder / "mic1.mrc")
        shutil.copy(micrographs / "mic2.mrc", folder / ".mic2.hidden.mrc")
        (folder / "notes.txt").write_text("no micrograph")
        watch.wait_for(lambda: (output / ".maps" / "mic1.npz").exists())
        assert not read_records(output)  # two are too few for the reference
        (folder / ".mic2.hidden.mrc").rename(folder / "mic2.mrc")
        watch.wait_for_screened(3)
        watch.wait_for_picks(9)
        (picks / "mic1.box").write_text(boxes(1))
        (picks / "mic2.box").write_text(boxes(2))
        watch.wait_for_picks(18)
        assert watch.end(signal.SIGINT) == 0, watch.errors
    assert "stopped: 3 micrographs done and saved; continue with --resume" in watch.errors
    assert "3 micrographs: 3 accepted" in watch.said
    first = rows_of(output)
    assert len(first) == 24
    before = (output / "journal.jsonl").read_text()
    for number in (3, 4, 5):
        shutil.copy(micrographs / f"mic{number}.mrc", folder)
    (picks / "mic4.box").write_text(boxes(4))
    with Process(arguments(folder, output, model, *more, "--resume", "--timeout", 1), output) as watch:
        assert watch.end() == 0, watch.errors
    assert "6 micrographs: 6 accepted" in watch.said
    anew = (output / "journal.jsonl").read_text()[len(before) :]
    assert [anew.count(f'"stem":"mic{number}"') for number in range(3)] == [0, 0, 0]  # nothing is done again
    assert main(arguments(folder, tmp_path / "static", model, "--coordinates", picks)) == 0
    expected = rows_of(tmp_path / "static")
    assert rows_of(output) == expected
    assert {key: value for key, value in expected.items() if key in first} == first
    assert read_summary(output).finished
    assert read_summary(output).unmatched_picks == 6
    assert (output / "report.html").is_file()


def test_a_watch_that_is_killed_goes_on_and_has_each_coordinate_once(micrographs, model, tmp_path):
    folder, star, output = tmp_path / "m", tmp_path / "picks.star", tmp_path / "o"
    head = "data_\n\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n"

    def write_star(numbers):
        rows = [f"mic{n}.mrc {line.split()[0]} {line.split()[1]}" for n in numbers for line in boxes(n).splitlines()]
        star.write_text(head + "\n".join(rows) + "\n")

    folder.mkdir()
    words = arguments(folder, output, model, "--watch", "--settle", 0.1, "--coordinates", star, "--box-size", 20)
    shutil.copy(micrographs / "mic0.mrc", folder)
    kills = 0
    for number, pause in ((2, 0.03), (3, 0.06), (5, 0.0)):
        with Process([*words, *(["--resume"] if output.exists() else [])], output) as watch:
            watch.wait_until_up()
            write_star(range(number + 1))
            for new in range(1, number + 1):
                if not (folder / f"mic{new}.mrc").exists():
                    shutil.copy(micrographs / f"mic{new}.mrc", folder)
            watch.wait_for(lambda stem=f"mic{number}": (output / ".maps" / f"{stem}.npz").exists())
            time.sleep(pause)
            kills += watch.end(signal.SIGKILL) == -signal.SIGKILL
    assert kills == 3
    with Process([*words, "--resume", "--timeout", "0.5"], output) as watch:
        assert watch.end() == 0
    assert [(one.id, one.stem) for one in read_records(output)] == [(i + 1, f"mic{i}") for i in range(NUMBER)]
    static = [*arguments(folder, tmp_path / "static", model, "--coordinates", star, "--box-size", 20)]
    assert main(static) == 0
    assert rows_of(output) == rows_of(tmp_path / "static")
    assert len(rows_of(output)) == 6 * NUMBER
    told, expected = read_summary(output), read_summary(tmp_path / "static")
    assert (told.input_picks, told.left_out, told.adds_up) == (6 * NUMBER, {}, True)
    assert (told.kept, told.rejected) == (expected.kept, expected.rejected)


def test_sigterm_ends_a_watch_like_ctrl_c(model, tmp_path):
    output = tmp_path / "o"
    with Process(arguments(tmp_path / "nowhere", output, model, "--watch"), output) as watch:
        watch.wait_until_up()
        assert watch.end(signal.SIGTERM) == 0, watch.errors
    assert "(does not exist yet)" in watch.errors
    assert "stopped: 0 micrographs done and saved; continue with --resume" in watch.errors


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("module, name", [(cli, "build_parser"), (cli, "keep_memory"), (command, "open_run")])
def test_a_signal_before_a_watch_has_begun_is_its_normal_end(
    number, status, module, name, model, tmp_path, monkeypatch, capsys
):
    words = arguments(tmp_path / "nowhere", tmp_path / "o", model)
    monkeypatch.setattr(module, name, lambda *_, **__: signal.raise_signal(number))
    before = signal.signal(number, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
    try:
        assert main([*words, "--watch"]) == 0
        assert capsys.readouterr().err == "cryoice screen: stopped before the watch began\n"
        if module is cli:
            assert main(words) == status
            assert capsys.readouterr().err == "cryoice screen: interrupted\n"
    finally:
        signal.signal(number, before)


def test_sigterm_ends_a_plain_run_with_its_own_status(micrographs, model, tmp_path):
    output = tmp_path / "o"
    with Process(arguments(micrographs, output, model), output) as run:
        run.wait_for(lambda: len(list((output / ".maps").glob("*.npz"))) >= 1 if output.exists() else False)
        assert run.end(signal.SIGTERM) == 143, run.errors
    assert f"of {NUMBER} micrographs done and saved; continue with --resume" in run.errors


def watched(micrographs, model, tmp_path, files, more=()):
    """Watch a few micrographs with coordinate files that nobody changes any more; return the exit status."""
    (tmp_path / "picks").mkdir(exist_ok=True)
    for name, text in files.items():
        (tmp_path / "picks" / name).write_text(text)
        os.utime(tmp_path / "picks" / name, (1e9, 1e9))
    words = ["--watch", "--settle", 0.1, "--timeout", 0.3, "--coordinates", tmp_path / "picks", "--threshold", -1]
    return main(arguments(micrographs, tmp_path / "o", model, *words, *more))


@pytest.fixture
def hasty(monkeypatch):
    """Give up soon on files that cannot be read."""
    monkeypatch.setattr(CoordinateWatcher.__init__, "__defaults__", (SETTLE, 0.3))


def test_a_watch_accounts_for_every_coordinate_also_when_it_goes_on(micrographs, model, tmp_path, capsys, hasty):
    files = {"a.txt": "a log\n", "mic0.box": boxes(0), "mic1.box": boxes(1) + "1 x 20 20\n", "mic2.box": "no box\n"}
    files["other.box"] = boxes(2)
    line = "19 coordinates in 3 files: 12 kept, 0 rejected, 7 left out (6 unmatched, 1 unreadable row)"
    for more in ((), ("--resume",), ("--resume",)):
        assert watched(micrographs, model, tmp_path, files, more) == 1
        said = capsys.readouterr()
        assert said.out.splitlines()[-1] == line
        assert "not read: " in said.out and "mic2.box: line 1" in said.out and "a.txt" in said.out
        assert "mic1.box: 1 unreadable row is left out (line 7" in said.err
        summary = read_summary(tmp_path / "o")
        assert summary.adds_up and summary.left_out == {"unmatched": 6, "unreadable_row": 1}
        assert summary.files_not_read == [str(tmp_path / "picks" / "mic2.box")]


@pytest.mark.parametrize(
    "files, words",
    [
        ({"mic0.box": "no box\n", "log.txt": "a log\n"}, "no coordinate file could be read"),
        ({"other.box": boxes(0)}, "of 6 coordinates, none matches a micrograph by name"),
    ],
)
def test_a_watch_whose_coordinates_are_all_of_no_use_ends_with_2(
    micrographs, model, tmp_path, capsys, hasty, files, words
):
    assert watched(micrographs, model, tmp_path, files) == 2
    said = capsys.readouterr()
    assert words in said.err.splitlines()[-1]
    assert f"{NUMBER} micrographs: {NUMBER} accepted" in said.out


def test_one_that_fails_is_named_and_is_the_exit_status(micrographs, model, tmp_path, capsys, soon_again):
    folder = tmp_path / "m"
    folder.mkdir()
    shutil.copy(micrographs / "mic0.mrc", folder)
    shutil.copy(micrographs / "mic1.mrc", folder / "mic0.mrcs")
    (folder / "mic1.mrc").write_bytes(b"broken")
    os.utime(folder / "mic1.mrc", (1e9, 1e9))  # it is not being written any more
    assert main(arguments(folder, tmp_path / "o", model, "--watch", "--settle", 0.1, "--timeout", 0.3)) == 1
    said = capsys.readouterr()
    assert "2 micrographs: 1 accepted, 1 failed" in said.out
    assert "mic1.mrc: " in said.out
    assert said.err.count("mic0.mrcs: left out") == 1


@pytest.mark.parametrize(
    "more, words",
    [
        (["--timeout", "3"], "--timeout: requires --watch"),
        (["--watch", "--timeout", "0"], "--timeout: 0 is not a number of seconds"),
        (["--watch", "--settle", "nan"], "--settle: nan is not a number of seconds"),
        (["other", "--watch"], "--watch: requires a single folder"),
        (["--watch", "--coordinates", "README.md"], "README.md: coordinates of an unknown format"),
        (["--watch", "--coordinates", "earlier"], "earlier: is an output folder of cryoice; give a file of it"),
    ],
)
def test_unusable_arguments_of_a_watch_are_one_line(micrographs, model, tmp_path, capsys, more, words):
    (tmp_path / "README.md").write_text("no coordinates")
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "journal.jsonl").touch()
    more = [str(tmp_path / word) if word in ("README.md", "earlier") else word for word in more]
    given = arguments(micrographs, tmp_path / "o", model, *more)
    if "other" in given:
        given.insert(2, given.pop(given.index("other")))
    assert main(given) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cryoice screen:")]
    assert len(lines) == 1
    assert words in lines[0]


@pytest.mark.parametrize("name", ["mic0.mrc", "*.mrc"])
def test_only_a_folder_is_watched(micrographs, model, tmp_path, capsys, name):
    assert main(arguments(micrographs / name, tmp_path / "o", model, "--watch")) == 2
    assert "--watch: requires a single folder" in capsys.readouterr().err


def test_an_output_that_holds_a_run_and_a_size_that_is_missing_are_refused(micrographs, model, tmp_path, capsys):
    star = tmp_path / "picks.star"
    star.write_text("data_\n\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\nmic0 50 50\n")
    os.utime(star, (1e9, 1e9))
    words = arguments(micrographs, tmp_path / "o", model, "--watch", "--settle", 0.1, "--timeout", 0.3)
    assert main([*words, "--coordinates", str(star)]) == 2
    assert "the particle diameter is not known; give it in Å with --particle-diameter" in capsys.readouterr().err
    corrected = [*words, "--coordinates", str(star), "--particle-diameter", 80]
    assert main([str(word) for word in corrected]) == 0  # nothing was screened, so the folder is begun anew
    assert main(words) == 2
    assert "--resume" in capsys.readouterr().err
