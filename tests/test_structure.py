# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and parameter lists stay short enough to be read at once."""

import ast
import re
from pathlib import Path

import pytest

import cryoice_scipion

PACKAGE = Path(cryoice_scipion.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE = 300  # lines
MOST_PARAMETERS = 7  # self and cls do not count


def parameters(function):
    """Return the names of a function's parameters without self and cls."""
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    names += [one.arg for one in (given.vararg, given.kwarg) if one is not None]
    return names[1:] if names and names[0] in ("self", "cls") else names


def long_signatures(code):
    """Return line, name and number of parameters of each function that has too many."""
    functions = (
        node for node in ast.walk(ast.parse(code)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    counted = ((one.lineno, one.name, len(parameters(one))) for one in functions)
    return [found for found in counted if found[2] > MOST_PARAMETERS]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_signatures_are_short(path):
    code = path.read_text(encoding="utf-8")
    assert len(code.splitlines()) <= LONGEST_FILE, "move a group of functions to a file of its own"
    assert not long_signatures(code), "group the parameters that belong together in a record"


#: Modules and calls that run code from data.
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "os.system", "os.popen", "torch.load", "np.load"}
#: Reads text columns of cryoSPARC with stubs in place of all classes, so that nothing is run.
READS_PICKLES = "text_pickle.py"


def unsafe(code):
    """Return the lines that could run code which a file contains, or pass text to a shell."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [node.lineno for name in node.names if name.name.split(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [node.lineno] if (node.module or "").split(".")[0] in UNSAFE_MODULES else []
        elif isinstance(node, ast.Call):
            given = {one.arg: getattr(one.value, "value", None) for one in node.keywords}
            owner = getattr(getattr(node.func, "value", None), "id", "")
            name = getattr(node.func, "id", "") or f"{owner}.{getattr(node.func, 'attr', '')}"
            is_safe = given.get("weights_only") is True or given.get("allow_pickle") is False
            wrong = name in UNSAFE_CALLS and not is_safe
            found += [node.lineno] if wrong or given.get("shell") or given.get("allow_pickle") else []
    return found


def test_no_code_is_run_that_a_file_contains():
    found = {path.name: unsafe(path.read_text(encoding="utf-8")) for path in FILES}
    assert [name for name, lines in found.items() if lines] == [READS_PICKLES]


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "import torch, shelve", "eval('1')", "os.system('ls')",
        "torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)", "np.load(path, allow_pickle=True)",
        "subprocess.run('ls', shell=True)",
    ],
)  # fmt: skip
def test_code_that_would_run_a_files_content_is_found(code):
    assert unsafe(code) == [1]


@pytest.mark.parametrize(
    ("signature", "number"),
    [
        ("f(a, b, c, d, e, f, g)", 7),
        ("f(self, a, b, c, d, e, f, g)", 7),
        ("f(a, b, c, /, d, e, f, *, g, h)", 8),
        ("f(cls, a, b, c, d, e, f, *args, **kwargs)", 8),
    ],
)
def test_parameters_of_all_kinds_are_counted(signature, number):
    code = f"class A:\n    def {signature}:\n        pass\n"
    assert long_signatures(code) == ([(2, "f", number)] if number > MOST_PARAMETERS else [])


#: Classes that Python 3.8 cannot subscript. Annotations may do so: they are not evaluated.
BUILTIN = re.compile(r"\b(dict|frozenset|list|set|tuple|type|Counter|defaultdict|deque|OrderedDict)\[")


def subscripted(code):
    """Return the lines that subscript such a class when they run."""
    tree = ast.parse(code) if BUILTIN.search(code) else ast.Module([], [])
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                setattr(node, name, None)
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name))
    return [node.lineno for node in nodes if BUILTIN.match(f"{node.value.id}[")]


def test_no_builtin_class_is_subscripted_which_python_3_8_cannot():
    found = {str(path): subscripted(path.read_text(encoding="utf-8")) for path in FILES}
    assert not {name: lines for name, lines in found.items() if lines}
    assert subscripted("a: list[int] = list[int]()") == [1] and not subscripted("def f(a: list[int]) -> type[int]: ...")
