# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice relion``: what RELION's next jobs take, how the job ends, and that RELION 3.1 itself runs and reads it."""

import argparse
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from random_model import write_random_model

import cryoice_scipion
from cryoice_scipion.core import cli
from cryoice_scipion.core.cli import build_parser, main
from cryoice_scipion.core.detectors.model_folder import fingerprint
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.formats.star import read_star, write_blocks
from cryoice_scipion.core.integrations import relion_job
from cryoice_scipion.core.integrations.relion_job import name_in_job
from cryoice_scipion.core.integrations.relion_logfile import write_logfile
from cryoice_scipion.core.records import MicrographRecord, from_json
from cryoice_scipion.core.workers.local_executor import LocalExecutor

sys.path.insert(0, str(Path(__file__).parent))
import relion_project as project  # noqa: E402

TEMPLATES = Path(cryoice_scipion.__file__).parent / "templates" / "relion"
JOB = Path("External/job005")
INPUT = ["--in_mics", project.MICS, "--in_coords", project.LIST]
RELION_3, RELION_4 = "_rlnJobType 99\n", "_rlnJobTypeLabel relion.external\n"
needs_relion = pytest.mark.skipif(shutil.which("relion_pipeliner") is None, reason="RELION is not installed")
reads_suffix_files = pytest.mark.skipif(
    importlib.util.find_spec("cryoice_scipion.core.formats.relion_jobs") is None,
    reason="coords_suffix_NAME.star is not a coordinate format yet",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_random_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture
def relion(tmp_path, monkeypatch, model):
    """Be in a project with two micrographs; return the detector and a function that runs the job."""
    monkeypatch.chdir(tmp_path)
    detector = project.BadRight(LocalExecutor.load(model, "cpu").model)
    monkeypatch.setattr(LocalExecutor, "load", lambda path, device: LocalExecutor(detector, fingerprint(path), device))
    # Drawing the log file takes most of the time of a job; one test draws it, and the jobs that RELION runs.
    monkeypatch.setattr(relion_job, "write_logfile", lambda folder, records, out: out.touch())
    for number in (1, 2):
        project.write_micrograph(number)
    project.list_micrographs([1, 2])

    def run(*options, words=INPUT, status=0):
        common = ["--o", f"{JOB}/", *words, "--particle_diameter", "40", "--model", str(model), "--device", "cpu"]
        assert main(["relion", *common, *options, "--j", "1"]) == status
        return JOB

    run.detector = detector
    return run


def states():
    return sorted(path.name for path in JOB.glob("*_JOB_*"))


def names(path):
    return next(b for b in read_star(Path(path)) if "rlnMicrographName" in b.table).table["rlnMicrographName"].tolist()


def rows(path):
    """Return all lines as words."""
    return [line.split() for line in Path(path).read_text().splitlines()]


def kinds():
    lines = (JOB / "journal.jsonl").read_text().splitlines()
    return Counter(json.loads(line)["kind"] for line in lines)


def positions(path):
    table = read_star(Path(path))[-1].table
    return [(float(x), float(y)) for x, y in zip(table["rlnCoordinateX"], table["rlnCoordinateY"])]


def test_kept_micrographs_have_all_columns_and_coordinates_are_in_both_layouts(relion):
    relion()
    assert rows(JOB / "micrographs.star") == rows(project.MICS)  # both are kept
    listed = read_star(JOB / "autopick.star")[0]
    assert listed.name == "coordinate_files" and listed.table["rlnMicrographName"].tolist() == names(project.MICS)
    assert (JOB / "coords_suffix_cryoice.star").read_text() == f"{JOB}/micrographs.star\n"
    for number, file in zip((1, 2), listed.table["rlnMicrographCoordinates"]):
        assert positions(file) == positions(JOB / f"Movies/mic{number}_cryoice.star") == project.KEPT
    assert states() == ["RELION_JOB_EXIT_SUCCESS"]


def test_the_log_file_has_a_page_of_histograms_and_one_of_thumbnails(relion):
    relion()
    lines = map(json.loads, (JOB / "journal.jsonl").read_text().splitlines())
    records = [from_json(MicrographRecord, line["record"]) for line in lines if line["kind"] == "screened"]
    for given, pages in ((records, 2), ([], 1)):
        write_logfile(JOB, given, Path("logfile.pdf"))
        assert len(re.findall(rb"/Type /Page\b", Path("logfile.pdf").read_bytes())) == pages


@pytest.mark.parametrize(
    ("settings", "column", "values"),
    [
        (RELION_3, "rlnPipeLineNodeType", {"micrographs": 1, "coords_suffix_cryoice": 2, "logfile": 13}),
        (RELION_4, "rlnPipeLineNodeTypeLabel", {
            "micrographs": "MicrographGroupMetadata.star.relion",
            "autopick": "MicrographCoordsGroup.star.relion.autopick", "logfile": "LogFile.pdf.relion"}),
        ("", "rlnPipeLineNodeTypeLabel", {
            "micrographs": "MicrographGroupMetadata.star.relion",
            "autopick": "MicrographCoordsGroup.star.relion.autopick", "logfile": "LogFile.pdf.relion"}),
    ],
)  # fmt: skip
def test_output_nodes_are_those_of_the_relion_that_started_the_job(relion, settings, column, values):
    JOB.mkdir(parents=True)
    (JOB / "job.star").write_text(settings)
    relion()
    (block,) = read_star(JOB / "RELION_OUTPUT_NODES.star")
    assert block.name == "output_nodes" and list(block.table) == ["rlnPipeLineNodeName", column]
    assert {Path(name).stem: value for name, value in block.table.values} == values
    # RELION begins the next job of a Scheme anew if its input is in another folder than that of the job.
    assert all(Path(name).parent == JOB and Path(name).exists() for name in block.table["rlnPipeLineNodeName"])


def test_a_second_run_processes_only_what_is_new_and_tries_failed_micrographs_again(relion, capsys):
    project.list_micrographs([1, 2, 3])  # mic3 is not there yet
    relion()
    assert "failed: MotionCorr/job002/Movies/mic3.mrc" in capsys.readouterr().out
    kept = [row for row in rows(project.MICS) if project.micrograph(3) not in row]
    assert rows(JOB / "micrographs.star") == kept and len(kept) == len(rows(project.MICS)) - 1
    assert kinds()["mapped"] == 2 and states() == ["RELION_JOB_EXIT_SUCCESS"]
    for number in (3, 4):
        project.write_micrograph(number)
    project.list_micrographs([1, 2, 3, 4])
    relion()
    assert names(JOB / "micrographs.star") == names(JOB / "autopick.star") == names(project.MICS)
    assert kinds()["mapped"] == 4 and kinds()["screened"] == 5  # of which one is the failure
    relion()
    assert kinds()["mapped"] == 4 and kinds()["screened"] == 5
    project.list_micrographs([2])  # a selection: the others are not passed on
    relion()
    assert rows(JOB / "micrographs.star") == rows(project.MICS)


def test_coordinates_that_are_no_longer_kept_disappear_from_the_layout_of_relion_3(relion):
    relion()
    file = Path("AutoPick/job004/Movies/mic2_autopick.star")
    file.write_text(file.read_text().replace("\n60.0 100.0", "\n460.0 100.0"))
    relion()
    assert positions(JOB / "Movies/mic2_cryoice.star") == project.KEPT[1:]
    file.write_text("data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n400.0 100.0\n")
    relion()
    assert [path.name for path in sorted((JOB / "Movies").iterdir())] == ["mic1_cryoice.star"]


def test_micrographs_alone_and_discarded_micrographs(relion):
    relion("--max_bad_area", "0.4", words=INPUT[:2])
    assert names(JOB / "micrographs.star") == []  # half of each is bad
    (nodes,) = read_star(JOB / "RELION_OUTPUT_NODES.star")
    assert len(nodes.table) == 2 and not (JOB / "autopick.star").exists()


def test_other_settings_are_refused_and_the_job_fails(relion, capsys):
    relion()
    before = (JOB / "micrographs.star").read_bytes()
    capsys.readouterr()
    relion("--margin", "50", status=2)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cryoice relion:")]
    assert "cannot be continued with other settings (margin was 0.0, is 50.0)" in line
    assert states() == ["RELION_JOB_EXIT_FAILURE"] and (JOB / "micrographs.star").read_bytes() == before


def test_a_job_in_which_every_micrograph_fails_has_failed(relion, capsys):
    shutil.rmtree("MotionCorr")
    relion(status=2)
    assert "no micrograph could be screened" in capsys.readouterr().err
    assert states() == ["RELION_JOB_EXIT_FAILURE"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--particle_diamter", "40"], ["--particle_diamter is not an option", "particle_diameter, ", "flip_y"]),
        (["--in_movies", "m.star"], ["--in_movies is not an option"]),
        (["--threshold", "high"], ["--threshold", "invalid float value: 'high'"]),
        (["--flip_y", "perhaps"], ["'perhaps' is neither yes nor no"]),
    ],
)
def test_a_wrong_option_is_one_line_and_ends_the_job(tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["relion", "--o", f"{JOB}/", *INPUT, *options, "--j", "4"])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and len(error.splitlines()) == 1 and error.startswith("cryoice relion: ")
    assert all(word in error for word in words)
    assert states() == ["RELION_JOB_EXIT_FAILURE"]


def test_labels_are_the_options_of_screen_with_underscores_or_dashes():
    screen, relion = (options_of(name) for name in ("screen", "relion"))
    own = {"--resume", "--watch", "--timeout", "--settle", "--output", "--coordinates"}
    assert relion - screen == {"--o", "--in_mics", "--in_coords", "--j", "--pipeline_control"} | {
        "--" + option[2:].replace("-", "_") for option in screen - own if "-" in option[2:]
    }
    assert screen - relion == own
    parse = build_parser(["relion"]).parse_args
    one, other = (parse(["relion", "--o", "x", *INPUT, f"--{x}", "50"]) for x in ("min_area", "min-area"))
    assert one == other and one.min_area == 50.0 and one.flip_y is False
    for words, value in ((["--flip_y"], True), (["--flip_y", "Yes"], True), (["--flip_y", "no"], False)):
        assert parse(["relion", "--o", "x", *INPUT, *words]).flip_y is value


def options_of(command):
    actions = build_parser([command])._actions
    (commands,) = (action for action in actions if isinstance(action, argparse._SubParsersAction))
    return {name for action in commands.choices[command]._actions for name in action.option_strings}


def test_a_request_to_abort_stops_the_run_and_the_next_run_continues(relion, capsys):
    for number in range(3, 7):
        project.write_micrograph(number)
    project.list_micrographs(range(1, 7))
    mapped = []

    def ask():
        mapped.append(1)
        if len(mapped) == 2:
            (JOB / "RELION_JOB_ABORT_NOW").touch()
        time.sleep(0.7 if len(mapped) == 3 else 0.0)  # time in which the request is seen

    relion.detector.on_map = ask
    relion(status=130)
    assert states() == ["RELION_JOB_EXIT_ABORTED"] and 2 <= kinds()["mapped"] < 6
    assert "run the job again to continue" in capsys.readouterr().err
    relion()
    assert states() == ["RELION_JOB_EXIT_SUCCESS"] and len(mapped) == kinds()["mapped"] == 6


def test_an_interrupted_job_is_aborted(relion):
    relion.detector.on_map = lambda: os.kill(os.getpid(), signal.SIGTERM)
    relion(status=143)
    assert states() == ["RELION_JOB_EXIT_ABORTED"]


@pytest.mark.parametrize("moment", ["build_parser", "keep_memory"])  # before and after the options are read
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_job_that_gets_a_signal_before_it_begins_is_aborted(relion, monkeypatch, moment, number):
    relion()
    before = signal.signal(number, signal.default_int_handler)  # the tests may run under nohup
    monkeypatch.setattr(cli, moment, lambda *words: signal.raise_signal(number))
    relion(status=143)
    signal.signal(number, before)
    assert states() == ["RELION_JOB_EXIT_ABORTED"]


def test_a_wrong_option_in_a_second_run_leaves_one_state(relion):
    relion()
    with pytest.raises(SystemExit, match="2"):
        relion("--margins", "50")
    assert states() == ["RELION_JOB_EXIT_FAILURE"]


@pytest.mark.parametrize("settings", [RELION_4, "_rlnJobTypeLabel cryoice.select.coordinates\n"])
def test_pipeliner_gets_its_own_state_files_only_for_its_external_job(relion, settings):
    JOB.mkdir(parents=True)
    Path(".CCPEM_pipeliner_project").write_text("{}")
    (JOB / "job.star").write_text(settings)
    external = "external" in settings
    relion()
    assert states() == ["PIPELINER_JOB_EXIT_SUCCESS"] * external + ["RELION_JOB_EXIT_SUCCESS"]
    relion("--margin", "50", status=2)
    assert states() == ["PIPELINER_JOB_EXIT_FAILED"] * external + ["RELION_JOB_EXIT_FAILURE"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MotionCorr/job002/Movies/a.mrc", "Movies/a.mrc"),
        ("/data/x/MotionCorr/job1002/a.mrc", "a.mrc"),
        ("Micrographs/jobs/a.mrc", "Micrographs/jobs/a.mrc"),
        ("/data/x/a.mrc", "data/x/a.mrc"),
        ("../x/a.mrc", "../x/a.mrc"),
    ],
)
def test_names_without_the_folder_of_a_job(name, expected):
    assert name_in_job(name) == expected


def test_relion_3_cannot_take_coordinates_of_micrographs_outside_the_project(relion, tmp_path, monkeypatch, capsys):
    (tmp_path / "inside" / JOB).mkdir(parents=True)
    (tmp_path / "MotionCorr/job002/Movies").rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "inside")
    for name in (project.MICS, project.LIST):
        Path(name).parent.mkdir(parents=True)
        text = (tmp_path / name).read_text().replace("MotionCorr/job002/Movies", "../elsewhere")
        Path(name).write_text(text.replace(" AutoPick", " ../AutoPick"))
    (JOB / "job.star").write_text(RELION_3)
    relion(status=2)
    assert "lies outside the project" in capsys.readouterr().err
    (JOB / "job.star").write_text(RELION_4)
    relion()


@reads_suffix_files
def test_coordinates_in_the_layout_of_relion_3_are_read_and_what_is_written_can_be_read(relion):
    relion(words=["--in_mics", project.MICS, "--in_coords", project.SUFFIX_FILE])
    assert positions(JOB / "Movies/mic1_cryoice.star") == project.KEPT
    assert len(read_picks(JOB / "coords_suffix_cryoice.star")) == 2 * len(project.KEPT)


def extracted(path):
    table = next(block for block in read_star(Path(path)) if "rlnImageName" in block.table).table
    columns = zip(table["rlnMicrographName"], table["rlnCoordinateX"], table["rlnCoordinateY"])
    return sorted((name, float(x), float(y)) for name, x, y in columns)


@needs_relion
def test_relion_extracts_exactly_the_kept_particles(relion):
    relion()
    words = f"--i {JOB}/micrographs.star --coord_dir {JOB}/ --coord_suffix _cryoice.star --part_dir Extract/job006/"
    words += " --part_star Extract/job006/particles.star --extract --extract_size 64"
    subprocess.run(["relion_preprocess", *words.split()], check=True, capture_output=True)
    kept = [(project.micrograph(number), x, y) for number in (1, 2) for x, y in project.KEPT]
    assert extracted("Extract/job006/particles.star") == sorted(kept)  # also the one whose box is over the edge


HELIX = {"rlnClassNumber": 1, "rlnHelicalTubeID": "1", "rlnAngleTiltPrior": 90.0, "rlnAnglePsiPrior": 33.5,
         "rlnHelicalTrackLengthAngst": 14.25, "rlnAnglePsiFlipRatio": 0.5, "rlnAngleRotFlipRatio": 0.5}  # fmt: skip


@pytest.fixture
def filaments(relion):
    """Let the picks be segments of filaments, as RELION and crYOLO write them; return what runs the job."""
    columns = ["rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit", *HELIX]
    for number in (1, 2):
        table = read_star(Path(f"AutoPick/job004/Movies/mic{number}_autopick.star"))[0].table.assign(**HELIX)
        write_blocks(f"AutoPick/job004/Movies/mic{number}_autopick.star", [("", table[columns])])
    return relion


@pytest.mark.parametrize("options", [(), ("--flip_y",)])
def test_kept_segments_of_filaments_have_the_columns_that_relion_needs(filaments, options):
    filaments(*options)
    kept = read_star(JOB / "coordinates/per_micrograph/mic1_cryoice.star")[0].table
    assert len(kept) >= 3 and set(kept["rlnAutopickFigureOfMerit"]) == {0.5}
    expected = {name: one for name, one in HELIX.items() if not (options and name.startswith("rlnAngle"))}
    assert set(kept) == {"rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit", *expected}
    assert all(set(kept[name]) == {value} for name, value in expected.items())


@needs_relion
def test_relion_extracts_the_kept_segments_of_filaments(filaments):
    filaments()
    words = f"--i {JOB}/micrographs.star --coord_dir {JOB}/ --coord_suffix _cryoice.star --part_dir Extract/job006/"
    words += " --part_star Extract/job006/particles.star --extract --extract_size 32 --helix"
    words += " --helical_outer_diameter 60"
    subprocess.run(["relion_preprocess", *words.split()], check=True, capture_output=True)
    found = next(block for block in read_star(Path("Extract/job006/particles.star")) if "rlnImageName" in block.table)
    assert len(found.table) and set(found.table["rlnAnglePsiPrior"]) == {33.5}


def run_relion(*words, path="", **settings):
    environment = dict(os.environ, PATH=f"{path}:{os.environ['PATH']}")
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **settings)


@needs_relion
def test_relion_runs_the_job_twice_and_the_second_time_only_for_new_micrographs(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    command = project.write_command(tmp_path / "bin")
    for number in (1, 2):
        project.write_micrograph(number)
    project.list_micrographs([1])
    project.write_pipeline()
    options = {
        "fn_exe": f"{command} relion --model {model} --device cpu --max_thumbnails 0",
        "in_mic": project.MICS,
        "in_coords": project.LIST,
        "param1_label": "particle_diameter",
        "param1_value": "40",
    }
    text = ";".join(f"{name} == {value}" for name, value in options.items())
    subprocess.run(["relion_pipeliner", "--addJob", "External", "--addJobOptions", text], check=True)
    start = ["relion_pipeliner", "--RunJobs", f"{JOB}/", "--schedule", "now", "--sec_wait_after", "1"]
    for number in (1, 2):
        project.list_micrographs(range(1, number + 1))
        subprocess.run(start, check=True, timeout=60, stdout=subprocess.DEVNULL)
        assert states() == ["RELION_JOB_EXIT_SUCCESS"], (JOB / "run.err").read_text()
        assert kinds()["mapped"] == kinds()["screened"] == number
        assert names(JOB / "micrographs.star") == names(project.MICS)
    nodes = next(b.table for b in read_star(Path("default_pipeline.star")) if b.name == "pipeline_nodes")
    found = dict(nodes.values)
    expected = {"micrographs.star": 1, "coords_suffix_cryoice.star": 2, "logfile.pdf": 13}
    assert {name: found.get(f"{JOB}/{name}") for name in expected} == expected


@needs_relion
@pytest.mark.slow
def test_the_schedule_that_is_shipped_screens_and_extracts(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    command = project.write_command(tmp_path / "bin")
    project.write_micrograph(1)
    project.list_micrographs([1])
    project.write_pipeline()
    shutil.copytree(TEMPLATES / "Schedules", "Schedules")
    settings = Path("Schedules/cryoice/cryoice/job.star")
    text = settings.read_text().replace("cryoice relion", f"cryoice relion --model {model} --device cpu")
    settings.write_text(text)
    scheduler = ["relion_scheduler", "--schedule", "cryoice"]
    for name, value in (("mics", project.MICS), ("coords", project.LIST), ("particle_diameter", "40")):
        subprocess.run([*scheduler, "--set_var", name, "--value", value], check=True, stdout=subprocess.DEVNULL)
    running = run_relion(*scheduler, "--run", path=command.parent)
    try:
        particles, end = Path("Extract/job006/RELION_JOB_EXIT_SUCCESS"), time.monotonic() + 60
        while not particles.exists() and running.poll() is None and time.monotonic() < end:
            time.sleep(0.2)
    finally:
        running.kill()
        said = running.communicate()[0].decode()
    assert particles.exists(), said
    kept = [(project.micrograph(1), *place) for place in positions(JOB / "coordinates/kept.star")]
    assert extracted("Extract/job006/particles.star") == sorted(kept) and kept


@pytest.mark.parametrize("word", ["scheme", "schedule"])
def test_all_names_in_the_schemes_that_are_shipped_are_defined(word):
    folder = TEMPLATES / f"{word.capitalize()}s" / "cryoice"
    blocks = {block.name[len(word) + 1 :]: block.table for block in read_star(folder / f"{word}.star")}
    first = {name: set(table.iloc[:, 0]) for name, table in blocks.items()}
    edges, variables = blocks["edges"], first["floats"] | first["bools"] | first["strings"] | {"undefined"}
    nodes = first["operators"] | first["jobs"]
    assert set(edges.iloc[:, 0]) <= nodes and set(edges.iloc[:, 1]) <= nodes
    assert set(edges.iloc[:, 3]) <= nodes | {"undefined"} and set(edges.iloc[:, 4]) <= variables
    assert set(blocks["operators"].iloc[:, 2:].values.ravel()) <= variables
    for job in first["jobs"]:
        settings = (folder / job / "job.star").read_text()
        assert set(re.findall(r"\$\$(\w+)", settings)) <= variables
        assert set(re.findall(rf"{folder.parent.name}/cryoice/(\w+)/", settings)) <= first["jobs"]
