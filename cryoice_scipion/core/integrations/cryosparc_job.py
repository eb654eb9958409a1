# SPDX-License-Identifier: GPL-3.0-or-later
"""Screen the outputs of cryoSPARC jobs as an External Job, through the package cryosparc-tools."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path, PurePath
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np

from cryoice_scipion.constants import VERSION
from cryoice_scipion.core.errors import CryoIceError, SettingsError, counted, one_line
from cryoice_scipion.core.formats.cryosparc_dataset import UID, read_dataset
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.balance import balance_line
from cryoice_scipion.core.results.run_folder import EXPOSURES, PARTICLES
from cryoice_scipion.core.results.run_reader import read_records, read_summary

#: Screens the micrographs of a .cs file, with or without the coordinates of another one; returns the exit status.
Screen = Callable[[Path, Optional[Path]], int]
_PLOTS = 3  # thumbnails in the log of the job
_STATES = ("accepted", "rejected")


class _Kind(NamedTuple):
    """One kind of items that a job has as input, and again as output."""

    type: str  # of cryoSPARC
    slot: str  # the columns that are needed, and saved again
    outputs: Sequence[str]  # usual names of such an output
    files: Path  # that the screening writes; "_accepted.cs" follows

    @property
    def name(self) -> str:
        """Return the name of the input, and of the files without folder."""
        return self.files.name


_EXPOSURES = _Kind("exposure", "micrograph_blob", ("exposures", "micrographs", "imported_micrographs",
                   "exposures_accepted", "micrographs_accepted"), EXPOSURES)  # fmt: skip
_PARTICLES = _Kind("particle", "location", ("particles", "picked_particles", "particles_selected",
                   "particles_accepted"), PARTICLES)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class JobRequest:
    """The input of an External Job, and where it is created."""

    project: str  # P3
    workspace: str  # W1
    exposures: str  # J10 or J10:OUTPUT
    particles: Optional[str]
    output: Path


class _Input(NamedTuple):
    kind: _Kind
    job: str
    output: str
    data: Any  # cryosparc-tools' Dataset


class _InterruptedError(Exception):
    """Carries an interrupt through cryosparc-tools, which would mark an interrupted job as completed."""


def connect(**settings: Any) -> Any:
    """Return a session with a cryoSPARC instance; settings that are None are left to cryosparc-tools.

    Raises
    ------
    SettingsError
        When cryosparc-tools is not installed, or the instance does not answer.
    """
    try:
        from cryosparc.tools import CryoSPARC
    except ImportError:
        remedy = "install the version of the server, for example: pip install 'cryosparc-tools~=5.0.0'"
        raise SettingsError("cryosparc-tools", "is not installed", remedy) from None
    try:
        return CryoSPARC(**{name: value for name, value in settings.items() if value is not None})
    except Exception as error:  # the library's own errors are of many kinds
        remedy = "check --url, or --host and --base-port, then --email and the login"
        raise SettingsError("cryoSPARC", one_line(error), remedy) from None


def run_job(client: Any, request: JobRequest, screen: Screen) -> int:
    """Create an External Job, screen its input and save the accepted and rejected items as its outputs.

    Parameters
    ----------
    client : cryosparc.tools.CryoSPARC
        A session; see :func:`connect`.
    request : JobRequest
        The input.
    screen : callable
        Does the screening into ``request.output``.

    Returns
    -------
    int
        The exit status of the screening.

    Raises
    ------
    SettingsError
        When an input is not there, or the project folder cannot be seen from this machine.
    CryoIceError
        When the server refuses a step, or nothing could be screened. The job is marked as failed.
    """
    with _server():
        project = client.find_project(request.project)
        folder = Path(str(project.dir if isinstance(project.dir, PurePath) else project.dir()))  # cryosparc-tools 4
    if not folder.is_dir():
        raise SettingsError(folder, "the project folder is not on this machine", "run the command where it is mounted")
    inputs = [_load(project, _EXPOSURES, request.exposures)]
    inputs += [_load(project, _PARTICLES, request.particles)] if request.particles else []
    files = _write_inputs(request.output / "input", inputs, folder)
    with _server():
        job = project.create_external_job(request.workspace, title="cryoice: screen micrographs")
        for given in inputs:
            _define(job, given)
    print(f"job: {request.project} {job.uid}")
    try:
        with job.run():
            return _run(job, inputs, request.output, lambda: screen(files[0], files[1] if files[1:] else None))
    except _InterruptedError as stopped:
        raise stopped.__cause__ or KeyboardInterrupt from None


def _run(job: Any, inputs: Sequence[_Input], output: Path, screen: Callable[[], int]) -> int:
    try:
        with _server():
            items = " and ".join(f"{len(given.data)} {given.kind.name}" for given in inputs)
            job.log(f"cryoice {VERSION} screens {items}. All files are in {output}")
        status = screen()
        with _server():
            for given in inputs:
                _save(job, given, output)
            _report(job, output)
        return status
    except CryoIceError as error:
        with contextlib.suppress(Exception):
            job.log(str(error), level="error")
        raise
    except KeyboardInterrupt as stop:
        raise _InterruptedError("interrupted") from stop


def _load(project: Any, kind: _Kind, source: str) -> _Input:
    """Load the output of a job; without a name, the first output with a usual name is taken.

    Raises
    ------
    SettingsError
        When there is no such output, or it lacks the columns.
    """
    uid, _, named = source.partition(":")
    names = [named] if named else list(kind.outputs)
    problem = ""
    for name in names:
        try:
            data = project.find_job(uid).load_output(name)
        except Exception as error:  # an unknown name; the library's errors differ between versions
            problem = one_line(error)
            continue
        if any(field.startswith(f"{kind.slot}/") for field in data.fields()):
            return _Input(kind, uid, name, data)
        problem = f"output {name} has no {kind.slot}"
    reason = f"has no output {' or '.join(names)} with {kind.slot} ({problem})"
    raise SettingsError(source, reason, f"give the name: {uid}:OUTPUT")


def _write_inputs(folder: Path, inputs: Sequence[_Input], project: Path) -> List[Path]:
    """Write the inputs as .cs files; paths of micrographs, which start at the project folder, become absolute."""
    files = []
    for given in inputs:
        data = given.data.copy()
        if given.kind is _EXPOSURES:
            names = [str(project / str(name).lstrip(">")) for name in data["micrograph_blob/path"]]
            data["micrograph_blob/path"] = np.array(names, dtype=object)
        path = folder / f"{given.kind.name}.cs"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            data.save(str(path))
        except OSError as error:
            raise SettingsError(
                folder, f"cannot be written ({error.strerror or error})", "give another folder"
            ) from None
        files.append(path)
    return files


def _define(job: Any, given: _Input) -> None:
    """Define and connect an input, and the two outputs that it is split into."""
    kind = given.kind
    job.add_input(kind.type, kind.name, min=1, slots=[kind.slot], title=kind.name.capitalize())
    job.connect(kind.name, given.job, given.output)
    for state in _STATES:
        title = f"{kind.name.capitalize()} {state}"
        job.add_output(kind.type, f"{kind.name}_{state}", slots=[kind.slot], passthrough=kind.name, title=title)


def _save(job: Any, given: _Input, output: Path) -> None:
    """Save the items that the screening has accepted, and those that it has rejected."""
    files = {state: given.kind.files.with_name(f"{given.kind.name}_{state}.cs") for state in _STATES}
    uids = np.asarray(given.data[UID])
    for state, file in files.items():
        chosen = np.isin(uids, read_dataset(output / file)[UID])
        data = given.data.mask(chosen).filter_prefixes([given.kind.slot])
        job.save_output(f"{given.kind.name}_{state}", data)


def _report(job: Any, output: Path) -> None:
    """Write the counts and some thumbnails to the log of the job."""
    summary = read_summary(output)
    if summary is not None:
        accepted = counted(summary.accepted, "micrograph")
        job.log(f"{accepted} accepted, {summary.discarded} discarded, {summary.failed} failed")
        if summary.input_picks:
            job.log(balance_line(summary))
        for warning in summary.warnings:
            job.log(warning, level="warning")
    for record in _worst(read_records(output), output):
        text = f"{record.stem}: {100 * (record.bad_area or 0):.0f} % bad area, {counted(record.kept, 'pick')} kept"
        job.log_plot(str(output / record.thumbnail), text)


def _worst(records: Sequence[MicrographRecord], output: Path) -> List[MicrographRecord]:
    """Return the records with the most bad area that have a thumbnail."""
    shown: Dict[str, MicrographRecord] = {record.stem: record for record in records if record.thumbnail}
    there = [record for record in shown.values() if (output / record.thumbnail).is_file()]
    return sorted(there, key=lambda record: -(record.bad_area or 0))[:_PLOTS]


@contextlib.contextmanager
def _server() -> Iterator[None]:
    """Turn every error of cryosparc-tools and of the server into one line."""
    try:
        yield
    except CryoIceError:
        raise
    except Exception as error:  # the library's own errors are of many kinds
        raise CryoIceError("cryoSPARC", one_line(error), "check the project, workspace and permissions") from None
