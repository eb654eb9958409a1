# SPDX-License-Identifier: GPL-3.0-or-later
"""Execute a notebook, and write it with its outputs as a page of Markdown."""

from __future__ import annotations

import base64
import re
import tempfile
from pathlib import Path
from typing import Any, List

TIMEOUT = 300  # s for one cell
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def execute(path: Path) -> Any:
    """Run all cells in an empty folder, and return the notebook with its outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        When a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient
    from traitlets.config import Config

    notebook = nbformat.read(str(path), as_version=4)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as sockets:
        manager = {"transport": "ipc", "ip": f"{sockets}/kernel"}  # ports could be read by others
        where = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=TIMEOUT, resources=where, config=Config({"KernelManager": manager})).execute()
    return notebook


def write_page(notebook: Any, page: Path, download: str) -> None:
    """Write a notebook as Markdown, with its pictures beside it.

    Parameters
    ----------
    download : str
        Name of the notebook file beside the page.
    """
    parts: List[str] = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            parts += [text for output in cell.outputs for text in _output(output, page, f"{page.stem}_{number}")]
        if number == 0:
            parts.append(f"[Download this notebook]({download})")
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _output(output: Any, page: Path, name: str) -> List[str]:
    if output.output_type == "stream":
        return [] if output.name == "stderr" else [_text(output.text)]
    data = output.get("data", {})
    if "image/png" in data:
        picture = page.with_name(f"{name}.png")
        picture.write_bytes(base64.b64decode(data["image/png"]))
        return [f"![Output of the cell above]({picture.name})"]
    return [_text(data["text/plain"])] if "text/plain" in data else []


def _text(text: str) -> str:
    return "```text\n" + _ESCAPES.sub("", text).rstrip() + "\n```"
