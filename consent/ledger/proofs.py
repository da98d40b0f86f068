"""Proof documents: JSON that a person can take away and anybody can check without the log.

Owns the form of inclusion and consistency proofs. An inclusion proof carries the entry itself, its path and a signed
head; whoever also has the document and its salt compares them with `entries.matches`. Verification raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import rfc8785

from consent.canonical import canonical
from consent.keys import VerifyingKey
from consent.ledger import merkle
from consent.ledger.entries import Recorded, decode
from consent.ledger.errors import (
    HashMixed,
    MalformedEntry,
    MalformedProof,
    UnknownVersion,
)
from consent.ledger.heads import NOBODY, Head, HeadKeys, check_extends, check_head
from consent.ledger.store import Store
from consent.signed import Document, NotCanonical, read_canonical

VERSION = 1
INCLUSION, CONSISTENCY = "inclusion_proof", "consistency_proof"
_FIELDS = {
    INCLUSION: frozenset(["entry", "hash", "head", "path", "type", "version"]),
    CONSISTENCY: frozenset(["hash", "new", "old", "path", "type", "version"]),
}
_HEX = re.compile(r"[0-9a-f]{64}")


class Proven(NamedTuple):
    """What an inclusion proof proves: this entry stands in the log under this head."""

    head: Head
    recorded: Recorded
    leaf_hash: bytes


def prove_inclusion(store: Store, index: int, head: Document) -> Document:
    """The proof that entry `index` is under the signed `head`. Raises BeyondTree or NodeMissing."""
    size, hash_name = head["body"]["size"], store.hash_name
    path = merkle.inclusion_path(store, index, size, hash_name)
    (raw,) = store.entries(index, index + 1)
    return {
        "type": INCLUSION,
        "version": VERSION,
        "hash": hash_name,
        "entry": json.loads(raw),
        "path": [one.hex() for one in path],
        "head": head,
    }


def prove_consistency(store: Store, old: Document, new: Document) -> Document:
    """The proof that the log under `new` extends the one under `old`. Raises BeyondTree or NodeMissing."""
    path = merkle.consistency_path(store, old["body"]["size"], new["body"]["size"], store.hash_name)
    return {
        "type": CONSISTENCY,
        "version": VERSION,
        "hash": store.hash_name,
        "old": old,
        "new": new,
        "path": [one.hex() for one in path],
    }


def load(raw: bytes) -> Document:
    """A proof from a file, only in its canonical bytes (one line end is allowed). Raises MalformedProof."""
    try:
        document = read_canonical(raw.removesuffix(b"\n"))
    except NotCanonical as error:
        raise MalformedProof(f"the proof is {error.message}", f"证明文件{error.message_zh}") from error
    if not isinstance(document, dict):
        raise MalformedProof("a proof is an object", "证明文件须为 JSON 对象")
    return document


def check_inclusion(
    proof: Any,
    keys: HeadKeys,
    *,
    log_id: str | None = None,
    witnesses: Mapping[str, VerifyingKey] = NOBODY,
    quorum: int = 0,
) -> Proven:
    """What the proof proves. Raises a ProofRefused or MalformedEntry; `check_head` says which for the head."""
    path = _form(proof, INCLUSION)
    head = check_head(proof["head"], keys, log_id=log_id, hash_name=proof["hash"], witnesses=witnesses, quorum=quorum)
    try:
        raw = canonical(proof["entry"])
    except rfc8785.CanonicalizationError as error:
        raise MalformedEntry("the entry of the proof is not JSON", "证明中的记录不是 JSON") from error
    recorded = decode(raw)
    if recorded.entry.hash != head.hash:
        raise HashMixed(
            f"the entry is made with {recorded.entry.hash}, the tree head with {head.hash}",
            f"记录使用 {recorded.entry.hash}，而树头使用 {head.hash}",
        )
    leaf = merkle.leaf_hash(raw, head.hash)
    merkle.verify_inclusion(leaf, recorded.sequence, head.size, path, head.root, head.hash)
    return Proven(head, recorded, leaf)


def check_consistency(proof: Any, keys: HeadKeys, *, log_id: str | None = None) -> tuple[Head, Head]:
    """The old and the new head, once the new log is shown to extend the old one. Raises a ProofRefused by name."""
    path = _form(proof, CONSISTENCY)
    old = check_head(proof["old"], keys, log_id=log_id, hash_name=proof["hash"])
    new = check_head(proof["new"], keys, log_id=log_id, hash_name=proof["hash"])
    check_extends(old, new, path)
    return old, new


def _form(proof: Any, kind: str) -> list[bytes]:
    """The path of a well-formed proof."""
    if not isinstance(proof, dict) or proof.keys() != _FIELDS[kind] or proof["type"] != kind:
        fields = ", ".join(sorted(_FIELDS[kind]))
        raise MalformedProof(f"an object of type {kind} with {fields} is needed", f"须为 {kind}，字段恰为 {fields}")
    if type(proof["version"]) is not int or proof["version"] != VERSION:
        raise UnknownVersion(
            f"{kind} of version {proof['version']!r}: {VERSION} is known",
            f"{kind} 的版本 {proof['version']!r} 未知，已知版本 {VERSION}",
        )
    merkle.hash_function(proof["hash"])
    path = proof["path"]
    if not isinstance(path, list) or not all(isinstance(one, str) and _HEX.fullmatch(one) for one in path):
        raise MalformedProof(
            f"{kind}, path: a list of 64 lower-case hex digits each is needed",
            f"{kind} 的 path 须为 64 位小写十六进制的列表",
        )
    return [bytes.fromhex(one) for one in path]
