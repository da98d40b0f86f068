"""An entry has one byte sequence, says nothing of the business, and belongs to one document and salt."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.canonical import canonical
from consent.ledger import Entry, Kind, LedgerError, decode, encode, entry, matches, new_salt
from consent.ledger.entries import check, salted_hash
from consent.ledger.errors import EntryMismatch, MalformedEntry, UnknownHash, UnknownVersion

AT = "2026-03-01T08:00:00Z"
SALT = bytes(range(32))
DOCUMENT = {"enterprise": "91350100M000100Y43", "recipient": "bank_a", "purpose": "underwriting_score"}
entries = st.builds(
    Entry,
    st.sampled_from([str(kind) for kind in Kind]),
    st.datetimes(min_value=__import__("datetime").datetime(2000, 1, 1)).map(lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ")),
    st.sampled_from(["sha256", "sm3"]),
    st.binary(min_size=32, max_size=32).map(bytes.hex),
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(entries, st.integers(0, 2**53 - 1))
def test_the_bytes_are_canonical_json_and_read_back(made: Entry, sequence: int) -> None:
    raw = encode(made, sequence)
    assert raw == canonical(json.loads(raw))
    assert decode(raw) == (sequence, made)


def test_an_entry_carries_no_business_data() -> None:
    """R46, R51: the log shows that something was used, not whose data, by whom or what came of it."""
    raw = encode(entry(Kind.SCORE, AT, DOCUMENT, SALT), 3)
    assert set(json.loads(raw)) == {"type", "version", "kind", "at", "sequence", "hash", "subject"}
    for value in DOCUMENT.values():
        assert value.encode() not in raw


def test_without_the_salt_a_list_of_enterprises_cannot_be_tried() -> None:
    first, second = (entry(Kind.CONSENT, AT, DOCUMENT, new_salt()) for _ in range(2))
    assert first.subject != second.subject


@given(documents, documents, st.sampled_from(["sha256", "sm3"]))
def test_an_entry_matches_its_own_document_only(document: object, other: object, name: str) -> None:
    made = entry(Kind.CONSENT, AT, document, SALT, name)
    matches(made, document, SALT)
    if canonical(document) != canonical(other):
        with pytest.raises(EntryMismatch):
            matches(made, other, SALT)


@given(st.integers(0, 31), st.integers(1, 255))
def test_an_entry_does_not_match_with_another_salt(byte: int, change: int) -> None:
    salt = bytearray(SALT)
    salt[byte] ^= change
    with pytest.raises(EntryMismatch):
        matches(entry(Kind.CONSENT, AT, DOCUMENT, SALT), DOCUMENT, bytes(salt))


def test_the_salted_hash_is_bound_to_its_hash_function() -> None:
    assert salted_hash(DOCUMENT, SALT, "sha256") != salted_hash(DOCUMENT, SALT, "sm3")
    made = entry(Kind.CONSENT, AT, DOCUMENT, SALT, "sm3")
    with pytest.raises(EntryMismatch):
        matches(made._replace(hash="sha256"), DOCUMENT, SALT)


@given(entries, st.integers(0, 1000), st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_another_entry_or_none(made: Entry, sequence: int, position: int, change: int) -> None:
    raw = bytearray(encode(made, sequence))
    raw[position % len(raw)] ^= change
    try:
        found = decode(bytes(raw))
    except LedgerError:
        return
    assert found != (sequence, made)
    assert encode(found.entry, found.sequence) == bytes(raw)


def body(**changes: object) -> bytes:
    plain = json.loads(encode(entry(Kind.CONSENT, AT, DOCUMENT, SALT), 3))
    return canonical({name: value for name, value in {**plain, **changes}.items() if value is not ...})


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "exactly the fields"),
        (body(extra=1), "exactly the fields"),
        (body(at=...), "exactly the fields"),
        (body(type="entry"), "type"),
        (body(kind="payment"), "kind"),
        (body(kind=None), "kind"),
        (body(at="2026-03-01"), "at"),
        (body(at="2026-3-1T8:0:0Z"), "at"),
        (body(at=5), "at"),
        (body(sequence=-1), "sequence"),
        (body(sequence=1.5), "sequence"),
        (body(sequence=True), "sequence"),
        (body(subject="ABC"), "subject"),
        (body(subject=None), "subject"),
        (body() + b" ", "canonical"),
        (body().replace(b'"at"', b'"at" '), "canonical"),
    ],
)
def test_what_is_not_an_entry_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(MalformedEntry, match=says) as caught:
        decode(raw)
    assert caught.value.message_zh


def test_an_unknown_version_or_hash_is_refused_by_name() -> None:
    with pytest.raises(UnknownVersion):
        decode(body(version=2))
    for name in ("md5", None, []):
        with pytest.raises(UnknownHash):
            decode(body(hash=name))


@pytest.mark.parametrize("salt", [b"", b"short", bytes(31), bytes(33), "0" * 32, None])
def test_a_salt_of_another_length_is_refused(salt: bytes) -> None:
    with pytest.raises(MalformedEntry, match="salt"):
        entry(Kind.CONSENT, AT, DOCUMENT, salt)


def test_what_would_need_escaping_never_reaches_the_bytes() -> None:
    for made in (
        Entry('consent","x":"', AT, "sha256", "0" * 64),
        Entry("consent", AT + '"', "sha256", "0" * 64),
        Entry("consent", AT, "sha256", '"' * 64),
    ):
        with pytest.raises(MalformedEntry):
            check(made)
