# SPDX-License-Identifier: GPL-3.0-or-later
"""Files written back to cryoSPARC: accepted and rejected rows together are the input, with all columns as they were."""

import os

import numpy as np
import pytest
from cryosparc_project import (
    PARTICLES,
    PIXEL_SIZE,
    exposures,
    micrograph,
    particles,
    split,
    write_cs,
    write_csg,
    write_project,
)

from cryoice_scipion.constants import ACCEPTED
from cryoice_scipion.core.cli import main
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.formats.cryosparc_dataset import read_dataset
from cryoice_scipion.core.formats.cryosparc_group import read_group
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.screening.cryosparc_files import ExposureFiles


@pytest.fixture
def project(tmp_path):
    return write_project(tmp_path / "project")


@pytest.fixture(scope="module")
def run(tmp_path_factory, model):
    """Return a screening of the exposures of a project with its picked particles; tests only read it."""
    folder = tmp_path_factory.mktemp("cryosparc")
    project = write_project(folder / "project")
    screen(project, model, project / "J42" / "picked_particles.cs", folder / "run")
    return folder / "run"


def screen(project, model, source, output, *options, status=0):
    words = ["screen", str(project / "J10" / "exposures.cs"), "--coordinates", str(source), "--output", str(output)]
    common = ["--model", str(model), "--device", "cpu", "--particle-diameter", "60", "--contrast", "dark"]
    assert main([*words, *common, *options]) == status
    return output / "coordinates"


def filtered(run, source, output, status=0):
    assert main(["filter", str(run), "--coordinates", str(source), "--output", str(output)]) == status
    return output / "coordinates"


def uids_in(path):
    return read_picks(path).table["cryosparcUid"].astype(np.uint64).tolist()


@pytest.mark.parametrize("compressed", [False, True], ids=["numpy", "CSDAT"])
@pytest.mark.parametrize("grouped", [False, True], ids=["cs", "csg"])
def test_accepted_and_rejected_are_the_input(project, model, run, tmp_path, compressed, grouped):
    dataset = pytest.importorskip("cryosparc.dataset", reason="cryosparc-tools is not installed")
    by_screening = compressed == grouped
    table = particles(("a", "b", "c", "x") if by_screening else ("a", "b", "c"))  # no micrograph x
    table["location/micrograph_shape"][:3] = 0  # no position
    folder = project / "J43"
    source = write_cs(folder / "particles.cs", table, compressed)
    if grouped:
        for part, name in zip(split(table, "location/"), ("rest", "passthrough")):
            write_cs(folder / f"{name}.cs", part, compressed)
        files = {"location": "passthrough.cs", "pick_stats": "rest.cs"}
        source = write_csg(folder / "particles.csg", "particle", len(table), **files)
    if by_screening:
        out = screen(project, model, source, tmp_path / "out", status=1)  # rows without a position
    else:
        out = filtered(run, source, tmp_path / "out", status=1)
    accepted, rejected = (dataset.Dataset.load(str(out / f"particles_{name}.cs")) for name in ("accepted", "rejected"))
    given = dataset.Dataset.load(str(folder / "particles.cs"))
    order = np.argsort(given["uid"], kind="stable")
    assert not set(accepted["uid"]) & set(rejected["uid"])
    assert sorted([*accepted["uid"], *rejected["uid"]]) == sorted(given["uid"])
    assert len(accepted) > 5 and len(rejected) > 3 + (PARTICLES if by_screening else 0)
    for part in (accepted, rejected):
        rows = order[np.searchsorted(given["uid"][order], part["uid"])]
        assert grouped or (np.diff(rows) > 0).all()  # in the order of the input
        assert sorted(part.descr()) == sorted(given.descr())
        for name in given.fields():
            assert np.array_equal(part[name], given[name][rows]), name
    if not compressed and not grouped:
        assert np.load(out / "particles_accepted.cs").dtype == table.dtype
    assert sorted(accepted["uid"]) == sorted(uids_in(out / "kept.star"))
    assert set(uids_in(out / "rejected.star")) == set(rejected["uid"]) - set(table["uid"][:3])
    assert not (out / "particles_pending.cs").exists()
    again = read_picks(out / "particles_accepted.csg")
    assert len(again) == len(accepted) and not again.warnings
    group = read_group(out / "particles_accepted.csg")
    assert {name: slot.type for name, slot in group.slots.items()} == {
        "location": "particle.location",
        "pick_stats": "particle.pick_stats",
    }
    assert group.version == ("v4.4.1" if grouped else "v4.0.0")


def test_coordinates_of_finer_pixels_say_so_in_the_star_files(project, run, tmp_path):
    table = particles(("a", "b", "c", "x"))  # no micrograph x
    usual = filtered(run, write_cs(tmp_path / "usual.cs", table), tmp_path / "usual", status=1)
    table["location/micrograph_shape"] *= 2
    table["location/micrograph_psize_A"] /= 2
    out = filtered(run, write_cs(tmp_path / "fine.cs", table), tmp_path / "first", status=1)
    kept, rejected, pending = (read_picks(out / f"{name}.star") for name in ("kept", "rejected", "pending"))
    assert set(uids_in(out / "kept.star")) == set(uids_in(usual / "kept.star"))
    for part in (kept, rejected, pending):
        assert (part.table["cryoicePixelSize"] == PIXEL_SIZE / 2).all() and len(part) > 5
        assert part.table["rlnMicrographPixelSize"].notna().all()
    again = filtered(run, out / "kept.star", tmp_path / "second")
    assert len(read_picks(again / "kept.star")) == len(kept)
    assert "cryoicePixelSize" not in (again / "kept.star").read_text()


def test_the_numpy_files_are_format_1_and_hold_no_pickle(run, tmp_path):
    table = particles()
    text = [("location/micrograph_path", "O") if name == "location/micrograph_path" else (name, table.dtype[name])
            for name in table.dtype.names]  # fmt: skip
    old = np.zeros(len(table), dtype=text)
    for name in table.dtype.names:
        old[name] = table[name].astype(str) if "path" in name else table[name]
    with open(tmp_path / "old.cs", "wb") as stream:
        np.save(stream, old, allow_pickle=True)
    out = filtered(run, tmp_path / "old.cs", tmp_path / "out")
    assert (out / "particles_accepted.cs").read_bytes()[:8] == b"\x93NUMPY\x01\x00"
    found = np.load(out / "particles_accepted.cs", allow_pickle=False)
    assert found["location/micrograph_path"].dtype.kind == "S"


def test_filter_writes_pending_particles_and_a_later_call_removes_the_file(project, model, tmp_path):
    source = project / "J42" / "picked_particles.cs"
    words = ["--model", str(model), "--device", "cpu", "--contrast", "dark", "--output", str(tmp_path / "run")]
    first, last = (str(project / micrograph(name)) for name in "ab")
    assert main(["screen", first, *words]) == 0
    command = ["filter", str(tmp_path / "run"), "--coordinates", str(source), "--particle-diameter", "60",
               "--output", str(tmp_path / "new")]  # fmt: skip
    assert main(command) == 1
    out, given = tmp_path / "new" / "coordinates", np.load(source)
    parts = [np.load(out / f"particles_{name}.cs") for name in ("accepted", "pending", "rejected")]
    assert sorted(np.concatenate(parts)["uid"]) == sorted(given["uid"])
    assert len(parts[1]) == 2 * PARTICLES and sorted(parts[1]["uid"]) == sorted(uids_in(out / "pending.star"))
    assert len(read_picks(out / "particles_pending.csg")) == 2 * PARTICLES
    assert main(["screen", last, str(project / micrograph("c")), *words, "--resume"]) == 0
    assert main(command) == 0
    assert not (out / "particles_pending.cs").exists() and not (out / "particles_pending.csg").exists()
    assert sorted(np.load(out / "particles_accepted.cs")["uid"]) == sorted(uids_in(out / "kept.star"))


def test_a_resumed_run_writes_the_files_of_an_uninterrupted_one(project, model, tmp_path, monkeypatch):
    source = project / "J42" / "picked_particles.cs"
    whole = screen(project, model, source, tmp_path / "whole")
    write_cs(project / "J10" / "exposures.cs", exposures("ab"))
    screen(project, model, source, tmp_path / "parts")
    write_cs(project / "J10" / "exposures.cs", exposures())
    monkeypatch.chdir(project)  # names are found from there, too
    screen(project.parent / "project", model, os.path.relpath(source), tmp_path / "parts", "--resume")
    for name in ("particles_accepted", "particles_rejected"):
        assert (whole / f"{name}.cs").read_bytes() == (tmp_path / "parts" / "coordinates" / f"{name}.cs").read_bytes()
    for name in ("exposures_accepted.cs", "exposures_rejected.cs"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert not (tmp_path / "parts" / "exposures_pending.cs").exists()


def test_several_files_become_one_with_the_columns_of_all(run, tmp_path, caplog):
    first, second = particles(seed=1), particles(seed=2)
    folder = tmp_path / "J50"
    write_cs(folder / "1.cs", first)
    write_cs(
        folder / "2.cs", second[[name for name in second.dtype.names if name != "pick_stats/template_idx"]]
    )  # gaps
    write_cs(folder / "exposures.cs", exposures())
    out = filtered(run, folder, tmp_path / "out")
    parts = [np.load(out / f"particles_{name}.cs") for name in ("accepted", "rejected")]
    assert sorted(np.concatenate(parts)["uid"]) == sorted([*first["uid"], *second["uid"]])
    assert set(first.dtype.names) - set(parts[0].dtype.names) == {"pick_stats/template_idx"}
    assert "left out: pick_stats/template_idx" in caplog.text


def test_a_uid_that_occurs_twice_is_in_one_file(run, tmp_path):
    table = particles()
    kept, rejected = (np.load(run / "coordinates" / f"particles_{name}.cs") for name in ("accepted", "rejected"))
    double = rejected["uid"][0]
    table["uid"][table["uid"] == kept["uid"][0]] = double
    out = filtered(run, write_cs(tmp_path / "twice.cs", table), tmp_path / "out")
    assert double not in np.load(out / "particles_accepted.cs")["uid"]
    assert (np.load(out / "particles_rejected.cs")["uid"] == double).sum() == 2


def test_a_file_with_gaps_in_its_rows_can_be_read_by_cryosparc_afterwards(run, tmp_path):
    dataset = pytest.importorskip("cryosparc.dataset", reason="cryosparc-tools is not installed")
    table = particles()
    some = table[[name for name in table.dtype.names if name != "location/exp_group_id"]]
    out = filtered(run, write_cs(tmp_path / "gaps.cs", some), tmp_path / "out")
    assert len(dataset.Dataset.load(str(out / "particles_accepted.cs"))) > 5


def test_exposures_are_accepted_if_their_micrograph_is(project, model, tmp_path):
    (project / micrograph("b")).unlink()
    source = project / "J10" / "exposures.cs"
    options = ["--model", str(model), "--device", "cpu", "--contrast", "dark"]
    (tmp_path / "link.cs").symlink_to(source)  # the same list twice
    assert main(["screen", str(source), str(tmp_path / "link.cs"), "--output", str(tmp_path / "out"), *options]) == 1
    accepted, rejected = (np.load(tmp_path / "out" / f"exposures_{name}.cs") for name in ("accepted", "rejected"))
    assert np.array_equal(accepted, exposures("ac")) and np.array_equal(rejected, exposures("b"))
    assert read_group(tmp_path / "out" / "exposures_accepted.csg").slots["micrograph_blob"].number == 2
    assert main(["screen", str(source), "--output", str(tmp_path / "no"), *options, "--max-bad-area", "0"]) == 1
    assert len(np.load(tmp_path / "no" / "exposures_rejected.cs")) == 3
    assert len(read_dataset(tmp_path / "no" / "exposures_accepted.cs")) == 0


@pytest.mark.parametrize("names", [(micrograph("a"), micrograph("b").replace("_b_", "_a_")), ("A/m.mrc", "B/m.mrc")])
def test_an_exposure_is_not_accepted_for_another_one_of_its_name(tmp_path, names):
    table = exposures("abc")
    table["micrograph_blob/path"] = [name.encode() for name in (*names, "c.mrc")]
    files = ExposureFiles(tmp_path, [write_cs(tmp_path / "given.cs", table)])
    for name in (names[0], "c.mrc"):
        files.add(MicrographRecord(1, name, name, ACCEPTED))
    files.write()
    found = {name: len(read_dataset(tmp_path / f"exposures_{name}.cs")) for name in ("accepted", "pending", "rejected")}
    assert found == {"accepted": 2, "pending": 1, "rejected": 0}
    assert read_dataset(tmp_path / "exposures_pending.cs")["micrograph_blob/path"][0].decode() == names[1]


def test_written_coordinates_keep_the_pixel_size_of_the_input(project, model, tmp_path):
    table = particles()
    table["location/micrograph_shape"] //= 2  # of binned micrographs
    table["location/micrograph_psize_A"] *= 2
    out = screen(project, model, write_cs(project / "J42" / "binned.cs", table), tmp_path / "out")
    again = filtered(tmp_path / "out", out / "kept.star", tmp_path / "again")
    assert len(read_picks(out / "kept.star")) and (again / "kept.star").read_text() == (out / "kept.star").read_text()


def test_other_coordinates_write_no_files_for_cryosparc(run, tmp_path):
    again = filtered(run, run / "coordinates" / "kept.star", tmp_path / "again")  # has the column of uids
    assert (again / "kept.star").exists() and not list(again.glob("particles_*"))
