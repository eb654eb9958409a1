# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocols and their parameters, from the forms that Scipion shows.

Run as a program, since Scipion reads its settings once, when it is imported.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from cryoice_scipion import demo
from site_builder.markdown import code, plain, prose, table

ROOT = Path(__file__).resolve().parents[2]
_SCIPIONS = {"runName", "runMode", "hostName"}  # parameters of every protocol, which Scipion's window shows by itself
_OWN = {"useGpu": "Use GPU", "gpuList": "GPU ids"}  # Scipion draws these without a label
_COMPARED = re.compile(r"\b(?!and\b|or\b|not\b)([A-Za-z]\w*)(?:\s*(==|!=)\s*(\d+))?")
_HEAD = ("Label and name", "Default", "Meaning")


def protocol(name: str) -> str:
    """Return what a protocol does, its outputs, and its parameters by the tabs of the form."""
    return _all()[name]


@functools.lru_cache(maxsize=None)
def _all() -> Dict[str, str]:
    """Return the text of each protocol, by the name of its class."""
    here = Path(__file__).resolve().parents[1]
    words = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(here)!r}); import {__name__} as p; p.main()"]
    done = subprocess.run(words, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"the protocols' forms cannot be read: {done.stderr}")
    texts: Dict[str, str] = json.loads(done.stdout.splitlines()[-1])  # Scipion may print lines before
    return texts


def names() -> List[str]:
    """Return the names of the protocols' classes; read from the source, since importing it needs Scipion's settings."""
    tree = ast.parse((ROOT / "cryoice_scipion" / "protocols" / "__init__.py").read_text(encoding="utf-8"))
    return [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]


def main() -> None:
    """Print the texts as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        demo.prepare(Path(folder))
        from cryoice_scipion import protocols as ours

        print(json.dumps({name: _section(getattr(ours, name)) for name in names()}))


def _section(kind: Any) -> str:
    lines = [f"Class {code(kind.__name__)}.\n"]
    lines += [prose(plain(inspect.cleandoc(kind.__doc__ or ""))) + "\n"]
    outputs = getattr(kind, "_possibleOutputs", None) or {}
    if isinstance(outputs, dict):
        rows = [(code(name), getattr(output, "__name__", str(output))) for name, output in outputs.items()]
        lines += [table(("Output", "Type"), rows)]
    definition = kind()._definition
    others = dict(definition.iterAllParams())
    for section in definition.iterSections():
        rows = [_row(name, parameter, others) for name, parameter in _parameters(section)]
        if rows:
            lines += [f"**{section.getLabel()}**\n", table(_HEAD, rows)]
    return "\n".join(lines)


def _parameters(section: Any) -> Iterator[Tuple[str, Any]]:
    """Yield the parameters of a tab; those of a line or group are taken one by one."""
    for name, parameter in section.iterParams():
        if name in _SCIPIONS:
            continue
        if hasattr(parameter, "iterParams"):
            yield from _parameters(parameter)
        else:
            yield name, parameter


def _row(name: str, parameter: Any, others: Dict[str, Any]) -> Sequence[str]:
    label = _OWN.get(name) or str(parameter.getLabel())
    expert = " *(expert)*" if parameter.isExpert() else ""
    needed = _condition(parameter, others)
    meaning = " ".join(str(parameter.getHelp() or "").split())
    return f"{prose(label)}{expert}<br>{code(name)}", prose(_default(parameter)), prose(meaning) + needed


def _condition(parameter: Any, others: Dict[str, Any]) -> str:
    """Return when the form shows a parameter, in the words of the form."""
    condition = str(getattr(parameter, "condition", None) or "")
    if condition in ("", "None", "False"):
        return ""

    def in_words(match: re.Match) -> str:  # type: ignore[type-arg]
        other = others[match.group(1)]
        value = other.choices[int(match.group(3))] if match.group(3) else "yes"
        return f"*{prose(str(other.getLabel()))}* is {'not ' if match.group(2) == '!=' else ''}*{prose(value)}*"

    return f" Shown if {_COMPARED.sub(in_words, condition)}."


def _default(parameter: Any) -> str:
    value, choices = parameter.default.get(), getattr(parameter, "choices", None)
    if value is None or value == "":
        return "empty"
    if isinstance(choices, (list, tuple)) and choices:
        return f"{choices[int(value)]} (of: {', '.join(map(str, choices))})"
    return {"True": "yes", "False": "no"}.get(str(value), str(value))
