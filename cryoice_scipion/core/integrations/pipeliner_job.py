# SPDX-License-Identifier: GPL-3.0-or-later
"""The job ``cryoice.select.coordinates`` of CCP-EM Pipeliner and Doppio.

Pipeliner finds the class by the entry point ``ccpem_pipeliner.jobs``, and runs the command ``cryoice relion``. The
command may be installed in another environment: this module imports only Pipeliner and constants.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

from pipeliner.display_tools import create_results_display_object
from pipeliner.external_program_utils import ExternalProgram
from pipeliner.job_options import (
    EXT_STARFILE,
    BooleanJobOption,
    FileDescription,
    FloatJobOption,
    InputNodeJobOption,
    StringJobOption,
)
from pipeliner.nodes import NODE_LOGFILE, NODE_MICROGRAPHCOORDSGROUP, NODE_MICROGRAPHGROUPMETADATA
from pipeliner.pipeliner_job import PipelinerCommand, PipelinerJob, Ref

from cryoice_scipion.constants import DEFAULT_MODEL, DOCS_URL, VERSION

_THUMBNAILS = 4  # shown: those of the micrographs with the most bad area
_COLUMNS = {
    "stem": "Micrograph",
    "status": "Status",
    "bad_area": "Bad area",
    "grade": "Grade",
    "picks": "Coordinates",
    "kept": "Kept",
    "rejected": "Rejected",
    "reason": "Reason",
}
_METADATA = (
    *("micrographs", "accepted", "discarded", "failed", "input_picks", "kept", "rejected", "left_out"),
    *("grades", "mean_bad_area", "areas", "rejected_by_class", "particle_diameter", "session_unusual", "warnings"),
)
#: Options of the job that are options of the command under the same name, without those that take yes or no.
_VALUES = ("particle_diameter", "threshold", "margin", "max_bad_area", "model", "device")
_SWITCHES = ("flip_y", "full_size_masks")


class SelectCoordinates(PipelinerJob):  # type: ignore[misc]
    """Remove coordinates on ice, contamination and support film, and select the micrographs to keep."""

    PROCESS_NAME = "cryoice.select.coordinates"
    OUT_DIR = "Select"

    def __init__(self) -> None:
        """Describe the job and its options."""
        super().__init__()
        self.can_continue = True
        self.always_continue_in_schedule = True  # a continued job processes only what is new
        info = self.jobinfo
        info.display_name = "Remove coordinates on ice and contamination"
        info.short_desc = "Clean particle coordinates by ice, contamination and support film"
        info.long_desc = (
            "Finds crystalline ice, contamination, support film, aggregates and empty areas on micrographs with a"
            " neural network. Rejects the coordinates on them, and micrographs with too much bad area. A continued job"
            " processes only new micrographs."
        )
        info.version = VERSION
        info.job_author = "The developers of scipion-em-cryoice"
        info.documentation = f"{DOCS_URL}how-to/relion.html"
        info.programs = [ExternalProgram(command="cryoice", vers_com=["cryoice", "--version"])]
        info.references = [
            Ref(
                authors=["Sanchez-Garcia R", "Segura J", "Maluenda D", "Sorzano COS", "Carazo JM"],
                title="MicrographCleaner: A python package for cryo-EM micrograph cleaning using deep learning",
                journal="J. Struct. Biol.",
                year="2020",
                volume="210",
                issue="3",
                pages="107498",
                doi="10.1016/j.jsb.2020.107498",
            )
        ]
        self._add_inputs()
        self._add_settings()
        self.get_runtab_options(threads=True, addtl_args=True)

    def _add_inputs(self) -> None:
        self.joboptions["in_mics"] = InputNodeJobOption(
            label="Input micrographs:",
            node_type=NODE_MICROGRAPHGROUPMETADATA,
            node_kwds=["relion"],
            pattern=FileDescription("Micrographs STAR file", EXT_STARFILE),
            help_text="STAR file of motion-corrected micrographs, with or without CTF.",
            is_required=True,
        )
        self.joboptions["in_coords"] = InputNodeJobOption(
            label="Input coordinates:",
            node_type=NODE_MICROGRAPHCOORDSGROUP,
            node_kwds=["relion"],
            pattern=FileDescription("Coordinates STAR file", EXT_STARFILE),
            help_text="STAR file that lists the coordinate files. Without it, only micrographs are examined.",
        )

    def _add_settings(self) -> None:
        self.joboptions["particle_diameter"] = FloatJobOption(
            label="Particle diameter (Å):",
            hard_min=1,
            suggested_max=1000,
            help_text="Coordinates with bad area inside this diameter are rejected. Needed with coordinates.",
        )
        self.joboptions["threshold"] = FloatJobOption(
            label="Threshold of goodness:",
            hard_min=-1,
            hard_max=1,
            step_value=0.05,
            help_text="Keep coordinates with at least this goodness, 0 (bad) to 1 (clean). Empty: recommended by the"
            " model. -1: score all coordinates and keep them.",
        )
        self.joboptions["margin"] = FloatJobOption(
            label="Margin (Å):",
            default_value=0.0,
            hard_min=0,
            step_value=10,
            help_text="Also reject coordinates with bad area within this distance of the particle's edge.",
        )
        self.joboptions["max_bad_area"] = FloatJobOption(
            label="Largest bad area:",
            default_value=1.0,
            hard_min=0,
            hard_max=1,
            step_value=0.05,
            help_text="Discard micrographs whose bad area exceeds this fraction. 1: keep all.",
        )
        self.joboptions["flip_y"] = BooleanJobOption(
            label="Coordinates count rows from the other end?",
            default_value=False,
            help_text="Set this if kept coordinates are mirrored in the thumbnails.",
        )
        self.joboptions["full_size_masks"] = BooleanJobOption(
            label="Write masks with the size of the micrographs?",
            default_value=False,
            help_text="Without it, masks have one value per cell of the map.",
        )
        self.joboptions["model"] = StringJobOption(
            label="Model:",
            default_value=DEFAULT_MODEL,
            help_text="Name of a model, or the path of a model folder.",
            is_required=True,
        )
        self.joboptions["device"] = StringJobOption(
            label="Device:",
            default_value="auto",
            help_text="auto, cpu, cuda:0, or several GPUs: cuda:0,1",
            is_required=True,
        )

    def create_output_nodes(self) -> None:
        """Name the files that the job will make."""
        self.add_output_node("micrographs.star", NODE_MICROGRAPHGROUPMETADATA, ["relion"])
        if self.joboptions["in_coords"].get_string():
            self.add_output_node("autopick.star", NODE_MICROGRAPHCOORDSGROUP, ["relion", "autopick"])
        self.add_output_node("logfile.pdf", NODE_LOGFILE, ["relion"])

    def get_commands(self) -> List[Any]:
        """Return the command that does the work."""
        command = ["cryoice", "relion", "--o", self.output_dir]
        for name in ("in_mics", "in_coords", *_VALUES):
            option = self.joboptions[name]
            if not option.is_blank:
                command += [f"--{name}", option.get_string()]
        command += [f"--{name}" for name in _SWITCHES if self.joboptions[name].get_boolean()]
        command += ["--j", self.joboptions["nr_threads"].get_string(), *self.parse_additional_args()]
        return [PipelinerCommand(command)]

    def gather_metadata(self) -> Dict[str, Any]:
        """Return the sums of the screening."""
        summary = json.loads((Path(self.output_dir) / "summary.json").read_text(encoding="utf-8"))
        return {name: summary[name] for name in _METADATA}

    def create_results_display(self) -> Sequence[Any]:
        """Return histogram, thumbnails and table of the micrographs."""
        folder = Path(self.output_dir)
        source = folder / "micrographs.csv"
        try:
            with source.open(encoding="utf-8", newline="") as stream:
                rows = list(csv.DictReader(stream))
        except OSError as error:
            return [create_results_display_object("pending", reason=str(error))]
        examined = sorted((row for row in rows if row["bad_area"]), key=lambda row: -float(row["bad_area"]))
        return [_histogram(examined, source), *_thumbnails(examined, folder), _table(rows, source)]


def _histogram(rows: Sequence[Dict[str, str]], source: Path) -> Any:
    return create_results_display_object(
        "histogram",
        title="Bad area",
        data_to_bin=[float(row["bad_area"]) for row in rows],
        xlabel="Bad area as a fraction of the micrograph",
        ylabel="Micrographs",
        associated_data=[str(source)],
    )


def _thumbnails(rows: Sequence[Dict[str, str]], folder: Path) -> List[Any]:
    """Return the thumbnails that exist of the first rows."""
    pictures = [(row, folder / "thumbnails" / f"{row['stem']}.png") for row in rows]
    return [
        create_results_display_object(
            "image",
            title=row["stem"],
            image_path=str(picture),
            image_desc=f"Bad area {100 * float(row['bad_area']):.1f} %. Kept coordinates are circles, rejected ones"
            " are crosses.",
            associated_data=[row["path"]],
        )
        for row, picture in [(row, picture) for row, picture in pictures if picture.exists()][:_THUMBNAILS]
    ]


def _table(rows: Sequence[Dict[str, str]], source: Path) -> Any:
    return create_results_display_object(
        "table",
        title="Micrographs",
        headers=list(_COLUMNS.values()),
        table_data=[[row[name] for name in _COLUMNS] for row in rows],
        associated_data=[str(source)],
    )
