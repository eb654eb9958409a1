# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and parameter lists stay short enough to be read at once."""

import ast
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
