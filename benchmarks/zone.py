"""Zone mode's training beside plain LightGBM: the same rows, the same parameters, in turns.

The product's side is the real worker in its real sandbox, fed a sealed sample; this module plays the node. What is
compared is the CPU of fitting the joint model, as the worker measures it (`fit_cpu_seconds`), with the same fit by
LightGBM alone in an ordinary process. Both begin with the joined table in memory, and both fit the joint model as
their third, so that neither pays for a cold start. The whole sandboxed task is told as well, without a ratio.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.bars import zone_bar
from benchmarks.data import dataset
from benchmarks.results import BenchmarkFailed, Row, Section, medians, say
from consent.canonical import digest
from enclave import processes, sandbox, vault
from features.tables import Side, load_side, select
from models.channel import BLOB, CONTROL, Frames, encode_control

DATASETS = ("uci_card", "sba_2003_2006")
REPETITIONS = 7


def run() -> Section:
    """Medians of alternating repetitions for each data set."""
    tell = say("zone")
    section = Section("zone", "Zone mode: LightGBM in the sandbox against plain LightGBM", "CPU of training")
    section.note = (
        "Ratio of the CPU of fitting the joint model on the same rows with the same parameters. "
        "“whole task” adds start, unsealing, leak screen, two more models, bootstrap and calibration; the worker "
        "tells the CPU of one fit, not its wall time."
    )
    for name in DATASETS:
        inputs = Inputs(dataset(name))
        ours: list[Row] = []
        whole: list[Row] = []
        plain: list[Row] = []
        for number in range(REPETITIONS):
            training, task = inputs.in_sandbox()
            ours.append(training)
            whole.append(task)
            plain.append(inputs.plain())
            tell(
                f"{name} {number + 1}/{REPETITIONS}: ours {ours[-1].cpu_seconds:.3f} s,"
                f" plain {plain[-1].cpu_seconds:.3f} s CPU"
            )
        section.rows += [
            medians(f"{name}: plain LightGBM", plain),
            medians(f"{name}: zone training", ours),
            medians(f"{name}: zone, whole task", whole),
        ]
        found = section.compare(f"{name}: zone training", f"{name}: plain LightGBM", zone_bar())
        tell(f"{name}: ratio {found.ratio:.3f}, AUC {found.auc}")
    return section


class Inputs:
    """What both sides are given: the two tables of a data set and a ticket over all rows and columns."""

    def __init__(self, folder: Path) -> None:
        self.sides: dict[str, Side] = {"bank": load_side(folder, "bank"), "lab": load_side(folder, "lab")}
        self.tables = {party: select(side, side.ids, side.offered) for party, side in self.sides.items()}
        self.ticket = ticket(self.sides)

    def in_sandbox(self) -> tuple[Row, Row]:
        """(the fit of the joint model, the whole task) of the worker behind the walls."""
        data_key = os.urandom(32)
        started = time.perf_counter()
        box = sandbox.start(
            sandbox.worker_runtime(),
            "models.worker",
            {"lab.parquet": self.tables["lab"], "bank.sealed": self._seal(data_key)},
            sandbox.Limits(),
            stderr=sys.stderr.fileno(),
        )
        task = {
            "type": "task",
            "task": "zone_train",
            "party": "lab",
            "ticket": self.ticket,
            "data_key": vault.b64(data_key),
        }
        phases, outputs, cpu = _serve(box, task)
        status = box.process.wait(30)
        box.channel.close()
        if status != 0:
            raise BenchmarkFailed(f"the sandboxed worker ended with status {status}")
        evaluation = json.loads(outputs["evaluation.json"])
        auc = evaluation["models"]["joint"]["auc"]
        fit = next(phase for phase in phases if phase["phase"] == "fit")
        peak = max(phase["peak_rss_mb"] for phase in phases)
        training = Row("", evaluation["fit_cpu_seconds"]["joint"], None, fit["peak_rss_mb"], auc)
        whole = Row("", cpu, time.perf_counter() - started, peak, auc)
        return training, whole

    def _seal(self, key: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(12)
        return nonce + AESGCM(key).encrypt(nonce, self.tables["bank"], digest(self.ticket).encode())

    def plain(self) -> Row:
        """The same fit by LightGBM alone, in a fresh process without walls."""
        given = {party: base64.b64encode(table).decode() for party, table in self.tables.items()}
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.plain_lightgbm"],
            input=json.dumps({"ticket": self.ticket, **given}).encode(),
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            cwd=Path(__file__).resolve().parent.parent,
            check=True,
        )
        told = json.loads(done.stdout)
        return Row("", told["cpu_seconds"], told["wall_seconds"], told["peak_rss_mb"], told["auc"])


def _serve(box: sandbox.Sandboxed, task: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, bytes], float]:
    """The node's end of the channel: every gate is open. Returns finished phases, outputs, CPU of the whole tree."""
    box.channel.sendall(encode_control(task))
    frames, names = Frames(), {}
    phases: list[dict[str, Any]] = []
    outputs: dict[str, bytes] = {}
    cpu = 0.0
    while data := box.channel.recv(1 << 18):
        for kind, stream, payload in frames.feed(data):
            if kind == BLOB:
                outputs[names[stream]] += payload
                continue
            assert kind == CONTROL
            message = json.loads(payload)
            if message["type"] == "gate":
                leave = {"type": "proceed", "phase": message["phase"], "exclude": []}
                box.channel.sendall(encode_control(leave))
            elif message["type"] == "phase" and message["state"] == "done":
                phases.append(message)
            elif message["type"] == "output":
                names[message["stream"]] = message["name"]
                outputs[message["name"]] = b""
            elif message["type"] == "done":
                cpu, _ = processes.usage(box.process.pid)  # still alive: a finished sandbox leaves no count behind
            elif message["type"] == "error":
                raise BenchmarkFailed(f"the worker says {message['code']}: {message['message']}")
    return phases, outputs, cpu


def ticket(sides: dict[str, Side]) -> dict[str, Any]:
    """A ticket body for all rows and columns, with every default of the product."""
    bank, lab = (sides[party].describe() for party in ("bank", "lab"))
    return {
        "type": "ticket",
        "version": 1,
        "job_id": "j-000000000000",
        "project": "benchmark",
        "purpose": "joint_training",
        "mode": "zone",
        "recipe": {"name": "boosting", "params": {}},
        "dataset": {key: bank[key] for key in ("name", "title", "id", "as_of", "label", "split")},
        "parties": {
            "bank": {"institution": "bank", "node": "bank-node", "columns": bank["columns"]},
            "lab": {"institution": "lab", "node": "lab-node", "relay": "127.0.0.1:1", "columns": lab["columns"]},
        },
        "evaluation": {"calibration_share": 0.15, "bootstrap": 400, "seed": 20240601},
        "leaks": "keep",
        "outputs": ["report", "model"],
    }
