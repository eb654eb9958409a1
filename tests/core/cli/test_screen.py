# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice screen`` from arguments to files, with a small real network of random weights."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from noise import NUMBER, SHAPE, write_image, write_noise

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.formats.coordinates import read_picks, write_star
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.screening import archiving

torch = pytest.importorskip("torch")
MORE = 40


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small tensors are slower on several threads, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def star(tmp_path):
    """Return a .star file with optics and columns of its own, 5 coordinates a micrograph."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "rlnCoordinateX": rng.uniform(0, SHAPE[1], 5 * NUMBER).round(1),
            "rlnCoordinateY": rng.uniform(0, SHAPE[0], 5 * NUMBER).round(1),
            "rlnMicrographName": [f"MotionCorr/mic{i // 5}_DW.mrc" for i in range(5 * NUMBER)],
            "rlnAutopickFigureOfMerit": rng.normal(0, 1, 5 * NUMBER).round(3),
            "rlnOpticsGroup": 1,
            "myOwnColumn": [f"note{i}" for i in range(5 * NUMBER)],
        }
    )
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnOpticsGroupName": ["one"], "rlnVoltage": [300.0]})
    write_star(tmp_path / "picks.star", table, optics)
    return tmp_path / "picks.star"


def arguments(micrographs, output, model, *more):
    fixed = ["--output", output, "--model", model, "--device", "cpu", "--reference", 3]
    return [str(word) for word in ["screen", micrographs, *fixed, *more]]


def outcome(folder):
    """Return what a run says, without the times, and with the list of micrographs in any order."""
    told = {j.stem: (j.status, j.bad_area, j.scores, j.areas, j.flags, j.reason) for j in read_records(folder)}
    files = sorted((folder / "coordinates").rglob("*.star"))
    stars = {str(path.relative_to(folder)): path.read_text().replace(str(folder), "RUN") for path in files}
    stars["coordinates/autopick.star"] = sorted(stars.get("coordinates/autopick.star", "").splitlines())
    pictures = {path.name: path.read_bytes() for name in ("masks", "probability") for path in (folder / name).iterdir()}
    return told, stars, pictures


def test_everything_comes_out_and_the_columns_of_the_input_stay(micrographs, model, star, tmp_path, capsys):
    status = main(arguments(micrographs, tmp_path / "o", model, "--coordinates", star, "--box-size", 20))
    said = capsys.readouterr()
    assert status == 0, said.err
    told = read_records(tmp_path / "o")
    assert len(told) == NUMBER
    given = read_picks(star)
    files = {name: read_picks(tmp_path / "o" / "coordinates" / f"{name}.star") for name in ("kept", "rejected")}
    assert len(files["kept"]) and len(files["rejected"])  # this model does both
    both = pd.concat([files["kept"].table, files["rejected"].table]).sort_values("myOwnColumn", key=by_number)
    for column in given.table:
        assert list(both[column]) == list(given.table[column]), column
    assert list(files["kept"].optics["rlnVoltage"]) == [300.0]
    assert (files["kept"].table["cryoiceGoodness"] >= 0.5).all()
    assert (files["rejected"].table["cryoiceGoodness"] < 0.5).all()
    assert set(files["kept"].table["cryoiceClass"]) == {"good"}
    summary = read_summary(tmp_path / "o")
    assert (summary.kept, summary.rejected) == (len(files["kept"]), len(files["rejected"]))
    line = f"{5 * NUMBER} coordinates in 1 file: {summary.kept} kept, {summary.rejected} rejected"
    assert said.out.splitlines()[-1] == line
    assert (summary.input_picks, summary.left_out, summary.adds_up) == (5 * NUMBER, {}, True)
    assert "thumbnails" in said.out and "report.html" in said.out
    assert (tmp_path / "o" / "report.html").is_file()


def by_number(column):
    return column.str.replace("note", "").astype(int)


def test_rejected_coordinates_without_goodness_are_nan_in_the_file(micrographs, model, tmp_path, capsys):
    folder = tmp_path / "m"
    shutil.copytree(micrographs, folder)
    (folder / "mic1.mrc").write_bytes(b"broken")
    (tmp_path / "picks").mkdir()
    (tmp_path / "picks" / "mic0.box").write_text("100 100 20 20\n5000 5000 20 20\n")
    (tmp_path / "picks" / "mic1.box").write_text("100 100 20 20\n")
    (tmp_path / "picks" / "mic2.box").write_text("")
    (tmp_path / "picks" / "elsewhere.box").write_text("100 100 20 20\n" * 3)
    more = ["--coordinates", tmp_path / "picks", "--threshold", 0]
    assert main(arguments(folder, tmp_path / "o", model, *more)) == 1
    said = capsys.readouterr()
    assert re.search(
        r"3 coordinates are left out, because no micrograph matches their names and folders \(1\): elsewhere", said.err
    )
    assert re.search(r"failed: .*mic1.mrc: ", said.out)
    assert "Traceback" not in said.err
    rejected = (tmp_path / "o" / "coordinates" / "rejected.star").read_text()
    assert re.search(r"mic0\.mrc.*\bnan\b.*outside", rejected, re.IGNORECASE)
    assert re.search(r"mic1\.mrc.*\bnan\b.*failed", rejected, re.IGNORECASE)
    assert len(re.findall(r"elsewhere.*no_micrograph", rejected)) == 3
    assert len(read_picks(tmp_path / "o" / "coordinates" / "rejected.star")) == 5
    assert len(read_picks(tmp_path / "o" / "coordinates" / "kept.star")) == 1
    assert read_summary(tmp_path / "o").unmatched_picks == 3
    line = "6 coordinates in 4 files: 1 kept, 2 rejected, 3 left out (3 unmatched)"
    assert said.out.splitlines()[-1] == line


def test_minus_one_keeps_all_and_scores_them(micrographs, model, star, tmp_path):
    more = ["--coordinates", star, "--box-size", "20", "--threshold", "-1"]
    assert main(arguments(micrographs, tmp_path / "o", model, *more)) == 0
    kept = read_picks(tmp_path / "o" / "coordinates" / "kept.star").table
    assert len(kept) == 5 * NUMBER
    assert kept["cryoiceGoodness"].between(0, 1).all()


def test_a_star_without_the_size_asks_for_it(micrographs, model, star, tmp_path, capsys):
    assert main(arguments(micrographs, tmp_path / "o", model, "--coordinates", star)) == 2
    words = "the particle diameter is not known; give it in Å with --particle-diameter, or the box size"
    assert words in one_line(capsys)


def one_line(capsys):
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("cryoice screen:")]
    assert len(lines) == 1, said
    assert "Traceback" not in said
    return lines[0]


def test_two_micrographs_of_one_name_are_both_screened(micrographs, model, tmp_path):
    (tmp_path / "other").mkdir()
    shutil.copy(micrographs / "mic0.mrc", tmp_path / "other" / "mic0.mrc")
    words = arguments(micrographs, tmp_path / "o", model)
    words.insert(2, str(tmp_path / "other" / "mic0.mrc"))
    assert main(words) == 0
    masks = {path.name for path in (tmp_path / "o" / "masks").iterdir()}
    assert {"mic0.mrc", "other_mic0.mrc"} <= masks


@pytest.mark.parametrize(
    "more, words",
    [
        (["--threshold", "1.5"], "threshold must be -1"),
        (["--margin", "-3"], "margin"),
        (["--margin", "inf"], "margin"),
        (["--max-bad-area", "7"], "max_bad_area"),
        (["--reject-grade", "carbon"], "unknown grade carbon"),
        (["--reject-grade", "film"], "the model 'random' gives no grades"),
        (["--miss-cost", "0"], "miss_cost"),
        (["--reference", "-1"], "reference"),
        (["--pixel-size", "0"], "pixel_size"),
        (["--summary-every", "0"], "--summary-every"),
        (["--device", "tpu"], "no device"),
        (["--device", "cuda:97"], "not there"),
        (["--coordinates", "nowhere.star"], "nowhere.star"),
        (["--model", "no_such_model"], "no such model"),
    ],
)
def test_unusable_arguments_are_one_line_and_status_2(micrographs, model, tmp_path, capsys, more, words):
    assert main(arguments(micrographs, tmp_path / "o", model, *more)) == 2
    assert words in one_line(capsys)


def test_a_star_without_the_needed_columns_is_one_line(micrographs, model, tmp_path, capsys):
    (tmp_path / "bad.star").write_text("data_\n\nloop_\n_rlnCoordinateX #1\n1.0\n")
    assert main(arguments(micrographs, tmp_path / "o", model, "--coordinates", tmp_path / "bad.star")) == 2
    assert "bad.star" in one_line(capsys)


def write_boxes(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.box").write_text(text)
    return folder


BOX = "50 50 20 20\n"


def test_what_cannot_be_read_is_left_out_named_and_the_exit_status_is_1(micrographs, model, tmp_path, capsys):
    picks = write_boxes(tmp_path / "picks", mic0=3 * BOX + "50 5x 20 20\n", mic1=BOX, mic2="no box\n", other=BOX)
    (picks / "log.txt").write_text("all went well\n")
    words = arguments(micrographs, tmp_path / "o", model, "--coordinates", picks, "--threshold", -1)
    for more in ([], ["--resume"]):
        assert main([*words, *more]) == 1
        said = capsys.readouterr()
        lines = said.out.splitlines()
        line = "6 coordinates in 3 files: 4 kept, 0 rejected, 2 left out (1 unmatched, 1 unreadable row)"
        assert lines[-1] == line
        assert any(line.startswith("not read: ") and "mic2.box: line 1" in line for line in lines)
        assert any("1 file without coordinates or of another format" in line and "log.txt" in line for line in lines)
        assert "mic0.box: 1 unreadable row is left out (line 4: y is '5x', not a number)" in said.err
        summary = read_summary(tmp_path / "o")
        assert summary.left_out == {"unmatched": 1, "unreadable_row": 1} and summary.adds_up
        assert summary.files_not_read == [str(picks / "mic2.box")]
        page = (tmp_path / "o" / "report.html").read_text()
        assert line in page and str(picks / "mic2.box") in page and str(picks / "log.txt") in page


def test_an_ambiguous_name_leaves_out_its_own_coordinates_only(micrographs, model, tmp_path, capsys):
    for name in ("mic0_DW", "mic0_aligned", "mic1"):
        shutil.copy(micrographs / "mic0.mrc", tmp_path / f"{name}.mrc")
    picks = write_boxes(tmp_path / "picks", mic0=2 * BOX, mic1=BOX)
    words = arguments(tmp_path, tmp_path / "o", model, "--coordinates", picks, "--threshold", -1)
    assert main(words) == 1
    said = capsys.readouterr()
    line = "3 coordinates in 2 files: 1 kept, 0 rejected, 2 left out (2 with ambiguous names)"
    assert said.out.splitlines()[-1] == line
    assert "mic0: fits several micrographs" in said.err
    assert read_summary(tmp_path / "o").left_out == {"ambiguous_name": 2}


@pytest.mark.parametrize(
    "files, words",
    [
        ({"mic0": "no box\n", "mic1": "none\n"}, "none of the 2 coordinate files can be read"),
        ({"mic0": "no box\n"}, "mic0.box: line 1: 2 columns"),
        ({"other": 2 * BOX}, "of 2 coordinates, none matches a micrograph by name"),
    ],
)
def test_coordinates_that_are_all_of_no_use_end_the_run_before_it_begins(
    micrographs, model, tmp_path, capsys, files, words
):
    picks = write_boxes(tmp_path / "picks", **files)
    assert main(arguments(micrographs, tmp_path / "o", model, "--coordinates", picks)) == 2
    assert words in one_line(capsys)
    assert not (tmp_path / "o").exists()


def test_a_resume_of_some_micrographs_adds_up_with_those_of_earlier_sessions(micrographs, model, tmp_path, capsys):
    picks = write_boxes(tmp_path / "picks", mic0=2 * BOX, mic1=BOX, other=BOX)
    more = ["--coordinates", picks, "--threshold", -1]
    assert main(arguments(micrographs, tmp_path / "o", model, *more)) == 0
    first = capsys.readouterr().out.splitlines()[-1]
    assert main([*arguments(micrographs / "mic1.mrc", tmp_path / "o", model, *more), "--resume"]) == 0
    assert first == capsys.readouterr().out.splitlines()[-1]
    assert read_summary(tmp_path / "o").adds_up


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_a_damaged_model_is_one_line(micrographs, model, tmp_path, capsys, damage):
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    weights = copy / "weights.safetensors"
    weights.unlink() if damage == "missing" else weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert main(arguments(micrographs, tmp_path / "o", copy)) == 2
    assert "weights.safetensors" in one_line(capsys)


def test_a_pixel_size_is_asked_for_when_the_header_has_none(model, tmp_path, capsys):
    (tmp_path / "m").mkdir()
    write_image(tmp_path / "m" / "a.mrc", np.random.default_rng(0).normal(0, 1, (160, 160)), 0.0)
    assert main(arguments(tmp_path / "m", tmp_path / "o", model)) == 1
    assert "--pixel-size" in read_records(tmp_path / "o")[0].reason
    assert main(arguments(tmp_path / "m", tmp_path / "p", model, "--pixel-size", 4)) == 0
    assert main(arguments(tmp_path / "m", tmp_path / "q", model, "--pixel-size", 20)) == 1
    assert read_records(tmp_path / "q")[0].reason.startswith(f"{tmp_path / 'm' / 'a.mrc'}: pixel size 20 Å/px")


def test_a_header_of_one_that_contradicts_the_user_is_flagged(model, tmp_path):
    (tmp_path / "m").mkdir()
    write_image(tmp_path / "m" / "a.mrc", np.random.default_rng(0).normal(0, 1, (160, 160)), 1.0)
    assert main(arguments(tmp_path / "m", tmp_path / "o", model, "--pixel-size", 4)) == 0
    (one,) = read_records(tmp_path / "o")
    assert one.pixel_size == 4
    assert any("pixel_size" in flag for flag in one.flags)


def test_an_output_that_holds_a_run_is_refused_and_resumed_on_demand(micrographs, model, star, tmp_path, capsys):
    words = arguments(micrographs, tmp_path / "o", model, "--coordinates", star, "--box-size", 20)
    assert main(words) == 0
    before = outcome(tmp_path / "o")
    capsys.readouterr()
    assert main(words) == 2
    assert "--resume" in one_line(capsys)
    assert main([*words, "--resume"]) == 0
    assert outcome(tmp_path / "o") == before
    assert main([*words, "--resume", "--threshold", "0.9"]) == 2
    assert "threshold was None, is 0.9" in one_line(capsys)


def test_a_resume_with_more_micrographs_keeps_those_that_are_done(micrographs, model, tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    for number in (1, 2, 3):
        shutil.copy(micrographs / f"mic{number}.mrc", folder)
    assert main(arguments(folder, tmp_path / "o", model)) == 0
    before = outcome(tmp_path / "o")[0]
    for number in (0, 5):  # the first one moves all others one place down
        shutil.copy(micrographs / f"mic{number}.mrc", folder)
    assert main([*arguments(folder, tmp_path / "o", model), "--resume"]) == 0
    after = outcome(tmp_path / "o")[0]
    assert set(after) - set(before) == {"mic0", "mic5"}
    assert {stem: after[stem] for stem in before} == before


def test_a_resume_with_other_coordinates_scores_them(micrographs, model, star, tmp_path):
    words = arguments(micrographs, tmp_path / "o", model, "--box-size", 20)
    assert main(words) == 0
    assert main([*words, "--resume", "--coordinates", str(star)]) == 0
    assert read_summary(tmp_path / "o").picks == 5 * NUMBER
    fresh = arguments(micrographs, tmp_path / "p", model, "--box-size", 20, "--coordinates", star)
    assert main(fresh) == 0
    assert outcome(tmp_path / "o") == outcome(tmp_path / "p")


def start(words):
    command = [sys.executable, "-m", "cryoice_scipion.core", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )


def stop_when(process, journal, kind, number, signal_):
    """Send the signal when the journal has that many lines of that kind."""
    while process.poll() is None:
        if journal.exists() and journal.read_text().count(f'{{"kind":"{kind}"') >= number:
            process.send_signal(signal_)
            return
        time.sleep(0.001)


def many(micrographs, folder):
    """Return a folder of so many micrographs that a signal comes in the middle, on a busy machine too."""
    shutil.copytree(micrographs, folder)
    for number in range(MORE):
        (folder / f"more{number}.mrc").symlink_to(folder / "mic0.mrc")
    return folder


def test_a_killed_run_resumed_ends_like_an_undisturbed_one(micrographs, model, star, tmp_path):
    micrographs = many(micrographs, tmp_path / "many")
    more = ["--coordinates", star, "--box-size", 20]
    assert main(arguments(micrographs, tmp_path / "one", model, *more)) == 0
    words = arguments(micrographs, tmp_path / "two", model, *more)
    for kind, number in (("mapped", 2), ("screened", 2)):
        process = start([*words, *(["--resume"] if kind == "screened" else [])])
        stop_when(process, tmp_path / "two" / "journal.jsonl", kind, number, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert len(read_records(tmp_path / "two")) < NUMBER + MORE
    assert main([*words, "--resume"]) == 0
    assert outcome(tmp_path / "one") == outcome(tmp_path / "two")


def test_ctrl_c_saves_and_says_what_is_done(micrographs, model, star, tmp_path):
    micrographs = many(micrographs, tmp_path / "many")
    process = start(arguments(micrographs, tmp_path / "o", model, "--coordinates", star, "--box-size", 20))
    stop_when(process, tmp_path / "o" / "journal.jsonl", "screened", 1, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    screened = read_records(tmp_path / "o")
    assert 0 < len(screened) < NUMBER + MORE
    words = f"stopped: {len(screened)} of {NUMBER + MORE} micrographs done and saved; continue with --resume"
    assert words in errors
    stars = [read_picks(tmp_path / "o" / "coordinates" / f"{name}.star") for name in ("kept", "rejected")]
    assert sum(map(len, stars)) == sum(len(one.scores) for one in screened)
    assert not read_summary(tmp_path / "o").finished


@pytest.mark.skipif(os.name != "posix", reason="needs limits on the size of files")
def test_a_disk_that_is_full_stops_the_run_with_one_line_and_it_can_go_on(micrographs, model, star, tmp_path):
    """A limit on the size of files stands for the full disk: thumbnails do not fit."""
    more = ["--coordinates", star, "--box-size", 20]
    words = arguments(micrographs, tmp_path / "two", model, *more)
    limited = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from cryoice_scipion.core.cli import main\n"
        "import torch\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))\n"
        f"sys.exit(main({words!r}))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, env=environment)
    assert finished.returncode == 2, finished.stderr
    assert "Traceback" not in finished.stderr
    lines = [line for line in finished.stderr.splitlines() if line.startswith("cryoice screen:")]
    assert len(lines) == 1
    assert "cannot be written" in lines[0] and "--resume" in lines[0]
    assert not [one for one in read_records(tmp_path / "two") if one.status == "failed"]
    assert main([*words, "--resume"]) == 0
    assert main(arguments(micrographs, tmp_path / "one", model, *more)) == 0
    assert outcome(tmp_path / "one") == outcome(tmp_path / "two")


def test_a_summary_is_json_with_its_version(micrographs, model, tmp_path):
    assert main(arguments(micrographs / "mic0.mrc", tmp_path / "o", model)) == 0
    assert json.loads((tmp_path / "o" / "summary.json").read_text())["records_version"] == 1
    assert not (tmp_path / "o" / "coordinates" / "kept.star").exists()  # no coordinates were given


def test_a_resume_with_only_new_micrographs_does_not_take_ids_of_the_old_ones(micrographs, model, tmp_path):
    assert main(arguments(micrographs, tmp_path / "o", model)) == 0
    shutil.copy(micrographs / "mic0.mrc", tmp_path / "new.mrc")
    assert main([*arguments(tmp_path / "new.mrc", tmp_path / "o", model), "--resume"]) == 0
    told = read_records(tmp_path / "o")
    assert len({one.id for one in told}) == len(told) == NUMBER + 1


def test_rows_of_an_earlier_table_say_nothing_of_those_of_a_new_one(micrographs, model, tmp_path):
    """The rows that belonged to mic0 belong to a micrograph that is not there: they must not come out as kept."""
    head = "data_\n\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n"
    for name, other in (("one", "mic0"), ("two", "elsewhere")):
        (tmp_path / f"{name}.star").write_text(f"{head}{other}.mrc 50 50\n{other}.mrc 60 60\nmic1.mrc 70 70\n")
    words = arguments(micrographs, tmp_path / "o", model, "--box-size", 20, "--threshold", 0)
    assert main([*words, "--coordinates", str(tmp_path / "one.star")]) == 0
    assert main([*words, "--coordinates", str(tmp_path / "two.star"), "--resume"]) == 0
    folder = tmp_path / "o" / "coordinates"
    kept, rejected = (read_picks(folder / f"{name}.star").table for name in ("kept", "rejected"))
    assert list(kept["rlnMicrographName"]) == ["mic1.mrc"]
    assert list(rejected["cryoiceClass"]) == ["no_micrograph"] * 2


def test_a_name_with_dots_becomes_the_micrographs_path_too(micrographs, model, tmp_path):
    (tmp_path / "picks").mkdir()
    shutil.copy(micrographs / "mic0.mrc", tmp_path / "hole_12.5.mrc")
    (tmp_path / "picks" / "hole_12.5.box").write_text("90 90 20 20\n")
    more = ["--coordinates", tmp_path / "picks", "--threshold", 0]
    assert main(arguments(tmp_path / "hole_12.5.mrc", tmp_path / "o", model, *more)) == 0
    kept = read_picks(tmp_path / "o" / "coordinates" / "kept.star").table
    assert list(kept["rlnMicrographName"]) == [str(tmp_path / "hole_12.5.mrc")]


def test_a_micrograph_of_nothing_but_border_leaves_the_journal_json(model, tmp_path):
    (tmp_path / "m").mkdir()
    image = np.zeros((300, 300))
    image[150:] = 3  # both halves are of one value, and touch a side
    write_image(tmp_path / "m" / "a.mrc", image)
    assert main(arguments(tmp_path / "m", tmp_path / "o", model)) == 0
    assert read_records(tmp_path / "o")[0].areas == {"border": 1.0}
    for line in (tmp_path / "o" / "journal.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)  # NaN is no JSON


def test_the_number_of_thumbnails_is_limited(micrographs, model, tmp_path):
    assert main(arguments(micrographs, tmp_path / "o", model, "--max-thumbnails", 2)) == 0
    shown = {f"{one.stem}.png" for one in read_records(tmp_path / "o") if one.thumbnail}
    assert {path.name for path in (tmp_path / "o" / "thumbnails").iterdir()} == shown
    assert len(shown) == 2 < NUMBER


def test_archives_are_written_on_request(micrographs, model, tmp_path, monkeypatch):
    monkeypatch.setattr(archiving, "MICROGRAPHS_EACH", 2)
    assert main(arguments(micrographs, tmp_path / "o", model, "--archive")) == 0
    assert len(list((tmp_path / "o" / "archives").iterdir())) == NUMBER // 2
    assert len(list((tmp_path / "o" / "masks").iterdir())) == NUMBER % 2


@pytest.mark.parametrize("more", [[], ["--watch", "--settle", 0.1, "--timeout", 0.3]])
def test_a_run_whose_micrographs_all_fail_exits_1_and_names_the_reasons(model, tmp_path, capsys, more, soon_again):
    folder = tmp_path / "m"
    folder.mkdir()
    for number in range(5):
        (folder / f"mic{number}.mrc").write_bytes(b"broken")
        os.utime(folder / f"mic{number}.mrc", (1e9, 1e9))
    output = tmp_path / "o"
    assert main(arguments(folder, output, model, *more)) == 1
    said = capsys.readouterr()
    line = "no micrograph could be screened (5 failed)"
    assert said.err.count(line) == 1
    (warning,) = json.loads((output / "summary.json").read_text())["warnings"]
    assert warning.startswith(line) and "mic0.mrc" in warning and warning.endswith("and 2 more")
    assert line in (output / "report.html").read_text()
    assert main(arguments(folder, output, model, *more, "--resume")) == 1
    write_noise(folder / "mic3.mrc", 3)
    os.utime(folder / "mic3.mrc", (1e9, 1e9))
    capsys.readouterr()
    assert main(arguments(folder, output, model, *more, "--resume")) == 1  # one of five is better than none
    assert line not in capsys.readouterr().err
    assert not json.loads((output / "summary.json").read_text())["warnings"]


def test_a_pixel_size_that_contradicts_the_headers_is_one_warning(micrographs, model, tmp_path, capsys):
    output = tmp_path / "o"
    for more in ([], ["--resume"]):
        assert main(arguments(micrographs, output, model, "--pixel-size", 5.1, *more)) == 0
        words = f"the given pixel size differs from the header in {NUMBER} of {NUMBER} micrographs"
        assert capsys.readouterr().err.count(words) == 1
        (warning,) = [line for line in read_summary(output).warnings if "pixel size" in line]
        assert warning.startswith(words)
        assert "5.1 Å/px" in warning and "4 Å/px" in warning
        assert words in (output / "report.html").read_text()
    assert main(arguments(micrographs, tmp_path / "coarse", model, "--pixel-size", 40)) == 1
    assert "pixel size 40 Å/px (the header has 4 Å/px): too coarse" in capsys.readouterr().err
    assert main(arguments(micrographs, tmp_path / "p", model, "--pixel-size", 4.1)) == 0
    assert not [line for line in read_summary(tmp_path / "p").warnings if "differs" in line]
