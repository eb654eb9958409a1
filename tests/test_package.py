# SPDX-License-Identifier: GPL-3.0-or-later
"""The package as it is installed: it loads without torch, and every entry point can be entered."""

import ast
import re
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path

import pytest

import cryoice_scipion
from cryoice_scipion.constants import DISTRIBUTION, VERSION

NAMES = {
    "python_multipart": "python-multipart",
    "cryosparc": "cryosparc-tools",
    "yaml": "pyyaml",
    "PIL": "pillow",
    "pipeliner": "ccpem-pipeliner",
    "markdown_it": "markdown-it-py",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "pwem": "scipion-em",
    "pyworkflow": "scipion-pyworkflow",
}
LIST_PROTOCOLS = """
import sys
from importlib import import_module
{loading}
heavy = [name for name in ("torch", "safetensors") if name in sys.modules]
sys.exit("imported " + ", ".join(heavy) if heavy else 0)
"""


def run(*command):
    """Return the finished process of a command, with its output as text."""
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


def entry_point(group, name):
    entries = metadata.distribution(DISTRIBUTION).entry_points
    return next(entry for entry in entries if entry.group == group and entry.name == name)


def test_installed_version_is_that_of_the_constants():
    assert metadata.version(DISTRIBUTION) == VERSION == cryoice_scipion.__version__


def test_the_version_is_that_of_changelog_and_citation():
    root = Path(__file__).resolve().parents[1]
    heading = re.search("^## (.*)$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.M).group(1)
    cited = re.search("^version: (.*)$", (root / "CITATION.cff").read_text(encoding="utf-8"), re.M).group(1)
    assert VERSION in re.findall(r"[\w.]+", heading) and cited == VERSION


def imported_packages(folder):
    """Return the packages outside the standard library and this one that are imported anywhere in the folder."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add((node.module or "").split(".")[0])
    found = {name: util.find_spec(name) for name in names - {"", cryoice_scipion.__name__}}
    return {name for name, spec in found.items() if spec is None or "site-packages" in (spec.origin or "")}


def test_what_is_imported_is_required():
    lines = [line for line in metadata.requires(DISTRIBUTION) if not re.search("extra == .(test|lint)", line)]
    required = {re.split(r"[^\w.-]", line)[0].lower() for line in lines}
    imported = {NAMES.get(name, name) for name in imported_packages(Path(cryoice_scipion.__file__).parent)}
    assert imported - required == set()


@pytest.mark.parametrize(
    "loading",
    [
        "import cryoice_scipion",
        "from cryoice_scipion import Plugin",
        "import cryoice_scipion.protocols",
        "import cryoice_scipion.protocols, cryoice_scipion.viewers, cryoice_scipion.wizards, cryoice_scipion.convert",
        "from pyworkflow.plugin import Domain; import pwem; assert 'cryoice_scipion' in pwem.Domain.getPlugins(); "
        "assert any(n.startswith('CryoIceProt') for n in pwem.Domain.getProtocols())",
    ],
)
def test_loading_takes_no_torch(loading):
    finished = run(sys.executable, "-c", LIST_PROTOCOLS.format(loading=loading))
    assert finished.returncode == 0, finished.stderr


def test_the_package_and_the_core_take_nothing_of_scipion():
    code = (
        "import sys, cryoice_scipion, cryoice_scipion.core.cli\n"
        "sys.exit(any(name.split('.')[0] in ('pyworkflow', 'pwem') for name in sys.modules))"
    )
    finished = run(sys.executable, "-c", code)
    assert finished.returncode == 0, finished.stderr


def test_an_unknown_attribute_is_said_to_be_unknown():
    with pytest.raises(AttributeError, match="no attribute 'Plugins'"):
        cryoice_scipion.Plugins  # noqa: B018


def test_the_plugin_entry_point_gives_the_plugin():
    module = entry_point("pyworkflow.plugin", "cryoice_scipion").load()
    assert module.Plugin.__module__ == "cryoice_scipion"  # pyworkflow finds the package's folder by it


@pytest.mark.parametrize("words", [[], ["screen"]], ids=["cryoice", "cryoice screen"])
def test_the_installed_command_explains_itself(words):
    script = Path(sys.executable).parent / "cryoice"
    finished = run(script, *words, "--help")
    assert finished.returncode == 0, finished.stderr
    assert "usage: cryoice" in finished.stdout


def test_the_core_runs_as_a_module():
    finished = run(sys.executable, "-m", "cryoice_scipion.core", "--help")
    assert finished.returncode == 0, finished.stderr


def test_the_worker_answers_its_check():
    finished = run(sys.executable, "-m", "cryoice_scipion.core", "worker", "--check")
    assert finished.returncode == 0, finished.stderr


def test_unusable_arguments_give_status_2_and_no_traceback():
    finished = run(sys.executable, "-m", "cryoice_scipion.core", "no_such_command")
    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    "name",
    [
        "protocols.conf",
        cryoice_scipion._logo,
        "models/default/model.json",
        "models/spots/model.json",
        "core/reports/report.html.j2",
        "templates/streaming.json.template",
    ],
)
def test_data_files_are_beside_the_code(name):
    assert (Path(cryoice_scipion.__file__).parent / name).is_file()
