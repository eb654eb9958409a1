# SPDX-License-Identifier: GPL-3.0-or-later
"""Write Scipion sets: append items without opening images, remove items, and prepare empty sets."""

from __future__ import annotations

from typing import Any, Iterable, Optional, Sequence

from pwem.objects import SetOfImages

from cryoice_scipion.core.errors import CryoIceError

Shape = Sequence[int]  # rows, columns, px

_UNKNOWN = (0, 0, 0)


def append_unread(output: Any, item: Any, shape: Optional[Shape] = None) -> None:
    """Append an item to a set without opening the item's image file.

    pwem reads the image of the first item to get the dimensions of the set, and fails if that file is damaged. This
    function keeps the dimensions of the set; see :func:`give_dimensions`.
    """
    if not isinstance(output, SetOfImages):
        output.append(item)
        return
    give_dimensions(output, shape)
    output._setFirstDim = _keep_dimensions  # overrides the method of this object only
    try:
        output.append(item)
    finally:
        del output._setFirstDim


def give_dimensions(output: Any, shape: Optional[Shape]) -> None:
    """Set the dimensions of a set of images unless it has them already; 0 if the shape is unknown.

    Parameters
    ----------
    shape : sequence of int, optional
        Rows and columns of the images, px.
    """
    if isinstance(output, SetOfImages) and not any(output.getDim() or ()):
        output.setDim((int(shape[1]), int(shape[0]), 1) if shape else _UNKNOWN)


def _keep_dimensions(_item: Any) -> None:
    """Do nothing, in place of pwem's method that opens the image of the first item."""


def remove_ids(output: Any, keys: Iterable[int]) -> None:
    """Remove items from a set; the change takes effect when the set is written."""
    mapper = output._getMapper()
    for key in keys:
        mapper.db.deleteObject(key)
    output._size.set(mapper.count())


def enable_append(output: Any, item: Any) -> bool:
    """Prepare a set for appending items like ``item``, even if it is empty, which pyworkflow does not support.

    Returns
    -------
    bool
        False if the set is empty and has other columns; it must then be created again.

    Raises
    ------
    CryoIceError
        If the set has items and other columns.
    """
    mapper, columns = output._getMapper(), item.getObjDict(includeClass=True)
    known = [] if mapper.doCreateTables else [row["label_property"] for row in mapper.db.getClassRows()]
    if known and known != list(columns):
        if mapper.count():
            reason = "the attributes of its items differ from those of new items"
            raise CryoIceError(output.getFileName(), reason, "choose Restart")
        output.close()
        return False
    mapper.db.setupCommands(columns)
    output._idCount = output._idCount or 0  # None if the set is empty
    return True


def give_columns(output: Any, template: Any) -> None:
    """Create the columns of an empty set from an example item, so that the set can be read.

    pyworkflow creates the tables of a set with its first item, and most readers fail on a set without tables. A
    missing output is no alternative, because protocols that are scheduled on it would wait forever.
    """
    if output.getSize() > 0:
        return
    item = template.clone()
    item.setObjId(1)
    append_unread(output, item)
    output._getMapper().delete(item)
    output._size.set(0)
    output._idCount = 0
