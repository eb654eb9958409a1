# SPDX-License-Identifier: GPL-3.0-or-later
"""The job class in CCP-EM Pipeliner itself, which needs an environment of its own (``make pipeliner-env``)."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from random_model import write_random_model

sys.path.insert(0, str(Path(__file__).parent))
import relion_project as project  # noqa: E402

ROOT = project.ROOT
PYTHON = Path(os.environ.get("CRYOICE_PIPELINER_PYTHON", ROOT / ".venv-pipeliner" / "bin" / "python"))
SCHEMES = ROOT / "cryoice_scipion" / "templates" / "relion" / "Schemes"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="CCP-EM Pipeliner is missing: run make pipeliner-env")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return what Pipeliner finds: the job runs on two micrographs, and continues when there is a third."""
    folder = tmp_path_factory.mktemp("pipeliner")
    model = write_random_model(folder / "model")
    command = project.write_command(folder / "bin")
    before = Path.cwd()
    for where, numbers in ((folder / "project", [1, 2]), (folder / "project" / "more", [1, 2, 3])):
        where.mkdir()
        os.chdir(where)
        project.list_micrographs(numbers)
    os.chdir(folder / "project")
    for number in (1, 2, 3):
        project.write_micrograph(number)
    os.chdir(before)
    shutil.copytree(SCHEMES, folder / "Schemes")  # Pipeliner rewrites what it reads
    metadata = ["setup.py", "-q", "egg_info", "--egg-base", str(folder)]  # entry points, as an installation has them
    subprocess.run([sys.executable, *metadata], cwd=ROOT, check=True, capture_output=True)
    options = {
        "in_mics": project.MICS,
        "in_coords": project.LIST,
        "particle_diameter": "40",
        "model": str(model),
        "device": "cpu",
        "full_size_masks": "Yes",
    }
    environment = dict(os.environ, PATH=f"{command.parent}:{os.environ['PATH']}", PYTHONPATH=f"{ROOT}:{folder}")
    words = [
        str(PYTHON),
        str(ROOT / "tests/core/integrations/pipeliner_project.py"),
        json.dumps(options),
        str(folder / "Schemes"),
    ]
    done = subprocess.run(words, cwd=folder / "project", env=environment, capture_output=True, encoding="utf-8")
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    logs = "\n".join(path.read_text() for path in folder.rglob("run.err"))
    assert done.returncode == 0 and results, f"{done.stdout}\n{done.stderr}\n{logs}"
    return {**json.loads(results[0][len("RESULT ") :]), "project": folder / "project"}


def test_pipeliner_finds_the_job_by_its_entry_point(found):
    assert found["available"]
    assert {"in_mics", "in_coords", "particle_diameter", "threshold", "flip_y", "nr_threads"} <= set(found["options"])
    assert found["errors"] == ["Value cannot be greater than 1"]


def test_pipeliner_runs_the_job_and_continues_it_with_what_is_new(found):
    for run, number in zip(found["runs"], (2, 3)):
        assert run["states"] == ["PIPELINER_JOB_EXIT_SUCCESS", "RELION_JOB_EXIT_SUCCESS"]
        folder = found["project"] / run["folder"]
        assert run["micrographs"] == [project.micrograph(one) for one in range(1, number + 1)]
        counts = run["metadata"]
        assert counts["micrographs"] == number and counts["input_picks"] == number * len(project.PICKS)
        assert counts["kept"] + counts["rejected"] == counts["input_picks"] and counts["particle_diameter"] == 40.0
        assert run["display"] == ["histogram", *["image"] * number, "table"]
        assert [row[0] for row in run["rows"]] == [f"mic{one}" for one in range(1, number + 1)]
    assert len(list((folder / "masks" / "full_size").glob("*.mrc"))) == 3
    kinds = [json.loads(line)["kind"] for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert kinds.count("mapped") == 3 and kinds.count("head") == 1


def test_the_outputs_are_nodes_of_the_project(found):
    assert found["nodes"] == {
        "micrographs.star": "MicrographGroupMetadata.star.relion",
        "autopick.star": "MicrographCoordsGroup.star.relion.autopick",
        "logfile.pdf": "LogFile.pdf.relion",
    }


def test_the_jobs_of_the_scheme_are_jobs_with_known_options(found):
    assert found["schemes"] == ["relion.external", "relion.extract"]
