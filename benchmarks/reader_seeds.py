# SPDX-License-Identifier: GPL-3.0-or-later
"""Small valid coordinate files of each format, and random changes that damage them; for fuzz_readers.py."""

from __future__ import annotations

import io
import random
import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

_STAR = "data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
_OPTICS = "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnMicrographPixelSize #2\n1 1.5\n\n"
_POS = (
    "# XMIPP_STAR_1 *\ndata_header\nloop_\n _pickingMicrographState\n Manual\ndata_particles\nloop_\n _xcoor\n _ycoor\n"
)
_CBOX = "data_global\n\n_cbox_format_version 1.0\n\ndata_cbox\nloop_\n_CoordinateX #1\n_CoordinateY #2\n_Width #3\n"
#: Small valid files of each format, by suffix.
SEEDS: Dict[str, Tuple[str, ...]] = {
    ".star": (
        f"{_STAR}a/m1.mrc 10.5 20\nm2.mrc 30 40\n'b c.mrc' 50 60\n",
        f"{_OPTICS}data_particles\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnOpticsGroup #3\n"
        "1 2 1\n3 4 1\n5 6 1\n",
        "data_\n_rlnCoordinateX 7\n_rlnCoordinateY 8\n",
        "data_coordinate_files\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\nm1.mrc m1_autopick.star\n",
    ),
    ".box": ("10 20 180 180\n30 40 180 180 0.5\n\n50 60 180 180 0.25\n", "1\t2\t3\t4\t-3\n5\t6\t7\t8\t-3\n"),
    ".json": (
        '{"boxes": [[10, 20, "manual"], [30.5, 40, "auto", 0.7], [5, 6, "refbad"]], "ctf": [1, {"a": null}]}',
        '{"boxes": [[1, 2]], "quality": 5}',
    ),
    ".cbox": (
        f"{_CBOX}_Height #4\n_Confidence #5\n60 60 80 80 0.8\n140 140 80 80 <NA>\n",
        "10\t20\t80\t80\t0.5\t70\t70\n30\t40\t80\t80\t0.25\t70\t70\n",
    ),
    ".pos": (
        f"{_POS} 200 210\n 300 310\ndata_particles_auto\nloop_\n _xcoor\n _ycoor\n _enabled\n 400 410 1\n 500 510 -1\n",
        "data_m1\nloop_\n _xcoor\n _ycoor\n 1 2\ndata_m2\nloop_\n _xcoor\n _ycoor\n 3 4\n",
    ),
    ".csv": (
        "X-Coordinate,Y-Coordinate,Diameter\n10,20,30\n40,50,60\n", "micrograph;x;y;score\nm1;1;2;0.5\nm2;3;4;nan\n",
    ),
    ".txt": ("image_name\tx_coord\ty_coord\tscore\nm1\t1\t2\t-3\nm2\t4\t5\t6\n", "1 2\n3 4\n5 6\n"),
    ".csg": (
        "created: 2024-01-01 10:00:00\ngroup:\n  name: particles\n  type: particle\nresults:\n  location:\n"
        "    metafile: '>particles.cs'\n    num_items: 3\n    type: particle.location\nversion: v4.4.0\n",
    ),
}  # fmt: skip
_TOKENS = [
    "nan", "NaN", "inf", "-1e999", "1e999", "None", "<NA>", "", "-", ".", "?", "'", '"', ";", ",", "\t", "#", "_x",
    "data_", "data_x", "loop_", "stop_", "save_", "global_", "0x10", "1_000", "9" * 40, "1" * 5000, "\0", "\r",
    "\r\n", "\n", "\n\n", "\x1c", "\x85", "\u2028", "\ufeff", "ä", "µ", "\\", "\\u1234", "{", "}", "[", "]",
    "[" * 2000, ":", "true", "null", " ", "loop_\n_a\n", "_rlnCoordinateX", "data_optics\n", "\n;\n", "@", "3@s.mrcs",
    "../", "/", "*", "%s", "-1 -2",
]  # fmt: skip


def write_companions(folder: Path) -> None:
    """Write the files that some of the seeds name into a folder."""
    (folder / "m1_autopick.star").write_text("data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 2\n")
    (folder / "particles.cs").write_bytes(seeds_of(".cs")[0])


def seeds_of(suffix: str) -> Tuple[bytes, ...]:
    """Return small valid files of a format."""
    return _cryosparc_seeds() if suffix == ".cs" else tuple(text.encode() for text in SEEDS[suffix])


def _cryosparc_seeds() -> Tuple[bytes, ...]:
    found = []
    for text in ("S20", "U20", "O"):
        dtype: List[Any] = [
            ("uid", "<u8"), ("location/micrograph_path", text), ("location/micrograph_shape", "<u4", (2,)),
            ("location/center_x_frac", "<f4"), ("location/center_y_frac", "<f4"), ("pick_stats/ncc_score", "<f4"),
        ]  # fmt: skip
        array = np.zeros(3, dtype=dtype)
        array["location/micrograph_path"], array["location/micrograph_shape"] = (
            ["m1.mrc", "m2.mrc", "m2.mrc"],
            [100, 200],
        )
        array["location/center_x_frac"] = array["location/center_y_frac"] = [0.1, 0.2, 0.3]
        stream = io.BytesIO()
        np.save(stream, array)
        found.append(stream.getvalue())
    return tuple(found)


def damaged_seed(name: str, seeds: Tuple[bytes, ...], is_text: bool = True) -> bytes:
    """Return one of these files with one to five random changes; the same one each time for a name."""
    rng = random.Random(name)
    data = rng.choice(seeds)
    return changed(data, rng, seeds, is_text)


def changed(data: bytes, rng: random.Random, seeds: Tuple[bytes, ...], is_text: bool = True) -> bytes:
    """Return a file with one to five random changes."""
    changes = _CHANGES if is_text else _BINARY_CHANGES
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        data = rng.choice(changes)(data, rng, seeds)
    return data


def _flip(data: bytes, rng: random.Random, seeds: Tuple[bytes, ...]) -> bytes:
    at = rng.randrange(len(data) or 1)
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def _cut(data: bytes, rng: random.Random, seeds: Tuple[bytes, ...]) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.randint(1, 30) :] if rng.random() < 0.8 else data[:start]


def _double(data: bytes, rng: random.Random, seeds: Tuple[bytes, ...]) -> bytes:
    start = rng.randrange(len(data) + 1)
    part = data[start : start + rng.randint(1, 60)]
    return data[:start] + part * rng.randint(2, 4) + data[start + len(part) :]


def _insert(data: bytes, rng: random.Random, seeds: Tuple[bytes, ...]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(_TOKENS).encode("utf-8", "surrogatepass") + data[at:]


def _value(data: bytes, rng: random.Random, seeds: Tuple[bytes, ...]) -> bytes:
    """Replace one value."""
    places = [match.span() for match in re.finditer(rb"[^\s,;]+", data)]
    if not places:
        return data
    start, end = rng.choice(places)
    return data[:start] + rng.choice(_TOKENS).encode("utf-8", "surrogatepass") + data[end:]


def _lines(data: bytes, rng: random.Random, seeds: Tuple[bytes, ...]) -> bytes:
    """Swap, repeat or drop lines."""
    lines = data.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    if rng.random() < 0.3:
        del lines[one]
    else:
        lines[one], lines[other] = lines[other], lines[rng.choice((one, other))]
    return b"\n".join(lines)


def _splice(data: bytes, rng: random.Random, seeds: Tuple[bytes, ...]) -> bytes:
    other = rng.choice(seeds)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _integer(data: bytes, rng: random.Random, seeds: Tuple[bytes, ...]) -> bytes:
    """Replace an integer in a header."""
    value, size = rng.choice(_INTEGERS), rng.choice((1, 2, 4, 4, 8))
    at = rng.randrange(len(data) // size or 1) * size
    order = rng.choice(("little", "big"))
    return data[:at] + (value % 256**size).to_bytes(size, order) + data[at + size :]  # type: ignore[arg-type]


_INTEGERS = (0, 1, 2, 3, 4, 16, 255, 256, 32767, 32768, 65535, 1_000_000, 2**31 - 1, 2**31, 2**32 - 1, -1, -2, 2**63)
_CHANGES: List[Callable[[bytes, random.Random, Tuple[bytes, ...]], bytes]] = [
    _flip, _cut, _double, _insert, _insert, _value, _value, _lines, _splice,
]  # fmt: skip
_BINARY_CHANGES = [*_CHANGES, _integer, _integer, _integer]
