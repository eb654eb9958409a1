# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the images in a folder, or else in its subfolders, as microscopes and pipelines write them."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List

from cryoice_scipion.core.errors import CryoIceError, counted, plural
from cryoice_scipion.core.images.reading import SUFFIXES, is_image_name
from cryoice_scipion.core.images.stems import EXTENSIONS, stem_of
from cryoice_scipion.core.images.trees import Tree, files_in


def images_in(folder: Path, notes: List[str]) -> List[Path]:
    """Return the images in a folder, or else in its subfolders.

    Raises
    ------
    CryoIceError
        When there are none, or the folder cannot be read.
    """
    try:
        deep = files_in(folder, is_image_name, recursive=True)
        here = files_in(folder, is_image_name)
    except OSError as error:
        raise CryoIceError(folder, f"cannot be read ({error.strerror or error})", "check its permissions") from None
    nested = len(deep.files) - len(here.files)
    found = here if here.files else deep
    notes += [f"{folder}: {line}" for line in found.notes()]
    if not found.files:
        reason = f"there is no image in this folder or its subfolders ({' '.join(SUFFIXES)})"
        raise CryoIceError(folder, "; ".join([reason, *found.notes()]), "give another folder")
    if here.files and nested:
        images = counted(nested, "image in its subfolders is", "images in its subfolders are")
        notes.append(f"{folder}: {images} not used; give the subfolders to use them")
    return here.files if here.files else _one_of_each_name(folder, deep, notes)


def _one_of_each_name(folder: Path, tree: Tree, notes: List[str]) -> List[Path]:
    """Return one image for each name in a subfolder: microscopes also write a picture of each MRC file."""
    best: Dict[Path, Path] = {}
    for file in tree.files:
        key = file.parent / stem_of(file.name)
        best[key] = min(best.get(key, file), file, key=_preference)
    images, folders = counted(len(best), "image"), counted(tree.folders, "subfolder")
    notes.append(f"{folder}: {images} in {folders} {plural(len(best), 'is', 'are')} used")
    if len(best) < len(tree.files):
        others = counted(len(tree.files) - len(best), "image is", "images are")
        notes.append(f"{folder}: {others} left out, since the same subfolder has a better file of that name")
    return sorted(best.values())


def _preference(file: Path) -> int:
    """Return the rank of a file's format; MRC comes first."""
    return next(number for number, suffix in enumerate(EXTENSIONS) if file.name.lower().endswith(suffix))
