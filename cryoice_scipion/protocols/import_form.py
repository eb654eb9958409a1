# SPDX-License-Identifier: GPL-3.0-or-later
"""Form of the import of picks: its parameters, labels and help texts."""

from __future__ import annotations

from typing import Any

from pyworkflow.protocol import params

from cryoice_scipion.core.formats.table import suffixes_in_words


class ImportForm:
    """Parameters of the import of picks."""

    def _defineParams(self, form: Any) -> None:
        form.addSection(label="Import")
        form.addParam(
            "inputMicrographs",
            params.PointerParam,
            pointerClass="SetOfMicrographs",
            important=True,
            label="Micrographs",
            help="The micrographs on which the particles were picked, or the same ones at another pixel size.",
        )
        form.addParam(
            "coordinatesPath",
            params.PathParam,
            important=True,
            label="Coordinates (file or folder)",
            help=f"A coordinate file ({suffixes_in_words()}), or a folder with coordinate files of one format. Files "
            "are matched with micrographs by name; common suffixes such as _DW, _aligned or _autopick are ignored.",
        )
        form.addParam(
            "boxSize",
            params.IntParam,
            default=0,
            label="Box size (px; 0: from file)",
            help="Box size of the output coordinates, in pixels of the micrographs. *0* (default): the box size in the "
            "coordinate files. It is required for .star, .pos and .txt files, which usually do not contain it.",
        )
        self._defineTransformParams(form)
        self._defineStreamingParams(form)

    @staticmethod
    def _defineTransformParams(form: Any) -> None:
        form.addParam(
            "minScore",
            params.FloatParam,
            default=None,
            allowsNull=True,
            label="Minimum score (empty: all)",
            help="Coordinates with a lower score of the picker are left out; the summary counts them. Pickers use "
            "different scales: crYOLO writes 0 to 1, Topaz log-odds that may be negative, RELION a figure of merit. "
            "Coordinates without a score are imported, because most of them were picked by hand. *Empty* (default): "
            "import all coordinates. In both cases, the attribute _pickScore of the output holds the score.",
        )
        form.addParam(
            "coordinatesPixelSize",
            params.FloatParam,
            default=0.0,
            label="Pixel size of the coordinates (Å/px; 0: from file)",
            help="The pixel size of the micrographs on which the particles were picked, for example binned ones. "
            "Positions and box sizes are scaled to the micrographs above. *0* (default): the pixel size in the "
            "coordinate files; if they have none, that of the micrographs. Pixel sizes that differ by less than 2 % "
            "count as equal.",
        )
        form.addParam(
            "flipY",
            params.BooleanParam,
            default=False,
            expertLevel=params.LEVEL_ADVANCED,
            label="Flip y?",
            help="*Yes*: the coordinate files count rows from the other end of the image; y becomes height - 1 - y. "
            "The height is read from each micrograph. Choose Yes if the picks appear upside down on the micrographs. "
            "*No* (default): row 0 is the first row of the MRC file.",
        )

    @staticmethod
    def _defineStreamingParams(form: Any) -> None:
        form.addSection(label="Streaming")
        form.addParam(
            "dataStreaming",
            params.BooleanParam,
            default=False,
            label="Process data in streaming?",
            help="*Yes*: import coordinates while another program writes them. The file or folder does not have to "
            "exist yet. *No* (default): import the coordinates that exist now. If the input micrographs are still "
            "being acquired, the protocol always works in streaming.",
        )
        form.addParam(
            "timeout",
            params.IntParam,
            default=60,
            condition="dataStreaming",
            label="Timeout (s)",
            help="The import ends when the set of micrographs is closed and no coordinate file has been added or "
            "changed for this time (s). It never ends while the set of micrographs is open. Default: 60 s. Increase "
            "it if the picking program pauses for longer.",
        )
        form.addParam(
            "streamingSleepOnWait",
            params.IntParam,
            default=5,
            condition="dataStreaming",
            expertLevel=params.LEVEL_ADVANCED,
            label="Sleep when waiting (s)",
            help="How long to wait (s) before checking again for new files and micrographs. Default: 5 s.",
        )
