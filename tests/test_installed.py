# SPDX-License-Identifier: GPL-3.0-or-later
"""The wheel as a user installs it: alone in an empty environment, and into a Scipion with Scipion's own installer.

The wheel is built here, or taken with the source distribution from the folder in the variable CRYOICE_DIST: `make
release` tests the very files that it made. The two slow tests install from the package index. They take about one and
three minutes. Each needs 1.5 GB, and removes them.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import cryoice_scipion
from cryoice_scipion.constants import DISTRIBUTION, DOCS_URL, SOURCE_URL, VERSION
from cryoice_scipion.demo import configuration

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
# Two addresses are answered here: Scipion's list of plugins, and the package index's record of ours, with the comment
# that the upload of a release needs (CONTRIBUTING.md). Scipion's installer finds no release without it.
INSTALL = """
import sys
from pathlib import Path
from types import SimpleNamespace
import pwem
from scipion.install import plugin_funcs
from scipion.install.install_plugin import installPluginMethods
name, version = "scipion-em-cryoice", sys.argv.pop(1)
answers = {
    plugin_funcs.REPOSITORY_URL: {name: {"pipName": name, "name": "cryoice", "pluginSourceUrl": ""}},
    plugin_funcs.PIP_BASE_URL + f"/{name}/json": {
        "info": {}, "releases": {version: [{"comment_text": "scipion-3.0", "upload_time": ""}]}
    },
}
plugin_funcs.requests.get = lambda url: SimpleNamespace(ok=True, json=lambda: answers[url])
# Scipion's installer downloads this archive for each package without an archive of its own, and does not open it.
archive = Path(pwem.Config.EM_ROOT, "void.tgz")
archive.parent.mkdir(parents=True, exist_ok=True)
archive.write_text("not empty")
sys.argv = ["scipion3", *sys.argv[1:]]
installPluginMethods()
"""
WHERE = """
from pathlib import Path
from cryoice_scipion.demo import prepare
prepare(Path("demo").resolve())
import pwem, cryoice_scipion
print(cryoice_scipion.__file__, pwem.Domain.getPlugins()["cryoice_scipion"].Plugin.getPython(), sep="\\n")
"""


def run(*command, **options):
    """Return what a command prints; fail with it when the command fails."""
    words = [str(word) for word in command]
    finished = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    assert finished.returncode == 0, f"{words[:6]} ended with {finished.returncode}:\n{finished.stdout[-5000:]}"
    return finished.stdout


def clean_environment():
    """Return the environment of a user who has never heard of this checkout."""
    ours = ("SCIPION", "PYTHON", "CRYOICE", "EM_ROOT")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # The CPU build of torch, where it is at hand; no long wait for an index that cannot be reached; and modules are
    # compiled only when they are imported: pip takes "0" for yes in this option.
    pip = {"PIP_CONSTRAINT": str(ROOT / "constraints-ci.txt"), "PIP_RETRIES": "1", "PIP_NO_COMPILE": "0"}
    return {**kept, **pip}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the source distribution from the checkout, and the wheel from nothing but the source distribution."""
    if os.environ.get("CRYOICE_DIST"):
        folder = Path(os.environ["CRYOICE_DIST"]).resolve()
        (archive,), (wheel,) = folder.glob(f"*-{VERSION}.tar.gz"), folder.glob(f"*-{VERSION}-*.whl")
        return archive, wheel
    pytest.importorskip("setuptools", reason="setuptools builds the wheel")
    folder = tmp_path_factory.mktemp("built")
    tree = folder / "tree"
    ignored = shutil.ignore_patterns(".venv", ".git", ".*cache", "__pycache__", "*.egg-info", "build", "dist", "demo")
    shutil.copytree(ROOT, tree, ignore=ignored, symlinks=True)
    run(sys.executable, "-c", BUILD.format(kind="sdist"), folder, cwd=tree)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    run(sys.executable, "-c", BUILD.format(kind="wheel"), folder, cwd=unpacked)
    (wheel,) = folder.glob("*.whl")
    return archive, wheel


@pytest.fixture
def big_folder(tmp_path):
    """Return a folder that is removed at once, not after two further test sessions."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def test_the_wheel_holds_every_file_that_the_code_reads_and_little_else(built):
    package = Path(cryoice_scipion.__file__).parent
    with zipfile.ZipFile(built[1]) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    found = (path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert names == {f"{package.name}/{path.relative_to(package)}" for path in found}
    suffixes = {".py", ".j2", ".conf", ".star", ".template", ".json", ".safetensors", ".md", ".csv", ".png", ""}
    suffixes |= {".js", ".css", ".svg"}  # of the page of cryoice serve
    assert {Path(name).suffix for name in names} == suffixes
    assert not any("predictions" in name for name in names)  # large, and no code reads it
    assert built[1].stat().st_size < 6.5e6


def test_the_source_distribution_holds_what_tests_and_documentation_need(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "Makefile", "constraints-ci.txt", "tests/conftest.py", "docs/index.md"} <= names


def test_the_metadata_renders_outside_the_repository(built):
    with zipfile.ZipFile(built[1]) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
        assert any(name.endswith("LICENSE") for name in archive.namelist())
    assert metadata["Version"] == VERSION and metadata["Home-page"] == DOCS_URL
    text = metadata.get_payload(decode=True).decode("utf-8")
    assert DOCS_URL in text and f"{SOURCE_URL}/blob/main/LICENSE" in text
    links = re.findall(r"\]\(([^)\s]+)|src=\"([^\"]+)|^\[.+\]: (\S+)", text, re.MULTILINE)
    links = ["".join(found) for found in links]
    assert not any(link.partition("#")[0].endswith(".md") for link in links if link.startswith(DOCS_URL))
    assert links and [link for link in links if not link.startswith(("https://", "#"))] == []


@pytest.mark.slow
def test_the_wheel_screens_in_an_empty_environment(built, big_folder):
    venv.create(big_folder / "empty", with_pip=True)
    binaries, there = big_folder / "empty" / "bin", {"cwd": big_folder, "env": clean_environment()}
    run(binaries / "python", "-m", "pip", "install", built[1], **there)
    assert run(binaries / "cryoice", "--version", **there).strip() == f"cryoice {VERSION}"
    run(binaries / "cryoice", "simulate", "--output", "simulated", "--number", 1, "--size", "1024x1024", **there)
    micrographs, picks = "simulated/micrographs", "simulated/picks.star"
    words = ["--coordinates", picks, "--pixel-size", 1, "--particle-diameter", 150, "--output", "screened"]
    run(binaries / "cryoice", "screen", micrographs, *words, **there)
    with open(big_folder / "screened" / "micrographs.csv", encoding="utf-8") as table:
        assert len(list(csv.DictReader(table))) == 1
    assert json.loads((big_folder / "screened" / "summary.json").read_text())["failed"] == 0
    assert "scipion-em " not in run(binaries / "python", "-m", "pip", "list", **there)


@pytest.fixture
def scipion(big_folder):
    """Return the Python of a Scipion without torch and without our package; the rest is lent by this environment."""
    folder = big_folder / "scipion"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-deps", "scipion-app", env=clean_environment())
    lent = big_folder / "lent"
    lent.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not re.match("(__editable__.*)?(scipion_em_cryoice|torch)|pip", path.name):
            (lent / path.name).symlink_to(path)
    purelib = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (purelib / "lent.pth").write_text(f"{lent}\n")
    return python


@pytest.mark.slow
@pytest.mark.scipion
def test_scipions_installer_installs_the_wheel_and_an_environment_that_runs_its_protocols(built, scipion, big_folder):
    there = {"cwd": big_folder, "env": clean_environment()}
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(built[1].parent), "PIP_NO_DEPS": "1"}
    home = {**there["env"], **configuration(big_folder / "demo", str(scipion))}
    install = (scipion, "-c", INSTALL, VERSION)
    run(*install, "installp", "--noBin", "-p", DISTRIBUTION, cwd=big_folder, env={**home, **index})
    run(*install, "installb", "cryoice", cwd=big_folder, env=home)

    package, python = map(Path, run(scipion, "-c", WHERE, **there).strip().splitlines()[-2:])
    environment = big_folder / "demo" / "scipion" / "software" / "em" / f"cryoice-{VERSION}"
    assert scipion.parents[1] in package.parents
    assert python == environment / "env" / "bin" / "python"
    check = run(python, "-m", "cryoice_scipion.core", "worker", "--check", "--expect-version", VERSION, **there)
    assert json.loads(check) == {"problems": []}

    said = run(scipion, "-m", "cryoice_scipion.demo", "--number", 1, **there)  # simulates and screens in a project
    assert "kept" in said and (big_folder / "demo" / "projects" / "cryoice_demo").is_dir()

    run(*install, "uninstallb", f"cryoice-{VERSION}", cwd=big_folder, env=home)
    assert not environment.exists() and package.is_file()
    assert run(scipion, "-c", WHERE, **there).strip().splitlines()[-1] == str(scipion)
