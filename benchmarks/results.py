"""The result file of a benchmark run: its shape, its ratios, and the machine it is about.

Owns the form that `results.schema.json` publishes: sections of rows, each row one case with what it cost; a ratio names
the case it is to. It never measures anything and never writes a path or a host's name.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["SECTIONS", "BenchmarkFailed", "Row", "Section", "machine", "medians", "read", "say", "write"]

SECTIONS = (
    "zone",
    "sgb",
    "psi",
    "end_to_end",
    "ledger",
    "consent_gate",
    "features_build",
    "features_ingest",
    "control_plane",
)
FORMAT = "creditlab.benchmarks/1"
SCHEMA_PATH = Path(__file__).with_name("results.schema.json")
DIGITS = 6


class BenchmarkFailed(Exception):
    """A section cannot be measured; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Row:
    """One case. CPU is of all processes of the case; peak RSS is of its largest one, in MB.

    `ratio` is this case's CPU over that of the case `ratio_to`, in the same section; None where nothing is compared.
    """

    case: str
    cpu_seconds: float
    wall_seconds: float | None = None
    peak_rss_mb: float | None = None
    auc: float | None = None
    ratio_to: str | None = None
    ratio: float | None = None
    bar: str | None = None
    repetitions: int = 1


@dataclass
class Section:
    """Rows that belong together. `unit` says what the ratio compares."""

    name: str
    title: str
    unit: str
    rows: list[Row] = field(default_factory=list)
    note: str = ""

    def row(self, case: str) -> Row:
        return next(row for row in self.rows if row.case == case)

    def compare(self, case: str, to: str, bar: str | None = None) -> Row:
        """The same case with its CPU as a ratio of that of `to`; replaces the row and returns it."""
        row, base = self.row(case), self.row(to)
        compared = replace(row, ratio_to=to, ratio=row.cpu_seconds / base.cpu_seconds, bar=bar)
        self.rows[self.rows.index(row)] = compared
        return compared


def medians(case: str, runs: Sequence[Row]) -> Row:
    """One row from repetitions of a case: medians of CPU and wall seconds, the largest peak, the last AUC."""
    walls = [row.wall_seconds for row in runs if row.wall_seconds is not None]
    peaks = [row.peak_rss_mb for row in runs if row.peak_rss_mb is not None]
    return Row(
        case,
        statistics.median(row.cpu_seconds for row in runs),
        statistics.median(walls) if walls else None,
        max(peaks, default=None),
        runs[-1].auc,
        repetitions=len(runs),
    )


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, memory, system, Python. No host name, no path."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / (1 << 30), 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }


def write(sections: Sequence[Section], path: Path, earlier: dict[str, Any] | None = None) -> dict[str, Any]:
    """Writes the validated document, keeping sections of an `earlier` one that were not measured again."""
    fresh = {section.name: _plain(section) for section in sections}
    kept = [old for old in (earlier or {}).get("sections", []) if old["name"] not in fresh]
    document = {
        "format": FORMAT,
        "machine": machine(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "sections": sorted([*kept, *fresh.values()], key=lambda section: SECTIONS.index(section["name"])),
    }
    check(document)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return document


def read(path: Path) -> dict[str, Any]:
    """A result file that follows the schema. Raises jsonschema.ValidationError or OSError."""
    document = json.loads(path.read_text(encoding="utf-8"))
    check(document)
    return document


def check(document: Any) -> None:
    import jsonschema

    jsonschema.validate(document, json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))


def say(section: str) -> Callable[[str], None]:
    """Progress of a section, a line at a time."""
    return lambda text: print(f"[{section}] {text}", flush=True)


def _plain(section: Section) -> dict[str, Any]:
    rows = [
        {key: round(value, DIGITS) if isinstance(value, float) else value for key, value in asdict(row).items()}
        for row in section.rows
    ]
    return {
        "name": section.name,
        "title": section.title,
        "unit": section.unit,
        "note": section.note,
        "rows": [{key: value for key, value in row.items() if value is not None} for row in rows],
    }
