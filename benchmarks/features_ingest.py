"""Ingestion of one large batch: validated Parquet and CSV, beside plain pyarrow reading and writing of the same rows.

`python -m benchmarks.features_ingest --rows N` makes a seeded batch of simulated monthly utility records and measures
each case in a process of its own. Every rule applies and every row is matched by its USCC; one row in a thousand is
bad and held. Two cases per format: up to the rows that may be stored (`validated`), and the whole way into the store
(`ingested`). Owns the cases; what it writes is thrown away.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from benchmarks.bars import INGEST_ROWS, ingest_bar
from benchmarks.features_build import _alone
from benchmarks.results import Row, Section, say
from features import uscc
from features.catalogue import load
from features.ingest import Delivery, Intake, read_file
from features.ingest import rules as record_rules
from features.ingest.checking import check, named
from features.ingest.identity import Register, match
from features.store import EventStore

SEED = 11
ENTERPRISES = 50_000
KINDS = ("parquet", "csv")
NOW = dt.datetime(2025, 1, 15, 9)
_HEADER = Delivery("utilities", "utilities", "simulated bills", "file", "benchmark")
_BAD = 1_000  # one row in so many


def generate(folder: Path, rows: int) -> None:
    """Bills of one year: both formats of the same rows."""
    rng = np.random.default_rng(SEED)
    codes = pa.array(uscc.simulate(rng, ENTERPRISES))
    number = np.arange(rows)
    months = np.datetime64("2024-02", "M") + (number * 12 // rows)
    kinds = np.array(["water", "electricity", "gas"])
    amounts = {name: rng.integers(0, 10**7, rows) / 100 for name in ("consumption", "billed", "paid")}
    amounts["billed"][::_BAD] = -1
    table = pa.table(
        {
            "uscc": codes.take(pa.array(number % ENTERPRISES)),
            "record_id": pa.array(np.char.add("bill-", number.astype(str))),
            "event_date": pa.array(months.astype("datetime64[D]") - np.timedelta64(1, "D")),
            "utility": pa.array(kinds[number % 3]),
            **{name: pa.array(values).cast(pa.decimal128(18, 2), safe=False) for name, values in amounts.items()},
            "overdue_days": pa.array(rng.integers(0, 30, rows)),
            "cut_off": pa.array(rng.random(rows) < 0.01),
        }
    )
    pa.parquet.write_table(table, folder / "batch.parquet")
    pa.csv.write_csv(table, folder / "batch.csv")


def plain(folder: Path, kind: str) -> None:
    """The file read and written as Parquet by pyarrow: no rule, no order, no store."""
    path = folder / f"batch.{kind}"
    table = pa.parquet.read_table(path) if kind == "parquet" else pa.csv.read_csv(path)
    pa.parquet.write_table(table, folder / "plain.parquet", compression="zstd")


def validate(folder: Path, kind: str) -> int:
    """Every rule and the matching; returns the rows that may be stored."""
    catalogue = load()
    category = catalogue.category(_HEADER.category)
    raw = read_file(folder / f"batch.{kind}")
    rules = record_rules.load(catalogue)[category.id]
    checked = check(category, rules, _HEADER, raw.name, named(category, _HEADER, raw), NOW)
    match(checked, Register(), {}, registry=False)
    return int((~checked.bad()).sum())


def ingest(folder: Path, kind: str) -> int:
    """The whole way: rules, matching, quarantine, report, collection record, store."""
    store = EventStore(folder / f"store-{kind}", load())
    entry = Intake(store, now=lambda: NOW).ingest(_HEADER, read_file(folder / f"batch.{kind}"))
    return int(entry.counts["written"])


def run(rows: int = INGEST_ROWS) -> Section:
    """Measures every case; ratios are of CPU time to plain pyarrow on the same format."""
    tell = say("features_ingest")
    section = Section("features_ingest", f"Ingestion of {rows:,} records", "CPU time over that of plain pyarrow")
    good = rows - -(-rows // _BAD)
    speeds = []
    with TemporaryDirectory(prefix="features-ingest-") as name:
        folder = Path(name)
        _alone(generate, folder, rows)
        for kind in KINDS:
            cases: tuple[tuple[str, Callable[..., object]], ...] = (
                ("plain", plain),
                ("validated", validate),
                ("ingested", ingest),
            )
            for case, work in cases:
                answer, cpu, wall, peak = _alone(work, folder, kind)
                assert answer in (None, good), f"{case} {kind}: {answer} rows, expected {good}"
                section.rows.append(Row(f"{kind}, {case}", cpu, wall, peak))
                tell(f"{kind}, {case}: {rows / wall:,.0f} rows/s, {cpu:.1f} s CPU, {wall:.1f} s, {peak:.0f} MB")
                if case != "plain":
                    bar = ingest_bar(f"{kind}, {case}") if case == "ingested" else None
                    section.compare(f"{kind}, {case}", f"{kind}, plain", bar)
                    speeds.append(f"{kind} {case} {rows / wall:,.0f}")
    section.note = f"Rows a second: {'; '.join(speeds)}."
    return section


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.features_ingest")
    parser.add_argument("--rows", type=int, default=INGEST_ROWS)
    section = run(parser.parse_args().rows)
    for row in section.rows:
        if row.ratio:
            print(f"{row.case}: {row.ratio:.2f} of {row.ratio_to} (bar {row.bar})")
    print(section.note)


if __name__ == "__main__":
    main()
