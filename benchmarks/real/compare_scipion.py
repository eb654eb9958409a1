# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what Scipion handed on with what the command line wrote, coordinate by coordinate.

usage: python benchmarks/real/compare_scipion.py --scipion DEMO_FOLDER --cli SCREENED_FOLDER
DEMO_FOLDER is the folder of a ``python -m cryoice_scipion.demo`` run with the same micrographs, picks and model.
Exits with 1 when a coordinate is missing, is in the other set, or has another goodness.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Dict, Optional, Tuple

Key = Tuple[str, float, float]
Verdict = Tuple[bool, Optional[float]]
_TOLERANCE = 1e-5  # star files hold six decimals


def of_scipion(folder: Path) -> Dict[Key, Verdict]:
    """Return the verdict of each coordinate in the output sets of the demo's screening run."""
    os.environ.update(SCIPION_DOMAIN="pwem", SCIPION_HOME=str(folder / "scipion"), SCIPION_USER_DATA=str(folder))
    from pyworkflow.project import Manager

    from cryoice_scipion.demo import PROJECT

    project = Manager().loadProject(PROJECT)
    os.chdir(project.path)
    run = [protocol for protocol in project.getRuns() if protocol.getClassName() == "CryoIceProtScreen"][-1]
    verdicts: Dict[Key, Verdict] = {}
    for kept, output in ((True, run.outputCoordinates), (False, run.outputCoordinatesRejected)):
        for item in output.iterItems():
            key = (Path(item.getMicName()).stem, float(item.getX()), float(item.getY()))
            verdicts[key] = (kept, item._cryoiceGoodness.get())
    return verdicts


def of_command_line(folder: Path) -> Dict[Key, Verdict]:
    """Return the verdict of each coordinate in kept.star and rejected.star."""
    from cryoice_scipion.core.formats.coordinates import read_picks

    verdicts: Dict[Key, Verdict] = {}
    for kept, name in ((True, "kept"), (False, "rejected")):
        table = read_picks(folder / "coordinates" / f"{name}.star").table
        for row in table.itertuples():
            key = (Path(str(row.rlnMicrographName)).stem, float(row.rlnCoordinateX), float(row.rlnCoordinateY))
            goodness = float(row.cryoiceGoodness)
            verdicts[key] = (kept, None if goodness != goodness else goodness)
    return verdicts


def main() -> int:
    """Compare and say what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scipion", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--cli", type=lambda text: Path(text).resolve(), required=True)
    args = parser.parse_args()
    there, here = of_scipion(args.scipion), of_command_line(args.cli)
    lost = set(here) ^ set(there)
    pairs = [(here[key], there[key]) for key in set(here) & set(there)]  # decision, goodness or none
    differ = [pair for pair in pairs if pair[0][0] != pair[1][0] or (pair[0][1] is None) != (pair[1][1] is None)]
    gaps = [abs(ours - theirs) for (_, ours), (_, theirs) in pairs if ours is not None and theirs is not None]
    print(
        f"{len(here)} coordinates by the command line, {len(there)} by Scipion; {len(lost)} in one only, "
        f"{len(differ)} evaluated differently, goodness differs by at most {max(gaps, default=0.0):.2g}"
    )
    return int(bool(lost or differ or max(gaps, default=0.0) > _TOLERANCE))


if __name__ == "__main__":
    sys.exit(main())
