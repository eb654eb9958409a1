# SPDX-License-Identifier: GPL-3.0-or-later
"""Write regions in the COCO format for object detection (Lin et al. 2014, doi 10.1007/978-3-319-10602-1_48)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence

from cryoice_scipion.constants import CLASSES, GOOD, UNCERTAIN
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.records import Region

NAMES = (*(name for name in CLASSES if name != GOOD), UNCERTAIN)


def image_entry(key: int, path: str, shape: Sequence[int]) -> Dict[str, Any]:
    """Return the entry of a micrograph (rows and columns in px)."""
    return {"id": key, "file_name": path, "width": shape[1], "height": shape[0]}


def annotation(region: Region, image: int, pixel_size: float, number: int) -> Dict[str, Any]:
    """Return the entry of a region; areas of this format are in px²."""
    return {
        "id": number,
        "image_id": image,
        "category_id": 1 + NAMES.index(region.cls),
        "bbox": [region.x, region.y, region.width, region.height],
        "area": round(region.area * 100 / pixel_size**2, 1),
        "segmentation": [[value for point in region.outline for value in point]],
        "iscrowd": 0,
        "score": region.confidence,
    }


def write_coco(
    path: Path,
    images: Iterable[Dict[str, Any]],
    annotations: Iterable[Dict[str, Any]],
    names: Sequence[str] = NAMES,
) -> None:
    """Write a COCO file atomically, one annotation at a time; ``images`` is read after ``annotations``.

    Parameters
    ----------
    names : sequence of str
        The categories; their numbers begin at 1.
    """
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.write('{"annotations": [')
        for number, one in enumerate(annotations):
            stream.write((",\n" if number else "\n") + json.dumps(one))
        head: List[Dict[str, Any]] = list(images)
        stream.write(f'\n],\n"images": {json.dumps(head)},\n"categories": {json.dumps(categories)}}}\n')
