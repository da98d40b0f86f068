"""The usage record answers seven questions and carries no business data (R46)."""

from __future__ import annotations

from typing import Any

import pytest

from consent import usage
from consent.artefact import MalformedDocument
from consent.canonical import digest

FIELDS: dict[str, Any] = {
    "usage_id": "u-1",
    "at": "2026-05-01T00:00:00Z",
    "user": "risk officer 7",
    "institution": "bank_a",
    "reason": "loan application 17",
    "use": "scoring",
    "purpose": "underwriting_score",
    "object_kind": "enterprise",
    "object_id": "91350100M000100Y43",
    "data": {"tax": ["tax_grade"], "judicial": "*"},
    "sha256": "ab" * 32,
    "consent_id": "c-1",
    "job_id": "j-1",
    "release_id": "r-1",
    "permit_id": "p-1",
}


def test_it_says_who_when_why_what_on_whom_and_what_for() -> None:
    """R46: user, institution, time, reason, content, object, purpose; in plain words for the enterprise."""
    body = usage.usage(**FIELDS)
    usage.check(body)
    assert body["content"] == {"use": "scoring", "data": ["judicial/*", "tax/tax_grade"], "sha256": "ab" * 32}
    zh, en = usage.sentence(body)
    for words in ("risk officer 7", "bank_a", "2026-05-01", "loan application 17"):
        assert words in zh and words in en
    assert "司法、纳税" in zh and "judicial, tax" in en and "信用评分" in zh
    assert len(digest(body)) == 64


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"user": ""}, "user"),
        ({"reason": "two\nlines"}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"at": "today"}, "at"),
        ({"purpose": "marketing"}, "purpose"),
        ({"use": "raw_detail"}, r"content\.use"),
        ({"data": {}}, r"content\.data"),
        ({"data": {"tax": ["grade=A"]}}, r"content\.data"),
        ({"data": {"income": "*"}}, r"content\.data"),
        ({"sha256": "A"}, r"content\.sha256"),
        ({"object_kind": "person"}, r"object\.kind"),
        ({"consent_id": None}, "consent_id"),
        ({"object_kind": "job", "object_id": "j-2"}, "job_id"),
    ],
)
def test_a_record_that_leaves_a_question_open_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(MalformedDocument, match=f"^{named}: "):
        usage.usage(**{**FIELDS, **changes})


def test_there_is_no_place_for_business_data() -> None:
    """R51: neither a further field nor a value in the content is taken."""
    body = usage.usage(**FIELDS)
    with pytest.raises(MalformedDocument):
        usage.check({**body, "score": 612})
    with pytest.raises(MalformedDocument):
        usage.check({**body, "content": {**body["content"], "values": [1, 2]}})
    secret = "turnover 17 million"
    with pytest.raises(MalformedDocument) as refused:
        usage.check({**body, "content": {**body["content"], "data": [secret]}})
    assert secret not in refused.value.message
