"""The bridge between a node's channel and an engine: streams do not wait for each other, endings are told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.channel import CLOSE, CONTROL, DATA, OPEN, Frames, encode, encode_control

from . import harness
from .conftest import COLUMNS

CHILD = '''
"""Stands in for the SecretFlow process: one port that never reads, one that echoes; then leaves as told."""
import argparse, json, socket, sys, threading, time
from models.channel import Channel
parser = argparse.ArgumentParser()
for name in ("--inputs", "--port-offset", "--channel-fd"):
    parser.add_argument(name)
arguments = parser.parse_args()
channel = Channel.from_fd(int(arguments.channel_fd))
task = channel.task()
offset = int(arguments.port_offset)
silent = socket.create_server(("127.0.0.1", 21001 + offset))
echo = socket.create_server(("127.0.0.1", 21003 + offset))
def serve():
    line, _ = echo.accept()
    while data := line.recv(65536):
        line.sendall(data)
threading.Thread(target=serve, daemon=True).start()
held = []
threading.Thread(target=lambda: held.append(silent.accept()), daemon=True).start()
print("library noise on stdout")
channel.progress(1, 1)
if task["ending"] == "crash":
    import os
    os._exit(11)
if task["ending"] == "done":
    channel.done({})
    sys.exit(0)
time.sleep(60)
'''

START = """
import sys
from creditlab_engine.bridge import run
sys.exit(run(int(sys.argv[1]), "/nowhere", int(sys.argv[2]), child="fake_child"))
"""


class Node:
    """The node's end of one bridge."""

    def __init__(self, folder: Path, ending: str) -> None:
        (folder / "fake_child.py").write_text(CHILD)
        self.lock, offsets = harness._reserve()
        self.socket, theirs = socket.socketpair()
        self.frames, self.inbox = Frames(), []
        self.log = folder / "log"
        paths = os.pathsep.join([str(folder), str(harness.ROOT), str(harness.ENGINE)])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(harness.PYTHON), "-c", START, str(theirs.fileno()), str(offsets["bank"])],
                pass_fds=[theirs.fileno()],
                stdout=subprocess.PIPE,
                stderr=log,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": paths},
            )
        theirs.close()
        body = harness.ticket(COLUMNS, {"name": "boosting", "params": {}})
        task = {"type": "task", "party": "bank", "ticket": body, "ending": ending}
        self.socket.sendall(encode_control(task))

    def expect(self, kind: int, seconds: float = 15, **wanted: object) -> bytes:
        """The next frame of this kind (and stream, or control type) within the time; others are skipped."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for position, (found, stream, payload) in enumerate(self.inbox):
                control = json.loads(payload).get("type") if found == CONTROL else None
                if found == kind and wanted.get("stream", stream) == stream and wanted.get("type", control) == control:
                    del self.inbox[position]
                    return payload
            self.socket.settimeout(max(until - time.monotonic(), 0.01))
            data = self.socket.recv(1 << 18)
            if not data:
                break
            self.inbox += self.frames.feed(data)
        raise AssertionError(f"no frame of kind {kind} with {wanted}; log: {self.log.read_text()}")

    def close(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.communicate()
        self.lock.close()


@pytest.fixture
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    made = Node(tmp_path, getattr(request, "param", "stay"))
    yield made
    made.close()


def test_a_stream_nobody_reads_holds_up_no_other(node: Node) -> None:
    node.expect(CONTROL, type="progress")
    node.socket.sendall(encode(OPEN, 2, (21001).to_bytes(2, "big")))
    chunk = encode(DATA, 2, bytes(1 << 20))
    for _ in range(64):  # far beyond what the operating system buffers for a connection
        node.socket.sendall(chunk)
    node.socket.sendall(encode(OPEN, 4, (21003).to_bytes(2, "big")) + encode(DATA, 4, b"are you there?"))
    assert node.expect(DATA, stream=4) == b"are you there?"


def test_a_port_that_is_not_the_engines_is_closed_at_once(node: Node) -> None:
    node.expect(CONTROL, type="progress")
    node.socket.sendall(encode(OPEN, 2, (22).to_bytes(2, "big")))
    node.expect(CLOSE, stream=2)


@pytest.mark.parametrize("node", ["crash"], indirect=True)
def test_a_crashed_engine_is_reported(node: Node) -> None:
    error = json.loads(node.expect(CONTROL, type="error"))
    assert error["code"] == "engine_crashed" and "11" in error["message"] and error["message_zh"]
    assert node.process.wait(10) == 11


@pytest.mark.parametrize("node", ["done"], indirect=True)
def test_an_engine_that_is_done_leaves_with_zero_and_nothing_on_stdout(node: Node) -> None:
    node.expect(CONTROL, type="done")
    assert node.process.wait(10) == 0
    assert node.process.stdout is not None and node.process.stdout.read() == b""
    assert "library noise" in node.log.read_text()


def test_stop_ends_an_engine_that_does_not_listen(node: Node) -> None:
    node.expect(CONTROL, type="progress")
    started = time.monotonic()
    node.socket.sendall(encode_control({"type": "stop", "code": "cancelled"}))
    node.process.wait(10)
    assert time.monotonic() - started < 8


def test_a_node_that_goes_away_ends_the_engine(node: Node) -> None:
    node.expect(CONTROL, type="progress")
    node.socket.close()
    assert node.process.wait(10) is not None
