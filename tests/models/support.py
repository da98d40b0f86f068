"""Helpers of the models tests: real data sets as a node would hand them over, and a node's end of the channel."""

from __future__ import annotations

import json
import os
import socket
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from features.tables import Side, load_side, select
from models.channel import BLOB, CONTROL, Channel, Frames, encode_control

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CREDITLAB_DATA", ROOT.parent / "shared" / "data"))
SETS = ("sba_2003_2006", "polish_1year", "uci_card")


def folder(name: str) -> Path:
    """A data set's folder; skips the test when it is not there."""
    path = DATA / name
    if not (path / "dataset.toml").is_file():
        pytest.skip(f"data set {name} is not in {DATA}; set CREDITLAB_DATA to the folder that holds it")
    return path


@cache
def sides(name: str) -> tuple[Side, Side]:
    return load_side(folder(name), "bank"), load_side(folder(name), "lab")


def ticket(name: str, recipe: dict[str, Any] | str = "boosting", mode: str = "zone", **changes: Any) -> dict[str, Any]:
    """A ticket body for all rows and columns of a data set."""
    bank, lab = (side.describe() for side in sides(name))
    body = {
        "type": "ticket",
        "version": 1,
        "job_id": "j-0123456789ab",
        "project": "test",
        "purpose": "joint_training",
        "mode": mode,
        "recipe": {"name": recipe, "params": {}} if isinstance(recipe, str) else recipe,
        "dataset": {key: bank[key] for key in ("name", "title", "id", "as_of", "label", "split")},
        "parties": {
            "bank": {"institution": "bank-a", "node": "bank-node", "columns": bank["columns"]},
            "lab": {"institution": "lab", "node": "lab-node", "relay": "127.0.0.1:1", "columns": lab["columns"]},
        },
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
        "expires_at": "2026-02-01T00:00:00Z",
    }
    return body | changes


@cache
def parquet(name: str, party: str) -> bytes:
    """The Parquet file a gate hands to a sandbox when everybody consents."""
    side = sides(name)[0 if party == "bank" else 1]
    return select(side, side.ids, side.offered)


@dataclass
class Node:
    """The node's end of a worker's channel: answers gates, collects what comes out."""

    exclude: dict[str, list[str]] = field(default_factory=dict)
    stop_at: str | None = None
    outputs: dict[str, bytes] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)

    def serve(self, sock: socket.socket, task: dict[str, Any]) -> None:
        sock.sendall(encode_control(task))
        frames, names = Frames(), {}
        while data := sock.recv(1 << 16):
            for kind, stream, payload in frames.feed(data):
                if kind == BLOB:
                    self.outputs[names[stream]] += payload
                    continue
                assert kind == CONTROL
                message = json.loads(payload)
                self.messages.append(message)
                if message["type"] == "gate":
                    phase = message["phase"]
                    answer = {"type": "proceed", "phase": phase, "exclude": self.exclude.get(phase, [])}
                    if phase == self.stop_at:
                        answer = {"type": "stop", "code": "cancelled"}
                    sock.sendall(encode_control(answer))
                if message["type"] == "output":
                    names[message["stream"]] = message["name"]
                    self.outputs[message["name"]] = b""

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]


def run_worker(task: dict[str, Any], inputs: Path, **node: Any) -> tuple[int, Node]:
    """Run a task in this process, with a real socket between worker and node."""
    from models.worker import run

    ours, theirs = socket.socketpair()
    served = Node(**node)
    thread = threading.Thread(target=served.serve, args=(ours, task))
    thread.start()
    try:
        code = run(Channel(theirs), inputs)
    finally:
        theirs.close()
        thread.join(10)
        ours.close()
    return code, served


def sealed(plain: bytes, body: dict[str, Any], key: bytes) -> bytes:
    """The bank's sample as its node seals it: 12-byte nonce, AES-256-GCM, bound to the ticket."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from consent.canonical import digest

    nonce = os.urandom(12)
    return nonce + AESGCM(key).encrypt(nonce, plain, digest(body).encode())
