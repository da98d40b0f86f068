"""CPU and memory of a whole tree of processes while it runs, sampled from /proc.

Needed because a sandbox's processes die with their namespace and nobody waits for them: the system's own count of
children leaves them out. A process shorter than one sampling interval is missed.
"""

from __future__ import annotations

import os
import threading

from enclave.processes import tree

INTERVAL = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Watch:
    """Samples everything below `root` until `stop`. `cpu_seconds` in all, `peak_mb` of the tree at one moment."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._seen: dict[tuple[int, str], int] = {}  # (pid, start time) → CPU ticks of its own
        self._over = threading.Event()
        self.peak_mb = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def cpu_seconds(self) -> float:
        return sum(self._seen.values()) / _TICKS

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            resident = 0
            for pid, fields in tree(self._root).items():
                self._seen[pid, fields[19]] = int(fields[11]) + int(fields[12])
                resident += int(fields[21]) * _PAGE
            self.peak_mb = max(self.peak_mb, resident / (1 << 20))
