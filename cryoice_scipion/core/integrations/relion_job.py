# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of a job of RELION: state files, the kept micrographs, coordinates for RELION 3, and output nodes.

RELION 3.1, 4 and 5 learn from the state file how a job ended, and from ``RELION_OUTPUT_NODES.star`` what it made.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from pathlib import Path
from typing import Callable, Dict, Iterator, NamedTuple, Sequence

import pandas as pd

from cryoice_scipion.constants import ACCEPTED
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.micrograph_lists import InputList, write_micrographs
from cryoice_scipion.core.formats.star import VERSION_COMMENT, read_star, write_blocks
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.integrations.relion_logfile import write_logfile
from cryoice_scipion.core.integrations.relion_state import ABORTED, FAILURE, SUCCESS, begin_job, end_job, job_settings
from cryoice_scipion.core.records import MicrographRecord, MicrographTask
from cryoice_scipion.core.results.run_folder import AUTOPICK, JOURNAL, writing

ABORT_NOW = "RELION_JOB_ABORT_NOW"
KEPT_MICROGRAPHS, LOGFILE, OUTPUT_NODES = "micrographs.star", "logfile.pdf", "RELION_OUTPUT_NODES.star"
# All outputs are directly in the job's folder: with others, a Scheme or Schedule begins the next job anew each time.
#: Coordinates as in RELION 4 and 5: a list of files. As in RELION 3: a suffix for files ``<micrograph>_cryoice.star``.
LIST, SUFFIX_FILE = "autopick.star", "coords_suffix_cryoice.star"
_POLL = 0.5  # s between two looks for ABORT_NOW
# RELION 3 looks for the coordinates of MotionCorr/job002/Movies/a.mrc in Movies/a<suffix>, without the job's folder.
_JOB_FOLDER = re.compile(r"^.*?/job\d{3}[^/]*/")


class Node(NamedTuple):
    """An output of a job."""

    path: Path
    number: int  # type in RELION 3
    label: str  # type in RELION 4 and later


class RelionJob:
    """The output folder of a job, named relative to the project, which is the current folder."""

    def __init__(self, folder: Path) -> None:
        """Take the folder without creating it."""
        self.folder = Path(folder)

    @property
    def has_run(self) -> bool:
        """Return whether the folder holds a screening, which this job then continues."""
        return (self.folder / JOURNAL).exists()

    @contextlib.contextmanager
    def state(self) -> Iterator[None]:
        """Record in the folder how the work inside the context ends: success, failure, or aborted."""
        begin_job(self.folder)
        try:
            yield
        except KeyboardInterrupt:
            end_job(self.folder, ABORTED)
            raise
        except BaseException:
            end_job(self.folder, FAILURE)
            raise
        end_job(self.folder, SUCCESS)

    @contextlib.contextmanager
    def abortable(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call ``stop`` as soon as RELION asks to abort.

        Raises
        ------
        KeyboardInterrupt
            At the end of the context, when RELION has asked. The request is removed.
        """
        ended = threading.Event()

        def look() -> None:
            while not (self.folder / ABORT_NOW).exists():
                if ended.wait(_POLL):
                    return
            stop()

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
        if (self.folder / ABORT_NOW).exists():
            (self.folder / ABORT_NOW).unlink()
            raise KeyboardInterrupt

    def write_outputs(
        self, micrographs: Path, tasks: Sequence[MicrographTask], records: Sequence[MicrographRecord], picks: bool
    ) -> None:
        """Write what RELION's next jobs take.

        Parameters
        ----------
        micrographs : pathlib.Path
            The STAR file of the input micrographs.
        tasks : sequence of MicrographTask
            The micrographs in that file.
        records : sequence of MicrographRecord
            The results of these micrographs.
        picks : bool
            Whether coordinates were given.
        """
        accepted = {record.stem for record in records if record.status == ACCEPTED}
        with writing(self.folder):
            kept = {task.path: task.pixel_size for task in tasks if task.stem in accepted}
            write_micrographs(self.folder / KEPT_MICROGRAPHS, kept, InputList(micrographs))
            write_logfile(self.folder, records, self.folder / LOGFILE)
            nodes = [Node(self.folder / KEPT_MICROGRAPHS, 1, "MicrographGroupMetadata.star.relion")]
            if picks:
                coordinates = self._write_coordinates()
                nodes.append(Node(coordinates, 2, "MicrographCoordsGroup.star.relion.autopick"))
            nodes.append(Node(self.folder / LOGFILE, 13, "LogFile.pdf.relion"))
            self._write_nodes(nodes)

    def _is_of_relion_3(self) -> bool:
        """Return whether RELION 3 started this job. It numbers the types of jobs, while RELION 4 and 5 name them."""
        settings = job_settings(self.folder)
        return "_rlnJobType" in settings and "_rlnJobTypeLabel" not in settings

    def _write_coordinates(self) -> Path:
        """Write the kept coordinates in both layouts; return the file that the RELION of this job takes."""
        listed, suffix_file = self.folder / LIST, self.folder / SUFFIX_FILE
        with replacing(listed) as temporary:
            shutil.copyfile(self.folder / AUTOPICK, temporary)
        with replacing(suffix_file) as temporary:
            temporary.write_text(f"{self.folder / KEPT_MICROGRAPHS}\n", encoding="utf-8")
        self._link_coordinates(SUFFIX_FILE[len("coords_suffix") :])
        return suffix_file if self._is_of_relion_3() else listed

    def _link_coordinates(self, suffix: str) -> None:
        """Link the coordinate files of the micrographs under the names that RELION 3 looks for."""
        table = read_star(self.folder / AUTOPICK)[0].table
        files: Dict[Path, Path] = {}
        for name, file in zip(table["rlnMicrographName"], table["rlnMicrographCoordinates"]):
            stem = os.path.splitext(name_in_job(name))[0]
            if not stem.startswith(".."):
                files[self.folder / f"{stem}{suffix}"] = Path(file)
            elif self._is_of_relion_3():
                raise CryoIceError(name, "lies outside the project", "link its folder into the project")
        for link in self.folder.rglob(f"*{suffix}"):
            if link.is_symlink() and link not in files:
                link.unlink()
        for link, file in files.items():
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(os.path.relpath(file, link.parent))

    def _write_nodes(self, nodes: Sequence[Node]) -> None:
        table = pd.DataFrame({"rlnPipeLineNodeName": [str(node.path) for node in nodes]})
        if self._is_of_relion_3():
            table["rlnPipeLineNodeType"] = [node.number for node in nodes]
        else:
            table["rlnPipeLineNodeTypeLabel"] = [node.label for node in nodes]
        write_blocks(self.folder / OUTPUT_NODES, [("output_nodes", table)], VERSION_COMMENT)


def name_in_job(micrograph: str) -> str:
    """Return the name of a micrograph without the folder of its job; RELION 3 names coordinate files by it."""
    return os.path.normpath(_JOB_FOLDER.sub("", micrograph, count=1)).lstrip("/")
