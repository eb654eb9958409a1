# SPDX-License-Identifier: GPL-3.0-or-later
"""Small JPEG pictures of micrographs for Scipion's viewers and facility monitors, which cannot read PNG everywhere."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.run_folder import RunFolder

SIDE = 512  # px
_QUALITY = 85


def picture_of(record: MicrographRecord, folder: Path) -> str:
    """Return the path of a picture of a screened micrograph; it stays when its thumbnail is removed.

    A copy of the thumbnail is written beside it. Without a thumbnail, the grey picture under it is taken.

    Parameters
    ----------
    folder : pathlib.Path
        The run folder.

    Returns
    -------
    str
        Empty if there is no picture.
    """
    thumbnail, picture = folder / record.thumbnail, folder / "thumbnails" / f"{record.stem}.jpg"
    if record.thumbnail and thumbnail.is_file():
        with Image.open(thumbnail) as image, replacing(picture) as temporary:
            small = image.convert("RGB")
            small.thumbnail((SIDE, SIDE))
            small.save(temporary, "JPEG", quality=_QUALITY)
    known = (path for path in (picture, folder / RunFolder(folder).base(record.stem)) if path.is_file())
    return str(next(known, ""))
