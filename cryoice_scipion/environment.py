# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the Python environment that Scipion's installer makes for the core. Imports nothing of Scipion.

The environment holds torch and the core's requirements. The package itself is a link to the folder of the plugin, so
that both always have the same version.
"""

from __future__ import annotations

import re
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import List, Optional, Tuple

from cryoice_scipion.constants import BINARY, DISTRIBUTION, VERSION

PACKAGE = Path(__file__).resolve().parent
FOLDER = f"{BINARY}-{VERSION}"
INSTALLED = "cryoice_installed"  # this file is written when everything else is in place
CONDA_PYTHON = "3.11"
#: Current versions of torch, which current GPUs need, do not support older versions of Python.
OLDEST_FOR_TORCH = (3, 10)
_PYTHON = "env/bin/python -I"  # isolated: neither Scipion's PYTHONPATH nor the user's own packages are seen


def find_python(software: str) -> Optional[str]:
    """Return the interpreter of the finished environment in Scipion's folder of binaries, or None.

    Parameters
    ----------
    software : str
        Scipion's ``EM_ROOT``.
    """
    folder = Path(software) / FOLDER
    python = folder / "env" / "bin" / "python"
    return str(python) if (folder / INSTALLED).is_file() and python.exists() else None


def core_requirements() -> List[str]:
    """Return the requirements of the installed distribution without those of its extras."""
    return [line for line in metadata.requires(DISTRIBUTION) or [] if not re.search(r"\bextra\b", line)]


def install_commands(conda: Optional[str]) -> List[Tuple[str, str]]:
    """Return shell commands that make the environment in the current folder, each with the file that proves success.

    Parameters
    ----------
    conda : str, optional
        Words before ``conda create`` that make conda available, possibly none. None: there is no conda.
    """
    requirements = core_requirements()
    torch = next(line for line in requirements if re.match(r"torch\b", line))
    link = f'"$({_PYTHON} -c \'import sysconfig; print(sysconfig.get_path("purelib"))\')"/{PACKAGE.name}'
    check = f"{_PYTHON} -m {PACKAGE.name}.core worker --check --expect-version {VERSION}"
    return [
        _environment(conda),
        _marked(f"{_PYTHON} {_quoted(PACKAGE / 'install_torch.py', torch)}", "torch_installed"),
        _marked(f"{_PYTHON} -m pip install {_quoted(*requirements)}", "requirements_installed"),
        _marked(f"ln -sfn {_quoted(PACKAGE)} {link} && {check}", INSTALLED),
    ]


def _environment(conda: Optional[str]) -> Tuple[str, str]:
    """Return the command that makes an empty virtual environment from the first Python that can.

    The order is: the Python of conda, newer versions on the machine if Scipion's own is old, and Scipion's own Python.
    """
    newer = [] if sys.version_info[:2] >= OLDEST_FOR_TORCH else ["python3.12", "python3.11", "python3.10"]
    pythons = _quoted(*([] if conda is None else ["conda/bin/python"]), *newer, sys.executable)
    create = "" if conda is None else f"{conda} conda create -y -p ./conda python={CONDA_PYTHON} pip; "
    make = 'command -v "$python" && "$python" -I -m venv --clear env && break'
    return f"{create}for python in {pythons}; do {make}; done", "env/bin/pip"


def _marked(command: str, target: str) -> Tuple[str, str]:
    """Return the command that leaves its target only when it succeeds."""
    return f"{command} && touch {target}", target


def _quoted(*words: object) -> str:
    return " ".join(shlex.quote(str(word)) for word in words)
