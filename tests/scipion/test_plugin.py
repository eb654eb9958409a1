# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin's environment: which interpreter runs the core, how the environment is made, and where help links lead."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pwem
import pytest

from cryoice_scipion import Plugin, environment, install_torch
from cryoice_scipion.constants import CRYOICE_PYTHON, DOCS_URL, VERSION


class Installer:
    """Scipion's installer, as far as a plugin talks to it."""

    def addPackage(self, name, **options):
        self.name, self.options = name, options


@pytest.fixture
def software(tmp_path, monkeypatch):
    """Give Scipion an empty folder of binaries, and unset the variable."""
    monkeypatch.setattr(pwem.Config, "EM_ROOT", str(tmp_path))
    monkeypatch.setitem(Plugin._vars, CRYOICE_PYTHON, "")
    return tmp_path


def make_environment(software, version=VERSION, finished=True):
    """Make what the installer leaves, without anything in it; return its interpreter."""
    folder = software / f"cryoice-{version}"
    (folder / "env" / "bin").mkdir(parents=True)
    python = folder / "env" / "bin" / "python"
    python.symlink_to(sys.executable)
    if finished:
        (folder / "cryoice_installed").touch()
    return str(python)


def run_commands(commands, folder, **environ):
    """Run commands as the installer does: one after another, each must leave its target. Return what they print."""
    said, options = "", {"shell": True, "cwd": folder, "env": {**os.environ, **environ}}
    for command, target in commands:
        said += subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **options).stdout
        assert (folder / target).exists()
    return said


def test_scipions_own_python_runs_the_core_where_there_is_no_other(software):
    assert Plugin.getPython() == sys.executable
    assert Plugin.validateInstallation() == []


def test_the_environment_of_the_installer_comes_before_scipions_own_python(software, monkeypatch):
    python = make_environment(software)
    assert Plugin.getPython() == python
    monkeypatch.setenv("PYTHONPATH", "/of/scipion")
    assert "PYTHONPATH" not in Plugin.getEnviron()


def test_the_variable_comes_before_the_environment_of_the_installer(software, monkeypatch):
    make_environment(software)
    monkeypatch.setitem(Plugin._vars, CRYOICE_PYTHON, sys.executable)
    assert Plugin.getPython() == sys.executable
    monkeypatch.setitem(Plugin._vars, CRYOICE_PYTHON, "~/env/bin/python")
    assert Plugin.getPython() == os.path.expanduser("~/env/bin/python")
    (line,) = Plugin.validateInstallation()
    assert "no such file" in line and CRYOICE_PYTHON in line


@pytest.mark.parametrize("made", [{"version": "0.0.1"}, {"finished": False}], ids=["other version", "unfinished"])
def test_an_environment_that_does_not_fit_is_not_used(software, made):
    make_environment(software, **made)
    assert Plugin.getPython() == sys.executable


def test_the_variable_is_read_from_the_configuration(software, monkeypatch):
    monkeypatch.setenv(CRYOICE_PYTHON, "/some/python")
    Plugin._defineVariables()
    assert Plugin.getPython() == "/some/python"
    monkeypatch.delenv(CRYOICE_PYTHON)
    Plugin._defineVariables()
    assert Plugin.getPython() == sys.executable


def test_the_installer_gets_one_package_that_is_made_by_default(software):
    installer = Installer()
    Plugin.defineBinaries(installer)
    assert installer.name == "cryoice"
    assert installer.options["version"] == VERSION and installer.options["default"] is True
    (*_, (last, target)) = installer.options["commands"]
    assert "worker --check" in last and target == "cryoice_installed"


def test_the_environment_gets_the_requirements_of_the_core_and_no_others():
    listed = (Path(__file__).parents[2] / "requirements-core.txt").read_text(encoding="utf-8").splitlines()
    names = {line.split(">")[0] for line in listed if line and not line.startswith("#")}
    (words,) = [shlex.split(command) for command, target in environment.install_commands(None) if "require" in target]
    given = words[words.index("install") + 1 : words.index("&&")]
    assert {re.split("[ <>]", word)[0] for word in given} == names  # older setuptools write "Pillow >=10.1"


def test_without_conda_the_environment_is_a_venv_that_sees_no_other_packages(tmp_path):
    run_commands(environment.install_commands(None)[:1], tmp_path, PYTHONPATH="/of/scipion")
    code = "import sys, importlib.util as util; print(sys.prefix, util.find_spec('numpy'))"
    command = [str(tmp_path / "env" / "bin" / "python"), "-I", "-c", code]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert said == [str(tmp_path / "env"), "None"]


def test_an_old_python_of_scipion_is_passed_over_for_a_newer_one_that_can_make_environments(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 8, 18))
    for name, script in (("python3.12", "exit 1"), ("python3.11", f'exec {shlex.quote(sys.executable)} "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/asked\n{script}\n")
        (tmp_path / name).chmod(0o755)
    commands = environment.install_commands(None)
    monkeypatch.undo()
    run_commands(commands[:1], tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (tmp_path / "asked").read_text().split() == ["python3.12", "python3.11"]


@pytest.mark.parametrize("fails", [False, True], ids=["conda works", "conda fails"])
def test_with_conda_the_python_of_the_environment_is_condas(software, tmp_path, monkeypatch, fails):
    monkeypatch.setattr(environment, "OLDEST_FOR_TORCH", (3, 8))  # no other Python is preferred to this one
    make = "exit 1" if fails else f'exec {shlex.quote(sys.executable)} -m venv --without-pip "$4"'
    (tmp_path / "bin").mkdir()
    conda = tmp_path / "bin" / "conda"  # stands in for conda, which cannot be installed from the package index
    conda.write_text(f'#!/bin/sh\necho "$@" > asked\n{make}\n')
    conda.chmod(0o755)
    monkeypatch.setattr(Plugin, "_condaActivationCmd", f"export PATH={tmp_path}/bin:$PATH&&")
    installer = Installer()
    Plugin.defineBinaries(installer)
    used = run_commands(installer.options["commands"][:1], tmp_path)
    assert used.split()[0] == (sys.executable if fails else "conda/bin/python")
    assert (tmp_path / "asked").read_text().split()[:5] == ["create", "-y", "-p", "./conda", "python=3.11"]
    assert (tmp_path / "env" / "bin" / "pip").exists()


@pytest.mark.parametrize(
    ("gpu", "works", "expected"),
    [
        (False, [], ["install --extra-index-url cpu"]),
        (True, [True], ["install"]),
        (True, [False, False, True], ["install", "uninstall", "install cu128", "uninstall", "install cu126"]),
        (
            True,
            [False] * 4,
            ["install", *(word for cuda in ("cu128", "cu126", "cu118") for word in ("uninstall", f"install {cuda}"))]
            + ["uninstall", "install"],
        ),
    ],
    ids=["no GPU", "a GPU of today", "an older driver", "a driver that is too old"],
)
def test_the_build_of_torch_is_the_newest_that_computes_on_the_gpu(monkeypatch, gpu, works, expected):
    asked, answers = [], iter(works)

    def pip(verb, *words):
        builds = [word.rsplit("/", 1)[1] for word in words if word.startswith("https://")]
        extra = ["--extra-index-url"] if "--extra-index-url" in words else []
        asked.append(" ".join([verb, *extra, *builds]))
        return 0

    monkeypatch.setattr(install_torch, "pip", pip)
    monkeypatch.setattr(install_torch, "has_gpu", lambda: gpu)
    monkeypatch.setattr(install_torch, "works_on_gpus", lambda: next(answers))
    assert install_torch.main("torch>=2.0") == 0
    assert asked == expected


def test_a_gpu_is_seen_when_the_driver_lists_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install_torch.has_gpu() is False
    for said, expected in (("echo 'GPU 0: NVIDIA A100'", True), ("echo 'No devices were found'; exit 6", False)):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{said}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        assert install_torch.has_gpu() is expected


def test_the_help_of_every_protocol_leads_to_its_section_of_our_documentation():
    found = pwem.Domain.getProtocols()
    urls = {found[name]._label: found[name].getUrl() for name in found if name.startswith("CryoIceProt")}
    urls.pop(None, None)  # the base class is no protocol of the tree
    assert len(set(urls.values())) == len(urls) == 9
    assert urls["screen micrographs"] == f"{DOCS_URL}reference/protocols.html#screen-micrographs"
    assert urls["import CryoPPP"] == f"{DOCS_URL}reference/protocols.html#import-cryoppp"
    assert Plugin.getUrl() == DOCS_URL
