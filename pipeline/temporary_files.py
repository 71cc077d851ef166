"""Temporary files of writers that are dead."""

import os
import re
from pathlib import Path

_TEMPORARY = re.compile(r"^\..+\.tmp-(\d+)-[0-9a-f]{8}$")


def sweep_temporary_files(folder: Path) -> list[Path]:
    """Remove temporary files whose writer no longer runs on this machine.

    Returns:
        The files removed.
    """
    removed = []
    for path in folder.glob(".*.tmp-*"):
        match = _TEMPORARY.match(path.name)
        if match and not _is_alive(int(match[1])):
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
