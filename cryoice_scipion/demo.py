# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m cryoice_scipion.demo``: create a Scipion project and screen micrographs in it, without a display.

The demo simulates contaminated micrographs with picks, or uses your own, and screens them with the shipped model.
"""

from __future__ import annotations

import argparse
import glob
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from cryoice_scipion.constants import DEFAULT_MODEL
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.errors import CryoIceError, counted
from cryoice_scipion.core.images.reading import read_micrograph

PROJECT = "cryoice_demo"
HOSTS = "[localhost]\nPARALLEL_COMMAND = mpirun -np %_(JOB_NODES)d --map-by node %_(COMMAND)s\n"
Output = Tuple[Any, str]  # a protocol and the name of its output


class DemoError(Exception):
    """The demo cannot continue; the message is one line."""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the demo and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        _resolve(options)
        prepare(options.folder)
        if options.show:
            return _show()
        _check(options)
        _run(options)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001 (report any error in one line)
        print(f"demo: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cryoice_scipion.demo", description=__doc__)
    parser.add_argument(
        "--micrographs", nargs="+", metavar="PATH", help="your own micrographs: files, or a pattern in quotes"
    )
    parser.add_argument(
        "--picks", type=Path, metavar="PATH", help="their coordinates: a file, or a folder with one file per micrograph"
    )
    parser.add_argument("--pixel-size", type=float, metavar="A", help="pixel size of the micrographs in Å/px")
    parser.add_argument(
        "--box-size",
        type=int,
        default=0,
        metavar="PX",
        help="box size in px, if the coordinate files do not contain it",
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="a model folder (default: the shipped model)")
    parser.add_argument("--number", type=int, default=6, help="number of simulated micrographs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the simulation (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="output folder (default: %(default)s)")
    parser.add_argument("--show", action="store_true", help="open the project of an earlier demo in the Scipion window")
    return parser


def _check(options: argparse.Namespace) -> None:
    """Check the options before anything is computed."""
    try:
        load_config(resolve_model(options.model or DEFAULT_MODEL))
    except CryoIceError as error:
        raise DemoError(str(error)) from None
    own = [options.micrographs, options.picks, options.pixel_size]
    if not any(own):
        return
    if not all(own):
        raise DemoError("to use your own files, give all of --micrographs, --picks and --pixel-size")
    if not options.picks.exists():
        raise DemoError(f"{options.picks}: there is no such file or folder; check --picks")
    if options.pixel_size <= 0:
        raise DemoError(f"--pixel-size {options.pixel_size}: must be above 0; give it in Å/px")


def _resolve(options: argparse.Namespace) -> None:
    """Make paths absolute, because pyworkflow changes to the project folder."""
    for name in ("folder", "picks", "model"):
        path = getattr(options, name)
        setattr(options, name, path and path.resolve())
    options.micrographs = [os.path.abspath(name) for name in options.micrographs or []]


def prepare(folder: Path) -> None:
    """Create a separate Scipion configuration. Call it before pyworkflow is imported, which reads it on import."""
    os.environ.update(configuration(folder, sys.executable))


def configuration(folder: Path, python: str) -> Dict[str, str]:
    """Create a separate Scipion configuration; return the environment variables with which that Python uses it."""
    home = folder / "scipion"
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / "hosts.conf").write_text(HOSTS, encoding="utf-8")
    return {
        "SCIPION_DOMAIN": "pwem",
        "SCIPION_HOME": str(home),
        "SCIPION_USER_DATA": str(folder),
        "SCIPION_PYTHON": python,
        "SCIPION_NOTIFY": "False",
        "SCIPION_LOG": str(home / "scipion.log"),
    }


def _show() -> int:
    from pyworkflow.gui.project import ProjectWindow
    from pyworkflow.project import Manager

    path = Manager().getProjectPath(PROJECT)
    if not os.path.isdir(path):
        raise DemoError(f"{path}: there is no project; run the demo without --show first")
    ProjectWindow(path).show()
    return 0


def _run(options: argparse.Namespace) -> None:
    from pyworkflow.project import Manager

    manager = Manager()
    if manager.hasProject(PROJECT):
        manager.deleteProject(PROJECT)
    project = manager.createProject(PROJECT)
    os.chdir(project.path)  # pyworkflow expects this
    micrographs, picks = _import_own(project, options) if options.micrographs else _simulate(project, options)
    screening = _screen(project, picks, options.model)
    _report(project, screening, options.folder)


def _simulate(project: Any, options: argparse.Namespace) -> Tuple[Output, Output]:
    from cryoice_scipion.protocols import CryoIceProtSimulate

    print(f"Simulating {counted(options.number, 'micrograph')} with picks ...", flush=True)
    protocol = project.newProtocol(CryoIceProtSimulate, number=options.number, seed=options.seed)
    _launch(project, protocol)
    return (protocol, "outputMicrographs"), (protocol, "outputCoordinates")


def _import_own(project: Any, options: argparse.Namespace) -> Tuple[Output, Output]:
    from pwem.protocols import ProtImportMicrographs

    from cryoice_scipion.protocols import CryoIceProtImportCoordinates

    folder = _linked(options.micrographs, options.folder / "micrographs")
    print(f"Importing {counted(len(list(folder.iterdir())), 'micrograph')} and {options.picks} ...", flush=True)
    protocol = project.newProtocol(
        ProtImportMicrographs,
        filesPath=str(folder),
        filesPattern="*",
        samplingRateMode=0,
        samplingRate=options.pixel_size,
    )
    _launch(project, protocol)
    micrographs = (protocol, "outputMicrographs")
    path = str(options.picks)
    picks = project.newProtocol(CryoIceProtImportCoordinates, coordinatesPath=path, boxSize=options.box_size)
    _point(picks.inputMicrographs, micrographs)
    _launch(project, picks)
    return micrographs, (picks, "outputCoordinates")


def _linked(patterns: List[str], folder: Path) -> Path:
    """Link the user's micrographs into one folder, from which pwem imports them."""
    files = sorted({Path(name).resolve() for pattern in patterns for name in glob.glob(pattern)})
    files = [file for path in files for file in (sorted(path.iterdir()) if path.is_dir() else [path]) if file.is_file()]
    if not files:
        raise DemoError(f"{' '.join(patterns)}: there is no such file; check --micrographs")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in files:
        link = folder / file.name
        if link.is_symlink():
            raise DemoError(f"{file}: another micrograph has the same name; rename one of them")
        link.symlink_to(file)
    _check_first(sorted(folder.iterdir())[0])
    return folder


def _check_first(path: Path) -> None:
    """Refuse an unreadable first micrograph, because Scipion's import opens it and fails without naming it."""
    try:
        read_micrograph(path)
    except CryoIceError as error:
        raise DemoError(f"{error}, or omit this file: Scipion's import needs a readable first micrograph") from None


def _screen(project: Any, picks: Output, model: Optional[Path]) -> Any:
    from cryoice_scipion.protocols import CryoIceProtScreen
    from cryoice_scipion.protocols.screen_form import MODEL_DEFAULT, MODEL_FOLDER

    print(f"Screening the micrographs with {model or 'the shipped model'} ...", flush=True)
    protocol = project.newProtocol(CryoIceProtScreen, modelSource=MODEL_FOLDER if model else MODEL_DEFAULT)
    protocol.modelFolder.set(str(model) if model else None)
    _point(protocol.inputCoordinates, picks)
    _launch(project, protocol)
    return protocol


def _point(pointer: Any, output: Output) -> None:
    pointer.set(output[0])
    pointer.setExtended(output[1])


def _launch(project: Any, protocol: Any) -> None:
    """Run a protocol to its end, like the Execute button."""
    project.saveProtocol(protocol)
    errors = protocol.validate()
    if errors:
        raise DemoError(f"{protocol.getClassLabel()}: {' '.join(errors)}")
    project.launchProtocol(protocol, wait=True)
    if not protocol.isFinished():
        log = Path(project.path) / protocol.getStdoutLog()
        raise DemoError(f"{protocol.getClassLabel()}: {_plain(protocol.getErrorMessage())} (log: {log})")


def _plain(text: str) -> str:
    """Return a message in one line, without terminal colours."""
    for code in ("\x1b[31m", "\x1b[0m", "Protocol failed: "):
        text = text.replace(code, "")
    return " ".join(text.split()) or "did not finish"


def _report(project: Any, screening: Any, folder: Path) -> None:
    from cryoice_scipion.core.results.run_reader import read_records
    from cryoice_scipion.protocols.protocol_screen import FOLDER

    run = Path(project.path) / screening.getPath(*FOLDER)
    records = read_records(run)
    width = max(len(record.stem) for record in records)
    print(f"\n{'micrograph':{width}}  {'status':9}  bad area   kept  rejected")
    for record in records:
        area = "" if record.bad_area is None else f"{100 * record.bad_area:.1f} %"
        counts = f"{record.kept:5}  {len(record.scores) - record.kept:8}"
        print(f"{record.stem:{width}}  {record.status:9}  {area:>8}  {counts}  {record.reason}".rstrip())
    print()
    for line in screening.summary():
        print(line)
    print(f"\nThumbnails:    {run / 'thumbnails'}")
    print(f"Report:        {run / 'report.html'}")
    print(f"Project:       {project.path}")
    print(f"Open project:  {sys.executable} -m cryoice_scipion.demo --folder {folder} --show")


if __name__ == "__main__":
    sys.exit(main())
