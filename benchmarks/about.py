# SPDX-License-Identifier: GPL-3.0-or-later
"""What every benchmark says of itself: device, commit, versions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Dict, Optional

from cryoice_scipion.constants import VERSION


def about(device: str = "") -> Dict[str, str]:
    """Return where and with what a benchmark was run."""
    here = Path(__file__).resolve().parent
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=here)
    code = [":/*.py", ":/cryoice_scipion"]  # not what other benchmarks have just written
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *code], cwd=here, stderr=subprocess.DEVNULL)
    return {
        "device": device or f"{platform.machine()}, {os.cpu_count()} cores",
        "commit": (commit.stdout.strip() or "unknown") + ("-changed" if changed.returncode == 1 else ""),
        "cryoice": VERSION,
        "python": platform.python_version(),
    }


def record(result: Dict[str, Any], path: Optional[Path]) -> None:
    """Print what a benchmark found, and write it to a JSON file when one is given."""
    text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")


def recorded(path: Path) -> Dict[str, Any]:
    """Return what a benchmark wrote before; nothing when it has not."""
    found: Dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
