"""Features of a whole province: full build, one day's refresh and single reads, beside plain DuckDB aggregates.

`python -m benchmarks.features_build --records N --enterprises E` makes a seeded store of simulated records (2 % of them
corrected, repaired, disputed or deleted later) and measures each case in a process of its own; with `--out` the section
goes into a result file. The plain case has the same aggregates over the same files by hand: no versions, no repairs, no
order. The returns of a month come in from the fifth to the nineteenth of the next, the same number on each day; `one
day` is a day after them, `a day of returns` one of them. Owns the cases; the store it measures is thrown away.
"""

from __future__ import annotations

import argparse
import datetime as dt
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import results
from benchmarks.bars import READ_CASE, features_bar
from benchmarks.results import Row, Section, say
from features import uscc
from features.catalogue import Category, load
from features.derive import ServingView
from features.derive.compiler import plans
from features.store import EventStore
from features.store.engine import connect

SEED = 11
RECORDS, ENTERPRISES = 10_000_000, 200_000
FIRST, _LAST = dt.date(2020, 1, 1), dt.date(2024, 12, 31)
#: The date of the full build, the day of returns after it, the last of these days and the ordinary day after them.
AS_OF, RETURNS, BETWEEN, ORDINARY = (dt.date(2024, 11, day) for day in (12, 13, 19, 20))
#: Share of all records by category; the monthly ones make up most of what a province collects.
_SHARES = {
    "utilities": 0.22,
    "tax": 0.18,
    "social_insurance": 0.16,
    "housing_fund": 0.10,
    "credit": 0.08,
    "administrative": 0.05,
    "import_export": 0.04,
    "judicial": 0.04,
    "registration": 0.03,
    "key_persons": 0.03,
    "operation": 0.03,
    "intellectual_property": 0.01,
    "environment": 0.007,
    "qualifications": 0.008,
    "research": 0.005,
    "agriculture": 0.005,
    "real_estate": 0.005,
}
_AMENDED = 50  # one record in so many has a second event
_CHUNK = 2_000_000
_READS = 500


def generate(folder: Path, records: int, enterprises: int) -> None:
    """Fills the store below `folder`; the same numbers give the same records."""
    catalogue = load()
    store = EventStore(folder / "store", catalogue)
    codes = _codes(folder, enterprises)
    for category in catalogue:
        count = max(1, round(records * _SHARES[category.id]))
        for start in range(0, count, _CHUNK):
            end = min(count, start + _CHUNK)
            for kind, amended in (("first", False), ("second", True)):
                _write(store, codes, f"{category.id}-{start}-{kind}", category,
                       events(category, start, end, count, enterprises, amended, FIRST, AS_OF))  # fmt: skip


def learn(folder: Path, records: int, enterprises: int, after: dt.date, until: dt.date) -> None:
    """Adds what becomes known after one day and until another: of every category one batch."""
    catalogue = load()
    codes = _codes(folder, enterprises)
    store = EventStore(folder / "store", catalogue)
    for category in catalogue:
        count = max(1, round(records * _SHARES[category.id]))
        news = (events(category, 0, count, count, enterprises, amended, after, until) for amended in (False, True))
        _write(store, codes, f"{category.id}-{until}", category, " UNION ALL ".join(news))


def _codes(folder: Path, enterprises: int) -> pa.Table:
    """The enterprises' numbers and codes, made once."""
    path = folder / "codes.parquet"
    if not path.exists():
        names = uscc.simulate(np.random.default_rng(SEED), enterprises)
        pq.write_table(pa.table({"number": np.arange(enterprises), "uscc": names}), path)
    return pq.read_table(path)


def _write(store: EventStore, codes: pa.Table, batch: str, category: Category, query: str) -> None:
    with connect() as db:
        db.register("codes", codes)
        table = db.sql(query).to_arrow_table()
    store.write(batch, {category.id: table})


def cluster(folder: Path) -> None:
    """The store's upkeep, as an operator runs it between loads."""
    store = EventStore(folder / "store", load())
    for category in store.catalogue:
        store.cluster(category.id)


def events(
    category: Category,
    start: int,
    end: int,
    count: int,
    enterprises: int,
    amended: bool,
    after: dt.date,
    until: dt.date,
) -> str:
    """Records number `start` to `end` of a category's `count`, or the later events about some of them.

    Of these, the ones that become known after one day and until another.
    """

    def dice(name: str, sides: int) -> str:
        return f"(hash(i, '{category.id}.{name}', {SEED}) % {sides})::BIGINT"

    if category.update == "monthly":
        holders = min(enterprises, max(1, count // 24))
        who = f"i % {holders}"
        when = f"last_day(DATE '{_LAST}' - ((i // {holders}) % 60)::INTEGER * INTERVAL 1 MONTH)::DATE"
        late = f"5 + {dice('late', 15)}"
    else:
        who = dice("who", enterprises)
        when = f"DATE '{FIRST}' + {dice('when', (_LAST - FIRST).days)}::INTEGER"
        late = dice("late", 30)
    values = {
        "code": lambda item: (
            f"([{', '.join(repr(code) for code in item.codes)}])[1 + {dice(item.name, len(item.codes))}]"
        ),
        "text": lambda item: f"'T' || {dice(item.name, 1000)}",
        "integer": lambda item: dice(item.name, 60),
        "decimal": lambda item: f"({dice(item.name, 10_000_000)} / 100)::DECIMAL(18,2)",
        "ratio": lambda item: f"{dice(item.name, 1000)} / 1000",
        "boolean": lambda item: f"{dice(item.name, 20)} = 0",
        "date": lambda item: f"CASE WHEN {dice(item.name, 2)} = 0 THEN happened + {dice('to', 1500)}::INTEGER END",
    }
    items = ", ".join(f"{values[item.type](item)} AS {item.name}" for item in category.items)
    ops = ["correct", "delete", "dispute_open"] + ([] if category.repair == "none" else ["repair"])
    op = f"([{', '.join(map(repr, ops))}])[1 + {dice('op', len(ops))}]" if amended else "'assert'"
    wait = f" + to_days((20 + {dice('wait', 300)})::INTEGER)" if amended else ""
    some = f"WHERE i % {_AMENDED} = 0" if amended else ""
    return f"""
        SELECT uscc, '{category.id}-' || i AS record_id, happened AS event_date, learned AS known_at,
            '{category.source}' AS source, {op} AS op, '{"2" if amended else ""}' AS revision, {items}
        FROM (
            SELECT i, {who} AS number, {when} AS happened,
                happened::TIMESTAMP + to_days(({late})::INTEGER) + INTERVAL 8 HOUR{wait} AS learned
            FROM (SELECT range AS i FROM range({start}, {end})) {some}
        ) JOIN codes USING (number)
        WHERE learned::DATE > DATE '{after}' AND learned::DATE <= DATE '{until}'
    """


def plain(folder: Path) -> None:
    """The same aggregates as somebody would write them by hand."""
    store = EventStore(folder / "store", load())
    snapshot = store.snapshot()
    out = folder / "plain"
    out.mkdir(exist_ok=True)
    for plan in plans(store.catalogue):
        files = snapshot.table(snapshot.of(plan.category.id))
        windows = ", ".join(
            f"event_date > DATE '{AS_OF}' - INTERVAL {months} MONTH AS w{months}" for months in (3, 6, 12, 24, 36, 60)
        )
        made = ", ".join(
            f"{one.sql.replace('stamp', 'event_date')} AS {name}" for name, one in plan.expressions.items()
        )
        with connect(spill=folder / "spill") as db:
            db.execute(f"""
                COPY (
                    SELECT uscc, {made}
                    FROM (SELECT *, DATE '{AS_OF}' AS as_of, {windows} FROM {files})
                    WHERE op = 'assert' AND known_at < TIMESTAMP '{RETURNS}' AND event_date <= as_of
                    GROUP BY uscc
                ) TO '{out / plan.category.id}.parquet' (FORMAT parquet)
            """)


def full(folder: Path) -> None:
    ServingView(folder / "view", EventStore(folder / "store", load())).rebuild(AS_OF)


def day(folder: Path, until: dt.date) -> dict[str, int]:
    """Brings the view to a day; the number of enterprises computed anew."""
    return ServingView(folder / "view", EventStore(folder / "store", load())).refresh(until)


def reads(folder: Path) -> list[float]:
    """Milliseconds of single reads of random enterprises."""
    store = EventStore(folder / "store", load())
    view = ServingView(folder / "view", store)
    with connect(threads=1) as db:
        known = db.sql(f"SELECT DISTINCT uscc FROM {store.snapshot().table(store.snapshot().of('registration'))}")
        names = sorted(one for (one,) in known.fetchall())
    chosen = np.random.default_rng(SEED).choice(names, _READS)
    view.features(str(chosen[0]))
    taken = []
    for one in chosen:
        started = time.perf_counter()
        view.features(str(one))
        taken.append((time.perf_counter() - started) * 1000)
    return taken


def run(records: int = RECORDS, enterprises: int = ENTERPRISES) -> Section:
    """Measures every case; the ratios are of CPU time to the plain case, or to the full build."""
    tell = say("features_build")
    count = len(load().features)
    section = Section(
        "features_build",
        f"{count} features of {enterprises:,} enterprises from {records:,} records",
        "CPU time over that of the named case",
    )
    with TemporaryDirectory(prefix="features-build-") as name:
        folder = Path(name)
        _, seconds, _, _ = _alone(generate, folder, records, enterprises)
        tell(f"store made in {seconds:.0f} s")

        def measure(case: str, phase: Callable[..., Any], *arguments: Any) -> None:
            answer, cpu, wall, peak = _alone(phase, folder, *arguments)
            section.rows.append(Row(case, cpu, wall, peak))
            tell(f"{case}: {cpu:.1f} s CPU, {wall:.1f} s, {peak:.0f} MB {answer or ''}")

        measure("upkeep", cluster)
        measure("plain DuckDB", plain)
        measure("full build", full)
        _alone(learn, folder, records, enterprises, AS_OF, RETURNS)
        measure("a day of returns", day, RETURNS)
        _alone(learn, folder, records, enterprises, RETURNS, BETWEEN)
        _alone(day, folder, BETWEEN)
        _alone(learn, folder, records, enterprises, BETWEEN, ORDINARY)
        measure("one day", day, ORDINARY)
        taken, cpu, _, peak = _alone(reads, folder)
    p50, p99 = (float(one) / 1000 for one in np.percentile(taken, [50, 99]))
    section.rows.append(Row(READ_CASE, cpu / _READS, p99, peak, bar=features_bar(READ_CASE)))
    section.compare("full build", "plain DuckDB", features_bar("full build"))
    section.compare("one day", "full build", features_bar("one day"))
    section.compare("a day of returns", "full build")
    section.note = (
        f"Single reads: {_READS} random enterprises, median {p50 * 1000:.1f} ms; CPU is of one read, wall is the 99th "
        "percentile. Each case runs in a process of its own; libraries are loaded before its clock starts."
    )
    return section


def _alone(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float, float]:
    """What `work` returns in a fresh process, with its CPU seconds, wall seconds and peak MB."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, work, arguments).result()


def _measured(work: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, float, float, float]:
    with duckdb.connect() as db:
        db.register("loaded", pa.table({"one": [1]}))  # loads what duckdb and pyarrow load on first use
    begun, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    answer = work(*arguments)
    wall, used = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - begun.ru_utime - begun.ru_stime
    return answer, cpu, wall, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.features_build")
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--enterprises", type=int, default=ENTERPRISES)
    parser.add_argument("--out", type=Path, help="folder of a results.json to put the section into")
    options = parser.parse_args()
    section = run(options.records, options.enterprises)
    if options.out:
        path = options.out / "results.json"
        results.write([section], path, results.read(path) if path.exists() else None)
    for row in section.rows:
        ratio = f", {row.ratio:.3f} of {row.ratio_to} (bar {row.bar})" if row.ratio else ""
        print(f"{row.case}: {row.cpu_seconds:.2f} s CPU, {row.wall_seconds:.2f} s, {row.peak_rss_mb:.0f} MB{ratio}")
    print(section.note)


if __name__ == "__main__":
    main()
