# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice screen``: find the bad areas of micrographs, and clean coordinates by them."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from cryoice_scipion.constants import DEFAULT_MODEL, FAILED
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.records import MicrographTask, Pick

NAME = "screen"
HELP = "find bad areas in micrographs, and clean coordinates by them"
EPILOG = "Exit status: 0 all done, 1 some micrographs failed (named; the rest is done), 2 unusable arguments."
_NAMES_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("micrographs", nargs="+", metavar="MICROGRAPHS", help="files, folders, or a .star file that names them")
    add("--output", required=True, type=Path, metavar="DIR", help="folder for everything that is written")
    add("--coordinates", metavar="PATH", help=".star, .box, .cbox, .pos, .csv or .txt, or a folder of one kind")
    add("--pixel-size", type=float, metavar="A", help="Å/px of the micrographs (default: from their headers)")
    add("--box-size", type=float, metavar="PX", help="the particles' diameter, where the coordinates do not say it")
    add("--model", default=DEFAULT_MODEL, metavar="NAME|DIR", help="the model (default: %(default)s)")
    add("--threshold", type=float, metavar="T", help=_THRESHOLD)
    add("--margin", type=float, default=0.0, metavar="A", help="Å added to each particle's radius (default: 0)")
    add("--contrast", choices=("auto", "dark", "bright"), default="auto", help="particles are (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda:0, or several as cuda:0,1 (default: %(default)s)")
    add(
        "--batch", type=int, default=1, metavar="N", help="micrographs between two updates of summary.json (default: 1)"
    )
    add("--reference", type=int, default=20, metavar="N", help=_REFERENCE)
    add("--max-bad-area", type=float, default=1.0, metavar="F", help="discard micrographs with more bad area than this")
    add("--full-size-masks", action="store_true", help="also write masks of the micrographs' own size")
    add("--resume", action="store_true", help="continue the run in the output folder; failed micrographs are retried")


_THRESHOLD = (
    "keep coordinates with a goodness of at least this, 0 to 1: higher removes more; -1 keeps all and only scores "
    "(default: what the model recommends)"
)
_REFERENCE = "micrographs that the data-set reference is taken over; 0: none (default: %(default)s)"


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.data.coordinates import PickTable, read_picks
    from cryoice_scipion.core.images.naming import expand_micrographs

    log = _logger()
    config = _config(args)
    tasks = expand_micrographs(args.micrographs)
    picks: Optional[PickTable] = None
    unmatched = 0
    if args.coordinates:
        picks = read_picks(Path(args.coordinates))
        for warning in picks.warnings:
            log.warning(warning)
        unmatched = _give_picks(tasks, picks, log)
        _check_size(tasks, config)
    return _screen(args, config, tasks, picks, unmatched, log)


def _config(args: argparse.Namespace) -> ScreenConfig:
    if args.batch < 1:
        raise SettingsError("--batch", f"{args.batch} is too small", "give 1 or more")
    return ScreenConfig.make(
        model=str(args.model),
        threshold=args.threshold,
        margin=args.margin,
        contrast=args.contrast,
        reference=args.reference,
        max_bad_area=args.max_bad_area,
        pixel_size=args.pixel_size,
        diameter=args.box_size,
        full_size_masks=args.full_size_masks,
    )


def _give_picks(tasks: List[MicrographTask], picks: Any, log: logging.Logger) -> int:
    """Hand the coordinates to their micrographs and return how many belong to none of them."""
    from cryoice_scipion.core.data.coordinates import DIAMETER, X, Y, picks_by_micrograph

    rows, unmatched = picks_by_micrograph(picks.table, tasks)
    x, y = picks.table[X].to_numpy(float), picks.table[Y].to_numpy(float)
    sizes = picks.table[DIAMETER].to_numpy(float) if DIAMETER in picks.table else None
    for task in tasks:
        for row in rows[task.id]:
            diameter = float(sizes[row]) if sizes is not None and sizes[row] > 0 else None
            task.picks.append(Pick(row, float(x[row]), float(y[row]), diameter))
    assigned = {row for task in tasks for row in rows[task.id]}
    picks.unmatched = [row for row in range(len(picks)) if row not in assigned]
    lost = len(picks.unmatched)
    log.info(
        "%d coordinates on %d of %d micrographs", len(picks) - lost, sum(bool(task.picks) for task in tasks), len(tasks)
    )
    if lost:  # they are rejected, unscored: nothing is lost
        names = ", ".join(list(unmatched)[:_NAMES_SHOWN]) + (" ..." if len(unmatched) > _NAMES_SHOWN else "")
        log.warning(
            "%d coordinates belong to %d names that are not among the micrographs, and are rejected: %s",
            lost,
            len(unmatched),
            names,
        )
    return lost


def _check_size(tasks: List[MicrographTask], config: ScreenConfig) -> None:
    """Ask for the particles' size before anything slow is done."""
    from cryoice_scipion.core.screening.judging import diameter_of

    for task in tasks:
        for pick in task.picks:
            diameter_of(pick, config, "coordinates")


def _screen(
    args: argparse.Namespace,
    config: ScreenConfig,
    tasks: List[MicrographTask],
    picks: Any,
    unmatched: int,
    log: logging.Logger,
) -> int:
    from tqdm import tqdm

    from cryoice_scipion.core.cli import OK, SOME_FAILED
    from cryoice_scipion.core.cli.devices import devices_of
    from cryoice_scipion.core.networks.bundle import CARD, resolve_model
    from cryoice_scipion.core.screening.executor import LocalExecutor
    from cryoice_scipion.core.screening.run import ScreeningRun

    model = resolve_model(config.model)
    executors = [LocalExecutor.load(model, device) for device in devices_of(args.device)]
    card = (model / CARD).read_text(encoding="utf-8") if (model / CARD).is_file() else ""
    bar = tqdm(total=len(tasks), unit="micrograph", dynamic_ncols=True, disable=None)
    run = ScreeningRun(
        args.output,
        config,
        executors,
        log,
        resume=args.resume,
        picks=picks,
        unmatched=unmatched,
        card=card,
        batch=args.batch,
        retry_failed=True,
        on_mapped=lambda task: bar.set_postfix_str(f"mapped {task.stem}"),
    )
    with bar, run:
        _keep_ids(tasks, run)
        done = len(tasks)
        try:
            for _ in run.process(tasks):
                bar.update()
            bar.update(bar.total - bar.n)  # those of an earlier session
        except (KeyboardInterrupt, CryoIceError):
            bar.close()
            done = _report(args.output, tasks, run)[0]
            print(
                f"stopped: {done} of {len(tasks)} micrographs are done and saved; go on with --resume", file=sys.stderr
            )
            raise
    return SOME_FAILED if _report(args.output, tasks, run)[1] else OK


def _keep_ids(tasks: List[MicrographTask], run: Any) -> None:
    """Give micrographs of an earlier session their id of then: on the command line an id is only a place."""
    known = run.ids
    taken = set(known.values())  # also those of micrographs that are not given this time
    free = max([*taken, len(tasks)]) + 1
    for task in tasks:
        earlier = known.get(task.stem)
        if earlier is not None:
            task.id = earlier
        elif task.id in taken:
            task.id, free = free, free + 1


def _report(folder: Path, tasks: List[MicrographTask], run: Any) -> Tuple[int, int]:
    """Print what came out, and return how many micrographs are done and how many of them failed."""
    stems = {task.stem for task in tasks}
    found = [judgement for judgement in run.recorded() if judgement.stem in stems]
    status: Dict[str, int] = {}
    for judgement in found:
        status[judgement.status] = status.get(judgement.status, 0) + 1
    picks, kept = sum(len(j.scores) for j in found), sum(j.kept for j in found)
    print(f"{len(found)} micrographs: " + ", ".join(f"{number} {name}" for name, number in sorted(status.items())))
    if picks:
        print(f"{picks} coordinates: {kept} kept, {picks - kept} rejected ({100 * (picks - kept) / picks:.1f} %)")
        print(f"kept coordinates: {folder / 'coordinates' / 'kept.star'}")
    for judgement in [judgement for judgement in found if judgement.status == FAILED][:20]:
        print(f"failed: {judgement.reason}")
    print(f"pictures: {folder / 'thumbnails'}\nreport: {folder / 'report.html'}")
    return len(found), status.get(FAILED, 0)


class _BarHandler(logging.Handler):
    """Writes log lines above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def _logger() -> logging.Logger:
    log = logging.getLogger("cryoice.screen")
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = _BarHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    log.handlers = [handler]
    return log
