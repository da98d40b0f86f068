"""Set intersection by our engine at two sizes beside openmined-psi at 1e5: half of each side's ids are common.

`engine_psi` runs the processes of each case; this module compares.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from benchmarks.results import BenchmarkFailed, Row, Section, say

BASE = "openmined-psi 100,000"


def run() -> Section:
    """One run of each case."""
    from benchmarks.engine_psi import measure

    if importlib.util.find_spec("private_set_intersection") is None:
        raise BenchmarkFailed("the package openmined-psi is not installed in the project's environment")
    tell = say("psi")
    section = Section("psi", "Private set intersection, 50 % common", "CPU of both parties")
    section.note = (
        "RR22 is the default, ECDH (curve 25519) can be chosen; both in two processes through the engine's bridge. "
        "openmined-psi runs both parties in one process."
    )
    try:
        for line in measure(tell=tell):
            section.rows.append(_row(line))
            tell(f"{line['case']}: {line['cpu_seconds']} s CPU, {line['seconds']} s wall")
    except RuntimeError as error:
        raise BenchmarkFailed(str(error)) from error
    for row in list(section.rows):
        if row.case != BASE:
            section.compare(row.case, BASE)
    return section


def _row(line: dict[str, Any]) -> Row:
    return Row(line["case"], line["cpu_seconds"], line["seconds"], line["peak_rss_mb"])
