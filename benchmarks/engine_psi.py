"""Set intersection by our engine (RR22 and ECDH on curve 25519) beside openmined-psi; half of each side's ids common.

`python -m benchmarks.engine_psi` prints one JSON object a line. Our figures are CPU seconds of both engine processes
in the intersection, through the bridge, with ids in memory on both ends; openmined-psi runs both parties in one
process (its fastest data structure that reveals the intersection, Golomb-compressed set).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tests.federated.engine import harness

SIZES = (100_000, 1_000_000)
PROTOCOLS = ("RR22", "ECDH")
OPENMINED_SIZE = 100_000
COLUMNS = {party: [{"name": "x", "kind": "numeric"}] for party in harness.PARTIES}


def measure(
    sizes: Sequence[int] = SIZES, protocols: Sequence[str] = PROTOCOLS, tell: Callable[[str], None] = lambda _line: None
) -> Iterator[dict[str, Any]]:
    """A line for each protocol and size, then openmined-psi. Raises RuntimeError when a run fails."""
    for size in sizes:
        for protocol in protocols:
            tell(f"{protocol}, {size:,} ids")
            yield _ours(protocol, size)
    tell(f"openmined-psi, {OPENMINED_SIZE:,} ids")
    yield _openmined(OPENMINED_SIZE)


def _ids(size: int) -> dict[str, list[str]]:
    """`size` ids a side, half of them on both."""
    return {
        "bank": [f"{number:018d}" for number in range(size)],
        "lab": [f"{number:018d}" for number in range(size // 2, size // 2 + size)],
    }


def _ours(protocol: str, size: int) -> dict[str, Any]:
    body = harness.ticket(COLUMNS, {"name": "boosting", "params": {}}, protocol__psi=protocol)
    with tempfile.TemporaryDirectory(prefix="engine-psi-") as scratch:
        inputs = {}
        for party, ids in _ids(size).items():
            inputs[party] = Path(scratch) / f"in-{party}"
            inputs[party].mkdir()
            pd.DataFrame({"id": ids, "x": 0.0, "y": 0}).to_parquet(inputs[party] / "table.parquet", index=False)
        sides = harness.run(
            harness.tasks(body), inputs, Path(scratch), seconds=900, module="benchmarks.engine_psi_child"
        )
    for party, side in sides.items():
        if side.code != 0 or side.summary["intersection"] != size // 2:
            raise RuntimeError(f"{protocol} at {size:,}: the {party}'s engine ended with {side.code}: {side.error}")
    phases = [next(m for m in side.of("phase") if m["state"] == "done") for side in sides.values()]
    return {
        "benchmark": "set_intersection",
        "case": f"{protocol} {size:,}",
        "cpu_seconds": round(sum(phase["cpu_seconds"] for phase in phases), 2),
        "seconds": max(phase["seconds"] for phase in phases),
        "peak_rss_mb": max(phase["peak_rss_mb"] for phase in phases),
        "sent_mb": round(sum(side.sent_bytes for side in sides.values()) / 1e6, 1),
    }


def _openmined(size: int) -> dict[str, Any]:
    """In a process of its own, so that memory and CPU are its own."""
    command = [sys.executable, "-m", "benchmarks.engine_psi", "--openmined", str(size)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"openmined-psi: {answer.stderr.strip().splitlines()[-1:] or answer.returncode}")
    return dict(json.loads(answer.stdout))


def _run_openmined(size: int) -> dict[str, Any]:
    import private_set_intersection.python as psi

    ids = _ids(size)
    started = time.monotonic()
    client, server = psi.client.CreateWithNewKey(True), psi.server.CreateWithNewKey(True)
    setup = server.CreateSetupMessage(1e-9, size, ids["lab"], psi.DataStructure.GCS)
    common = client.GetIntersection(setup, server.ProcessRequest(client.CreateRequest(ids["bank"])))
    if len(common) != size // 2:
        raise RuntimeError(f"openmined-psi found {len(common)} of {size // 2}")
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "benchmark": "set_intersection",
        "case": f"openmined-psi {size:,}",
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "seconds": round(time.monotonic() - started, 2),
        "peak_rss_mb": round(used.ru_maxrss / 1024, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--openmined", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.openmined:
        print(json.dumps(_run_openmined(arguments.openmined)))
        return
    for line in measure(arguments.sizes):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
