"""The whole main job on the embedded simulated example, both modes: what each phase and each party cost.

Runs `creditlab demo run` as a user would, in a temporary folder, and reads the figures from the reports it leaves.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Watch
from benchmarks.results import BenchmarkFailed, Row, Section, say
from models.report.assemble import read

MODES = ("federated", "zone")
MINUTES = 15


def run() -> Section:
    """One run of the demo; rows are phases in the order of the report, then a total for each mode."""
    tell = say("end_to_end")
    section = Section("end_to_end", "End to end: the embedded example, by phase", "CPU and wall seconds of a phase")
    section.note = (
        "The simulated province, boosting, both parties on one machine. CPU and memory are those of the party's "
        "whole sandbox. Phases of the two parties overlap in federated mode: a total adds CPU and takes the longer "
        "party's wall time. “creditlab demo run” is everything: start, certificates, consents, both jobs, release, "
        "scores, stop; its memory is that of all processes together."
    )
    with tempfile.TemporaryDirectory(prefix="creditlab-bench-") as folder:
        out = Path(folder)
        out.chmod(0o755)  # the embedded database runs as a user of its own
        demo = _demo(out / "demo")
        for mode in MODES:
            rows = _phases(out / "demo" / f"{mode}-boosting" / "report.json", mode)
            section.rows += rows
            tell(f"{mode}: {rows[-1].wall_seconds:.1f} s wall, {rows[-1].cpu_seconds:.1f} s CPU in phases")
    section.rows.append(demo)
    tell(f"demo: {demo.wall_seconds:.0f} s wall, {demo.cpu_seconds:.0f} s CPU, {demo.peak_rss_mb:.0f} MB")
    return section


def _demo(out: Path) -> Row:
    command = Path(sys.executable).with_name("creditlab")
    started = time.perf_counter()
    with (out.parent / "demo.log").open("w+b") as log:
        process = subprocess.Popen(
            [str(command), "demo", "run", "--mode", "both", "--recipe", "boosting", "--out", str(out)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        watch = Watch(process.pid)
        try:
            code = process.wait(MINUTES * 60)
        finally:
            if process.poll() is None:
                process.terminate()  # the demo ends everything it started
                process.wait(60)
            watch.stop()
        wall = time.perf_counter() - started
        if code != 0:
            log.seek(0)
            words = log.read().decode(errors="replace")[-3000:]
            raise BenchmarkFailed(f"`creditlab demo run` failed:\n{words}")
    return Row("creditlab demo run", watch.cpu_seconds, wall, watch.peak_mb)


def _phases(report: Path, mode: str) -> list[Row]:
    document = read(report)
    rows = [
        Row(
            f"{mode}: {phase['name']} ({phase['party']})",
            phase["cpu_seconds"],
            phase["seconds"],
            phase["peak_rss_mb"],
        )
        for phase in document["phases"]
    ]
    walls: dict[str, float] = {}
    for phase in document["phases"]:
        walls[phase["party"]] = walls.get(phase["party"], 0.0) + phase["seconds"]
    total = Row(
        f"{mode}: all phases",
        sum(row.cpu_seconds for row in rows),
        max(walls.values()),
        max(row.peak_rss_mb or 0.0 for row in rows),
        document["models"]["joint"]["auc"],
    )
    return [*rows, total]
