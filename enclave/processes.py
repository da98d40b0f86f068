"""What a tree of processes uses: CPU seconds and resident memory, read from /proc."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def tree(root: int) -> dict[int, list[str]]:
    """pid → fields of /proc/pid/stat after the command name, for `root` and everything below it."""
    stats: dict[int, list[str]] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            pid = int(entry.name)
            try:
                stats[pid] = _stat(pid)
            except OSError:
                continue  # it ended while we looked
            children[int(stats[pid][1])].append(pid)
    found: dict[int, list[str]] = {}
    pending = [root]
    while pending:
        pid = pending.pop()
        if pid in stats and pid not in found:
            found[pid] = stats[pid]
            pending += children[pid]
    return found


def usage(root: int) -> tuple[float, int]:
    """(CPU seconds, including reaped children; resident bytes) of the tree below and with `root`."""
    cpu, resident = 0, 0
    for fields in tree(root).values():
        cpu += sum(int(value) for value in fields[11:15])
        resident += int(fields[21]) * _PAGE
    return cpu / _TICKS, resident


def alive(pid: int) -> bool:
    """Whether the process exists and is more than a zombie that nobody has collected yet."""
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return False
