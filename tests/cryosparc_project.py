# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder in the layout of a cryoSPARC project: exposures of job J10, particles of job J42."""

import numpy as np
import numpy.lib.recfunctions
from noise import PIXEL_SIZE, SHAPE, write_noise

NAMES = ("a", "b", "c")  # micrographs
PARTICLES = 40  # on each of them
HEAD = "created: 2026-01-01 00:00:00\ngroup:\n  name: {0}\n  type: {1}\nresults:\n"
SLOT = "  {0}:\n    metafile: '>{1}'\n    num_items: {2}\n    type: {3}.{0}\n"


def micrograph(name):
    """Return the path of a micrograph in the project."""
    return f"J10/motioncorrected/{ord(name):021d}_{name}_patch_aligned_doseweighted.mrc"


def exposures(names=NAMES):
    """Return exposures as a numpy table."""
    table = np.zeros(len(names), dtype=[("uid", "<u8"), ("micrograph_blob/path", "S90"), ("micrograph_blob/idx", "<u4"),
                                        ("micrograph_blob/shape", "<u4", (2,)),
                                        ("micrograph_blob/psize_A", "<f4")])  # fmt: skip
    table["uid"] = [2**63 + ord(name) for name in names]
    table["micrograph_blob/path"] = [micrograph(name).encode() for name in names]
    table["micrograph_blob/shape"], table["micrograph_blob/psize_A"] = SHAPE, PIXEL_SIZE
    return table


def particles(names=NAMES, seed=0):
    """Return particles as a numpy table, in an order that mixes the micrographs."""
    rng = np.random.default_rng(seed)
    table = np.zeros(PARTICLES * len(names), dtype=[
        ("uid", "<u8"), ("location/micrograph_uid", "<u8"), ("location/exp_group_id", "<u4"),
        ("location/micrograph_path", "S90"), ("location/micrograph_shape", "<u4", (2,)),
        ("location/center_x_frac", "<f4"), ("location/center_y_frac", "<f4"), ("location/micrograph_psize_A", "<f4"),
        ("pick_stats/ncc_score", "<f4"), ("pick_stats/template_idx", "<u4")])  # fmt: skip
    table["uid"] = rng.permutation(len(table)).astype(np.uint64) * np.uint64(2**56) + np.uint64(seed)
    table["location/micrograph_path"] = [micrograph(names[row % len(names)]).encode() for row in range(len(table))]
    table["location/micrograph_shape"], table["location/micrograph_psize_A"] = SHAPE, PIXEL_SIZE
    for axis in "xy":
        table[f"location/center_{axis}_frac"] = rng.uniform(0, 1, len(table))
    table["pick_stats/ncc_score"] = rng.uniform(0, 1, len(table))
    return table


def split(table, prefix):
    """Return a table in two, each with the uid: all but the columns of a prefix, and these in another order of rows."""
    names = [name for name in table.dtype.names if name.startswith(prefix)]
    rest = [name for name in table.dtype.names if name not in names]
    return pick(table, rest), pick(table, ["uid", *names])[::-1]


def pick(table, names):
    """Return some columns of a table, without gaps."""
    return np.lib.recfunctions.repack_fields(table[names])


def write_cs(path, table, compressed=False):
    """Write a table in the numpy format, or in the compressed format of cryosparc-tools."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if compressed:
        from cryosparc.dataset import CSDAT_FORMAT, Dataset

        Dataset(np.array(table)).save(str(path), format=CSDAT_FORMAT)
    else:
        with open(path, "wb") as stream:
            np.save(stream, table, allow_pickle=False)
    return path


def write_csg(path, kind, number, **files):
    """Write a result group; ``files`` are the .cs files by slot."""
    slots = (SLOT.format(slot, file, number, kind) for slot, file in files.items())
    path.write_text(HEAD.format(path.stem, kind) + "".join(slots) + "version: v4.4.1\n")
    return path


def write_project(folder, names=NAMES):
    """Write micrographs, exposures.cs and picked_particles.cs; return the folder."""
    for name in names:
        write_noise(folder / micrograph(name), ord(name))
    write_cs(folder / "J10" / "exposures.cs", exposures(names))
    write_cs(folder / "J42" / "picked_particles.cs", particles(names))
    return folder
