"""Entries of the ledger: what happened, when, at which position, and a salted hash of the document it happened with.

Owns the form of an entry, in its one byte sequence (RFC 8785), and the salted hash. It never holds business data: the
document and its salt stay with their owner, and without the salt nobody can try a list of enterprises against it.
"""

from __future__ import annotations

import json
import re
import secrets
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from consent.canonical import canonical
from consent.ledger.errors import EntryMismatch, MalformedEntry, UnknownVersion
from consent.ledger.merkle import MAX_SIZE, hash_function
from consent.times import BadTime, parse, stamp

VERSION = 1
TYPE = "ledger_entry"
SALT_BYTES = 32
_DOMAIN = b"creditlab/ledger-subject/1\n"  # a hash made for an entry can stand for nothing else
_HEX = re.compile(r"[0-9a-f]{64}")
_FIELDS = frozenset(["at", "hash", "kind", "sequence", "subject", "type", "version"])


class Kind(StrEnum):
    CONSENT = "consent"
    TRANSITION = "transition"
    INSTITUTION = "institution"  # suspended, removed or active again
    TICKET = "ticket"
    RELEASE = "release"
    SCORE = "score"
    DATA_USE = "data_use"
    HEAD = "head"  # the head of another log, for instance of a node's own
    QUESTION = "question"  # asked of the nodes by the platform's word for who asks


_KINDS = frozenset(str(kind) for kind in Kind)


class Entry(NamedTuple):
    """An entry before it has a position. `subject` is the salted hash in hex, made with the function `hash`."""

    kind: str
    at: str
    hash: str
    subject: str


class Recorded(NamedTuple):
    """An entry with the position it was written at, from 0."""

    sequence: int
    entry: Entry


def new_salt() -> bytes:
    """32 random bytes, to be kept beside the document by its owner and told only to who may check it."""
    return secrets.token_bytes(SALT_BYTES)


def salted_hash(document: Any, salt: bytes, hash_name: str) -> str:
    """H(domain ‖ salt ‖ canonical(document)) in hex; the salt has a fixed length, so the parts cannot shift."""
    if not isinstance(salt, bytes) or len(salt) != SALT_BYTES:
        raise MalformedEntry(f"salt: {SALT_BYTES} bytes are needed", f"盐值须为 {SALT_BYTES} 字节")
    return hash_function(hash_name)(_DOMAIN + salt + canonical(document)).hex()


def entry(kind: Kind | str, at: str, document: Any, salt: bytes, hash_name: str = "sha256") -> Entry:
    """The entry for `document` (JSON). Raises MalformedEntry for an unknown kind, a bad time or salt."""
    made = Entry(str(kind), at, hash_name, salted_hash(document, salt, hash_name))
    check(made)
    return made


def matches(recorded: Entry, document: Any, salt: bytes) -> None:
    """Raises EntryMismatch unless the entry was made of exactly this document with this salt."""
    if salted_hash(document, salt, recorded.hash) != recorded.subject:
        raise EntryMismatch(
            f"this {recorded.kind} entry of {recorded.at} was not made of this document with this salt",
            f"{recorded.at} 的 {recorded.kind} 记录与该文件及盐值不符",
        )


def encode(made: Entry, sequence: int) -> bytes:
    """The canonical bytes that are hashed and stored.

    The same bytes as `consent.canonical`, which costs several times as much for any JSON: every value was checked to
    hold nothing that JSON escapes.
    """
    return (
        f'{{"at":"{made.at}","hash":"{made.hash}","kind":"{made.kind}","sequence":{sequence},'
        f'"subject":"{made.subject}","type":"{TYPE}","version":{VERSION}}}'
    ).encode()


def decode(raw: bytes) -> Recorded:
    """Raises MalformedEntry or UnknownVersion unless `raw` is an entry in exactly the bytes that `encode` makes."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise MalformedEntry("the ledger entry is not JSON", "日志记录不是 JSON") from error
    if not isinstance(body, dict) or body.keys() != _FIELDS:
        fields = ", ".join(sorted(_FIELDS))
        raise MalformedEntry(f"a ledger entry has exactly the fields {fields}", f"日志记录的字段须恰为 {fields}")
    if body["type"] != TYPE:
        raise _malformed("type", f"{TYPE} is needed", f"须为 {TYPE}")
    if body["version"] != VERSION:
        raise UnknownVersion(
            f"ledger entry of version {body['version']!r}: {VERSION} is known",
            f"日志记录版本 {body['version']!r} 未知，已知版本 {VERSION}",
        )
    sequence = body["sequence"]
    if type(sequence) is not int or not 0 <= sequence < MAX_SIZE:
        raise _malformed("sequence", "a whole number from 0 is needed", "须为不小于 0 的整数")
    made = Entry(body["kind"], body["at"], body["hash"], body["subject"])
    check(made)
    if encode(made, sequence) != raw:
        raise MalformedEntry(
            "the ledger entry is not in its canonical form (RFC 8785)", "日志记录不是规范化 JSON（RFC 8785）"
        )
    return Recorded(sequence, made)


def check(made: Entry) -> None:
    """Raises MalformedEntry or UnknownHash unless every field has its form."""
    if not isinstance(made.kind, str) or made.kind not in _KINDS:
        kinds = ", ".join(Kind)
        raise _malformed("kind", f"one of {kinds} is needed, found {made.kind!r}", f"须为 {kinds} 之一")
    if not isinstance(made.at, str):
        raise _malformed("at", "a timestamp is needed", "须为时间戳")
    _check_time(made.at)
    hash_function(made.hash)
    if not isinstance(made.subject, str) or not _HEX.fullmatch(made.subject):
        raise _malformed("subject", "64 lower-case hex digits are needed", "须为 64 位小写十六进制")


@lru_cache(maxsize=4096)  # entries come in bursts: many share a second
def _check_time(at: str) -> None:
    try:
        exact = stamp(parse(at)) == at
    except BadTime:
        exact = False
    if not exact:
        form = "2026-01-31T08:00:00Z"
        raise _malformed("at", f"{at!r} is not of the form {form}", f"{at!r} 的格式须如 {form}")


def _malformed(field: str, why: str, why_zh: str) -> MalformedEntry:
    return MalformedEntry(f"ledger entry, {field}: {why}", f"日志记录字段 {field}：{why_zh}")
