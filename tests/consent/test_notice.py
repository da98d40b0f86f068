"""What was shown is what was signed: one document, one notice (PIPL §14, §17; R44, R50)."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import artefact, notice
from consent.artefact import MalformedDocument
from consent.notice import NoticeMismatch
from consent.purposes import Purpose
from tests.consent.conftest import Maker

# What an enterprise settles by deciding or signing: no term, so it is not in the notice.
UNTOLD = {"type", "version", "notice", "given_at", "evidence", "request", "subject"}
CHANGED: dict[str, Any] = {
    "consent_id": "c-other",
    "enterprise": "another",
    "recipient": "bank_b",
    "provider": "lab_b",
    "purpose": "report_query",
    "modes": ["report_query", "raw_detail"],
    "data": {"tax": ["tax_grade"]},
    "window_months": 6,
    "life_days": 3,
    "limits": {"total": 9, "count": 2, "period_days": 7},
    "onward": ["guarantor"],
    "valid_from": "2026-02-01T00:00:00Z",
    "valid_until": "2026-03-01T00:00:00Z",
    "storage": "recipient",
    "withdrawal": ["counter"],
    "persons": [{"role": "key_person", "reference": "0" * 64}],
    "supersedes": "c-0",
}


def body(**changes: Any) -> dict[str, Any]:
    return artefact.consent(**Maker.fields("91350100M000100Y43", consent_id="c-1", **changes))


def test_every_term_is_told_so_that_changing_one_changes_the_notice() -> None:
    assert CHANGED.keys() == {field.name for field in artefact.FIELDS} - UNTOLD
    one = body()
    for language in notice.LANGUAGES:
        plain = notice.render(one, language)
        for field, value in CHANGED.items():
            assert notice.render({**one, field: value}, language) != plain, f"{field} is not told in {language}"


@pytest.mark.parametrize("field", sorted(CHANGED))
def test_a_term_changed_after_the_notice_was_shown_is_refused(field: str) -> None:
    changed = {**copy.deepcopy(body()), field: CHANGED[field]}
    with pytest.raises(NoticeMismatch):
        notice.check(changed)


@pytest.mark.parametrize("purpose", Purpose)
def test_the_notice_says_what_the_law_wants_said(purpose: str) -> None:
    """R50, PIPL §15–17: financing only, how to withdraw, that refusing costs nothing."""
    text = notice.render(body(purpose=purpose), "zh")
    for words in ("仅限支持本企业融资", "可随时撤回", "您可以拒绝", "保存期限", "第三方", "异议"):
        assert words in text
    english = notice.render(body(purpose=purpose), "en")
    for words in ("financing", "withdraw or pause at any time", "You may refuse", "contest"):
        assert words in english


@given(st.sampled_from(notice.LANGUAGES))
def test_the_hash_is_that_of_the_text_in_the_language_shown(language: str) -> None:
    one = body(language=language)
    text = notice.render(one, language)
    assert one["notice"]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    notice.check(one)
    other = {**one, "notice": {**one["notice"], "language": "en" if language == "zh" else "zh"}}
    with pytest.raises(NoticeMismatch):
        notice.check(other)


def test_an_unknown_language_or_wording_is_refused() -> None:
    with pytest.raises(MalformedDocument, match=r"notice\.language"):
        notice.render(body(), "fr")
    with pytest.raises(NoticeMismatch, match=r"notice\.version"):
        notice.check({**body(), "notice": {**body()["notice"], "version": 2}})
