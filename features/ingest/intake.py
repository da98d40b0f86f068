"""Takes a delivery in: checks, matches, keeps the good rows, holds the bad ones, records the collection.

Owns the order of these steps and what persons decide about held rows. A delivery that cannot be taken as a whole
raises and leaves nothing. A record counts as known from the moment it is received, corrected or confirmed here, never
earlier: only a declared backfill may say otherwise.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.catalogue.model import Category
from features.ingest import checking, identity, quarantine, report, rules
from features.ingest.checking import Checked
from features.ingest.clock import civil_now
from features.ingest.delivery import Delivery
from features.ingest.identity import Matched, Register
from features.ingest.log import Entry, Log, decisions
from features.ingest.quarantine import Held
from features.ingest.reading import Raw, read_file, read_rows
from features.ingest.refused import IngestRefused
from features.store import EventStore, Receipt
from features.store.schema import OPS, columns

#: The category from whose own source the register of numbers and names is kept.
REGISTRY = "registration"
_LINKS = pa.schema(
    [
        ("record_id", pa.string()),
        ("op", pa.string()),
        ("revision", pa.string()),
        ("uscc", pa.string()),
        ("by", pa.string()),
        ("given", pa.string()),
    ]
)


@dataclass(frozen=True)
class Match:
    """Rows of one source that were found by a name alone.

    `state`: `open`, or `confirmed` where rows are still to be released.
    """

    id: str
    source: str
    name: str
    uscc: str
    rows: int
    categories: tuple[str, ...]
    state: str


class Intake:
    """Ingestion into one store. `now`: the clock, civil time."""

    def __init__(self, store: EventStore, *, now: Callable[[], dt.datetime] = civil_now) -> None:
        self.store = store
        self.log = Log(store.root)
        self.rules = rules.load(store.catalogue)
        self._now = now

    def ingest(self, delivery: Delivery, raw: Raw, details: Mapping[str, Any] | None = None) -> Entry:
        """One batch. `details`: what else its entry shall say. Raises IngestRefused, UnknownName."""
        received = self._now()
        delivery.check(self.store.catalogue, received)
        with self.log.alone():
            return self._take("collection", delivery, raw, received, details=details)

    def held(self, *, source: str | None = None, category: str | None = None) -> list[Held]:
        """The rows in quarantine that wait for somebody."""
        return quarantine.opened(self.log, source=source, category=category)

    def correct(self, path: Path, submitter: str) -> list[Entry]:
        """Takes in corrected rows of a table that `quarantine.to_csv` made; one entry for each source.

        A row that is accepted is linked to the held row that it settles; one that is not leaves it open and is in the
        entry's report. Rows settled before are passed over. Raises IngestRefused.
        """
        received = self._now()
        raw = read_file(path)
        with self.log.alone():
            return [
                self._take("correction", delivery, part, received, origins)
                for delivery, part, origins in self._corrected(raw, submitter)
            ]

    def matches(self) -> list[Match]:
        """The proposals that wait for a person."""
        entries = self.log.entries("confirmation", "rejection")
        groups: dict[tuple[str, str, str], list[Held]] = {}
        for one in self.held():
            if one.kind == "proposed":
                groups.setdefault((one.source, str(one.name), str(one.candidate)), []).append(one)
        found = []
        for (source, name, candidate), rows in groups.items():
            state = decisions(entries, source).get((name, candidate), "open")
            categories = tuple(sorted({one.category for one in rows}))
            found.append(
                Match(_match_id(source, name, candidate), source, name, candidate, len(rows), categories, state)
            )
        return found

    def confirm(self, match: str, submitter: str) -> list[Entry]:
        """A person says that name and enterprise belong together: its rows are released, and later ones of that source
        are matched by it as long as the name has no other holder. Raises IngestRefused."""
        received = self._now()
        with self.log.alone():
            wanted = self._match(match)
            if self._register().holders("name", {wanted.name}).get(wanted.name) != {wanted.uscc}:
                raise IngestRefused(
                    "ingest_match_stale",
                    "the register now knows another holder of that name; correct the rows with a USCC instead",
                    "登记信息中该名称已对应其他企业，请改为补充统一社会信用代码",
                )
            if wanted.state == "open":
                self._decide("confirmation", wanted, submitter, received)
            rows = [
                one
                for one in self.held(source=wanted.source)
                if one.kind == "proposed" and (one.name, one.candidate) == (wanted.name, wanted.uscc)
            ]
            entries = []
            for category, backfill in sorted({(one.category, one.backfill) for one in rows}):
                part = [one for one in rows if (one.category, one.backfill) == (category, backfill)]
                raw = read_rows(f"match {match}", [one.content for one in part])
                told = _entered(wanted.source, category, "确认匹配 confirmed match", submitter, backfill)
                entries.append(self._take("release", told, raw, received, [one.id for one in part]))
            return entries

    def reject(self, match: str, submitter: str) -> Entry:
        """A person says that they do not: its rows wait as unmatched. Raises IngestRefused."""
        received = self._now()
        with self.log.alone():
            wanted = self._match(match)
            if wanted.state != "open":
                raise _no_match(match)
            return self._decide("rejection", wanted, submitter, received)

    # ---- one batch -----------------------------------------------------------------------------------------------

    def _take(
        self,
        kind: str,
        delivery: Delivery,
        raw: Raw,
        received: dt.datetime,
        origins: Sequence[str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Entry:
        """`origins`: for each row the held row that it settles when accepted."""
        category = self.store.catalogue.category(delivery.category)
        seq = self.log.next()
        version = self.store.catalogue.version
        more = {"backfill": delivery.backfill, "details": details or {}}
        entry = Entry.of(kind, seq, delivery, raw, received, version, **more)
        table = checking.named(category, delivery, raw)
        if not len(table):
            counts = self._counts(category, raw, Checked({}, [], 0), None, np.zeros(0, bool), received)
            return self._finish(entry, category, raw, Checked({}, [], 0), counts, [], None)
        checked = checking.check(category, self.rules[category.id], delivery, raw.name, table, received)
        matched = identity.match(
            checked, self._register(), decisions(self.log.entries("confirmation", "rejection"), delivery.source),
            registry=self._is_registry(delivery, category),
        )  # fmt: skip
        good = ~checked.bad()
        accepted = _accepted(category, checked, matched, good)
        counts = self._counts(category, raw, checked, matched, good, received)
        held: list[Held] = []
        if origins is None:
            held = self._held(entry, seq, raw, table, checked, matched, good)
            entry = self._resolve(entry, self._redelivered(delivery, accepted))
        else:
            chosen = pa.array(origins, pa.string()).filter(pa.array(good))
            how = {"correction": "corrected", "release": "confirmed"}[kind]
            entry = self._resolve(entry, _resolutions(chosen, how, accepted))
        entry = self._link(entry, checked, matched, good, accepted)
        if self._is_registry(delivery, category):
            entry = self._register_rows(entry, checked, good, accepted, received)
        return self._finish(entry, category, raw, checked, counts, held, accepted)

    def _finish(
        self,
        entry: Entry,
        category: Category,
        raw: Raw,
        checked: Checked,
        counts: dict[str, object],
        held: list[Held],
        accepted: pa.Table | None,
    ) -> Entry:
        """Holds what is to be held, writes the report and lets the batch count."""
        if entry.kind == "collection":
            held += [_broken(entry, self.log.next(), one.row, one.text) for one in raw.broken]
            fresh = self._unseen(entry, held)
            counts["held"] = dict(Counter(one.kind for one in held))
            counts["held_again"] = len(held) - len(fresh)
            if fresh:
                entry = self.log.put(entry, "quarantine", _table(fresh))
        if checked.faults or raw.broken:
            told = (category, checked.faults, raw.rows, raw.broken)
            entry = self.log.put_text(entry, "report", "csv", report.as_csv(*told))
            entry = self.log.put_text(entry, "report", "json", report.as_json(*told))
        entry = replace(entry, counts={"written": 0, "redelivered": 0, **counts})
        if accepted is None or not len(accepted):
            return self.log.publish(entry)
        return self.log.publish(entry, partial(self._write, entry, accepted))

    def _write(self, entry: Entry, accepted: pa.Table) -> Receipt:
        known = dt.datetime.fromisoformat(entry.received_at)
        return self.store.write(entry.batch, {entry.category: accepted}, source=entry.source, known_at=known)

    def _counts(
        self,
        category: Category,
        raw: Raw,
        checked: Checked,
        matched: Matched | None,
        good: np.ndarray,
        received: dt.datetime,
    ) -> dict[str, object]:
        faults = Counter[str]()
        for fault in checked.faults:
            faults[fault.code] += len(fault.at)
        if raw.broken:
            faults["row_broken"] = len(raw.broken)
        counts: dict[str, object] = {
            "delivered": raw.delivered,
            "accepted": int(good.sum()),
            "refused": raw.delivered - int(good.sum()),
            "faults": dict(sorted(faults.items())),
        }
        if matched is not None:
            ops = checked.cells["op"].filter(pa.array(good))
            counts["ops"] = {
                op: int(pc.sum(pc.equal(ops, op)).as_py() or 0) for op in OPS if op in ops.unique().to_pylist()
            }
            counts["matched_by"] = {
                name: int((matched.by[good] == place).sum()) for place, name in enumerate(identity.BY)
            }
            counts["late"] = self._late(category, checked, good, received)
        return counts

    def _late(self, category: Category, checked: Checked, good: np.ndarray, received: dt.datetime) -> int:
        """Accepted first statements that came later than the category allows."""
        first = good & np.array(pc.equal(checked.cells["op"], "assert").to_numpy(zero_copy_only=False))
        days = checked.cells["event_date"].filter(pa.array(first)).cast(pa.int32()).to_numpy()
        if "known_at" in checked.cells:
            known = checked.cells["known_at"].filter(pa.array(first)).cast(pa.date32(), safe=False)
            today = known.cast(pa.int32()).to_numpy()
        else:
            today = np.int32((received.date() - dt.date(1970, 1, 1)).days)
        return int((today - days > self.rules[category.id].late_days).sum())

    # ---- held rows -----------------------------------------------------------------------------------------------

    def _held(
        self,
        entry: Entry,
        seq: int,
        raw: Raw,
        table: pa.Table,
        checked: Checked,
        matched: Matched,
        good: np.ndarray,
    ) -> list[Held]:
        at = np.flatnonzero(~good)
        if not len(at):
            return []
        said: dict[int, list[tuple[str, str]]] = {}
        for fault in checked.faults:
            for place in fault.at.tolist():
                said.setdefault(place, []).append((fault.code, fault.column))
        texts = {name: _texts(table.column(name), checked.cells.get(name), at) for name in table.column_names}
        found = []
        for number, place in enumerate(at.tolist()):
            content = {name: column[number] for name, column in texts.items() if column[number] is not None}
            codes, names = zip(*said[place], strict=True)
            kinds = {quarantine.KIND_OF_CODE.get(code, "invalid") for code in codes}
            kind = kinds.pop() if len(kinds) == 1 else "invalid"
            proposed = kind == "proposed"
            found.append(
                Held(
                    id=quarantine.identify(entry.source, entry.category, content),
                    seq=seq,
                    batch=entry.batch,
                    source=entry.source,
                    category=entry.category,
                    received_at=entry.received_at,
                    backfill=entry.backfill,
                    row=int(raw.rows[place]),
                    kind=kind,
                    codes=codes,
                    columns=names,
                    name=matched.names.get(place) if proposed else None,
                    candidate=matched.candidates.get(place) if proposed else None,
                    record_id=content.get("record_id"),
                    op=content.get("op", "assert"),
                    revision=content.get("revision", ""),
                    content=content,
                )
            )
        return found

    def _unseen(self, entry: Entry, held: list[Held]) -> list[Held]:
        """Rows that are not held already for the same reason, nor settled."""
        if not held:
            return []
        before, settled = quarantine.every(self.log, source=entry.source, category=entry.category)
        fresh: dict[str, Held] = {}
        for one in held:
            old = before.get(one.id)
            same = old is not None and (old.kind, old.candidate) == (one.kind, one.candidate)
            if one.id not in settled and not same:
                fresh.setdefault(one.id, one)
        return list(fresh.values())

    def _redelivered(self, delivery: Delivery, accepted: pa.Table) -> pa.Table:
        """Held rows that the source has since delivered in good order by itself."""
        waiting = {
            (one.record_id, one.op, one.revision): one.id
            for one in self.held(source=delivery.source, category=delivery.category)
            if one.record_id
        }
        if not waiting or not len(accepted):
            return _resolutions(pa.array([], pa.string()), "redelivered", accepted.slice(0, 0))
        names = pa.array([str(record) for record, _, _ in waiting], pa.string())
        near = accepted.filter(pc.is_in(accepted.column("record_id"), value_set=names))
        keys = zip(*(near.column(name).to_pylist() for name in ("record_id", "op", "revision")), strict=True)
        ids = pa.array([waiting.get(key) for key in keys], pa.string())
        return _resolutions(ids.drop_null(), "redelivered", near.filter(ids.is_valid()))

    def _corrected(self, raw: Raw, submitter: str) -> list[tuple[Delivery, Raw, list[str]]]:
        """The parts of a table of corrections: one for each source and category."""
        if "quarantine_id" not in raw.table.column_names or raw.broken:
            raise IngestRefused(
                "ingest_correction_form",
                f"{raw.name}: not a table of quarantined rows; export it with `creditlab features ingest quarantine`",
                f"{raw.name}：不是隔离记录表，请用 `creditlab features ingest quarantine` 导出",
            )
        ids = raw.table.column("quarantine_id").to_pylist()
        held, settled = quarantine.every(self.log)
        for row, one in zip(raw.rows.tolist(), ids, strict=True):
            if one not in held or ids.count(one) > 1:
                raise IngestRefused(
                    "ingest_unknown_held",
                    f"{raw.name}, row {row}: `quarantine_id` is unknown or stands twice; leave that column as exported",
                    f"{raw.name} 第 {row} 行：`quarantine_id` 未知或重复，请勿改动该列",
                )
        groups: dict[tuple[str, str, bool], list[int]] = {}
        for place, one in enumerate(ids):
            if one not in settled:
                groups.setdefault((held[one].source, held[one].category, held[one].backfill), []).append(place)
        parts = []
        for (source, category, backfill), at in groups.items():
            gone = {*quarantine.BOOKKEEPING, *(() if backfill else ("known_at",))}
            table = raw.table.select([name for name in raw.table.column_names if name not in gone]).take(pa.array(at))
            cells = {name: pa.array(_unguarded(table.column(name)), pa.string()) for name in table.column_names}
            told = _entered(source, category, "更正隔离记录 correction of quarantined rows", submitter, backfill)
            told.check(self.store.catalogue, self._now())
            part = replace(raw, table=pa.table(cells), rows=raw.rows[at])
            parts.append((told, part, [ids[place] for place in at]))
        return parts

    def _resolve(self, entry: Entry, resolutions: pa.Table) -> Entry:
        return self.log.put(entry, "resolutions", resolutions) if len(resolutions) else entry

    # ---- matching ------------------------------------------------------------------------------------------------

    def _register(self) -> Register:
        return Register(self.log.files("register"))

    def _is_registry(self, delivery: Delivery, category: Category) -> bool:
        return category.id == REGISTRY and delivery.source == category.source

    def _register_rows(
        self, entry: Entry, checked: Checked, good: np.ndarray, accepted: pa.Table, received: dt.datetime
    ) -> Entry:
        """What the registry says of numbers and names."""
        nothing = pa.nulls(checked.rows, pa.string())
        keep = pa.array(good)
        numbers = checked.cells.get("registration_number", nothing).filter(keep)
        names = checked.cells.get("enterprise_name", nothing).filter(keep).dictionary_encode()
        normal = pa.array([identity.normal_name(name) for name in names.dictionary.to_pylist()], pa.string())
        told = {name: accepted.column(name) for name in ("record_id", "op", "revision", "uscc")}
        told["source"] = pa.repeat(pa.scalar(entry.source), len(accepted))
        known = pa.repeat(pa.scalar(received, pa.timestamp("us")), len(accepted))
        told["known_at"] = accepted.column("known_at") if "known_at" in accepted.column_names else known
        told |= {"registration_number": numbers, "name": normal.take(names.indices)}
        table = pa.table(told).select(identity.REGISTER.names)
        # a deletion takes back what was said, so it is kept though it says nothing itself
        speaks = pc.or_(pc.is_valid(table.column("registration_number")), pc.is_valid(table.column("name")))
        table = table.filter(pc.or_(speaks, pc.not_equal(table.column("op"), "assert"))).cast(identity.REGISTER)
        return self.log.put(entry, "register", table) if len(table) else entry

    def _link(self, entry: Entry, checked: Checked, matched: Matched, good: np.ndarray, accepted: pa.Table) -> Entry:
        """Keeps by what each record was matched, where it was not its own USCC."""
        by = matched.by[good]
        at = np.flatnonzero(by > 0)
        if not len(at):
            return entry
        nothing = pa.nulls(checked.rows, pa.string())
        number = matched.given["registration_number"].filter(pa.array(good)).take(pa.array(at))
        name = checked.cells.get("enterprise_name", nothing).filter(pa.array(good)).take(pa.array(at))
        named = pa.array(by[at] == 2)
        chosen = accepted.take(pa.array(at))
        told = {one: chosen.column(one) for one in ("record_id", "op", "revision", "uscc")}
        told["by"] = pa.array([identity.BY[place] for place in by[at]], pa.string())
        told["given"] = pc.if_else(named, name, number)
        return self.log.put(entry, "links", pa.table(told).cast(_LINKS))

    def _match(self, match: str) -> Match:
        for one in self.matches():
            if one.id == match:
                return one
        raise _no_match(match)

    def _decide(self, kind: str, match: Match, submitter: str, received: dt.datetime) -> Entry:
        entry = Entry(
            kind=kind,
            batch=f"{match.source}.{kind}.{self.log.next():08d}",
            received_at=received.isoformat(),
            submitter=_person(submitter),
            source=match.source,
            catalogue=self.store.catalogue.version,
            details={"match": match.id, "name": match.name, "uscc": match.uscc, "rows": match.rows},
        )
        return self.log.publish(entry)


# ---- parts -----------------------------------------------------------------------------------------------------------


def _accepted(category: Category, checked: Checked, matched: Matched, good: np.ndarray) -> pa.Table:
    """The good rows as the store takes them."""
    cells = {name: column for name, column in checked.cells.items() if name in columns(category)}
    table = pa.table({**cells, "uscc": matched.uscc})
    return table if good.all() else table.filter(pa.array(good))


def _resolutions(ids: pa.Array, how: str, rows: pa.Table) -> pa.Table:
    told: dict[str, pa.Array | pa.ChunkedArray] = {"id": ids, "how": pa.repeat(pa.scalar(how), len(ids))}
    told |= {name: rows.column(name) for name in ("record_id", "op", "revision")}
    return pa.table(told).cast(quarantine.RESOLUTIONS)


def _texts(delivered: pa.ChunkedArray, read: pa.Array | None, at: np.ndarray) -> list[str | None]:
    """Cells as they came; of a typed column, as a text that is read the same way."""
    places = pa.array(at)
    came = delivered.take(places)
    if pa.types.is_string(delivered.type) or read is None:
        return came.cast(pa.string()).to_pylist()
    return pc.coalesce(read.take(places).cast(pa.string()), came.combine_chunks().cast(pa.string())).to_pylist()


def _broken(entry: Entry, seq: int, row: int, text: str) -> Held:
    content = {quarantine.BROKEN: text}
    return Held(
        id=quarantine.identify(entry.source, entry.category, content),
        seq=seq,
        batch=entry.batch,
        source=entry.source,
        category=entry.category,
        received_at=entry.received_at,
        backfill=entry.backfill,
        row=row,
        kind="invalid",
        codes=("row_broken",),
        columns=("",),
        name=None,
        candidate=None,
        record_id=None,
        op="assert",
        revision="",
        content=content,
    )


def _table(held: Sequence[Held]) -> pa.Table:
    return pa.Table.from_pylist([one.to_row() for one in held], quarantine.HELD)


def _unguarded(column: pa.ChunkedArray) -> list[str | None]:
    return [None if text is None else quarantine.unguarded(text) for text in column.to_pylist()]


def _entered(source: str, category: str, what: str, submitter: str, backfill: bool) -> Delivery:
    """The header of a batch that a person makes of held rows. What may enter the store was asked when they came."""
    return Delivery(source, category, what, "entry", _person(submitter), backfill=backfill, lender=True)


def _person(submitter: str) -> str:
    if not submitter.strip():
        raise IngestRefused("ingest_header", "say who decides: the name must not be empty", "请注明经办人")
    return submitter.strip()


def _match_id(source: str, name: str, candidate: str) -> str:
    return hashlib.sha256("|".join((source, name, candidate)).encode()).hexdigest()[:16]


def _no_match(match: str) -> IngestRefused:
    return IngestRefused(
        "ingest_unknown_match",
        f"no open match `{match}`; list them with `creditlab features ingest matches`",
        f"没有待确认的匹配 `{match}`，请用 `creditlab features ingest matches` 列出",
    )
