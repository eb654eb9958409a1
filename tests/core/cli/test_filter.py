# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice filter``: new coordinates on stored maps have the verdicts that a whole screening gives them."""

import csv
import json
import shutil

import mrcfile
import numpy as np
import pytest
from journals import unsealed
from random_model import write_random_model
from simple_grader import CLASSES

from cryoice_scipion.constants import ALL_GRADES, FAILED, GOOD
from cryoice_scipion.core.cli import main
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.streaming.id_registry import IdRegistry

SIDE, NAMES = 512, ("a", "b", "c")
HEAD = "data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"


@pytest.fixture(scope="module")
def screened(tmp_path_factory):
    """A folder with three micrographs, of which two are screened without coordinates, and picks on all of them."""
    folder = tmp_path_factory.mktemp("filter")
    rng = np.random.default_rng(3)
    (folder / "mics").mkdir()
    for name in NAMES:
        with mrcfile.new(folder / "mics" / f"{name}.mrc") as mrc:
            mrc.set_data(rng.normal(size=(SIDE, SIDE)).astype(np.float32))
            mrc.voxel_size = 4.0
    write_random_model(folder / "model", classes=CLASSES)
    rows = [f"{name}.mrc {x} {y}\n" for name in NAMES for x, y in rng.integers(0, SIDE, (40, 2))]
    (folder / "picks.star").write_text(HEAD + "".join(rows))
    run(folder, "maps", "a.mrc", "b.mrc")
    return folder


def run(folder, output, *names, options=(), status=0):
    paths = [str(folder / "mics" / name) for name in names]
    common = ["--model", str(folder / "model"), "--device", "cpu", "--contrast", "dark"]
    assert main(["screen", *paths, "--output", str(folder / output), *common, *options]) == status


def filtered(folder, output, *options, status=0, run="maps", picks="picks.star"):
    words = ["filter", str(folder / run), "--coordinates", str(folder / picks), "--output", str(folder / output)]
    assert main([*words, *options]) == status
    return folder / output


def table(folder, name):
    return read_picks(folder / "coordinates" / f"{name}.star").table


def test_verdicts_are_those_of_a_screening_and_picks_without_a_map_are_pending(screened):
    picks = ("--coordinates", str(screened / "picks.star"), "--particle-diameter", "60")
    run(screened, "whole", "a.mrc", "b.mrc", options=picks)
    output = filtered(screened, "new", "--particle-diameter", "60", status=1)
    for name in ("kept", "rejected"):
        ours, theirs = table(output, name), table(screened / "whole", name)
        theirs = theirs[theirs["cryoiceClass"] != "no_micrograph"].reset_index(drop=True)
        assert len(ours) and ours.equals(theirs)
    assert table(output, "pending")["rlnMicrographName"].tolist() == ["c.mrc"] * 40
    summary = json.loads((output / "summary.json").read_text())
    assert summary["left_out"] == {"waiting": 40} and summary["adds_up"]
    assert summary["input_picks"] == 120 == summary["kept"] + summary["rejected"] + 40


def test_picks_on_a_failed_micrograph_are_rejected_as_by_a_screening(screened, capsys):
    (screened / "mics" / "bad.mrc").write_bytes(b"broken")
    shutil.copy(screened / "mics" / "a.mrc", screened / "mics" / "bad_DW.mrc")
    (screened / "failed.star").write_text(HEAD + "".join(f"{name}.mrc 100 90\n" for name in ("bad_DW", "bad", "b")))
    picks = ("--coordinates", str(screened / "failed.star"), "--particle-diameter", "60")
    run(screened, "some", "bad.mrc", "bad_DW.mrc", "b.mrc", options=picks, status=1)
    said = capsys.readouterr().out.splitlines()
    output = filtered(screened, "some_new", *picks[2:], run="some", picks="failed.star", status=1)
    again = capsys.readouterr().out.splitlines()
    (reason,) = (line for line in said if line.startswith("failed: "))
    assert reason in again and said[-1] == again[-1] and "3 coordinates in 1 file" in again[-1]
    for name in ("kept", "rejected"):
        assert table(output, name).equals(table(screened / "some", name))
    assert table(output, "rejected").set_index("rlnMicrographName").loc["bad.mrc", "cryoiceClass"] == FAILED
    assert not len(table(output, "pending"))
    one, other = (json.loads((folder / "summary.json").read_text()) for folder in (screened / "some", output))
    for name in ("finished", "failed", "micrographs", "input_picks", "kept", "rejected", "left_out", "adds_up"):
        assert one[name] == other[name], name
    assert other["failed"] == 1 and other["rejected_by_class"] == one["rejected_by_class"]
    (screened / "only.star").write_text(f"{HEAD}bad.mrc 100 90\n")
    filtered(screened, "some_only", *picks[2:], run="some", picks="only.star", status=1)
    found = capsys.readouterr()
    assert reason in found.out and "0 kept, 1 rejected" in found.out and "WARNING" not in found.err


def test_picks_of_a_micrograph_that_waits_in_a_watched_run_are_pending_and_not_scored_on_a_similar_name(screened):
    run(screened, "watched", "a.mrc", "b.mrc")
    path = screened / "watched" / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "finished": False}))
    registry = IdRegistry(screened / "watched", {"a": 1, "b": 2})
    registry.add_micrographs({name: str(screened / "mics" / f"{name}.mrc") for name in ("a", "b", "a_DW")})
    registry.close()
    rows = [f"{name}.mrc 100 90\n" for name in ("a_DW", "a", "c")]
    (screened / "similar.star").write_text(HEAD + "".join(rows))
    words = {"run": "watched", "picks": "similar.star", "status": 1}
    output = filtered(screened, "similar", "--particle-diameter", "60", **words)
    assert table(output, "pending")["rlnMicrographName"].tolist() == ["a_DW.mrc", "c.mrc"]
    scored = [*table(output, "kept")["rlnMicrographName"], *table(output, "rejected")["rlnMicrographName"]]
    summary = json.loads((output / "summary.json").read_text())
    assert scored == ["a.mrc"] and summary["left_out"] == {"waiting": 2} and summary["adds_up"]
    path.write_text(json.dumps({**json.loads(path.read_text()), "finished": True}))  # no further one is screened
    output = filtered(screened, "similar", "--particle-diameter", "60", **words)
    assert table(output, "pending")["rlnMicrographName"].tolist() == ["c.mrc"]


def test_picks_with_an_ambiguous_name_are_rejected_as_by_a_screening(screened):
    names = []
    for name in ("a", "b"):
        (screened / "mics" / name).mkdir()
        names.append(f"{name}/same.mrc")
        shutil.copy(screened / "mics" / f"{name}.mrc", screened / "mics" / names[-1])
    rows = [f"{name} 100 100\n" for name in ("same.mrc", "a/same.mrc", "other/same.mrc")]
    (screened / "unclear.star").write_text(HEAD + "".join(rows))
    run(screened, "twice", *names)
    output = filtered(screened, "unclear", "--particle-diameter", "60", run="twice", picks="unclear.star", status=1)
    counts = json.loads((output / "summary.json").read_text())
    assert counts["left_out"] == {"ambiguous_name": 2} and counts["adds_up"]
    kept, rejected, pending = (table(output, name) for name in ("kept", "rejected", "pending"))
    assert (rejected["cryoiceClass"] == "no_micrograph").sum() == 2
    assert (len(kept) + len(rejected), len(pending)) == (3, 0)


def test_settings_of_the_screening_count_unless_others_are_given(screened):
    (screened / "two.star").write_text("".join(line + "\n" for line in (screened / "picks.star").read_text().split("\n")
                                               if not line.startswith("c.mrc")))  # fmt: skip
    loose = filtered(screened, "loose", "--particle-diameter", "60", "--threshold", "0.1", picks="two.star")
    strict = filtered(screened, "strict", "--particle-diameter", "60", "--threshold", "0.9", picks="two.star")
    assert len(table(loose, "kept")) > len(table(strict, "kept"))
    assert len(table(strict, "kept")) + len(table(strict, "rejected")) == 80


def test_classes_that_the_screening_ignores_count_again(screened):
    run(screened, "ignoring", "a.mrc", "b.mrc", options=[f"--ignore={name}" for name in CLASSES if name != GOOD])
    options = ("--particle-diameter", "60", "--threshold", "0.5")
    runs = (("maps",), ("ignoring",), ("ignoring", "--ignore", "none"))
    maps, ignoring, none = (
        table(filtered(screened, f"{name}{len(words)}", *options, *words, run=name, status=1), "kept")
        for name, *words in runs
    )
    assert none.equals(maps)
    assert len(ignoring) == 80 > len(maps)


def test_coordinates_on_micrographs_of_a_rejected_grade_are_rejected(screened, capsys):
    with open(screened / "maps" / "micrographs.csv", newline="") as stream:
        grades = {f"{row['stem']}.mrc": row["grade"] for row in csv.DictReader(stream)}
    assert set(grades.values()) <= set(ALL_GRADES)
    options = ("--particle-diameter", "60", "--threshold", "-1")
    for rejected in (grades["a.mrc"], "none"):
        output = filtered(screened, f"grade_{rejected}", *options, "--reject-grade", rejected, status=1)
        left = set(table(output, "kept").get("rlnMicrographName", []))
        assert left == {name for name, grade in grades.items() if grade != rejected}
    options = ["--reject-grade", grades["a.mrc"]]
    run(screened, "refused", "a.mrc", options=options)
    assert json.loads((screened / "refused" / "summary.json").read_text())["discarded"] == 1
    assert f"grades: 1 {grades['a.mrc']}" in capsys.readouterr().out
    run(screened, "ungraded", "a.mrc", options=["--no-grade"])
    filtered(screened, "no", "--particle-diameter", "60", "--reject-grade", "film", run="ungraded", status=2)
    assert "grading is switched off" in capsys.readouterr().err


def test_coordinates_are_flipped_if_those_of_the_screening_were(screened, capsys):
    options = ("--particle-diameter", "60", "--flip-y")
    run(screened, "flipped", "a.mrc", "b.mrc", options=("--coordinates", str(screened / "picks.star"), *options))
    for words in ((), ("--flip-y",)):
        output = filtered(screened, f"flipped{len(words)}", *words, run="flipped", status=1)
        assert ("y of the coordinates is flipped" in capsys.readouterr().err) == (not words)
        kept = screened / "flipped" / "coordinates" / "kept.star"
        assert (output / "coordinates" / "kept.star").read_text() == kept.read_text()
    run(screened, "straight", "a.mrc", "b.mrc", options=("--coordinates", str(screened / "picks.star"), *options[:2]))
    output = filtered(screened, "unflipped", *options[:2], "--no-flip-y", run="flipped", status=1)
    assert "flipped" not in capsys.readouterr().err
    kept = (screened / "straight" / "coordinates" / "kept.star").read_text()
    assert (output / "coordinates" / "kept.star").read_text() == kept
    assert kept != (screened / "flipped" / "coordinates" / "kept.star").read_text()


def test_ambiguous_names_are_named_and_their_coordinates_rejected(screened, capsys):
    for folder in ("A", "B"):
        (screened / "mics" / folder).mkdir()
        shutil.copy(screened / "mics" / "a.mrc", screened / "mics" / folder)
    run(screened, "grids", "A/a.mrc", "B/a.mrc")
    (screened / "grids.star").write_text(f"{HEAD}a.mrc 30 40\nA/a.mrc 50 60\n")
    output = filtered(screened, "named", "--particle-diameter", "60", run="grids", picks="grids.star", status=1)
    said = capsys.readouterr()
    assert "WARNING: a.mrc: fits several micrographs" in said.err and "1 with an ambiguous name" in said.out
    rejected = table(output, "rejected").set_index("rlnMicrographName")
    assert rejected.loc["a.mrc", "cryoiceClass"] == "no_micrograph"
    assert len(rejected) + len(table(output, "kept")) == 2


def test_what_the_summary_warns_of_is_printed(screened, capsys):
    options = ("--particle-diameter", "60", "--coordinates-pixel-size", "2")
    filtered(screened, "scaled", *options, status=1)
    assert "WARNING: the coordinates of 2 micrographs are at 2 Å/px" in capsys.readouterr().err


def test_that_all_picks_are_pending_is_said_while_the_screening_goes_on(screened, capsys):
    (screened / "late.star").write_text(HEAD + "c.mrc 1 2\nc.mrc 3 4\n")
    filtered(screened, "late", status=2, picks="late.star")
    assert "of 2 coordinates, none matches a micrograph by name" in capsys.readouterr().err
    shutil.copytree(screened / "maps", screened / "going_on")
    summary = screened / "going_on" / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "finished": False}))
    output = filtered(screened, "late", status=2, run="going_on", picks="late.star")
    error = capsys.readouterr().err
    assert "none matches" not in error and "of 2 coordinates, none is on a micrograph that is screened so far" in error
    assert "run the command again later" in error
    assert len(table(output, "pending")) == 2


@pytest.mark.parametrize("words", [["filter", "--coordinates", "picks.star"], ["regions"]])
def test_the_outputs_of_another_screening_are_not_overwritten(screened, monkeypatch, capsys, words):
    picks = ("--coordinates", str(screened / "picks.star"), "--particle-diameter", "60")
    other = screened / f"other_{words[0]}"
    run(screened, other.name, "c.mrc", options=picks)
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    capsys.readouterr()
    monkeypatch.chdir(screened)
    assert main([words[0], "maps", *words[1:], "--output", other.name]) == 2
    assert "is the folder of a screening" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in other.rglob("*") if path.is_file()} == before


def test_what_cannot_be_filtered_is_one_line(screened, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert main(["filter", str(tmp_path / "empty"), "--coordinates", "x", "--output", str(tmp_path / "o")]) == 2
    assert "holds no screening" in capsys.readouterr().err
    filtered(screened, "maps", status=2)
    assert "is the folder of a screening" in capsys.readouterr().err
    journal = tmp_path / "old" / "journal.jsonl"
    journal.parent.mkdir()
    head, rest = unsealed((screened / "maps" / "journal.jsonl").read_text()).split("\n", 1)
    journal.write_text(head.replace("model_config", "older") + "\n" + rest)
    assert main(["filter", str(journal.parent), "--coordinates", "x", "--output", str(tmp_path / "o")]) == 2
    assert "screen it again" in capsys.readouterr().err
    filtered(screened, "other", status=2)
    assert "diameter" in capsys.readouterr().err


def test_a_full_disk_and_a_screening_without_a_map_have_a_remedy_that_filter_has(screened, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("cryoice_scipion.core.screening.filter.write_star", full)
        filtered(screened, "full", "--particle-diameter", "100", status=2)
    error = capsys.readouterr().err
    assert "No space left on device" in error and error.endswith("then filter again\n") and "--resume" not in error
    (screened / "mics" / "broken.mrc").write_bytes(b"")
    run(screened, "all_failed", "broken.mrc", status=1)
    filtered(screened, "of_failed", run="all_failed", status=2)
    error = capsys.readouterr().err.splitlines()[-1]
    assert "has no screened micrograph (1 failed: " in error and "correct the cause and screen again" in error
