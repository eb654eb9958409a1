# SPDX-License-Identifier: GPL-3.0-or-later
"""Constants that the core and the Scipion plugin share. Imports nothing."""

VERSION = "1.0.0"

DISTRIBUTION = "scipion-em-cryoice"  # its name in package indexes
BINARY = "cryoice"  # the name in Scipion's installer of the environment that runs the core

#: The site of the documentation, and the repository. Help links, package metadata and the README in the package index
#: use these two addresses; nothing else names them.
DOCS_URL = "https://scipion-em.github.io/scipion-em-cryoice/"
SOURCE_URL = "https://github.com/scipion-em/scipion-em-cryoice"

# Plugin variable: the interpreter that runs the core. When it is not set, the plugin finds one itself.
CRYOICE_PYTHON = "CRYOICE_PYTHON"
# Plugin variable and environment variable: the Dask scheduler whose workers screen micrographs.
CRYOICE_SCHEDULER = "CRYOICE_SCHEDULER"

GOOD = "good"
BAD = "bad"
BORDER = "border"
OUTSIDE = "outside"  # class of a coordinate that lies outside its micrograph
NO_MICROGRAPH = "no_micrograph"  # class of a coordinate whose micrograph is not screened

#: Codes of label images and masks of classes; the order is part of the file format.
CLASSES = (
    GOOD,
    "crystalline",
    "contamination",
    "thick",
    "support",
    "aggregate",
    BORDER,
    "vacuum",
    BAD,  # bad area of an unknown class: the label of BAD coordinates
)

UNCERTAIN = "uncertain"  # class of a region of bad area whose likeliest class is not likely enough

#: Grades of whole micrographs; ``core/grades`` decides them. The first two are good.
GREAT, DECENT, CONTAMINATED, CRYSTALLINE, THICK, FILM, EMPTY, UNSURE = (
    "great", "decent", "contaminated", "crystalline", "thick", "film", "empty", "unsure",
)  # fmt: skip
GRADES = (GREAT, DECENT, CONTAMINATED, CRYSTALLINE, THICK, FILM, EMPTY)
GOOD_GRADES = (GREAT, DECENT)
ALL_GRADES = (*GRADES, UNSURE)  # the order in which they are listed and sorted
#: The grade of a micrograph that is bad because of a class of bad area.
GRADE_OF_CLASS = {
    "crystalline": CRYSTALLINE,
    "contamination": CONTAMINATED,
    "aggregate": CONTAMINATED,
    "thick": THICK,
    "support": FILM,
    "vacuum": EMPTY,
}

ACCEPTED = "accepted"
DISCARDED = "discarded"
FAILED = "failed"

#: Reasons why a coordinate of the input is neither kept nor rejected; keys of ``left_out`` in summary.json.
UNMATCHED = "unmatched"  # its micrograph is not in the run
AMBIGUOUS = "ambiguous_name"  # its micrograph name fits several micrographs
UNREADABLE = "unreadable_row"  # a value of its row is missing or not a number
DISABLED = "disabled"  # the picker has disabled it
LOW_SCORE = "low_score"  # the picker gave it a score below the cut-off
WAITING = "waiting"  # its micrograph is not screened yet

THREAD_PREFIX = "cryoice-"  # of the names of threads that compute micrographs
KEEP_ALL = -1.0  # threshold that keeps all coordinates and only scores
DEFAULT_MODEL = "default"
#: BAD coordinates that a new network needs. With 50, fine-tuning the shipped model is clearly better
#: (benchmarks/results/few_labels.md).
ENOUGH_BAD = 200
#: Fewest micrographs of a training: clean ones (fewer do not tell what is usual), further ones for an autoencoder, and
#: graded ones.
FEWEST_CLEAN, FEWEST_TRAINED, FEWEST_GRADED = 5, 3, 8
FEWEST_LABELS = 5  # GOOD, and BAD, coordinates that a training needs, with the background

#: Flag of a micrograph whose header contradicts the given pixel size. It ends in "=" and the value of the header, Å/px.
PIXEL_SIZE_DIFFERS = "pixel_size_differs"
SAME_PIXEL_SIZE = 0.02  # pixel sizes that differ by a smaller share are the same: calibrations differ by about 1 %
#: Flag of a micrograph whose coordinates are in px of another size; "=" and that size in Å/px follow.
COORDINATES_SCALED = "coordinates_scaled"
#: Flag of a micrograph whose coordinate file contradicts the given size; "=" and the file's one in Å/px follow.
COORDINATES_DIFFER = "coordinates_pixel_size_differs"
FILE_CHANGED = "file_changed"  # flag of a micrograph whose file changed after it was screened; it was screened again

#: Numbers outside these ranges are mistakes of the file or of the user.
PIXEL_SIZES = (0.05, 200.0)  # Å/px
LARGEST_POSITION = 1e7  # px, of a coordinate or a box
