# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the files in the folder of a run, lock the folder, and report when it cannot be written."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import IO, Iterator, List, Optional

from cryoice_scipion.core.errors import CryoIceError, ImageError, SettingsError
from cryoice_scipion.core.images.archives import ARCHIVES
from cryoice_scipion.core.images.atomic import open_no_link

JOURNAL = "journal.jsonl"
MICROGRAPHS = "micrographs.csv"
MICROGRAPH_LISTS = "micrographs"  # folder with a list of micrographs for each status
SUMMARY = "summary.json"
REGIONS, COCO = "regions.csv", "regions.json"
KEPT = Path("coordinates", "kept.star")
REJECTED = Path("coordinates", "rejected.star")
#: Kept coordinates as RELION's AutoPick job writes them.
PER_MICROGRAPH, AUTOPICK = Path("coordinates", "per_micrograph"), Path("coordinates", "autopick.star")
PENDING = Path("coordinates", "pending.star")  # of micrographs that have no map yet
#: Rows of cryoSPARC's input files; "_accepted.cs" and so on follow.
PARTICLES, EXPOSURES = Path("coordinates", "particles"), Path("exposures")
_LOCK = ".lock"
#: Made when they are needed.
_FULL_SIZE, _OUTLIER, _REGIONS, _REGION_MAPS = "masks/full_size", "outlier", "regions", "regions/maps"
_FOLDERS = ("", ".maps", "probability", "masks", "thumbnails", "coordinates")
_REMEDY = "free disk space or set write permission, then continue (--resume; in Scipion and RELION: Continue)"


class FolderError(CryoIceError):
    """The run's folder cannot be written. Stops the run, since every further micrograph would fail as well."""


def refuse_screening(output: Path) -> None:
    """Refuse an output folder that holds a screening, whose files would be written over.

    Raises
    ------
    SettingsError
        When it holds one.
    """
    if (output / JOURNAL).exists():
        raise SettingsError("--output", "is the folder of a screening", "give another folder")


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn every error while writing into the folder, except a damaged image, into a :class:`FolderError`."""
    try:
        yield
    except (FolderError, ImageError):
        raise
    except OSError as error:
        reason = f"cannot be written ({error.strerror or error})"
        remedy = "choose another folder" if isinstance(error, (FileExistsError, NotADirectoryError)) else _REMEDY
        raise FolderError(error.filename or folder, reason, remedy) from error
    except CryoIceError as error:
        raise FolderError(error.what, error.reason, _REMEDY) from error


class RunFolder:
    """Give the paths of a run's files, relative to the folder, so that it can be moved."""

    def __init__(self, path: Path) -> None:
        """Take the folder without creating it."""
        self.path = Path(path)
        self._lock: Optional[IO[str]] = None

    def raw_map(self, stem: str) -> str:
        """Return the relative path of the stored class map."""
        return f".maps/{stem}.npz"

    def base(self, stem: str) -> str:
        """Return the relative path of the grey picture that thumbnails are drawn on."""
        return f".maps/{stem}.jpg"

    def probability(self, stem: str) -> str:
        """Return the relative path of the map of P(BAD)."""
        return f"probability/{stem}.mrc"

    def features(self, stem: str) -> str:
        """Return the relative path of the features that the outlier map is made from."""
        return f".maps/{stem}.npy"

    def outlier(self, stem: str) -> str:
        """Return the relative path of the outlier map."""
        return f"{_OUTLIER}/{stem}.mrc"

    def mask(self, stem: str) -> str:
        """Return the relative path of the coarse mask."""
        return f"masks/{stem}.mrc"

    def full_mask(self, stem: str) -> str:
        """Return the relative path of the mask at the micrograph's full size."""
        return f"{_FULL_SIZE}/{stem}.mrc"

    def regions(self, stem: str) -> str:
        """Return the relative path of the regions of bad area with their outlines."""
        return f"{_REGIONS}/{stem}.json"

    def region_map(self, stem: str) -> str:
        """Return the relative path of the map with the number of the region of each cell."""
        return f"{_REGION_MAPS}/{stem}.mrc"

    def thumbnail(self, stem: str) -> str:
        """Return the relative path of the thumbnail."""
        return f"thumbnails/{stem}.png"

    def archivable(self, stem: str) -> List[str]:
        """Return the relative paths of the files that may be archived: small ones, which this program reads again."""
        kinds = (self.raw_map, self.base, self.features, self.probability, self.outlier, self.mask, self.regions)
        return [kind(stem) for kind in kinds]

    def check_stem(self, stem: str, micrograph: str) -> None:
        """Make sure that the names of a micrograph's output files are not too long; some folders take only 143 bytes.

        Raises
        ------
        ImageError
            When they are: this fails the micrograph, not the run.
        """
        longest = f".{stem}_cryoice.star.{'0' * 12}.tmp"  # see ``atomic``
        try:
            os.lstat(self.path / longest)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                reason = f"the names of its output files are too long for the folder {self.path}"
                remedy = "give the micrograph a shorter name, or choose an output folder on another disk"
                raise ImageError(micrograph, reason, remedy) from None

    def make(self) -> None:
        """Create the folder and its subfolders.

        Raises
        ------
        FolderError
            When it cannot be created or written.
        """
        with writing(self.path):
            for name in _FOLDERS:
                (self.path / name).mkdir(parents=True, exist_ok=True)

    def lock(self) -> None:
        """Make sure that no other run works in this folder; the lock ends with the process.

        Raises
        ------
        FolderError
            When another run has it, or the folder cannot be written or locked.
        """
        with writing(self.path):
            number = open_no_link(self.path / _LOCK, os.O_RDWR)
        stream = os.fdopen(number, "r+", encoding="utf-8", errors="replace")  # stays open during the run
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            owner = stream.read(20).strip()
            stream.close()
            reason = f"another run (process {owner or 'unknown'}) is working in this folder"
            raise FolderError(self.path, reason, "wait until it ends, or stop it") from None
        except OSError as error:  # of some network disks, such as Lustre without its mount option "flock"
            stream.close()
            reason = f"the disk cannot lock files ({error.strerror})"
            raise FolderError(self.path, reason, "choose a folder on another disk") from None
        self._lock = stream
        try:
            with writing(self.path):
                os.ftruncate(number, 0)
                os.write(number, str(os.getpid()).encode())  # not buffered: closing must not write, if the disk is full
            self.check_lock()
        except FolderError:
            self.unlock()
            raise

    def check_lock(self) -> None:
        """Make sure that the folder is still the one that was locked, and not one of that name made since.

        Raises
        ------
        FolderError
            When it was removed, renamed or replaced.
        """
        with contextlib.suppress(OSError):
            if self._lock is not None and os.path.samestat(os.fstat(self._lock.fileno()), os.lstat(self.path / _LOCK)):
                return
        reason = "the folder was removed or replaced while this run worked in it"
        raise FolderError(self.path, reason, "start the run again; it does again what was lost")

    def sweep(self) -> None:
        """Remove the unfinished files of a killed run. The folder must be locked."""
        made = (_FULL_SIZE, _OUTLIER, _REGIONS, _REGION_MAPS, MICROGRAPH_LISTS, PER_MICROGRAPH, ARCHIVES)
        for name in (*_FOLDERS, *made):
            for leftover in (self.path / name).glob(".*.tmp"):
                with contextlib.suppress(OSError):
                    leftover.unlink()

    def remove_coordinates(self) -> bool:
        """Remove the coordinate files of an earlier session; return whether there were any.

        The folder must be locked.
        """
        files = [self.path / name for name in (KEPT, REJECTED, AUTOPICK) if (self.path / name).exists()]
        files += [
            path for ending in ("_cryoice.star", ".box") for path in (self.path / PER_MICROGRAPH).glob(f"*{ending}")
        ]
        files += [path for ending in (".cs", ".csg") for path in self.path.glob(f"{PARTICLES}_*{ending}")]
        with writing(self.path):
            for path in files:
                path.unlink()
        return bool(files)

    def unlock(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
