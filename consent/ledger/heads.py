"""Signed tree heads: how many entries a log holds, under which root, at what time, signed by the log and by witnesses.

Owns the form of a head, who may have signed it, what may follow it, and how old it may be. It never reads a log and
keeps no key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from consent.keys import BadSignature, SigningKey, VerifyingKey
from consent.ledger.errors import (
    BeyondTree,
    ClockMovedBack,
    ForgedHead,
    HashMixed,
    LedgerError,
    LogForked,
    LogShrunk,
    MalformedHead,
    NotWitnessed,
    RootMismatch,
    StaleHead,
    UnknownVersion,
    WrongLog,
)
from consent.ledger.merkle import MAX_SIZE, hash_function, verify_consistency
from consent.signed import Document, NotCanonical, read_canonical, sign, signer, verify
from consent.times import BadTime, parse, stamp

VERSION = 1
TYPE = "tree_head"
ROLE = "log"
WITNESS_ROLE = "witness/"  # and the witness's name: every witness signs in a role of its own
GRACE_SECONDS = 60  # clocks of two organisations are never quite equal
_LOG_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_WITNESS = re.compile(WITNESS_ROLE + _LOG_ID.pattern)
_HEX = re.compile(r"[0-9a-f]{64}")
_FIELDS = frozenset(["at", "hash", "log_id", "root", "size", "type", "version"])
_SIGNATURE = frozenset(["key_id", "public_key", "role", "signature", "suite"])
NOBODY: Mapping[str, VerifyingKey] = MappingProxyType({})


class Head(NamedTuple):
    """What a verified head says. `root` is 32 bytes of the hash function `hash`."""

    log_id: str
    hash: str
    size: int
    root: bytes
    at: str


class HeadKeys(Protocol):
    """Who may sign heads of a log, at which time."""

    def verify(self, document: Document, role: str, at: str) -> Document:
        """The body; raises BadSignature unless a key that was valid at `at` signed in `role`."""
        ...


class FixedKeys:
    """Keys without a term. A signature by any other key is refused."""

    def __init__(self, *keys: VerifyingKey) -> None:
        self._keys = frozenset(keys)

    def verify(self, document: Document, role: str, at: str) -> Document:
        named = signer(document, role)
        if named not in self._keys:
            raise BadSignature(
                f"key {named.key_id} is none of the {len(self._keys)} that may sign as {role}",
                f"密钥 {named.key_id} 无权以 {role} 身份签名",
            )
        return verify(document, role, named)


class NamedKeys:
    """Believes the key that a head names: shows that a head was not changed since it was signed, not who signed it."""

    def verify(self, document: Document, role: str, at: str) -> Document:
        return verify(document, role)


def check_log_id(log_id: object) -> str:
    """Raises MalformedHead unless it is 1 to 64 of a-z, 0-9, dot, hyphen, underscore."""
    if not isinstance(log_id, str) or not _LOG_ID.fullmatch(log_id):
        raise _malformed("log_id", "1 to 64 of a-z 0-9 . _ - are needed", "须为 1 至 64 个 a-z 0-9 . _ - 字符")
    return log_id


def witness_role(name: str) -> str:
    """The role that witness `name` signs in. Raises MalformedHead for a name that is not 1 to 64 of a-z 0-9 . _ -."""
    role = WITNESS_ROLE + name
    if not _WITNESS.fullmatch(role):
        raise _malformed(
            "witness", f"{name!r}: 1 to 64 of a-z 0-9 . _ - are needed", f"名称 {name!r} 须为 a-z 0-9 . _ -"
        )
    return role


def sign_head(head: Head, key: SigningKey) -> Document:
    """The head signed by the log. Raises MalformedHead or UnknownHash for one that is not of its form."""
    body = {
        "type": TYPE,
        "version": VERSION,
        "log_id": head.log_id,
        "hash": head.hash,
        "size": head.size,
        "root": head.root.hex(),
        "at": head.at,
    }
    _read_body(body)
    return sign(body, key, ROLE)


def read_head(raw: bytes) -> Document:
    """A stored head, only in the canonical bytes it was written in. Raises MalformedHead."""
    try:
        document = read_canonical(raw)
    except NotCanonical as error:
        raise MalformedHead(f"the tree head is {error.message}", f"树头{error.message_zh}") from error
    if not isinstance(document, dict):
        raise MalformedHead("a tree head is an object", "树头须为 JSON 对象")
    return document


def unverified(raw: bytes) -> Head:
    """What a head in one's own store says, its signatures unchecked. Raises a ProofRefused."""
    document = read_head(raw)
    _roles(document)
    return _read_body(document["body"])


def check_head(
    document: Any,
    keys: HeadKeys,
    *,
    log_id: str | None = None,
    hash_name: str | None = None,
    witnesses: Mapping[str, VerifyingKey] = NOBODY,
    quorum: int = 0,
) -> Head:
    """What the head says, once its form, the log's signature and every cosignature verify.

    `log_id` and `hash_name` are those that the reader expects. At least `quorum` of the named `witnesses` must have
    cosigned; a cosignature of somebody else is checked against the key it names and counts for nothing.
    Raises MalformedHead, UnknownVersion, UnknownHash, ForgedHead, WrongLog, HashMixed or NotWitnessed.
    """
    roles = _roles(document)
    head = _read_body(document["body"])
    try:
        keys.verify(document, ROLE, head.at)
        for role in roles[1:]:
            verify(document, role, witnesses.get(role.removeprefix(WITNESS_ROLE)))
    except BadSignature as error:
        raise ForgedHead(
            f"a signature of the tree head over {head.size} entries does not verify: {error}",
            f"共 {head.size} 条记录的树头签名验证失败：{error.message_zh}",
        ) from error
    if log_id is not None and head.log_id != log_id:
        raise WrongLog(
            f"the tree head is of log {head.log_id}, {log_id} is expected", f"树头属于日志 {head.log_id}，应为 {log_id}"
        )
    if hash_name is not None and head.hash != hash_name:
        raise HashMixed(
            f"the tree head is made with {head.hash}, {hash_name} is expected",
            f"树头使用 {head.hash}，应为 {hash_name}",
        )
    cosigned = sum(role.removeprefix(WITNESS_ROLE) in witnesses for role in roles[1:])
    if cosigned < quorum:
        raise NotWitnessed(
            f"{cosigned} of the named witnesses cosigned the tree head, {quorum} are needed",
            f"指定的见证方中有 {cosigned} 家副署树头，需要 {quorum} 家",
        )
    return head


def check_extends(old: Head, new: Head, path: Sequence[bytes]) -> None:
    """Raises WrongLog, HashMixed, LogShrunk or LogForked unless `new` is a later head of the same growing log."""
    if old.log_id != new.log_id:
        raise WrongLog(
            f"the heads are of two logs, {old.log_id} and {new.log_id}",
            f"两个树头属于不同日志 {old.log_id} 与 {new.log_id}",
        )
    if old.hash != new.hash:
        raise HashMixed(
            f"log {new.log_id} changed its hash from {old.hash} to {new.hash}: that is another log",
            f"日志 {new.log_id} 的算法由 {old.hash} 变为 {new.hash}：应另立日志",
        )
    if new.size < old.size:
        raise LogShrunk(
            f"log {new.log_id} held {old.size} entries at {old.at} and {new.size} at {new.at}: entries were taken away",
            f"日志 {new.log_id} 在 {old.at} 有 {old.size} 条、在 {new.at} 只有 {new.size} 条：有记录被删去",
        )
    try:
        verify_consistency(old.size, old.root, new.size, new.root, path, new.hash)
    except (RootMismatch, BeyondTree) as error:
        raise LogForked(
            f"log {new.log_id} did not show that its {new.size} entries at {new.at} extend the {old.size} of {old.at}; "
            "keep both heads, they prove which history was shown to whom",
            f"日志 {new.log_id} 未能证明 {new.at} 的 {new.size} 条延续 {old.at} 的 {old.size} 条："
            "请保留两个树头作为证据",
        ) from error


def check_fresh(head: Head, now: str, max_age_seconds: int, seen: Head | None = None) -> None:
    """Raises StaleHead for a head older than that, ClockMovedBack for one before `seen` or after `now` and a minute."""
    if seen is not None and head.at < seen.at:
        raise ClockMovedBack(
            f"the tree head is of {head.at}, one of {seen.at} was seen: ask the log's operator about its clock",
            f"树头时间 {head.at} 早于已见过的 {seen.at}：请向日志运营方询问时钟回拨的原因",
        )
    age = (parse(now) - parse(head.at)).total_seconds()
    if age < -GRACE_SECONDS:
        raise ClockMovedBack(
            f"the tree head is of {head.at}, but it is {now} here: one of the two clocks is wrong",
            f"树头时间 {head.at} 晚于本机时间 {now}：两者之一的时钟有误",
        )
    if age > max_age_seconds:
        raise StaleHead(
            f"the tree head is of {head.at}, {age:.0f} s old, at most {max_age_seconds} s are taken: fetch a newer one",
            f"树头时间 {head.at}，已过 {age:.0f} 秒，最多接受 {max_age_seconds} 秒：请获取更新的树头",
        )


def _read_body(body: Any) -> Head:
    if not isinstance(body, dict) or body.keys() != _FIELDS:
        fields = ", ".join(sorted(_FIELDS))
        raise MalformedHead(f"a tree head has exactly the fields {fields}", f"树头的字段须恰为 {fields}")
    if body["type"] != TYPE:
        raise _malformed("type", f"{TYPE} is needed", f"须为 {TYPE}")
    if type(body["version"]) is not int or body["version"] != VERSION:
        raise UnknownVersion(
            f"tree head of version {body['version']!r}: {VERSION} is known",
            f"树头版本 {body['version']!r} 未知，已知版本 {VERSION}",
        )
    check_log_id(body["log_id"])
    hash_function(body["hash"])
    if type(body["size"]) is not int or not 0 <= body["size"] < MAX_SIZE:
        raise _malformed("size", "a whole number from 0 is needed", "须为不小于 0 的整数")
    if not isinstance(body["root"], str) or not _HEX.fullmatch(body["root"]):
        raise _malformed("root", "64 lower-case hex digits are needed", "须为 64 位小写十六进制")
    try:
        exact = stamp(parse(body["at"])) == body["at"]
    except BadTime:
        exact = False
    if not exact:
        raise _malformed("at", "a timestamp like 2026-01-31T08:00:00Z is needed", "格式须如 2026-01-31T08:00:00Z")
    return Head(body["log_id"], body["hash"], body["size"], bytes.fromhex(body["root"]), body["at"])


def _roles(document: Any) -> list[str]:
    """The roles of the signatures: the log's, then each witness's once."""
    if not isinstance(document, dict) or document.keys() != {"body", "signatures"}:
        raise MalformedHead("a signed tree head has a body and signatures", "已签名的树头须含 body 与 signatures")
    signatures = document["signatures"]
    if not isinstance(signatures, list) or not all(
        isinstance(one, dict) and one.keys() == _SIGNATURE and all(isinstance(value, str) for value in one.values())
        for one in signatures
    ):
        fields = ", ".join(sorted(_SIGNATURE))
        raise _malformed("signatures", f"a list of objects of texts {fields} is needed", f"须为含 {fields} 的列表")
    roles = [str(one["role"]) for one in signatures]
    if roles[:1] != [ROLE] or len(set(roles)) < len(roles) or not all(_WITNESS.fullmatch(role) for role in roles[1:]):
        raise _malformed(
            "signatures", "one of the log, then one of each witness are needed", "须先有日志签名，其后每个见证方一份"
        )
    return roles


def _malformed(field: str, why: str, why_zh: str) -> LedgerError:
    return MalformedHead(f"tree head, {field}: {why}", f"树头字段 {field}：{why_zh}")
