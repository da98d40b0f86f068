"""R43, R60, R62: what is told about an enterprise, in which way, and only under the gate's permit."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import load
from features.sharing import MODES, Permit, SharingRefused, credit_report, evaluation, query, verify, wording
from features.sharing.evaluation import EvaluationRefused, evaluate
from features.sharing.permit import tellable
from tests.features.events import CATALOGUE, Event, Store, penalty

DAY = dt.date(2024, 3, 1)
TODAY = dt.date(2024, 6, 3)
PUBLIC = frozenset(one.id for one in CATALOGUE if one.sharing != "lender")
PERMIT = Permit("A", "bank_a", "loan_review", PUBLIC, frozenset(MODES), dt.date(2024, 12, 31), "usage-1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.write(
        [
            penalty("A", "1", DAY, DAY, 12000),
            penalty("A", "2", DAY + dt.timedelta(9), DAY + dt.timedelta(10), 700),
            penalty("B", "3", DAY, DAY),
            Event("tax", "A", "t1", DAY, DAY, items=(("filing_kind", "vat"), ("arrears", 50), ("sales", 1000))),
        ]
    )
    return made


def asked(store: Store, permit: Permit = PERMIT, category: str = "administrative", uscc: str = "A") -> Any:
    return query(store.events.snapshot(), CATALOGUE, permit, uscc, category, TODAY, TODAY)


def verified(store: Store, stated: dict[str, str], at_least: dict[str, str] | None = None, **more: Any) -> str:
    wanted = {"permit": PERMIT, "uscc": "A", "category": "administrative", **more}
    return verify(store.events.snapshot(), CATALOGUE, wanted["permit"], wanted["uscc"], wanted["category"], stated,
                  TODAY, TODAY, at_least=at_least)  # fmt: skip


def reported(store: Store, permit: Permit = PERMIT, uscc: str = "A") -> dict[str, Any]:
    return credit_report(store.events.snapshot(), CATALOGUE, permit, uscc, TODAY, TODAY)


# ---- the permit ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"uscc": "B"}, "sharing_other_enterprise"),
        ({"modes": frozenset()}, "sharing_mode"),
        ({"until": TODAY - dt.timedelta(1)}, "sharing_expired"),
        ({"usage": ""}, "sharing_permit_incomplete"),
        ({"purpose": ""}, "sharing_permit_incomplete"),
        ({"categories": frozenset({"tax"})}, "sharing_category"),
    ],
)
def test_without_a_permit_that_covers_it_nothing_is_told(store: Store, changes: dict[str, Any], code: str) -> None:
    """R14, R43."""
    permit = replace(PERMIT, **changes)
    calls = [lambda: asked(store, permit), lambda: verified(store, {"act_kind": "penalty"}, permit=permit)]
    if code != "sharing_category":
        calls.append(lambda: reported(store, permit))
    for call in calls:
        with pytest.raises(SharingRefused) as refused:
            call()
        assert refused.value.code == code
        assert refused.value.message_zh


def test_what_stays_with_the_lender_is_told_under_no_permit(store: Store) -> None:
    permit = replace(PERMIT, categories=PUBLIC | {"credit"})
    for call in (lambda: asked(store, permit, "credit"), lambda: reported(store, permit),
                 lambda: verified(store, {"lenders": "1"}, permit=permit, category="credit")):  # fmt: skip
        with pytest.raises(SharingRefused) as refused:
            call()
        assert refused.value.code == "sharing_never"


def test_a_verify_only_or_secret_item_is_never_told(store: Store) -> None:
    item = CATALOGUE.category("administrative").item("fine_amount")
    assert tellable(item, "query")
    assert not tellable(replace(item, sharing="verify_only"), "query")
    assert tellable(replace(item, sharing="verify_only"), "verify")
    assert not any(tellable(replace(item, sensitivity="C3"), mode) for mode in MODES)


# ---- query -----------------------------------------------------------------------------------------------------------


def test_a_query_tells_the_standing_records_of_that_enterprise_and_category(store: Store) -> None:
    assert [row["record_id"] for row in asked(store)] == ["1", "2"]
    assert [row["record_id"] for row in asked(store, category="tax")] == ["t1"]


def test_a_repaired_record_is_told_in_no_way(store: Store) -> None:
    """R59."""
    store.write([penalty("A", "1", DAY, DAY, 12000).later("repair", TODAY)])
    assert [row["record_id"] for row in asked(store)] == ["2"]
    assert verified(store, {"fine_amount": "12000"}) == "no"
    section = next(one for one in reported(store)["categories"] if one["id"] == "administrative")
    assert (section["records"], [row["record_id"] for row in section["latest"]]) == (1, ["2"])


# ---- verification ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "at_least", "answer"),
    [
        ({"act_kind": "penalty"}, {}, "yes"),
        ({"act_kind": "licence"}, {}, "no"),
        ({"fine_amount": "12000"}, {}, "yes"),
        ({"fine_amount": "12000.01"}, {}, "no"),
        ({}, {"fine_amount": "12000"}, "yes"),
        ({}, {"fine_amount": "12000.01"}, "no"),
        ({"act_kind": "penalty"}, {"fine_amount": "1000"}, "yes"),
        ({"serious": "true"}, {}, "no"),
    ],
)
def test_verification_answers_with_one_word(
    store: Store, stated: dict[str, str], at_least: dict[str, str], answer: str
) -> None:
    assert verified(store, stated, at_least) == answer


def test_what_is_stated_must_be_true_of_one_record(store: Store) -> None:
    store.write([Event("judicial", "A", "j1", DAY, DAY, items=(("case_kind", "execution"), ("amount", 10))),
                 Event("judicial", "A", "j2", DAY, DAY, items=(("case_kind", "lawsuit"), ("amount", 20)))])  # fmt: skip
    assert verified(store, {"case_kind": "execution", "amount": "10"}, category="judicial") == "yes"
    assert verified(store, {"case_kind": "execution", "amount": "20"}, category="judicial") == "no"


def test_an_enterprise_without_a_record_is_told_apart(store: Store) -> None:
    assert verified(store, {"case_kind": "execution"}, category="judicial") == "no_record"


@pytest.mark.parametrize(
    ("stated", "at_least", "code"),
    [
        ({"nothing": "1"}, {}, "verify_item"),
        ({"act_kind": "no such code"}, {}, "verify_value"),
        ({"fine_amount": "much"}, {}, "verify_value"),
        ({"valid_to": "soon"}, {}, "verify_value"),
        ({}, {"act_kind": "penalty"}, "verify_value"),
        ({}, {}, "verify_nothing"),
    ],
)
def test_a_statement_that_cannot_be_compared_is_refused(
    store: Store, stated: dict[str, str], at_least: dict[str, str], code: str
) -> None:
    with pytest.raises(SharingRefused) as refused:
        verified(store, stated, at_least)
    assert refused.value.code == code


# ---- evaluation ------------------------------------------------------------------------------------------------------

RULES = evaluation.load(CATALOGUE)
NUMBERS = st.none() | st.floats(0, 10)


def test_a_clean_enterprise_has_every_point_and_a_decisive_fault_the_lowest_grade() -> None:
    """R62."""
    clean = evaluate(RULES, CATALOGUE, {}, PUBLIC)
    assert (clean["score"], clean["grade"], clean["complete"]) == (1000, "优", True)
    told = evaluate(RULES, CATALOGUE, {"judgment_defaulter_flag": 1.0}, PUBLIC)
    assert (told["score"], told["grade"]) == (750, "差")


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(RULES.features, NUMBERS)), st.sampled_from(RULES.features))
def test_no_more_faults_give_no_fewer_points(values: dict[str, float | None], name: str) -> None:
    """Every deduction is told, none takes a dimension below zero, and a fault less never costs points."""
    told = evaluate(RULES, CATALOGUE, values, PUBLIC)
    assert told["score"] == sum(one["score"] for one in told["dimensions"])
    for one in told["dimensions"]:
        assert one["score"] == max(0, one["weight"] - sum(each["points"] for each in one["deductions"]))
        assert all(each["why_zh"] for each in one["deductions"])
    assert evaluate(RULES, CATALOGUE, {**values, name: 0.0}, PUBLIC)["score"] >= told["score"]


def test_a_category_outside_the_permit_is_not_looked_at_and_said_so() -> None:
    told = evaluate(RULES, CATALOGUE, {"judgment_defaulter_flag": 1.0}, PUBLIC - {"judicial"})
    assert (told["score"], told["complete"]) == (1000, False)
    assert "judgment_defaulter_flag" in told["not_covered"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("weight = 200", "weight = 201"),
        ('"良" = 750', '"良" = 950'),
        ('feature = "tax_arrears_months", least = 1', 'feature = "tax_grade", least = 1'),
        ("least = 4, points = 90", "least = 4, below = 2, points = 90"),
        ("least = 4, points = 90", "least = 4, points = 0"),
    ],
)
def test_rules_that_do_not_add_up_are_refused(old: str, new: str) -> None:
    text = evaluation.FILE.read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(EvaluationRefused):
        evaluation.parse(text.replace(old, new), load())


# ---- report ----------------------------------------------------------------------------------------------------------


def test_a_report_is_plain_json_of_what_the_permit_covers(store: Store) -> None:
    """R60."""
    told = reported(store, replace(PERMIT, categories=frozenset({"administrative"})))
    assert json.loads(json.dumps(told)) == told
    assert [one["id"] for one in told["categories"]] == ["administrative"]
    assert told["usage"] == "usage-1"
    assert not told["evaluation"]["complete"]
    values = {one["name"]: one["value"] for one in told["categories"][0]["features"]}
    assert values["penalty_cnt_12m"] == 2
    assert "B" not in [row.get("uscc") for row in told["categories"][0]["latest"]]


def test_a_report_reads_in_words_and_units(store: Store) -> None:
    """R60, R62: codes, flags, amounts and what is missing are told as a person reads them, beside the plain value."""
    told = reported(store, replace(PERMIT, categories=frozenset({"administrative", "tax"})))
    administrative, tax = told["categories"]
    shown = {one["name"]: (one["value"], one["shown_zh"], one["shown_en"]) for one in administrative["features"]}
    assert shown["fine_amount_24m"] == (12700.0, "12,700.00 元", "12,700.00 CNY")
    assert shown["serious_penalty_flag"][1:] == ("否", "no")
    assert shown["months_since_penalty"][1:] == ("2 个月", "2 months")
    missing = {one["name"]: one["shown_zh"] for one in tax["features"] if one["value"] is None}
    assert set(missing.values()) <= {"未知", "不适用", "从未发生"} and missing
    assert administrative["shown"][0] == {
        "event_date": "2024-03-10",
        "zh": "行为种类：行政处罚；罚没金额：700.00 元",
        "en": "Kind of act: Penalty; Fine: 700.00 CNY",
    }
    words = wording.feature_words(CATALOGUE.category("registration"), CATALOGUE.feature("registration_scale"), "small")
    assert words == ("小型", "Small")


@pytest.mark.parametrize("item", [one for category in CATALOGUE for one in category.items], ids=lambda one: one.name)
def test_every_unit_of_the_catalogue_has_its_words(item: Any) -> None:
    zh, en = wording.item_words(item, "1")
    assert not item.unit or (zh, en) != ("1", "1")


def test_the_same_request_gives_the_same_report(store: Store) -> None:
    assert reported(store) == reported(store)


def test_a_report_is_drawn_with_its_chinese_and_missing_fonts_are_named(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("fpdf")
    from features.sharing import pdf

    told = reported(store, replace(PERMIT, categories=frozenset({"administrative", "tax"})))
    with pytest.raises(SharingRefused) as refused:
        pdf.render(told, tmp_path / "none.ttc")
    assert refused.value.code == "report_font"
    made = pdf.render(told)
    assert made.startswith(b"%PDF-")
    assert pdf.render(told) == made
