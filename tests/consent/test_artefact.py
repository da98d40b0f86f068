"""What makes a consent document well formed (R14, R20, R43, R44, R51; PIPL §14, §23, §29; ISO/IEC TS 27560)."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import artefact, templates
from consent.artefact import MalformedDocument, PersonConsentMissing, covers
from consent.canonical import canonical, digest
from tests.consent.conftest import Maker

REFERENCE = "ab" * 32


def consent(**changes: Any) -> dict[str, Any]:
    return artefact.consent(**Maker.fields("91350100M000100Y43", **changes))


def offer(**changes: Any) -> dict[str, Any]:
    fields = Maker.fields("91350100M000100Y43", **changes)
    del fields["given_at"], fields["evidence"]
    return artefact.request(at="2026-01-01T00:00:00Z", **fields)


def test_a_consent_states_every_term_of_the_issue_and_its_place_in_27560() -> None:
    """R20, R44: enterprise, recipient, purpose, data, window, life, limits, mode, sharing, term, notice, evidence."""
    body = consent()
    assert body.keys() == {field.name for field in artefact.FIELDS}
    assert all(field.zh and field.en and field.iso27560 for field in artefact.FIELDS)
    assert artefact.check(json.loads(canonical(body))) == "consent"
    assert body["onward"] == []  # nobody by default


# what ISO/IEC TS 27560:2023 asks a consent record to hold, by the names of its clause 6
RECORD = {
    "schema_version", "record_id", "pii_principal_id", "privacy_notice", "language", "purpose", "purpose_type",
    "pii_type", "pii_attribute_id", "pii_controllers", "party_id", "collection_method", "processing_method",
    "storage_locations", "retention_period", "recipient_third_parties", "withdrawal_method", "event_time",
    "event_type", "validity_duration", "entity_id", "consent_type",
}  # fmt: skip


def test_every_part_of_a_27560_record_has_its_field() -> None:
    """ISO/IEC TS 27560: the mapping that the documentation shows is complete in the direction of the standard."""
    mapped = set(re.findall(r"[a-z]+(?:_[a-z]+)*", " ".join(field.iso27560 for field in artefact.FIELDS)))
    assert mapped >= RECORD


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("version", 1, "version"),
        ("enterprise", "", "enterprise"),
        ("enterprise", "a\nb", "enterprise"),
        ("recipient", "bank\u202etxt", "recipient"),
        ("consent_id", "x" * 129, "consent_id"),
        ("subject", "person", "subject"),
        ("purpose", "marketing", "purpose"),
        ("modes", [], "modes"),
        ("modes", ["joint_training", "joint_training"], "modes"),
        ("modes", ["scoring"], "modes"),
        ("data", {}, "data"),
        ("data", {"religion": "*"}, "data"),
        ("data", {"tax": []}, r"data\.tax"),
        ("data", {"tax": ["b", "a"]}, r"data\.tax"),
        ("data", {"tax": ["a b"]}, r"data\.tax"),
        ("data", {"tax": [1]}, r"data\.tax"),
        ("window_months", 0, "window_months"),
        ("window_months", 1.5, "window_months"),
        ("life_days", True, "life_days"),
        ("limits", {"total": None}, "limits"),
        ("limits", {"total": 0, "count": None, "period_days": None}, r"limits\.total"),
        ("limits", {"total": None, "count": 3, "period_days": None}, "limits"),
        ("onward", ["b", "a"], "onward"),
        ("onward", ["a", "a"], "onward"),
        ("onward", ["\x00"], "onward"),
        ("valid_until", "2026-01-01T00:00:00Z", "valid_until"),
        ("valid_from", "yesterday", "valid_from"),
        ("storage", "elsewhere", "storage"),
        ("withdrawal", [], "withdrawal"),
        ("persons", [{"role": "friend", "reference": REFERENCE}], r"persons\.role"),
        ("persons", [{"role": "key_person", "reference": "x"}], r"persons\.reference"),
        ("persons", [{"role": "key_person", "reference": REFERENCE}] * 2, r"persons\.reference"),
        ("supersedes", "c-self", "supersedes"),
        ("given_at", None, "given_at"),
        ("evidence", {"kind": "telephone", "reference": REFERENCE}, r"evidence\.kind"),
        ("evidence", {"kind": "paper", "reference": "signed by hand"}, r"evidence\.reference"),
        ("request", "none", "request"),
        ("notice", {"sha256": REFERENCE, "language": "zh", "version": 1}, r"notice\.sha256"),
    ],
)
def test_a_malformed_field_is_named_in_both_languages(field: str, value: Any, named: str) -> None:
    body = consent(consent_id="c-self")
    body[field] = value
    with pytest.raises(MalformedDocument, match=f"^{named}: ") as error:
        artefact.check(body)
    assert error.value.code
    assert not error.value.message_zh.isascii()


@pytest.mark.parametrize("field", sorted(consent()))
def test_no_field_may_be_missing_and_none_may_be_added(field: str) -> None:
    body = consent()
    del body[field]
    with pytest.raises(MalformedDocument):
        artefact.check(body)
    with pytest.raises(MalformedDocument, match="remark is not known"):
        artefact.check({**consent(), "remark": "x"})


@pytest.mark.parametrize("purpose", ["joint_training", "underwriting_score", "post_loan_monitoring", "report_query"])
def test_a_purpose_carries_its_own_uses_only(purpose: str) -> None:
    """R14, PIPL §23: a consent to one purpose cannot be written so that it grants another."""
    own = consent(purpose=purpose)["modes"]
    for other in {"joint_training", "scoring", "monitoring", "report_query"} - set(own):
        with pytest.raises(MalformedDocument, match="modes"):
            consent(purpose=purpose, modes=[*own, other])


def test_a_sole_trader_needs_the_persons_own_consent_besides() -> None:
    """PIPL §13, §29: a sole trader is a person."""
    with pytest.raises(PersonConsentMissing, match="sole trader"):
        consent(subject="sole_trader")
    with pytest.raises(PersonConsentMissing):
        consent(subject="sole_trader", persons=[{"role": "key_person", "reference": REFERENCE}])
    consent(subject="sole_trader", persons=[{"role": "sole_trader", "reference": REFERENCE}])


def test_data_about_key_persons_need_their_own_consent_besides() -> None:
    """R36: key persons are shared on authorisation plus the person's consent."""
    with pytest.raises(PersonConsentMissing, match="key_persons"):
        consent(data={"key_persons": "*"})
    consent(data={"key_persons": "*"}, persons=[{"role": "legal_representative", "reference": REFERENCE}])


def test_an_answer_may_say_less_than_the_request_and_never_more() -> None:
    """R51: what was signed is the request or less of it."""
    asked = offer(limits={"total": 10, "count": 2, "period_days": 30}, onward=["guarantor"])
    less = {
        "data": {"tax": ["tax_grade"]},
        "window_months": 12,
        "life_days": 7,
        "limits": {"total": 5, "count": 1, "period_days": 30},
        "onward": [],
        "valid_until": "2026-06-01T00:00:00Z",
    }
    signed = {
        "given_at": "2026-01-02T00:00:00Z",
        "evidence": {"kind": "passkey", "reference": REFERENCE},
        "digest": digest(asked),
    }
    assert artefact.answer(asked, "consent", **signed)["request"] == digest(asked)
    body = artefact.answer(asked, "consent", **signed, **less)
    assert body["data"] == {"tax": ["tax_grade"]}
    assert artefact.answer(asked, "refusal", **signed)["type"] == "refusal"
    for field, more in (
        ("recipient", "bank_b"),
        ("data", {**asked["data"], "key_persons": "*"}),
        ("window_months", 61),
        ("life_days", 31),
        ("valid_from", "2025-12-31T00:00:00Z"),
        ("valid_until", "2027-01-02T00:00:00Z"),
        ("limits", {"total": None, "count": 2, "period_days": 30}),
        ("limits", {"total": 10, "count": 2, "period_days": 29}),
        ("limits", {"total": 10, "count": None, "period_days": None}),
        ("onward", ["guarantor", "insurer"]),
        ("storage", "recipient"),
    ):
        persons = [{"role": "key_person", "reference": REFERENCE}] if field == "data" else []
        with pytest.raises(MalformedDocument, match=field):
            artefact.answer(asked, "consent", **signed, persons=persons, **{field: more})


_ITEMS = st.lists(st.sampled_from("abcd"), min_size=1, unique=True).map(sorted)
_DATA = st.dictionaries(st.sampled_from(["tax", "judicial", "credit"]), st.one_of(st.just("*"), _ITEMS), min_size=1)


@given(_DATA, _DATA)
def test_data_are_covered_exactly_when_every_item_is(consented: dict, wanted: dict) -> None:
    def items(data: dict) -> set[tuple[str, str]]:
        return {(c, i) for c, found in data.items() for i in ("abcd*" if found == "*" else found)}

    assert (covers(consented, wanted) is None) == (items(wanted) <= items(consented))


@pytest.mark.parametrize("action", ["pause", "resume", "expire"])
def test_only_a_withdrawal_may_leave_its_place_in_the_chain_open(action: str) -> None:
    """PIPL §15: withdrawing needs to know nothing but the consent's number."""
    plain = {"consent_id": "c-1", "enterprise": "e", "at": "2026-01-01T00:00:00Z"}
    artefact.withdrawal(**plain)
    with pytest.raises(MalformedDocument, match="sequence"):
        artefact.transition(**plain, action=action)
    with pytest.raises(MalformedDocument, match="action"):
        artefact.transition(**plain, action="grant", sequence=1, previous=REFERENCE)


@pytest.mark.parametrize("value", [None, 7, [], {"type": ["consent"]}, {"type": "consent"}, {"type": "ticket"}])
def test_what_is_no_document_is_refused_by_name(value: Any) -> None:
    with pytest.raises(MalformedDocument):
        artefact.check(value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(consent())), _JSON)
def test_whatever_stands_in_a_field_the_check_ends_in_its_own_error(field: str, value: Any) -> None:
    body = copy.deepcopy(consent())
    body[field] = value
    try:
        artefact.check(body)
    except MalformedDocument:
        return
    assert body == json.loads(canonical(body))


def test_the_published_terms_make_a_well_formed_consent_for_every_purpose() -> None:
    for purpose in templates.PUBLISHED:
        assert artefact.check(consent(purpose=str(purpose))) == "consent"
