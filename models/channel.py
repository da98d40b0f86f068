"""The framed channel between a node and one sandboxed process.

Owns the wire format (frames) and the small conversation on it: a task comes in, gates are asked, phases,
progress and outputs go out. It never opens a network connection, never unpickles, and never decides whether a
phase may run: the node's gate answers that. Standard library only, so that the worker (Python 3.12) and the
engine (Python 3.10) share one file.

Frame: kind (u8), stream (u32), length (u32), payload; integers big endian.
"""

from __future__ import annotations

import json
import resource
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CONTROL, OPEN, DATA, CLOSE, BLOB = range(5)
KINDS = frozenset((CONTROL, OPEN, DATA, CLOSE, BLOB))
HEADER = struct.Struct(">BII")
MAX_PAYLOAD = 1 << 22  # 4 MiB: far above any chunk we send, far below what could exhaust a reader
CHUNK = 1 << 18


class BadFrame(Exception):
    """The bytes are not a frame of this protocol: the connection is unusable."""


class ConsentChanged(Exception):
    """A consent in use has ended since the gate was last asked: leave off, and ask it again."""


class Stopped(Exception):
    """The node ended this task (cancelled, peer gone, consent ended): leave quietly."""


def encode(kind: int, stream: int, payload: bytes) -> bytes:
    """One frame as bytes. `payload` is at most MAX_PAYLOAD bytes."""
    if len(payload) > MAX_PAYLOAD:
        raise BadFrame(f"payload of {len(payload)} bytes exceeds {MAX_PAYLOAD}")
    return HEADER.pack(kind, stream, len(payload)) + payload


def encode_control(message: dict) -> bytes:
    return encode(CONTROL, 0, json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode())


class Frames:
    """Incremental decoder: feed bytes as they come, get whole frames back."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        self._buffer += data
        out = []
        position = 0
        while len(self._buffer) - position >= HEADER.size:
            kind, stream, length = HEADER.unpack_from(self._buffer, position)
            if kind not in KINDS or length > MAX_PAYLOAD:
                raise BadFrame(f"kind {kind}, length {length}")
            end = position + HEADER.size + length
            if len(self._buffer) < end:
                break
            out.append((kind, stream, bytes(self._buffer[position + HEADER.size : end])))
            position = end
        del self._buffer[:position]
        return out


def _usage() -> tuple[float, float]:
    """CPU seconds of this process and its finished children; peak resident size in MB of the larger."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return cpu, max(own.ru_maxrss, children.ru_maxrss) / 1024


class PhaseHandle:
    """What a phase knows: `exclude`, the ids whose consent has ended and whose rows must be dropped first."""

    def __init__(self, exclude: set[str]) -> None:
        self.exclude = exclude


class Channel:
    """The blocking end of the channel, used inside the sandbox."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames = Frames()
        self._inbox: list[dict] = []
        self._blobs = 0
        self._phase: str | None = None
        self._changed = False

    @classmethod
    def from_fd(cls, fd: int) -> Channel:
        return cls(socket.socket(fileno=fd))

    def _send(self, message: dict) -> None:
        self._sock.sendall(encode_control(message))

    def _receive(self) -> dict:
        while not self._inbox:
            self._read()
        message = self._inbox.pop(0)
        if message.get("type") == "stop":
            raise Stopped(message.get("code", "stopped"))
        return message

    def _read(self, flags: int = 0) -> None:
        data = self._sock.recv(1 << 16, flags)
        if not data:
            raise Stopped("the node closed the channel")
        for kind, _stream, payload in self._frames.feed(data):
            if kind != CONTROL:
                raise BadFrame(f"a worker receives CONTROL frames only, got kind {kind}")
            message = json.loads(payload)
            if message.get("type") == "changed":
                self._changed = True
            elif message.get("type") == "proceed":
                self._changed = False  # this answer knows everything that was said before it
                self._inbox.append(message)
            else:
                self._inbox.append(message)

    def changed(self) -> bool:
        """Whether the node has said, since the last gate, that a consent in use has ended. Never waits."""
        with suppress(BlockingIOError):
            while True:
                self._read(socket.MSG_DONTWAIT)
        if any(message.get("type") == "stop" for message in self._inbox):
            raise Stopped("stopped between two rounds")
        return self._changed

    def round(self) -> None:
        """To be called between two rounds of a long phase. Raises ConsentChanged or Stopped."""
        if self.changed():
            raise ConsentChanged(self._phase or "")

    def task(self) -> dict:
        """The first message of the node: what to do."""
        message = self._receive()
        if message.get("type") != "task":
            raise BadFrame("the first message must be a task")
        return message

    @contextmanager
    def phase(self, name: str) -> Iterator[PhaseHandle]:
        """Ask the gate, run the phase, report wall seconds, CPU seconds and peak resident MB.

        Raises Stopped when the gate refuses.
        """
        self._send({"type": "gate", "phase": name})
        answer = self._receive()
        if answer.get("type") != "proceed" or answer.get("phase") != name:
            raise BadFrame(f"expected leave to proceed with {name}")
        self._phase = name
        self._send({"type": "phase", "phase": name, "state": "started"})
        started, (cpu_before, _) = time.monotonic(), _usage()
        yield PhaseHandle(set(answer.get("exclude", ())))
        cpu, rss = _usage()
        self._send(
            {
                "type": "phase",
                "phase": name,
                "state": "done",
                "seconds": round(time.monotonic() - started, 3),
                "cpu_seconds": round(cpu - cpu_before, 3),
                "peak_rss_mb": round(rss, 1),
            }
        )
        self._phase = None

    def progress(self, done: float, total: float, note: str = "") -> None:
        self._send({"type": "progress", "phase": self._phase, "done": done, "total": total, "note": note})

    def output(self, name: str, data: bytes) -> None:
        """Hand one named output to the node; the node decides whether it is a declared one."""
        self._blobs += 1
        self._send({"type": "output", "name": name, "bytes": len(data), "stream": self._blobs})
        for start in range(0, len(data), CHUNK):
            self._sock.sendall(encode(BLOB, self._blobs, data[start : start + CHUNK]))

    def fail(self, code: str, message: str, message_zh: str = "") -> None:
        """Report why the task cannot go on. The caller leaves with a non-zero exit code afterwards."""
        self._send({"type": "error", "code": code, "message": message, "message_zh": message_zh or message})

    def done(self, summary: dict) -> None:
        self._send({"type": "done", "summary": summary})
