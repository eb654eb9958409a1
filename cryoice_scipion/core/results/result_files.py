# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the files of one micrograph into the folder of a run: map, masks, regions and thumbnail."""

from __future__ import annotations

from pathlib import Path

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.class_map import Mask
from cryoice_scipion.core.images.caption import Caption
from cryoice_scipion.core.images.grid import Frame, containing_cells
from cryoice_scipion.core.images.thumbnails import BadAreas, draw_thumbnail
from cryoice_scipion.core.images.writing import write_map, write_mask
from cryoice_scipion.core.records import MapResult
from cryoice_scipion.core.regions.coco import annotation_of, image_entry, write_coco
from cryoice_scipion.core.results.micrograph_result import MicrographResult
from cryoice_scipion.core.results.run_folder import RunFolder, writing


def write_result(folder: Path, result: MicrographResult, mapped: MapResult, config: ScreenConfig) -> None:
    """Write map, masks, regions and thumbnail, and note their paths in the record.

    Maps, masks and regions of an earlier scoring are kept, because they do not change within a run.

    Raises
    ------
    FolderError
        When the folder cannot be written.
    ImageError
        When the stored picture under the thumbnail is missing or damaged: the micrograph has to be read again.
    """
    paths, record, stem = RunFolder(folder), result.record, result.record.stem
    record.probability, record.mask = paths.probability(stem), paths.mask(stem)
    with writing(folder):
        if not _is_written(folder / record.probability):
            write_map(folder / record.probability, result.probability, result.sampling)
        if not _is_written(folder / record.mask):
            write_mask(folder / record.mask, result.mask, result.sampling)
        if config.full_size_masks:
            record.full_mask = paths.full_mask(stem)
            if not _is_written(folder / record.full_mask):
                write_mask(folder / record.full_mask, full_size(result.mask, mapped), mapped.pixel_size)
        if config.regions:
            _write_regions(paths, result, mapped, config)
        if config.thumbnails:
            _draw(folder, result, mapped)


def _write_regions(paths: RunFolder, result: MicrographResult, mapped: MapResult, config: ScreenConfig) -> None:
    """Write the regions with their outlines, and on request the number of the region of each cell."""
    record = result.record
    listed, numbered = (paths.path / name(record.stem) for name in (paths.regions, paths.region_map))
    if not _is_written(listed):
        listed.parent.mkdir(exist_ok=True)
        entries = (annotation_of(one, record.id, mapped.pixel_size) for one in result.regions)
        write_coco(listed, [image_entry(record.id, record.path, mapped.shape)], entries)
    if config.region_maps and result.region_map is not None and not _is_written(numbered):
        write_map(numbered, result.region_map, result.sampling)


def _draw(folder: Path, result: MicrographResult, mapped: MapResult) -> None:
    """Draw the thumbnail on the stored picture."""
    record = result.record
    record.thumbnail = RunFolder(folder).thumbnail(record.stem)
    marks = [(float(x), float(y), bool(kept)) for (x, y), kept in zip(result.coordinates, result.kept)]
    draw_thumbnail(
        folder / mapped.base_path,
        folder / record.thumbnail,
        BadAreas(result.classes, ~result.mask, result.sampling),
        Frame(mapped.shape, mapped.pixel_size),
        marks,
        Caption(Path(record.path).name, record.bad_area),
    )


def _is_written(path: Path) -> bool:
    """Return whether a file exists and is not empty."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def full_size(good: Mask, mapped: MapResult) -> Mask:
    """Return a mask with one value per pixel of the micrograph: that of the cell that contains the pixel's centre."""
    row, column = (
        containing_cells(number, mapped.pixel_size, mapped.sampling, cells)
        for number, cells in zip(mapped.shape, good.shape)
    )
    mask: Mask = good[row[:, None], column[None, :]]
    return mask
