# SPDX-License-Identifier: GPL-3.0-or-later
"""The state file in the folder of a job of RELION, from which RELION and CCP-EM Pipeliner learn how the job ended.

This module loads no slow library, because a job may be aborted while it starts.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Sequence

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.results.run_folder import writing

SUCCESS, FAILURE, ABORTED = "SUCCESS", "FAILURE", "ABORTED"
_STATE = {name: f"RELION_JOB_EXIT_{name}" for name in (SUCCESS, FAILURE, ABORTED)}
_PIPELINER_STATE = {name: f"PIPELINER_JOB_EXIT_{name}" for name in (SUCCESS, ABORTED)}
_PIPELINER_STATE[FAILURE] = "PIPELINER_JOB_EXIT_FAILED"
_PIPELINER_PROJECT = ".CCPEM_pipeliner_project"


def begin_job(folder: Path) -> None:
    """Create the folder of a job, and remove the state files of an earlier run of the job."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*_STATE.values(), *_PIPELINER_STATE.values()):
            with contextlib.suppress(FileNotFoundError):
                (folder / name).unlink()


def end_job(folder: Path, state: str) -> None:
    """Write the state file that ends a job, instead of any other state file.

    CCP-EM Pipeliner looks for files of its own. It writes them itself for its own kinds of jobs. For an External
    job of its, both are written, so that the job also ends where RELION starts it.
    """
    begin_job(folder)
    with writing(folder):
        (folder / _STATE[state]).touch()
        if Path(_PIPELINER_PROJECT).exists() and "relion.external" in job_settings(folder):
            (folder / _PIPELINER_STATE[state]).touch()


def end_early(words: Sequence[str], state: str) -> None:
    """End the job that these arguments of the command line name, before they are parsed."""
    folder = next((value for name, value in zip(words, words[1:]) if name == "--o"), None)
    if folder:
        with contextlib.suppress(CryoIceError):
            end_job(Path(folder), state)


def job_settings(folder: Path) -> str:
    """Return the text of the file in which RELION keeps the settings of a job."""
    with contextlib.suppress(OSError):
        return (folder / "job.star").read_text(encoding="utf-8", errors="replace")
    return ""
