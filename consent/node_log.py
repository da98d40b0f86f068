"""A node's own log of uses: how its heads enter the platform's ledger, and the file that proves one use through both.

The platform must never learn a job's cohort, so a node enters each use in a log of its own (`consent.ledger`, salted)
and only the log's head goes into the platform's. Owns the document that names such a head, and the file that leads
from one use to a head of the platform, checkable offline. It keeps no log and no key; verification raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from consent import usage
from consent.canonical import canonical
from consent.keys import VerifyingKey
from consent.ledger import Head, HeadKeys, Kind, NamedKeys, Proven, check_head, records
from consent.ledger.errors import MalformedHead, MalformedProof, ProofRefused, UnknownVersion
from consent.ledger.heads import NOBODY, ROLE
from consent.ledger.proofs import load as load_canonical
from consent.purposes import Mode
from consent.signed import Document, signer

HEAD, USE, USES = "node_head", "node_use", "node_uses"
VERSION = 1
ROWS_OF = "enterprise"
_HEAD_FIELDS = frozenset({"type", "version", "node", "job_id", "head"})
_USE_FIELDS = frozenset({"type", "version", "use", "head", "job"})
_USES_FIELDS = frozenset({"type", "version", "uses"})
_PARTS = ("use", "head", "job")


class HeadMismatch(ProofRefused):
    """The use is proved under another head of the node than the one that the platform's ledger holds for the job."""

    code = "proof_head_mismatch"


class UseMismatch(ProofRefused):
    """The parts of the file speak of two jobs, two nodes or two institutions, or not of a use in joint training."""

    code = "proof_use_mismatch"


class NodeHead(NamedTuple):
    """What the document of a node's head says, its signature verified under the key that it names."""

    node: str
    job_id: str
    key: VerifyingKey
    head: Head


class NodeUse(NamedTuple):
    """What the file proves: the node's record of one use, under the node's head, which the platform's ledger holds.

    `use` and `job` are bodies of `consent.usage`: the node's own, and the platform's of the whole job, which says who
    asked for it and why.
    """

    use: dict[str, Any]
    job: dict[str, Any]
    by: NodeHead
    in_node: Proven
    in_platform: Proven
    job_in_platform: Proven


def log_id(key: VerifyingKey) -> str:
    """The name of the log that a node signs with `key`: another key is another log."""
    return f"node-{key.key_id}"


# ---- the head


def head_document(node: str, job_id: str, head: Document) -> Document:
    """What the platform enters for a node's signed head: whose it is and of which job. Raises as `read_head` does."""
    document = {"type": HEAD, "version": VERSION, "node": node, "job_id": job_id, "head": head}
    read_head(document)
    return document


def read_head(document: Any) -> NodeHead:
    """The document's content, its head's form and signature checked. Raises a ProofRefused.

    Whose key it is, the platform says by entering the document.
    """
    if not isinstance(document, dict) or document.keys() != _HEAD_FIELDS or document["type"] != HEAD:
        fields = ", ".join(sorted(_HEAD_FIELDS))
        raise MalformedHead(f"a {HEAD} has exactly the fields {fields}", f"{HEAD} 的字段须恰为 {fields}")
    _version(document)
    for name in ("node", "job_id"):
        if not isinstance(document[name], str) or not 1 <= len(document[name]) <= 128:
            raise MalformedHead(
                f"{HEAD}, {name}: 1 to 128 characters are needed", f"{HEAD} 的 {name} 须为 1 至 128 个字符"
            )
    found = check_head(document["head"], NamedKeys())
    key = signer(document["head"], ROLE)
    if found.log_id != log_id(key):
        raise MalformedHead(
            f"log {found.log_id} is not that of key {key.key_id}, by which its head is signed",
            f"日志 {found.log_id} 与其树头的签名密钥 {key.key_id} 不符",
        )
    return NodeHead(document["node"], document["job_id"], key, found)


# ---- the file


def make(use: Document, head: Document, job: Document) -> Document:
    """The file of one use, of three ledger records: the use in the node's log, the node's head and the job's record in
    the platform's."""
    return {"type": USE, "version": VERSION, "use": use, "head": head, "job": job}


def bundle(files: Sequence[Document]) -> bytes:
    """Files of several uses as one, in canonical bytes."""
    return canonical({"type": USES, "version": VERSION, "uses": list(files)})


def is_file(parts: Iterable[str]) -> bool:
    """Whether an object with these fields is a file of one use or of several."""
    return frozenset(parts) in (_USE_FIELDS, _USES_FIELDS)


def load(raw: bytes) -> list[Document]:
    """The uses of a file, only in its canonical bytes. Raises MalformedProof or UnknownVersion."""
    found = load_canonical(raw)
    if found.get("type") != USES:
        return [_form(found)]
    if found.keys() != _USES_FIELDS or not isinstance(found["uses"], list):
        fields = ", ".join(sorted(_USES_FIELDS))
        raise MalformedProof(f"{USES} has exactly the fields {fields}", f"{USES} 的字段须恰为 {fields}")
    _version(found)
    return [_form(one) for one in found["uses"]]


def check(
    file: Document,
    keys: HeadKeys,
    *,
    platform_log: str | None = None,
    witnesses: Mapping[str, VerifyingKey] = NOBODY,
    quorum: int = 0,
) -> NodeUse:
    """What a file of one use proves. `keys` are the platform's; `platform_log` is the log that the reader expects.

    Checked from the use upwards: the record and its salt are the entry in the node's log, the entry is under the
    node's signed head, that very head is in the platform's ledger for this node and job, and the platform's record of
    the job is there too. Raises a LedgerError by name, or MalformedDocument for a use that is none.
    """
    parts = _form(file)
    use, head, job = (records.load(canonical(parts[name])) for name in _PARTS)
    in_platform = records.check(head, keys, log_id=platform_log, witnesses=witnesses, quorum=quorum)
    of_log = in_platform.head.log_id
    job_in_platform = records.check(job, keys, log_id=of_log, witnesses=witnesses, quorum=quorum)
    by = read_head(head["document"])
    in_node = records.check(use, NamedKeys(), log_id=by.head.log_id)
    if use["proof"]["head"] != head["document"]["head"]:
        raise HeadMismatch(
            f"the use is proved under another head than the one of {by.node} that the ledger holds for {by.job_id}",
            f"使用记录的证明所用树头，并非账本中 {by.node} 就 {by.job_id} 登记的树头",
        )
    for kind, proven in ((Kind.DATA_USE, in_node), (Kind.HEAD, in_platform), (Kind.DATA_USE, job_in_platform)):
        if proven.recorded.entry.kind != kind:
            raise _mismatch(f"an entry of kind {kind} is needed, found {proven.recorded.entry.kind}", "记录种类不符")
    said, asked = use["document"], job["document"]
    usage.check(said)
    usage.check(asked)
    _together(said, asked, by)
    return NodeUse(said, asked, by, in_node, in_platform, job_in_platform)


def told(use: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """A use as it is told to the enterprise (`consent.usage.sentence`): by whom and why says the job's record."""
    return {**use, "user": job["user"], "reason": job["reason"]}


def _together(said: Mapping[str, Any], asked: Mapping[str, Any], by: NodeHead) -> None:
    if said["object"]["kind"] != ROWS_OF or said["content"]["use"] != Mode.JOINT_TRAINING:
        raise _mismatch("the use is not one of an enterprise's row in joint training", "并非企业数据在联合训练中的使用")
    if said["user"] != by.node:
        raise _mismatch(f"the use is one of node {said['user']}, the head of {by.node}", "使用记录与树头属于不同节点")
    if asked["object"] != {"kind": "job", "id": by.job_id} or said["job_id"] != by.job_id:
        raise _mismatch(
            f"use, head and record are not all of job {by.job_id}", "使用记录、树头与作业记录不属于同一作业"
        )
    if said["institution"] != asked["institution"]:
        raise _mismatch("the use names another institution than its job", "使用记录与作业所属机构不符")


def _mismatch(message: str, message_zh: str) -> UseMismatch:
    return UseMismatch(message, message_zh)


def _form(file: Any) -> Document:
    if not isinstance(file, dict) or file.keys() != _USE_FIELDS or file["type"] != USE:
        fields = ", ".join(sorted(_USE_FIELDS))
        raise MalformedProof(f"an object of type {USE} with {fields} is needed", f"须为 {USE}，字段恰为 {fields}")
    _version(file)
    if not all(isinstance(file[name], dict) for name in _PARTS):
        raise MalformedProof(f"{', '.join(_PARTS)}: ledger records are needed", f"{'、'.join(_PARTS)} 须为日志凭据")
    return file


def _version(document: Mapping[str, Any]) -> None:
    if type(document["version"]) is not int or document["version"] != VERSION:
        raise UnknownVersion(
            f"{document['type']} of version {document['version']!r}: {VERSION} is known",
            f"{document['type']} 的版本 {document['version']!r} 未知，已知版本 {VERSION}",
        )
