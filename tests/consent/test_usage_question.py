"""Who may ask how an enterprise's data were used: a key of its own, now, and nobody in its stead (R46, R51)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.canonical import canonical
from consent.errors import MalformedDocument, Refused
from consent.evidence import NotTheEnterprise
from consent.keys import SigningKey
from consent.policy import Denied
from consent.signed import Document, countersign, sign
from consent.usage_question import check_asked, question
from tests.support.authenticator import EVIDENCE, Passkey

AT = "2026-05-01T08:00:00Z"
KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
IMPORTED = {"kind": "import", "reference": "0" * 64}


def body(**changes: Any) -> Document:
    fields = {"question_id": "q-0123456789abcdef", "enterprise": "E1", "at": AT, "evidence": IMPORTED}
    return question(**{**fields, **changes})


def test_the_key_that_signed_a_consent_is_answered_and_so_is_a_passkey() -> None:
    signed = sign(body(), KEY, "enterprise")
    assert check_asked(signed, {KEY.public.raw}, AT)["enterprise"] == "E1"
    passkey = Passkey()
    asked = passkey.sign(body(evidence=EVIDENCE))
    assert check_asked(asked, {passkey.public.raw}, AT)["question_id"] == "q-0123456789abcdef"


@pytest.mark.parametrize("keys", [set(), {STRANGER.public.raw}])
def test_another_key_is_not_answered_whatever_it_signs(keys: set[bytes]) -> None:
    with pytest.raises(NotTheEnterprise):
        check_asked(sign(body(), KEY, "enterprise"), keys, AT)


def test_the_platform_cannot_ask_in_an_enterprises_stead() -> None:
    """R51: or it could read out a cohort, one enterprise after the other."""
    platform = SigningKey.generate()
    stood = body(evidence={"kind": "session_code", "reference": "0" * 64})
    signed = countersign(sign(stood, platform, "registrar"), platform, "platform")
    for keys in ({b""}, {platform.public.raw}, {b"", platform.public.raw}):
        with pytest.raises(NotTheEnterprise):
            check_asked(signed, keys, AT)
    with pytest.raises(Refused):
        check_asked(sign(body(), platform, "platform"), {platform.public.raw}, AT)


@pytest.mark.parametrize("now", ["2026-05-01T08:10:01Z", "2026-05-01T07:49:59Z"])
def test_an_old_question_is_not_answered_again(now: str) -> None:
    with pytest.raises(Denied, match="ask again"):
        check_asked(sign(body(), KEY, "enterprise"), {KEY.public.raw}, now)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"question_id": "q-1"}, "question_id"),
        ({"enterprise": ""}, "enterprise"),
        ({"at": "today"}, "at"),
        ({"evidence": {"kind": "rumour", "reference": "x"}}, "evidence"),
        ({"evidence": {"kind": "import"}}, "evidence"),
    ],
)
def test_a_question_that_is_not_of_its_form_is_refused_by_field(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(MalformedDocument, match=f"^{named}"):
        body(**changes)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(min_value=0), flip=st.integers(1, 255))
def test_any_changed_byte_is_refused(place: int, flip: int) -> None:
    raw = canonical(sign(body(), KEY, "enterprise"))
    place %= len(raw)
    changed = raw[:place] + bytes([raw[place] ^ flip]) + raw[place + 1 :]
    try:
        document = json.loads(changed)
    except ValueError:
        return
    if isinstance(document, dict):
        with pytest.raises((Refused, MalformedDocument)):
            check_asked(document, {KEY.public.raw}, AT)
