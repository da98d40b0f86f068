"""An intake desk for tests: a store, a clock that is set by hand, and deliveries made of plain rows."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from features import uscc
from features.ingest import Delivery, Entry, Intake, read_file, read_rows
from features.store import EventStore
from tests.features.events import CATALOGUE

#: Enterprises that cannot exist.
A, B, C = uscc.simulate(np.random.default_rng(5), 3)
START = dt.datetime(2024, 3, 12, 9, 30)


def penalty(record: str, enterprise: str | None = A, **more: Any) -> dict[str, Any]:
    row = {"uscc": enterprise, "record_id": record, "event_date": "2024-03-10", "act_kind": "penalty"}
    return {**row, "penalty_kind": "fine", "fine_amount": "100.00", **more}


def bill(record: str, enterprise: str | None = A, month_end: str = "2024-01-31", **more: Any) -> dict[str, Any]:
    row = {"uscc": enterprise, "record_id": record, "event_date": month_end, "utility": "electricity"}
    return {**row, "consumption": "10", "billed": "20.50", "paid": "20.50", **more}


def entry_of_register(
    record: str, enterprise: str | None, number: str | None, name: str, **more: Any
) -> dict[str, Any]:
    row = {"uscc": enterprise, "record_id": record, "event_date": "2024-03-01", "change_kind": "name"}
    return {**row, "registration_number": number, "enterprise_name": name, **more}


@dataclass
class Desk:
    folder: Path
    now: dt.datetime = START
    store: EventStore = field(init=False)
    intake: Intake = field(init=False)

    def __post_init__(self) -> None:
        self.store = EventStore(self.folder / "store", CATALOGUE)
        self.intake = Intake(self.store, now=lambda: self.now)

    def deliver(
        self, rows: Sequence[dict[str, Any]], category: str = "administrative", source: str = "justice", **header: Any
    ) -> Entry:
        said = {"object": "a test", "method": "file", "submitter": "Zhang San", **header}
        return self.intake.ingest(Delivery(source, category, **said), read_rows("rows", rows))

    def registry(self, rows: Sequence[dict[str, Any]]) -> Entry:
        return self.deliver(rows, "registration", "market_regulation")

    def wait(self, **time: int) -> None:
        self.now += dt.timedelta(**time)

    def events(self, category: str = "administrative") -> list[dict[str, Any]]:
        """Every event of the category, in the order of becoming known."""
        snapshot = self.store.snapshot()
        files = snapshot.of(category)
        if not files:
            return []
        table = duckdb.sql(f"SELECT DISTINCT * FROM {snapshot.table(files)} ORDER BY known_at, record_id, op")
        return table.to_arrow_table().to_pylist()

    def records(self, category: str = "administrative") -> list[str]:
        return [event["record_id"] for event in self.events(category)]

    def report(self, entry: Entry) -> list[tuple[int, str, str]]:
        """Row, column and code of every fault."""
        [path] = [self.store.root / one.path for one in entry.files if one.path.endswith(".csv")]
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return [(int(row["row"]), row["column"], row["code"]) for row in csv.DictReader(stream)]

    def export(self, category: str = "administrative") -> list[dict[str, str]]:
        """The table of held rows, as a person sees it."""
        from features.ingest import quarantine

        path = self.folder / "held.csv"
        rows = self.intake.held(category=category)
        path.write_text(quarantine.to_csv(CATALOGUE.category(category), rows), encoding="utf-8", newline="")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream))

    def correct(self, rows: Sequence[dict[str, str]], by: str = "Li Si") -> list[Entry]:
        return self.intake.correct(write_csv(self.folder / "corrected.csv", rows), by)


def write_csv(path: Path, rows: Sequence[dict[str, Any]], encoding: str = "utf-8") -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def load(path: Path, desk: Desk, category: str = "administrative", source: str = "justice", **header: Any) -> Entry:
    said = {"object": "a test", "method": "file", "submitter": "Zhang San", **header}
    delivery = Delivery(source, category, **said)
    return desk.intake.ingest(delivery, read_file(path, delivery.encoding))
