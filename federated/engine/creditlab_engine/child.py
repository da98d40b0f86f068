"""The SecretFlow process of an engine: `python -m creditlab_engine.child --inputs DIR --port-offset N --channel-fd M`.

Owns the process itself: its end together with its parent, the deadlines, and what is said when something fails: a
code and the type of the error, never its message or traceback (both may quote raw rows); those go to this node's own
stderr only.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from models.channel import Channel, PhaseHandle, Stopped

from .errors import EngineError

EXIT_ERROR, EXIT_DEADLINE = 3, 4
LINGER_SECONDS = 1.0  # after a failure: time for its code to reach the peer, instead of mere silence
_SCRATCH_LEFT = 1 << 13  # bytes; less than this and a failure is the disk's
_PR_SET_PDEATHSIG = 1


class TimedChannel(Channel):
    """A channel that knows the job's deadlines: no phase and no wait for a gate lasts longer."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._until: float | None = None
        self._limits = (0.0, 0.0)

    def watch(self, phase_seconds: float, job_seconds: float) -> None:
        self._limits = (phase_seconds, time.monotonic() + job_seconds)
        self._until = self._limits[1]
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(0.25)
            if self._until is not None and time.monotonic() > self._until:
                error = EngineError("deadline", self._phase or "", self._phase or "")
                self.fail(error.code, error.message, error.message_zh)
                os._exit(EXIT_DEADLINE)

    @contextmanager
    def phase(self, name: str) -> Iterator[PhaseHandle]:
        phase_seconds, job_end = self._limits
        with super().phase(name) as handle:
            self._until = min(time.monotonic() + phase_seconds, job_end)
            yield handle
            self._until = job_end


def main() -> None:
    parser = argparse.ArgumentParser(prog="creditlab_engine.child")
    parser.add_argument("--inputs", required=True)
    parser.add_argument("--port-offset", type=int, default=0)
    parser.add_argument("--channel-fd", type=int, required=True)
    arguments = parser.parse_args()
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EXIT_ERROR)
    # SecretFlow ends many errors by os._exit and its threads outlive main: every way out here is explicit.
    os._exit(_run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    channel = TimedChannel.from_fd(arguments.channel_fd)
    try:
        task = channel.task()
        deadlines = task["ticket"]["deadlines"]
        channel.watch(float(deadlines["phase"]), float(deadlines["job"]))
        from .job import Job  # importing SecretFlow takes seconds: after the watch has begun

        Job(channel, task, arguments.inputs, arguments.port_offset).run()
    except Stopped:
        return 0
    except BaseException as raised:  # nothing may leave this process unsaid or unredacted
        _report(channel, raised)
        return EXIT_ERROR
    return 0


def _disk_is_full(raised: BaseException | None) -> bool:
    """Whether the failure is the scratch disk's, whatever the libraries made of it."""
    space = os.statvfs(tempfile.gettempdir())
    full = space.f_bavail * space.f_frsize < _SCRATCH_LEFT
    while raised is not None and not full:
        full = isinstance(raised, OSError) and raised.errno == errno.ENOSPC
        raised = raised.__cause__ or raised.__context__
    return full


def _report(channel: Channel, raised: BaseException) -> None:
    traceback.print_exc(file=sys.stderr)
    error = raised
    if "secretflow" in sys.modules:
        from .wire import cause

        error = cause(raised)
    if _disk_is_full(raised):
        error = EngineError("disk_full")
    if not isinstance(error, EngineError):
        error = EngineError("engine_error", type(error).__name__)
    try:
        channel.fail(error.code, error.message, error.message_zh)
    except OSError:
        pass  # the node is gone: nobody to tell
    sys.stderr.flush()
    time.sleep(LINGER_SECONDS)


if __name__ == "__main__":
    main()
