# SPDX-License-Identifier: GPL-3.0-or-later
"""Write regions in the COCO format for object detection (Lin et al. 2014, doi 10.1007/978-3-319-10602-1_48)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence, Tuple

from cryoice_scipion.constants import CLASSES, GOOD, UNCERTAIN
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.records import Region

NAMES = (*(name for name in CLASSES if name != GOOD), UNCERTAIN)


def image_entry(key: int, path: str, shape: Sequence[int]) -> Dict[str, Any]:
    """Return the entry of a micrograph (rows and columns in px)."""
    return {"id": key, "file_name": path, "width": shape[1], "height": shape[0]}


def annotation_of(region: Region, image: int, pixel_size: float) -> Dict[str, Any]:
    """Return the entry of a region of bad area."""
    box, area = (region.x, region.y, region.width, region.height), region.area * 100 / pixel_size**2
    ids = (region.id, image, 1 + NAMES.index(region.cls))
    return annotation(ids, box, area, region.outline, region.confidence)


def annotation(
    ids: Tuple[int, int, int], box: Sequence[float], area: float, outline: Sequence[Sequence[float]], score: float
) -> Dict[str, Any]:
    """Return the entry of a part of a micrograph.

    Parameters
    ----------
    ids : (int, int, int)
        The numbers of the part, of its micrograph and of its category.
    box : (float, float, float, float)
        Left and top edge, width and height in px.
    area : float
        px².
    """
    return {
        "id": ids[0],
        "image_id": ids[1],
        "category_id": ids[2],
        "bbox": list(box),
        "area": round(area, 1),
        "segmentation": [[value for point in outline for value in point]],
        "iscrowd": 0,
        "score": score,
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
