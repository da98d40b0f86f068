"""A batch: recorded, delivered any number of times, corrected, never half visible."""

from __future__ import annotations

import datetime as dt
import json
import random
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.derive import build
from features.ingest import Delivery, IngestRefused, Log, read_folder
from tests.features.events import CATALOGUE, spine
from tests.features.ingest.desk import START, A, B, Desk, bill, entry_of_register, penalty, write_csv

DAY = dt.timedelta(days=1)


def count(desk: Desk, enterprise: str, as_of: dt.date) -> float:
    [row] = build(desk.store.snapshot(), CATALOGUE, spine([(enterprise, as_of)]), ["penalty_cnt_12m"]).to_pylist()
    return row["penalty_cnt_12m"]


# ---- the collection record -------------------------------------------------------------------------------------------


def test_every_collection_is_recorded(desk: Desk) -> None:
    """R37: time, object, method, source, submitter, hash, counts."""
    entry = desk.deliver(
        [penalty("1"), penalty("2", act_kind="x")],
        object="行政处罚 2024-03",
        collected_at=START - DAY,
        submitter="Wang",
    )
    [kept] = Log(desk.store.root).entries("collection")
    assert kept == entry
    assert (kept.source, kept.category, kept.object, kept.method) == (
        "justice",
        "administrative",
        "行政处罚 2024-03",
        "file",
    )
    assert (kept.submitter, kept.received_at) == ("Wang", START.isoformat())
    assert kept.collected_at == (START - DAY).isoformat()
    assert len(kept.sha256) == 64 and kept.catalogue == CATALOGUE.version
    wanted = {"delivered": 2, "accepted": 1, "refused": 1, "written": 1, "redelivered": 0, "held": {"invalid": 1}}
    assert {name: kept.counts[name] for name in wanted} == wanted
    assert kept.counts["faults"] == {"not_code": 1}
    assert [event["batch"] for event in desk.events()] == [kept.batch]


def test_the_log_is_append_only_and_tampering_is_noticed(desk: Desk) -> None:
    """R37."""
    for number in range(3):
        desk.deliver([penalty(str(number)), penalty("x", act_kind="x")])
    log = Log(desk.store.root)
    log.verify()
    path = log.folder / "log" / "0000000002.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("Zhang San", "Nobody"), encoding="utf-8")
    with pytest.raises(IngestRefused) as caught:
        log.verify()
    assert caught.value.code == "ingest_log_damaged"
    path.unlink()
    with pytest.raises(IngestRefused):
        log.entries()
    path.write_text(text, encoding="utf-8")
    log.verify()
    held = log.files("quarantine")[0]
    held.write_bytes(held.read_bytes()[:-1] + b"x")
    with pytest.raises(IngestRefused, match=held.name):
        log.verify()


def test_a_delivery_of_nothing_is_recorded_too(desk: Desk, tmp_path: Path) -> None:
    from features.ingest import read_file

    path = tmp_path / "a.csv"
    path.write_text("uscc,record_id,event_date,act_kind\n", encoding="utf-8")
    delivery = Delivery("justice", "administrative", "nil return", "file", "Wang")
    assert desk.intake.ingest(delivery, read_file(path)).counts["delivered"] == 0
    assert len(desk.intake.log.entries()) == 1


@pytest.mark.parametrize(
    ("header", "word"),
    [
        ({"source": "Justice!"}, "source"),
        ({"method": "pigeon"}, "method"),
        ({"object": " "}, "object"),
        ({"submitter": ""}, "submitter"),
        ({"encoding": "utf-7"}, "encoding"),
        ({"collected_at": START + DAY}, "collected_at"),
    ],
)
def test_a_header_that_does_not_say_who_what_and_how_is_refused(desk: Desk, header: dict[str, str], word: str) -> None:
    """R37."""
    with pytest.raises(IngestRefused, match=word) as caught:
        desk.deliver([penalty("1")], **header)
    assert caught.value.code == "ingest_header"
    assert desk.intake.log.entries() == []


def test_what_stays_with_the_lender_does_not_enter_the_zone(desk: Desk) -> None:
    row = {"uscc": A, "record_id": "1", "event_date": "2024-01-31", "account_ref": "x", "balance": "1"}
    with pytest.raises(IngestRefused) as caught:
        desk.deliver([row], "credit", "bank_a")
    assert caught.value.code == "ingest_lender_only"
    assert desk.deliver([row], "credit", "bank_a", lender=True).counts["written"] == 1


def test_a_batch_folder_carries_its_header(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "batch"
    folder.mkdir()
    write_csv(folder / "data.csv", [penalty("1", 备注="x")])
    header = 'file = "data.csv"\nsource = "justice"\ncategory = "administrative"\nobject = "处罚"\nmethod = "file"\n'
    (folder / "batch.toml").write_text(
        header + 'submitter = "Wang"\ncollected_at = 2024-03-01T08:00:00\nignore = ["备注"]\n', encoding="utf-8"
    )
    delivery, path = read_folder(folder)
    assert (delivery.collected_at, delivery.ignore, path.name) == (dt.datetime(2024, 3, 1, 8), ("备注",), "data.csv")
    for bad in (header, header + 'submitter = "x"\ncolour = "red"\n', header + "submitter = 3\n", "x = [",
                header.replace("data.csv", "../data.csv") + 'submitter = "x"\n'):  # fmt: skip
        (folder / "batch.toml").write_text(bad, encoding="utf-8")
        with pytest.raises(IngestRefused):
            read_folder(folder)


# ---- delivered again, late, changed ----------------------------------------------------------------------------------


def test_a_batch_may_be_delivered_again(desk: Desk) -> None:
    """R37, R55: recorded each time, stored and held once."""
    rows = [penalty("1"), penalty("2", act_kind="x")]
    desk.deliver(rows)
    desk.wait(days=3)
    again = desk.deliver(rows)
    assert (again.counts["written"], again.counts["redelivered"], again.counts["held_again"]) == (0, 1, 1)
    assert len(desk.events()) == 1
    assert desk.events()[0]["known_at"] == START
    assert len(desk.intake.held()) == 1
    assert len(desk.intake.log.entries("collection")) == 2


def test_a_late_record_is_counted_and_known_only_from_its_arrival(desk: Desk) -> None:
    """R56; nothing received today was known yesterday."""
    entry = desk.deliver([penalty("1", event_date="2024-01-05"), penalty("2")])
    assert entry.counts["late"] == 1
    assert count(desk, A, START.date() - DAY) == 0
    assert count(desk, A, START.date()) == 2


def test_when_a_source_drew_its_records_decides_nothing(desk: Desk) -> None:
    """R37: stated and recorded, but what was received today was not known before."""
    desk.deliver([penalty("1")], collected_at=START - DAY)
    assert [event["known_at"] for event in desk.events()] == [START]


def test_corrected_deleted_and_repaired_records_are_events(desk: Desk) -> None:
    """R38, R54: what was known before a correction stays known as it was."""
    desk.deliver([penalty("1"), penalty("2"), penalty("3")])
    desk.wait(days=5)
    named = {"uscc": A, "event_date": "2024-03-10", "revision": "r1"}
    entry = desk.deliver(
        [
            penalty("1", op="correct", revision="r1", act_kind="reward", penalty_kind=None),
            {**named, "record_id": "2", "op": "delete"},
            {**named, "record_id": "3", "op": "repair"},
        ]
    )
    assert entry.counts["ops"] == {"correct": 1, "repair": 1, "delete": 1}
    assert count(desk, A, START.date()) == 3
    assert count(desk, A, desk.now.date()) == 0


def test_a_backfill_tells_when_history_became_known(desk: Desk) -> None:
    rows = [penalty("1", event_date="2024-01-05", known_at="2024-01-09 08:00:00"), penalty("2", known_at="")]
    entry = desk.deliver(rows, backfill=True)
    assert entry.backfill
    assert [event["known_at"] for event in desk.events()] == [dt.datetime(2024, 1, 9, 8), START]


@settings(max_examples=3, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=4), st.randoms())
def test_the_order_and_number_of_deliveries_do_not_matter(numbers: list[int], dice: random.Random) -> None:
    """R55."""
    from tempfile import TemporaryDirectory

    def told(order: list[int]) -> list[tuple[str, str]]:
        with TemporaryDirectory() as folder:
            desk = Desk(Path(folder))
            for number in order:
                desk.deliver([penalty(str(number)), penalty(f"bad{number}", serious="x")])
            return sorted((row["record_id"], row["uscc"]) for row in desk.events()) + sorted(
                (str(one.record_id), one.kind) for one in desk.intake.held()
            )

    shuffled = list(dict.fromkeys(numbers))
    dice.shuffle(shuffled)
    assert told(numbers) == told(shuffled)


# ---- quarantine ------------------------------------------------------------------------------------------------------


def test_good_rows_are_kept_and_bad_ones_held_apart(desk: Desk) -> None:
    """R54."""
    desk.deliver([penalty("1"), penalty("2", fine_amount="-5"), penalty("3")])
    assert desk.records() == ["1", "3"]
    [held] = desk.intake.held()
    assert (held.row, held.codes, held.columns) == (2, ("out_of_range",), ("fine_amount",))
    [path] = desk.intake.log.files("quarantine")
    assert path.parent.relative_to(desk.store.root).as_posix() == "ingest/quarantine/administrative/2024-03"


def test_a_corrected_row_is_stored_and_linked_to_the_original(desk: Desk) -> None:
    """R54: corrected, and the correction tracked."""
    first = desk.deliver([penalty("1", fine_amount="-5"), penalty("2", serious="x")])
    rows = desk.export()
    assert "超出允许范围" in rows[0]["reason_zh"] and rows[0]["batch"] == first.batch
    desk.wait(days=4)
    rows[0]["fine_amount"] = "5"
    [entry] = desk.correct(rows)
    [event] = desk.events()
    assert (event["record_id"], event["known_at"], event["source"]) == ("1", desk.now, "justice")
    assert (entry.kind, entry.submitter, entry.counts["accepted"]) == ("correction", "Li Si", 1)
    assert desk.report(entry) == [(2, "serious", "not_boolean")]
    [links] = desk.intake.log.files("resolutions")
    [link] = pyarrow.parquet.read_table(links).to_pylist()
    assert (link["id"], link["record_id"], link["how"]) == (rows[0]["quarantine_id"], "1", "corrected")
    assert [one.record_id for one in desk.intake.held()] == ["2"]


def test_a_table_of_corrections_may_be_handed_in_again(desk: Desk) -> None:
    desk.deliver([penalty("1", fine_amount="-5")])
    rows = desk.export()
    rows[0]["fine_amount"] = "5"
    assert len(desk.correct(rows)) == 1
    assert desk.correct(rows) == []
    assert len(desk.events()) == 1


def test_corrections_of_two_sources_are_two_batches(desk: Desk) -> None:
    desk.deliver([penalty("1", fine_amount="-5")])
    desk.deliver([penalty("1", fine_amount="-6")], source="city_management")
    rows = desk.export()
    for row in rows:
        row["fine_amount"] = "5"
    assert [entry.source for entry in desk.correct(rows)] == ["justice", "city_management"]
    assert {event["source"] for event in desk.events()} == {"justice", "city_management"}


def test_a_broken_row_is_written_anew(desk: Desk, tmp_path: Path) -> None:
    from tests.features.ingest.desk import load

    path = write_csv(tmp_path / "a.csv", [penalty("1")])
    path.write_text(path.read_text(encoding="utf-8") + "only,three,cells\n", encoding="utf-8")
    entry = load(path, desk)
    assert desk.report(entry) == [(2, "", "row_broken")]
    [row] = desk.export()
    assert row["as_delivered"] == "only,three,cells"
    desk.correct([row | {name: str(value) for name, value in penalty("2").items()}])
    assert desk.records() == ["1", "2"]


def test_cells_that_a_spreadsheet_would_run_come_back_as_they_were(desk: Desk) -> None:
    case = {"uscc": A, "record_id": "=1+1", "event_date": "2024-03-10", "case_kind": "lawsuit", "amount": "-7"}
    desk.deliver([{**case, "court": "@x"}], "judicial", "courts")
    [row] = desk.export("judicial")
    assert (row["record_id"], row["court"], row["amount"]) == ("'=1+1", "'@x", "-7")
    desk.correct([{**row, "amount": "7"}])
    [event] = desk.events("judicial")
    assert (event["record_id"], event["court"]) == ("=1+1", "@x")


def test_another_table_is_no_table_of_corrections(desk: Desk) -> None:
    desk.deliver([penalty("1", fine_amount="-5")])
    [row] = desk.export()
    for rows, code in (
        ([penalty("1")], "ingest_correction_form"),
        ([{**row, "quarantine_id": "0" * 32}], "ingest_unknown_held"),
        ([row, row], "ingest_unknown_held"),
    ):
        with pytest.raises(IngestRefused) as caught:
            desk.correct(rows)
        assert caught.value.code == code


def test_a_row_that_its_source_delivers_in_good_order_later_is_settled(desk: Desk) -> None:
    desk.deliver([penalty("1", fine_amount="-5"), penalty("2", fine_amount="-5")])
    desk.deliver([penalty("1", fine_amount="5")])
    assert [one.record_id for one in desk.intake.held()] == ["2"]
    desk.deliver([penalty("2", fine_amount="5")], source="city_management")
    assert [one.record_id for one in desk.intake.held()] == ["2"], "another source's record is another record"


def test_a_settled_row_delivered_again_is_not_held_anew(desk: Desk) -> None:
    bad = penalty("1", fine_amount="-5")
    desk.deliver([bad])
    rows = desk.export()
    rows[0]["fine_amount"] = "5"
    desk.correct(rows)
    assert desk.deliver([bad]).counts["held_again"] == 1
    assert desk.intake.held() == []


def test_a_settled_row_is_not_held_anew_for_another_reason_either(desk: Desk) -> None:
    bad = penalty("1", None, enterprise_name="甲公司")
    desk.deliver([bad])
    rows = desk.export()
    rows[0]["uscc"] = A
    desk.correct(rows)
    desk.registry([entry_of_register("r1", B, None, "甲公司")])
    assert desk.deliver([bad]).counts["held_again"] == 1
    assert desk.intake.matches() == []


def test_entries_are_plain_json(desk: Desk) -> None:
    desk.deliver([bill("1", B)], "utilities", "power_company")
    [path] = (desk.intake.log.folder / "log").glob("*.json")
    assert json.loads(path.read_text(encoding="utf-8"))["format"] == "creditlab.ingest/1"
