"""Taking in signed documents and telling them on: verification outside, one short transaction per batch inside.

Sequence numbers are given under a lock on the feed's head, so the feed has one order and no gap, whatever
imports run at once. A line is judged on its own: bad ones are reported by number, good ones kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from rfc8785 import CanonicalizationError

from api.auth import Caller, Role
from api.consents import repository
from api.consents.repository import Consent, FeedEvent
from api.consents.schemas import ConsentOut, Consents, Count, Counts, ImportResult, LineError
from api.consents.states import CONSENT
from api.control import Control
from api.db import AuditRow, Unit
from consent import artefact, templates
from consent.artefact import MalformedDocument
from consent.canonical import digest
from consent.keys import BadSignature, SigningKey
from consent.lifecycle import Action, Life, LifecycleError, State, apply, ended, succession
from consent.signed import countersign, signer, verify

MAX_LINE = 64 * 1024
MAX_ERRORS = 1000
FEED_TOPIC = "feed"

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
    public_key: str
    sha256: str  # of the enterprise-signed line's meaning: the same document again has the same
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
    document = read_document(line)
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
        body = verify(document, "enterprise")
        signed = countersign(document, key, "platform")
    except MalformedDocument as error:
        raise BadLine(error.code, error.message, error.message_zh) from error
    except templates.ExceedsTemplate as error:
        raise BadLine(error.code, error.message, error.message_zh) from error
    except BadSignature as error:
        raise BadLine("bad_signature", str(error), f"签名无效：{error}") from error
    except (CanonicalizationError, UnicodeEncodeError, TypeError, RecursionError) as error:
        raise BadLine("malformed_document", f"cannot be signed: {error}", f"无法签名：{error}") from error
    return Checked(
        line=number,
        kind=kind,
        body=body,
        public_key=signer(document, "enterprise").b64,
        sha256=hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest(),
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
        head: int,
        known: dict[str, Consent],
        standing: dict[repository.Subject, Consent],
    ) -> None:
        self.unit, self.result, self.head = unit, result, head
        rows = {row.consent_id: row for row in (*known.values(), *standing.values())}
        self.held = {
            name: _Held(repository.life(row), row.enterprise, row.public_key, row.document_sha256)
            for name, row in rows.items()
        }
        self.newest = {subject: row.consent_id for subject, row in standing.items()}
        self.grants: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.moves: list[tuple[Life, str, int]] = []  # after, action, feed position
        self.moved: dict[str, set[str]] = {}  # digests of the transitions of this batch

    def take(self, item: Checked) -> None:
        try:
            if item.kind == "transition":
                self._transition(item)
            else:
                self._answer(item)
        except LifecycleError as error:
            raise BadLine(error.code, error.message, error.message_zh) from error

    def _event(self, item: Checked) -> int:
        self.head += 1
        self.events.append(
            {
                "seq": self.head,
                "kind": item.kind,
                "consent_id": item.body["consent_id"],
                "document": item.text,
                "recorded_at": self.unit.now,
            }
        )
        return self.head

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
        life = apply(None, body)
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
            "terms": {field: body[field] for field in ("modes", "data", "window_months", "limits")},
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
        if held.enterprise != item.body["enterprise"] or held.public_key != item.public_key:
            raise BadLine(
                "not_the_enterprise",
                f"the {action} of {name} is not signed by the enterprise that gave it",
                f"授权 {name} 的变更并非由授权企业签署",
            )
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
        if not self.events:
            return
        session.execute(sa.insert(FeedEvent), self.events)
        if self.grants:
            rows = list(self.grants.values())
            session.execute(sa.insert(Consent), rows)
            session.execute(
                sa.insert(AuditRow),
                [
                    unit.audit_values(
                        "consent.import", "consent", row["consent_id"], "imported by the gateway",
                        after=row["state"], detail={"seq": row["seq"]},
                    )
                    for row in rows
                ],
            )  # fmt: skip
        if self.moves:
            rows_by_id = repository.known(session, {life.consent_id for life, _, _ in self.moves})
            for life, action, seq in self.moves:
                row = rows_by_id[life.consent_id]
                row.sequence, row.head_sha256, row.changed_at = life.sequence, life.head, life.at
                if life.state is State.WITHDRAWN:
                    row.withdrawn_at, row.withdrawn_seq = life.at, seq
                unit.transition(row, life.state.value, f"consent.{action}", _SAID[Action(action)], seq=seq)


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
        head = repository.lock_head(unit.session)
        known = repository.known(unit.session, {item.body["consent_id"] for item in checked})
        subjects = {
            (item.body["enterprise"], item.body["recipient"], item.body["purpose"])
            for item in checked
            if item.kind != "transition"
        }
        batch = _Batch(unit, result, head.seq, known, repository.standing(unit.session, subjects))
        for item in checked:
            try:
                batch.take(item)
            except BadLine as error:
                _report(result, item.line, error)
        batch.write()
        result.head = head.seq = batch.head
        if batch.events:
            unit.notify(FEED_TOPIC)


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
    with control.db.read() as session:
        rows = repository.of_enterprise(session, enterprise, _recipient_scope(caller))
        return Consents(items=[ConsentOut.model_validate(row) for row in rows])


def counts(control: Control, caller: Caller) -> Counts:
    with control.db.read() as session:
        rows = repository.counts(session, _recipient_scope(caller))
        total = dict.fromkeys(sorted(CONSENT.states), 0)
        for row in rows:
            total[row.state] += row.n
        items = [Count(recipient=r.recipient, purpose=r.purpose, state=r.state, count=r.n) for r in rows]
        return Counts(total=total, items=items, head=repository.head(session))


def feed(control: Control, after: int, limit: int) -> Iterator[str]:
    """The text of one feed page. The stored documents are passed on as they were signed, never parsed."""
    with control.db.read() as session:
        rows = repository.events(session, after, limit)
        head = repository.head(session)
    yield f'{{"head":{head},"events":['
    for i, row in enumerate(rows):
        yield f'{"," if i else ""}{{"seq":{row.seq},"kind":"{row.kind}","document":{row.document}}}'
    yield "]}"
