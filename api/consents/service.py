"""Taking in signed documents and telling them on: verification outside, one short transaction per batch inside.

Sequence numbers are given under a lock on the feed's head, so the feed has one order and no gap, whatever
imports run at once. A line is judged on its own: bad ones are reported by number, good ones kept.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from rfc8785 import CanonicalizationError

from api.auth import Caller, Role
from api.consent_events import service as consent_events
from api.consents import feed, repository, requests
from api.consents.repository import Consent
from api.consents.schemas import ConsentOut, Consents, Count, Counts, ImportResult, LineError
from api.consents.states import CONSENT
from api.control import Control
from api.db import AuditRow, Unit
from api.errors import Conflict
from consent import artefact, templates
from consent.artefact import MalformedDocument
from consent.canonical import digest
from consent.evidence import NotTheEnterprise, check_follows
from consent.keys import BadSignature, SigningKey
from consent.lifecycle import Action, Life, LifecycleError, State, apply, ended, succession
from consent.signed import countersign, signatory, verify

MAX_LINE = 64 * 1024
MAX_ERRORS = 1000

_SAID = {
    Action.PAUSE: "paused by the enterprise",
    Action.RESUME: "resumed by the enterprise",
    Action.WITHDRAW: "withdrawn by the enterprise",
    Action.EXPIRE: "its term was over when a new consent was given",
    Action.SUPERSEDE: "renewed by the enterprise",
}
_SIGNATURE_FIELDS = frozenset({"role", "suite", "key_id", "public_key", "signature"})


class BadLine(Exception):
    """One line of an import that is not taken."""

    def __init__(self, code: str, message: str, message_zh: str) -> None:
        super().__init__(message)
        self.code, self.message, self.message_zh = code, message, message_zh


@dataclass(frozen=True)
class Checked:
    """A line whose document is well formed and truly signed, with the platform's signature added."""

    line: int
    kind: str
    body: dict[str, Any]
    public_key: str  # who stands for the enterprise (consent.signed.signatory), base64
    sha256: str  # of the enterprise-signed line's meaning: the same document again has the same
    document: dict[str, Any]  # signed by both
    text: str


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def read_document(line: bytes) -> dict[str, Any]:
    """The enterprise-signed document in one line. Raises BadLine."""
    if len(line) > MAX_LINE:
        raise BadLine("line_too_long", f"longer than {MAX_LINE} bytes", f"超过 {MAX_LINE} 字节")
    try:
        document = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadLine("not_json", f"not a JSON object: {error}", "不是有效的 JSON 对象") from error
    if (
        not isinstance(document, dict)
        or document.keys() != {"body", "signatures"}
        or not isinstance(document["signatures"], list)
        or len(document["signatures"]) != 1
        or not isinstance(document["signatures"][0], dict)
        or document["signatures"][0].keys() != _SIGNATURE_FIELDS
    ):
        raise BadLine(
            "not_a_signed_document",
            "body and exactly one signature (the enterprise's) are needed",
            "需要 body 和恰好一个签名（企业签名）",
        )
    return document


def check_line(number: int, line: bytes, key: SigningKey) -> Checked:
    """Form and enterprise's signature checked, countersigned. Pure but for the key. Raises BadLine."""
    return check_document(number, read_document(line), key)


def check_document(number: int, document: dict[str, Any], key: SigningKey) -> Checked:
    """As `check_line`, of a document that may also be signed by a passkey or by the platform as registrar."""
    try:
        kind = artefact.check(document["body"])
        if artefact.signer_of(document["body"]) != "enterprise":
            raise BadLine(
                "not_an_enterprise_document",
                f"a {kind} is not the enterprise's to sign and is not imported",
                "此类文件不由企业签署，不能导入",
            )
        if kind == "consent":
            templates.check(document["body"])
        signed = countersign(document, key, "platform")
        body = verify(signed, "enterprise")
    except MalformedDocument as error:
        raise BadLine(error.code, error.message, error.message_zh) from error
    except templates.ExceedsTemplate as error:
        raise BadLine(error.code, error.message, error.message_zh) from error
    except BadSignature as error:
        raise BadLine(error.code, error.message, error.message_zh) from error
    except (CanonicalizationError, UnicodeEncodeError, TypeError, RecursionError) as error:
        raise BadLine("malformed_document", f"cannot be signed: {error}", f"无法签名：{error}") from error
    return Checked(
        line=number,
        kind=kind,
        body=body,
        public_key=base64.b64encode(signatory(document)).decode(),
        sha256=hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest(),
        document=signed,
        text=json.dumps(signed, ensure_ascii=False, separators=(",", ":")),
    )


@dataclass
class _Held:
    """A consent as the batch sees it: on record before, or taken in earlier in this batch."""

    life: Life
    enterprise: str
    public_key: str
    sha256: str


class _Batch:
    """Decides, in line order, what each checked document does to the book; collects the rows to insert."""

    def __init__(
        self,
        unit: Unit,
        result: ImportResult,
        writer: feed.Writer,
        known: dict[str, Consent],
        standing: dict[repository.Subject, Consent],
        asked: dict[str, requests.ConsentRequest],
        reason: str,
    ) -> None:
        self.unit, self.result, self.feed, self.asked, self.reason = unit, result, writer, asked, reason
        rows = {row.consent_id: row for row in (*known.values(), *standing.values())}
        self.held = {
            name: _Held(repository.life(row), row.enterprise, row.public_key, row.document_sha256)
            for name, row in rows.items()
        }
        self.newest = {subject: row.consent_id for subject, row in standing.items()}
        self.grants: dict[str, dict[str, Any]] = {}
        self.moves: list[tuple[Life, str, int]] = []  # after, action, feed position
        self.moved: dict[str, set[str]] = {}  # digests of the transitions of this batch

    def take(self, item: Checked) -> None:
        try:
            if item.kind == "transition":
                self._transition(item)
            else:
                self._answer(item)
        except (LifecycleError, MalformedDocument, NotTheEnterprise) as error:
            raise BadLine(error.code, error.message, error.message_zh) from error

    def _event(self, item: Checked) -> int:
        return self.feed.add(item.document, item.body["consent_id"], item.text)

    def _move(self, life: Life, action: str, seq: int) -> None:
        self.held[life.consent_id].life = life
        self.moves.append((life, action, seq))

    def _answer(self, item: Checked) -> None:
        body = item.body
        name = body["consent_id"]
        if name in self.held:
            if self.held[name].sha256 == item.sha256:
                self.result.unchanged += 1
                return
            raise BadLine(
                "consent_id_reused",
                f"consent_id {name} belongs to another document already",
                f"授权编号 {name} 已被另一份文件使用",
            )
        subject = (body["enterprise"], body["recipient"], body["purpose"])
        before = self.held[self.newest[subject]].life if subject in self.newest else None
        asked = self.asked.get(name)
        if asked is not None:
            artefact.check_within(asked.document["body"], body)
        life = apply(None if asked is None else requests.life(asked), body)
        action = succession(before, body)
        seq = self._event(item)
        if before is not None and action is not None:
            self._move(ended(before, action, life.at, life.head), action, seq)
        self.held[name] = _Held(life, body["enterprise"], item.public_key, item.sha256)
        if item.kind == "consent" or body["supersedes"] is None:
            self.newest[subject] = name
        self.grants[name] = {
            "consent_id": name,
            "enterprise": body["enterprise"],
            "recipient": body["recipient"],
            "provider": body["provider"],
            "purpose": body["purpose"],
            "valid_from": body["valid_from"],
            "valid_until": body["valid_until"],
            "state": life.state.value,
            "public_key": item.public_key,
            "document_sha256": item.sha256,
            "seq": seq,
            "terms": {name: body[name] for name in ("modes", "data", "window_months", "limits")}
            | repository.needs(body),
            "supersedes": body["supersedes"],
            "sequence": life.sequence,
            "head_sha256": life.head,
            "changed_at": life.at,
            "imported_at": self.unit.now,
        }
        if item.kind == "consent":
            self.result.accepted += 1
        else:
            self.result.refused += 1

    def _transition(self, item: Checked) -> None:
        name, action = item.body["consent_id"], item.body["action"]
        held = self.held.get(name)
        if held is None:
            raise BadLine("consent_unknown", f"there is no consent {name}", f"没有授权 {name}")
        if held.enterprise != item.body["enterprise"]:
            raise NotTheEnterprise(f"consent {name} is another enterprise's", f"授权 {name} 属于另一企业")
        check_follows(base64.b64decode(held.public_key), base64.b64decode(item.public_key), action, name)
        if held.life.state is State.WITHDRAWN and action == Action.WITHDRAW:
            self.result.unchanged += 1
            return
        try:
            life = apply(held.life, item.body)
        except LifecycleError:
            # the very document that moved it before, sent again
            if self._taken(name, item.body):
                self.result.unchanged += 1
                return
            raise
        self.moved.setdefault(name, set()).add(life.head)
        self._move(life, action, self._event(item))
        if action == Action.WITHDRAW:
            self.result.withdrawn += 1
        else:
            self.result.changed += 1

    def _taken(self, name: str, body: dict[str, Any]) -> bool:
        return digest(body) in self.moved.get(name, ()) or body in repository.bodies(self.unit.session, name)

    def write(self) -> None:
        session, unit = self.unit.session, self.unit
        self.feed.close()
        if self.grants:
            rows = list(self.grants.values())
            session.execute(sa.insert(Consent), rows)
            session.execute(
                sa.insert(AuditRow),
                [
                    unit.audit_values(
                        "consent.import", "consent", row["consent_id"], self.reason,
                        after=row["state"], detail={"seq": row["seq"]},
                    )
                    for row in rows
                ],
            )  # fmt: skip
        told = [_event_of(row) for row in self.grants.values()]
        if self.moves:
            rows_by_id = repository.known(session, {life.consent_id for life, _, _ in self.moves})
            for life, action, seq in self.moves:
                row = rows_by_id[life.consent_id]
                row.sequence, row.head_sha256, row.changed_at = life.sequence, life.head, life.at
                if life.state is State.WITHDRAWN:
                    row.withdrawn_at, row.withdrawn_seq = life.at, seq
                unit.transition(row, life.state.value, f"consent.{action}", _SAID[Action(action)], seq=seq)
                told.append(consent_events.of_consent(row, life.state.value, seq, life.at))
        for name, row in self.grants.items():
            if (asked := self.asked.get(name)) is not None:
                asked.ended_at = unit.now
                unit.transition(asked, row["state"], "request.answer", f"answered: {row['state']}")
                told.append(consent_events.of_request(asked, unit.now))
        consent_events.tell(unit, told)


def _event_of(row: dict[str, Any]) -> consent_events.Event:
    body = {name: row[name] for name in ("consent_id", "enterprise", "purpose", "state", "seq")}
    return row["recipient"], "consent", {**body, "at": row["changed_at"]}


def _report(result: ImportResult, number: int, error: BadLine) -> None:
    result.failed += 1
    if len(result.errors) < MAX_ERRORS:
        result.errors.append(
            LineError(line=number, code=error.code, message=error.message, message_zh=error.message_zh)
        )


def import_batch(control: Control, caller: Caller, lines: list[tuple[int, bytes]], result: ImportResult) -> None:
    """Takes one batch of (line number, line) and adds to `result`. One transaction."""
    checked: list[Checked] = []
    for number, line in lines:
        try:
            checked.append(check_line(number, line, control.key))
        except BadLine as error:
            _report(result, number, error)
    with control.db.unit(caller) as unit:
        _record(unit, checked, result, "imported by the gateway")


def _record(unit: Unit, checked: list[Checked], result: ImportResult, reason: str) -> None:
    writer = feed.Writer(unit)
    names = {item.body["consent_id"] for item in checked}
    known, asked = repository.known(unit.session, names), requests.known(unit.session, names)
    subjects = {
        (item.body["enterprise"], item.body["recipient"], item.body["purpose"])
        for item in checked
        if item.kind != "transition"
    }
    standing = repository.standing(unit.session, subjects)
    batch = _Batch(unit, result, writer, known, standing, asked, reason)
    for item in checked:
        try:
            batch.take(item)
        except BadLine as error:
            _report(result, item.line, error)
    batch.write()
    result.head = writer.seq


class NotTaken(Conflict):
    """A document that its consent's life, template or signature does not allow; `code` is the reason's own."""


def take(unit: Unit, control: Control, document: dict[str, Any], reason: str) -> int:
    """Takes one document that the enterprise has just signed, in the caller's transaction.

    Returns its place in the feed. Raises NotTaken with the reason, so that nothing of the transaction stays.
    """
    result = ImportResult()
    try:
        checked = check_document(1, document, control.key)
    except BadLine as error:
        raise NotTaken(error.message, error.message_zh, code=error.code) from error
    _record(unit, [checked], result, reason)
    if result.errors:
        found = result.errors[0]
        raise NotTaken(found.message, found.message_zh, code=found.code)
    if result.unchanged:
        raise NotTaken("this document was taken before", "该文件此前已登记", code="taken_already")
    return result.head


def too_many(result: ImportResult, number: int, limit: int) -> None:
    """Reports that the import ends at line `number`; what came before is kept."""
    _report(
        result,
        number,
        BadLine(
            "too_many_documents",
            f"an import takes at most {limit} documents: send the rest, from this line on, in another",
            f"一次导入最多 {limit} 份文件：请从本行起另行导入",
        ),
    )


def _recipient_scope(caller: Caller) -> str | None:
    """None when the caller sees every recipient's consents, else the one."""
    return None if Role.OPERATOR in caller.roles else caller.institution


def of_enterprise(control: Control, caller: Caller, enterprise: str) -> Consents:
    with control.db.read(caller) as session:
        rows = repository.of_enterprise(session, enterprise, _recipient_scope(caller))
        return Consents(items=[ConsentOut.model_validate(row) for row in rows])


def counts(control: Control, caller: Caller) -> Counts:
    with control.db.read(caller) as session:
        rows = repository.counts(session, _recipient_scope(caller))
        total = dict.fromkeys(sorted(CONSENT.states), 0)
        for row in rows:
            total[row.state] += row.n
        items = [Count(recipient=r.recipient, purpose=r.purpose, state=r.state, count=r.n) for r in rows]
        return Counts(total=total, items=items, head=repository.head(session))
