# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line, from the parsers that read it."""

from __future__ import annotations

import argparse
import re
from typing import Any, Sequence

from cryoice_scipion.core.cli import build_parser
from site_builder.markdown import code, plain, prose, table

_DEFAULT = re.compile(r"\s*\(default:? ([^()]*)\)")


def command(name: str) -> str:
    """Return what a command does, its usage, and its arguments and options."""
    parser = _parser(name)
    parser.formatter_class = _wide
    about = plain(parser.description or "").strip()
    lines = [prose(about[:1].upper() + about[1:]) + "\n"]
    lines += ["```text\n" + parser.format_usage() + "```\n"]
    for group in parser._action_groups:
        rows = [_row(action, parser) for action in group._group_actions if action.help not in _NOT_SHOWN]
        if rows:
            lines += [f"**{_title(str(group.title))}**\n", table(_HEAD, rows)]
    if parser.epilog:
        lines += [prose(parser.epilog) + "\n"]
    return "\n".join(lines)


def _parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of one command."""
    actions = build_parser([name])._actions
    (commands,) = (action for action in actions if isinstance(action, argparse._SubParsersAction))
    parser: argparse.ArgumentParser = commands.choices[name]
    return parser


_HEAD = ("Name", "Default", "Meaning")
_NOT_SHOWN = (argparse.SUPPRESS, "show this help message and exit")
_TITLES = {"positional arguments": "Arguments", "optional arguments": "Options", "options": "Options"}


def _title(name: str) -> str:
    """Return the title of a group of options; Python 3.8 and 3.9 call the main one otherwise."""
    return _TITLES.get(name, name[:1].upper() + name[1:])


def _wide(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=100)


def _row(action: argparse.Action, parser: argparse.ArgumentParser) -> Sequence[str]:
    formatter = parser._get_formatter()
    text = formatter._expand_help(action) if action.help else ""
    said = _DEFAULT.search(text)
    default = said.group(1) if said else _default(action)
    required = action.required and bool(action.option_strings)
    return _names(action, formatter), "required" if required else prose(default), prose(_DEFAULT.sub("", text, count=1))


def _names(action: argparse.Action, formatter: Any) -> str:
    """Return an option with its value, or the name of an argument."""
    if not action.option_strings:
        return code(formatter._format_args(action, action.metavar or action.dest))
    value = "" if action.nargs == 0 else " " + formatter._format_args(action, action.dest.upper())
    return "<br>".join(code(option + value) for option in action.option_strings)


def _default(action: argparse.Action) -> str:
    """Return the default of an option that takes a value."""
    value = action.default
    if value is None or value is argparse.SUPPRESS or action.nargs == 0 or value in ([], ""):
        return ""
    if isinstance(value, tuple):  # rows and columns
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
