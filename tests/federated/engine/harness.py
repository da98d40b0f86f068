"""Two real engine processes joined without nodes: the harness of the engine's tests and benchmarks.

It plays both nodes: sends the task, answers gates (with exclusions where asked), carries OPEN / DATA / CLOSE frames
from one engine to the other, and collects outputs, phases, progress and errors.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.channel import BLOB, CLOSE, CONTROL, DATA, OPEN, Frames, encode, encode_control

ROOT = Path(__file__).resolve().parents[3]
ENGINE = ROOT / "federated" / "engine"
PYTHON = ENGINE / ".venv" / "bin" / "python"
PARTIES = ("bank", "lab")


def other(party: str) -> str:
    return "lab" if party == "bank" else "bank"


@dataclass
class Side:
    """What one engine said and did."""

    outputs: dict[str, bytes] = field(default_factory=dict)
    controls: list[dict[str, Any]] = field(default_factory=list)
    sent_bytes: int = 0  # DATA payload this engine sent to its peer
    code: int | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    log: str = ""

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.controls if message.get("type") == kind]

    @property
    def error(self) -> dict[str, Any] | None:
        return next(iter(self.of("error")), None)

    @property
    def summary(self) -> dict[str, Any]:
        return self.of("done")[0]["summary"]

    def json(self, name: str) -> Any:
        return json.loads(self.outputs[name])


@dataclass
class Hooks:
    """How the harness's nodes behave: ids to exclude from a phase on, what to do when a message passes."""

    exclude: Mapping[str, list[str]] = field(default_factory=dict)
    on_control: Callable[[Pair, str, dict[str, Any]], None] | None = None


class Pair:
    """Two engines under way."""

    def __init__(
        self,
        tasks: Mapping[str, dict[str, Any]],
        inputs: Mapping[str, Path],
        scratch: Path,
        hooks: Hooks | None = None,
        parties: tuple[str, ...] = PARTIES,
        module: str = "creditlab_engine",
        environment: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.sides = {party: Side() for party in PARTIES}
        self.hooks = hooks or Hooks()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._locks = {party: threading.Lock() for party in PARTIES}
        self._threads: list[threading.Thread] = []
        self._logs = {party: scratch / f"{party}.log" for party in PARTIES}
        self._temporary = {party: scratch / f"tmp-{party}" for party in PARTIES}
        self._started = time.monotonic()
        self._lock, offsets = _reserve()
        for party in parties:
            self._start(party, tasks[party], inputs[party], offsets[party], module, (environment or {}).get(party, {}))

    def _start(
        self, party: str, task: dict[str, Any], inputs: Path, offset: int, module: str, environment: Mapping[str, str]
    ) -> None:
        ours, theirs = socket.socketpair()
        self._sockets[party] = ours
        self._temporary[party].mkdir(parents=True, exist_ok=True)
        with self._logs[party].open("wb") as log:
            self.processes[party] = subprocess.Popen(
                [
                    str(PYTHON),
                    "-m",
                    module,
                    "--channel-fd",
                    str(theirs.fileno()),
                    "--inputs",
                    str(inputs),
                    "--port-offset",
                    str(offset),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._temporary[party],
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": f"{ROOT}{os.pathsep}{ENGINE}",
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "TMPDIR": str(self._temporary[party]),
                    "OMP_NUM_THREADS": "1",
                    **environment,
                },
            )
        theirs.close()
        self._write(party, encode_control(task))
        thread = threading.Thread(target=self._serve, args=(party,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _write(self, party: str, data: bytes) -> None:
        if party not in self._sockets:
            return
        try:
            with self._locks[party]:
                self._sockets[party].sendall(data)
        except OSError:
            pass  # that engine has ended

    def _serve(self, party: str) -> None:
        frames, side = Frames(), self.sides[party]
        names: dict[int, str] = {}
        open_streams: set[int] = set()
        while True:
            try:
                data = self._sockets[party].recv(1 << 18)
            except OSError:
                break
            if not data:
                break
            for kind, stream, payload in frames.feed(data):
                if kind == CONTROL:
                    message = json.loads(payload)
                    side.controls.append(message)
                    if message["type"] == "output":
                        names[message["stream"]] = message["name"]
                        side.outputs[message["name"]] = b""
                    elif message["type"] == "gate":
                        exclude = self.hooks.exclude.get(message["phase"], [])
                        self._write(
                            party, encode_control({"type": "proceed", "phase": message["phase"], "exclude": exclude})
                        )
                    if self.hooks.on_control:
                        self.hooks.on_control(self, party, message)
                elif kind == BLOB:
                    side.outputs[names[stream]] += payload
                else:
                    open_streams.add(stream) if kind == OPEN else None
                    open_streams.discard(stream) if kind == CLOSE else None
                    side.sent_bytes += len(payload) if kind == DATA else 0
                    self._write(other(party), encode(kind, stream, payload))
        for stream in open_streams:  # what a relay does when an engine ends
            self._write(other(party), encode(CLOSE, stream, b""))

    def stop(self, party: str, code: str = "cancelled") -> None:
        self._write(party, encode_control({"type": "stop", "code": code}))

    def wait(self, seconds: float) -> dict[str, Side]:
        """Wait for both engines to end. Raises TimeoutError (and ends them) when they do not."""
        deadline = time.monotonic() + seconds
        late = []
        for party, process in self.processes.items():
            status = None
            while status is None:
                pid, status_word, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    status = os.waitstatus_to_exitcode(status_word)
                    self.sides[party].cpu_seconds = usage.ru_utime + usage.ru_stime
                    self.sides[party].seconds = time.monotonic() - self._started
                elif time.monotonic() > deadline:
                    late.append(party)
                    process.kill()
                    deadline += 5
                else:
                    time.sleep(0.02)
            process.returncode = status
            self.sides[party].code = status
        for thread in self._threads:
            thread.join(10)
        for sock in (*self._sockets.values(), self._lock):
            sock.close()
        for party in self.processes:
            self.sides[party].log = self._logs[party].read_text(errors="replace")
        if late:
            logs = "\n".join(f"--- {party}\n{self.sides[party].log[-3000:]}" for party in late)
            raise TimeoutError(f"{', '.join(late)} did not end within {seconds} s\n{logs}")
        return self.sides

    def leftovers(self, party: str) -> list[str]:
        """Files left in an engine's private temporary folder."""
        return [str(path) for path in self._temporary[party].rglob("*") if path.is_file()]


def _reserve() -> tuple[socket.socket, dict[str, int]]:
    """Port offsets for two engines, below the ephemeral range, ours for as long as the socket stays open.

    No engine uses port 21000 itself, so whoever holds it (plus the offset) holds the forty ports above.
    """
    slots = list(range(1_000, 11_700, 40))
    random.shuffle(slots)
    for base in slots:
        lock = socket.socket()
        try:
            lock.bind(("127.0.0.1", 21_000 + base))
            if all(_free(21_000 + base + step) for step in range(1, 30)):
                return lock, {"bank": base, "lab": base + 20}
        except OSError:
            pass
        lock.close()
    raise RuntimeError("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def run(
    tasks: Mapping[str, dict[str, Any]],
    inputs: Mapping[str, Path],
    scratch: Path,
    hooks: Hooks | None = None,
    seconds: float = 300,
    **options: Any,
) -> dict[str, Side]:
    """Run two engines to their end."""
    return Pair(tasks, inputs, scratch, hooks, **options).wait(seconds)


def ticket(
    columns: Mapping[str, list[dict[str, str]]],
    recipe: dict[str, Any],
    label: str = "y",
    identifier: str = "id",
    split: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A ticket body as the platform would sign it."""
    body: dict[str, Any] = {
        "type": "ticket",
        "version": 1,
        "job_id": "j-" + os.urandom(6).hex(),
        "project": "test",
        "purpose": "joint_training",
        "mode": "federated",
        "recipe": recipe,
        "dataset": {
            "name": "test",
            "id": identifier,
            "as_of": None,
            "label": label,
            "split": split or {"hash_test_share": 0.3},
        },
        "parties": {party: {"institution": party, "node": party, "columns": columns[party]} for party in PARTIES},
        "evaluation": {"calibration_share": 0.15, "bootstrap": 400, "seed": 20240601},
        "protocol": {
            "psi": "RR22",
            "spu": "SEMI2K",
            "field": "FM128",
            "heu": {"schema": "ou", "key_size": 2048},
        },
        "leaks": "exclude",
        "outputs": ["report", "model"],
        "deadlines": {"connect": 30, "stall": 60, "phase": 900, "job": 1800},
        "issued_at": "2026-01-01T00:00:00Z",
        "expires_at": "2027-01-01T00:00:00Z",
    }
    for path, value in changes.items():
        target = body
        *parents, last = path.split("__")
        for name in parents:
            target = target[name]
        target[last] = value
    return body


def tasks(body: dict[str, Any], exclude_columns: Mapping[str, list[str]] | None = None) -> dict[str, dict[str, Any]]:
    return {
        party: {
            "type": "task",
            "task": "federated",
            "party": party,
            "ticket": body,
            "exclude_columns": exclude_columns or {"bank": [], "lab": []},
        }
        for party in PARTIES
    }


if __name__ == "__main__":
    sys.exit("import me")
