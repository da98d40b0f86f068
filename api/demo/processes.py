"""The processes that the demo starts, and their certain end.

Owns starting `creditlab` commands in groups of their own, noticing when one dies, and leaving none behind: not
after success, failure or Ctrl-C, and not even what a dying child left to the system. Knows nothing of their work.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from api.demo.narrate import DemoFailed

T = TypeVar("T")

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_POLL_SECONDS = 0.1
#: A control plane stops its database, a node its sandboxes, within this time; then they are killed.
_GRACE_SECONDS = 20.0
_SWEEP_SECONDS = 5.0


def creditlab() -> list[str]:
    """The command line beside the running interpreter. Raises DemoFailed when it is not installed."""
    script = Path(sys.executable).with_name("creditlab")
    if not script.is_file():
        raise DemoFailed(f"{script} does not exist: run `make setup` first", f"找不到 {script}：请先运行 `make setup`")
    return [str(script)]


@dataclass
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self, lines: int = 12) -> str:
        """The end of its log, for a message about its end."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


class Processes:
    """Every child of one demo. Use as a context manager: leaving it ends them all."""

    def __init__(self, logs: Path, command: list[str] | None = None) -> None:
        self._logs = logs
        self._command = creditlab() if command is None else command
        self._children: list[Child] = []
        self._strangers: frozenset[int] = frozenset()
        # resolved before any fork: nothing may be loaded between fork and exec
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl

    def __enter__(self) -> Processes:
        self._logs.mkdir(parents=True, exist_ok=True)
        # grandchildren whose parent dies come to us instead of to init, so that `stop` finds them
        self._prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # whoever uses this class may have started processes of its own before: they are not ours to end
        self._strangers = frozenset(descendants(os.getpid()))
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, *arguments: str) -> Child:
        """Start a long-running command; its output goes to `<logs>/<name>.log`."""
        log = self._logs / f"{name}.log"
        parent = os.getpid()

        def die_with_parent() -> None:
            # the demo itself may be killed without a chance to clean up
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        with log.open("ab") as sink:
            process = subprocess.Popen(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def run(self, name: str, *arguments: str, seconds: float) -> str:
        """Run a command to its end and return what it printed. Raises DemoFailed with its last words."""
        try:
            done = subprocess.run(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DemoFailed(
                f"`creditlab {name}` did not end within {seconds:.0f} s",
                f"`creditlab {name}` 在 {seconds:.0f} 秒内未结束",
            ) from None
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if done.returncode != 0:
            words = (err.strip() or out.strip()).splitlines()[-60:]
            text = "\n".join(words)
            raise DemoFailed(f"`creditlab {name}` failed:\n{text}", f"`creditlab {name}` 失败，原因如下")
        return out

    def check(self) -> None:
        """Raises DemoFailed when a process that should be running has ended."""
        for child in self._children:
            code = child.process.poll()
            if code is not None:
                raise DemoFailed(
                    f"process {child.name} ended unexpectedly (exit {code}); its last lines ({child.log}):\n"
                    f"{child.tail()}",
                    f"进程 {child.name} 意外结束（退出码 {code}），日志 {child.log}",
                )

    def until(
        self, what: str, what_zh: str, seconds: float, probe: Callable[[], T | None], every: float = _POLL_SECONDS
    ) -> T:
        """The first result of `probe` that is not None. Raises DemoFailed after `seconds` or when a child dies."""
        deadline = time.monotonic() + seconds
        while True:
            self.check()
            found = probe()
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"{what} did not happen within {seconds:.0f} s", f"{seconds:.0f} 秒内未完成：{what_zh}"
                )
            time.sleep(every)

    def stop(self) -> list[int]:
        """End every child and all that descends from it. Returns the pids that had to be killed."""
        children, self._children = list(reversed(self._children)), []
        for child in children:
            _signal_group(child.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < deadline and any(child.process.poll() is None for child in children):
            time.sleep(_POLL_SECONDS / 2)
        killed = []
        for child in children:
            if child.process.poll() is None:
                killed.append(child.process.pid)
            _signal_group(child.process.pid, signal.SIGKILL)
            child.process.wait()
        return killed + _sweep(self._strangers)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


def _sweep(strangers: Collection[int]) -> list[int]:
    """End whatever still descends from us, but `strangers` and what is below them: asked first, as a database needs
    time to close, then killed."""
    killed: list[int] = []
    begin = time.monotonic()
    asked: set[int] = set()
    while (left := descendants(os.getpid(), strangers)) and (waited := time.monotonic() - begin) < 2 * _SWEEP_SECONDS:
        for pid in left:
            if waited > _SWEEP_SECONDS:
                _signal(pid, signal.SIGKILL)
                killed.append(pid)
            elif pid not in asked:
                _signal(pid, signal.SIGTERM)
                asked.add(pid)
        _reap(left)
        time.sleep(_POLL_SECONDS)
    return sorted(set(killed))


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _reap(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass


def descendants(ancestor: int, without: Collection[int] = ()) -> list[int]:
    """Pids of the living processes below `ancestor`, from /proc; zombies and the trees of `without` do not count."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # the name in parentheses may hold anything: what counts stands behind the last one
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state != "Z":
            below.setdefault(int(parent), []).append(int(entry.name))
    found: list[int] = []
    queue = [ancestor]
    while queue:
        children = [pid for pid in below.get(queue.pop(), []) if pid not in without]
        found += children
        queue += children
    return found
