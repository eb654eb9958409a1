# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the plugin for Scipion: its variables, its environment, and the Python that runs the core."""

from __future__ import annotations

import glob
import os
import shutil
import sys
from typing import Any, Dict, List

import pwem
import pyworkflow.utils as pwutils

from cryoice_scipion.constants import BINARY, CRYOICE_PYTHON, CRYOICE_SCHEDULER, DOCS_URL, VERSION
from cryoice_scipion.environment import find_python, install_commands


class Plugin(pwem.Plugin):
    """The plugin; ``cryoice_scipion.Plugin`` is this class."""

    __module__ = "cryoice_scipion"  # pyworkflow finds the package's folder by it
    _url = DOCS_URL
    _supportedVersions: List[str] = [VERSION]

    @classmethod
    def _defineVariables(cls) -> None:
        cls._defineVar(
            CRYOICE_PYTHON,
            "",
            description="The Python that runs the screening and the training. This package must be installed in it "
            "(python -m pip install .). Empty: the environment that Scipion's installer made (scipion3 installb "
            f"{BINARY}) or, without one, Scipion's own Python.",
        )
        cls._defineVar(
            CRYOICE_SCHEDULER,
            "",
            description="The Dask scheduler whose workers screen micrographs: its address (tcp://host:8786), its "
            "scheduler file, or slurm:N to start N workers with Slurm. Empty: this machine screens them.",
        )

    @classmethod
    def getPython(cls) -> str:
        """Return the interpreter that runs the core: the one that is set, the installer's, or Scipion's own."""
        given = cls.getVar(CRYOICE_PYTHON, "")
        if given:
            return os.path.expanduser(given)
        return find_python(pwem.Config.EM_ROOT) or sys.executable

    @classmethod
    def getScheduler(cls) -> str:
        """Return the Dask scheduler whose workers screen micrographs; an empty text for this machine."""
        return str(cls.getVar(CRYOICE_SCHEDULER, "")).strip()

    @classmethod
    def validateInstallation(cls) -> List[str]:
        """Return the problems of the installation, one line each."""
        python = cls.getPython()
        if os.path.exists(python):
            return []
        return [f"{python}: no such file; correct {CRYOICE_PYTHON} in Scipion's configuration, or remove it"]

    @classmethod
    def getUrl(cls, protClass: Any = None) -> str:
        """Return the page of a protocol in our documentation, or its front page."""
        label = getattr(protClass, "_label", None)
        return f"{DOCS_URL}reference/protocols.html#{'-'.join(label.lower().split())}" if label else DOCS_URL

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
        """Return the version of the core, which is always that of the plugin."""
        return VERSION

    @classmethod
    def seesGpu(cls) -> bool:
        """Return whether this machine has an NVIDIA GPU. Does not import torch, so that forms open quickly."""
        return bool(glob.glob("/dev/nvidia[0-9]*") or os.path.exists("/dev/dxg"))

    @classmethod
    def defineBinaries(cls, env: Any) -> None:
        """Define the environment that runs the core, with a torch that fits the GPU."""
        activation = cls.getCondaActivationCmd()
        conda = activation if activation or shutil.which("conda") else None
        commands = install_commands(conda)
        env.addPackage(BINARY, version=VERSION, tar="void.tgz", commands=commands, neededProgs=[], default=True)
