"""Whose a row is: by USCC, by old registration number, by name only with a person (R38)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import uscc
from features.ingest import IngestRefused
from features.ingest.identity import is_registration_number, normal_name, registration_check, valid_codes
from tests.features.ingest.desk import A, B, C, Desk, entry_of_register, penalty


def number(first: str) -> str:
    return first + registration_check(first)


OLD_A, OLD_B = number("44990100000001"), number("44990100000002")


@pytest.fixture
def known(desk: Desk) -> Desk:
    """A desk whose register knows A and B, and two enterprises of one name."""
    desk.registry(
        [
            entry_of_register("r1", A, OLD_A, "粤海（模拟）有限公司"),
            entry_of_register("r2", B, OLD_B, "同名商行"),
            entry_of_register("r3", C, None, "同名商行"),
        ]
    )
    return desk


def test_check_digit_of_iso_7064_mod_11_10() -> None:
    """The standard's own example 0794 → 5, and the numbers printed on two public licences."""
    assert registration_check("0794") == "5"
    assert is_registration_number("440301103097413")
    assert is_registration_number("100000000018305")
    assert not is_registration_number("440301103097414")
    assert not is_registration_number("44030110309741")


@given(st.integers(0, 10**14 - 1), st.integers(0, 14), st.integers(1, 9))
def test_every_single_wrong_digit_is_noticed(first: int, place: int, shift: int) -> None:
    good = number(f"{first:014d}")
    wrong = good[:place] + str((int(good[place]) + shift) % 10) + good[place + 1 :]
    assert is_registration_number(good)
    assert not is_registration_number(wrong)


@given(st.lists(st.text(alphabet=uscc.ALPHABET + "IOa中", min_size=16, max_size=19), max_size=8))
def test_codes_are_judged_as_one_by_one(texts: list[str]) -> None:
    texts += uscc.simulate(np.random.default_rng(1), 2)
    assert valid_codes(pa.array(texts)).tolist() == [uscc.is_valid(text) for text in texts]


def test_names_are_compared_without_blanks_and_widths() -> None:
    assert normal_name("粤海（模拟） 有限公司ａ") == normal_name("粤海(模拟)有限公司A")
    assert normal_name("粤海有限公司") != normal_name("粤海股份有限公司")


def test_a_wrong_code_is_held_and_never_replaced_by_a_guess(known: Desk) -> None:
    """R38–39: matching by a valid identifier."""
    wrong = A[:-1] + ("0" if A[-1] != "0" else "1")
    entry = known.deliver([penalty("1", wrong, enterprise_name="粤海（模拟）有限公司"), penalty("2", A[:-1])])
    assert known.report(entry) == [(1, "uscc", "uscc_check"), (2, "uscc", "uscc_form")]
    assert known.events() == []


def test_codes_are_read_in_small_letters_and_with_blanks(known: Desk) -> None:
    known.deliver([penalty("1", f" {A.lower()} ")])
    assert [event["uscc"] for event in known.events()] == [A]


def test_an_old_registration_number_is_looked_up_in_the_register(known: Desk) -> None:
    entry = known.deliver([penalty("1", None, registration_number=OLD_A), penalty("2", OLD_B)])
    assert [event["uscc"] for event in known.events()] == [A, B]
    assert entry.counts["matched_by"] == {"uscc": 0, "registration_number": 2, "confirmed_name": 0}
    import pyarrow.parquet

    [links] = known.intake.log.files("links")
    kept = pyarrow.parquet.read_table(links).to_pylist()
    assert [(row["record_id"], row["uscc"], row["given"]) for row in kept] == [("1", A, OLD_A), ("2", B, OLD_B)]


def test_a_number_that_nobody_bears_or_that_is_wrong_is_held(known: Desk) -> None:
    wrong = OLD_A[:-1] + str((int(OLD_A[-1]) + 1) % 10)
    rows = [
        penalty("1", None, registration_number=number("99990100000001")),
        penalty("2", None, registration_number=wrong),
    ]
    entry = known.deliver(rows)
    assert known.report(entry) == [
        (1, "registration_number", "match_none"),
        (2, "registration_number", "registration_number_check"),
    ]


def test_identifiers_that_contradict_each_other_are_held(known: Desk) -> None:
    entry = known.deliver(
        [
            penalty("1", A, registration_number=OLD_B),
            penalty("2", None, registration_number=number("99990100000001"), enterprise_name="粤海（模拟）有限公司"),
        ]
    )
    assert {code for _, _, code in known.report(entry)} == {"identifier_conflict"}
    assert [one.kind for one in known.intake.held()] == ["conflict", "conflict"]


def test_a_number_given_to_two_enterprises_decides_nothing(known: Desk) -> None:
    known.wait(days=1)
    known.registry([entry_of_register("r9", C, OLD_A, "丙")])
    entry = known.deliver([penalty("1", None, registration_number=OLD_A)])
    assert known.report(entry) == [(1, "registration_number", "match_several")]


def test_the_registry_corrects_and_deletes_what_it_said(known: Desk) -> None:
    known.wait(days=1)
    known.registry([entry_of_register("r1", A, number("44990100000003"), "新名", op="correct", revision="c1")])
    known.registry([entry_of_register("r3", C, None, "同名商行", op="delete", revision="d1")])
    entry = known.deliver(
        [penalty("1", None, registration_number=OLD_A), penalty("2", None, enterprise_name="同名商行")]
    )
    assert known.report(entry) == [(1, "registration_number", "match_none"), (2, "enterprise_name", "match_proposed")]


def test_only_the_registry_itself_fills_the_register(desk: Desk) -> None:
    desk.deliver([entry_of_register("r1", A, OLD_A, "甲")], "registration", "somebody_else")
    entry = desk.deliver([penalty("1", None, registration_number=OLD_A)])
    assert desk.report(entry) == [(1, "registration_number", "match_none")]


def test_a_row_without_any_identifier_is_held(known: Desk) -> None:
    assert known.report(known.deliver([penalty("1", None)])) == [(1, "uscc", "identifier_missing")]


# ---- names -----------------------------------------------------------------------------------------------------------


def test_a_name_with_one_holder_waits_for_a_person(known: Desk) -> None:
    """R38: never guessed silently."""
    entry = known.deliver(
        [penalty("1", None, enterprise_name="粤海(模拟)有限公司"), penalty("2", None, enterprise_name="无名")]
    )
    assert known.report(entry) == [(1, "enterprise_name", "match_proposed"), (2, "enterprise_name", "match_none")]
    assert known.events() == []
    [match] = known.intake.matches()
    assert (match.uscc, match.rows, match.state) == (A, 1, "open")


def test_a_name_with_two_holders_is_ambiguous(known: Desk) -> None:
    known.deliver([penalty("1", None, enterprise_name="同名商行")])
    assert [one.kind for one in known.intake.held()] == ["ambiguous"]
    assert known.intake.matches() == []


def test_a_former_name_still_counts_as_borne(known: Desk) -> None:
    """A name given up by one and taken by another leads to both."""
    known.wait(days=1)
    known.registry([entry_of_register("r10", B, None, "粤海（模拟）有限公司")])
    entry = known.deliver([penalty("1", None, enterprise_name="粤海（模拟）有限公司")])
    assert known.report(entry) == [(1, "enterprise_name", "match_several")]


def test_a_confirmed_match_releases_the_rows_from_that_moment(known: Desk) -> None:
    known.deliver([penalty("1", None, enterprise_name="粤海（模拟）有限公司")])
    known.wait(days=2)
    [match] = known.intake.matches()
    [entry] = known.intake.confirm(match.id, "Li Si")
    [event] = known.events()
    assert (event["uscc"], event["known_at"], event["source"]) == (A, known.now, "justice")
    assert (entry.kind, entry.submitter) == ("release", "Li Si")
    assert known.intake.held() == []
    assert known.intake.matches() == []
    assert [one.details["uscc"] for one in known.intake.log.entries("confirmation")] == [A]


def test_a_confirmed_match_holds_for_that_source_while_the_name_has_one_holder(known: Desk) -> None:
    name = "粤海（模拟）有限公司"
    known.deliver([penalty("1", None, enterprise_name=name)])
    known.intake.confirm(known.intake.matches()[0].id, "Li Si")
    entry = known.deliver([penalty("2", None, enterprise_name=name)])
    assert entry.counts["matched_by"]["confirmed_name"] == 1
    other = known.deliver([penalty("3", None, enterprise_name=name)], source="city_management")
    assert known.report(other) == [(1, "enterprise_name", "match_proposed")]
    known.wait(days=1)
    known.registry([entry_of_register("r10", B, None, name)])
    later = known.deliver([penalty("4", None, enterprise_name=name)])
    assert known.report(later) == [(1, "enterprise_name", "match_several")]


def test_a_rejected_match_leaves_the_rows_unmatched(known: Desk) -> None:
    name = "粤海（模拟）有限公司"
    known.deliver([penalty("1", None, enterprise_name=name)])
    [match] = known.intake.matches()
    known.intake.reject(match.id, "Li Si")
    assert known.intake.matches() == []
    assert [one.kind for one in known.intake.held()] == ["unmatched"]
    entry = known.deliver([penalty("2", None, enterprise_name=name)])
    assert known.report(entry) == [(1, "enterprise_name", "match_none")]


def test_a_match_overtaken_by_the_register_cannot_be_confirmed(known: Desk) -> None:
    name = "粤海（模拟）有限公司"
    known.deliver([penalty("1", None, enterprise_name=name)])
    [match] = known.intake.matches()
    known.wait(days=1)
    known.registry([entry_of_register("r10", B, None, name)])
    with pytest.raises(IngestRefused) as caught:
        known.intake.confirm(match.id, "Li Si")
    assert caught.value.code == "ingest_match_stale"


def test_decisions_need_an_open_match_and_a_person(known: Desk) -> None:
    for decide in (known.intake.confirm, known.intake.reject):
        with pytest.raises(IngestRefused) as caught:
            decide("0" * 16, "Li Si")
        assert caught.value.code == "ingest_unknown_match"
    known.deliver([penalty("1", None, enterprise_name="粤海（模拟）有限公司")])
    with pytest.raises(IngestRefused):
        known.intake.confirm(known.intake.matches()[0].id, " ")
    assert known.intake.matches()[0].state == "open"
