# SPDX-License-Identifier: GPL-3.0-or-later
"""What Scipion asks of a plugin: its variables, its environment, and which Python runs the core."""

from __future__ import annotations

import glob
import os
import sys
from typing import Any, Dict, List

import pwem
import pyworkflow.utils as pwutils

from cryoice_scipion.constants import CRYOICE_PYTHON, VERSION

URL = "https://scipion-em.github.io/docs/"


class Plugin(pwem.Plugin):
    """The plugin; ``cryoice_scipion.Plugin`` is this class."""

    __module__ = "cryoice_scipion"  # pyworkflow finds the package's folder by it
    _url = URL
    _supportedVersions: List[str] = [VERSION]
    _pathVars: List[str] = [CRYOICE_PYTHON]

    @classmethod
    def _defineVariables(cls) -> None:
        cls._defineVar(
            CRYOICE_PYTHON,
            sys.executable,
            description="The Python that runs the screening and the training. This package must be installed in it "
            "(python -m pip install .). Default: Scipion's own Python.",
        )

    @classmethod
    def getPython(cls) -> str:
        """Return the interpreter that runs the core."""
        return os.path.expanduser(cls.getVar(CRYOICE_PYTHON, sys.executable))

    @classmethod
    def getEnviron(cls) -> Dict[str, str]:
        """Return the environment of the core's processes."""
        environ = pwutils.Environ(os.environ)
        if os.path.abspath(cls.getPython()) != os.path.abspath(sys.executable):
            # Another interpreter must not see the packages of Scipion's one.
            environ.pop("PYTHONPATH", None)
            environ.pop("PYTHONHOME", None)
        return environ

    @classmethod
    def getActiveVersion(cls, *_: Any, **__: Any) -> str:
        """Return the version: there are no binaries, the core has the plugin's version."""
        return VERSION

    @classmethod
    def seesGpu(cls) -> bool:
        """Return whether this machine has an NVIDIA GPU; asks no torch, so that forms open quickly."""
        return bool(glob.glob("/dev/nvidia[0-9]*") or os.path.exists("/dev/dxg"))

    @classmethod
    def defineBinaries(cls, env: Any) -> None:
        """Define nothing: the package and its requirements are all there is to install."""
