"""Writing the ledger with every act, signing its heads, and showing what is in it.

Owns the order of a write: entries are collected while a transaction works and written as its last statement, under
one lock, so that no two transactions can wait for each other. What cannot be logged does not happen. It never
interprets a document, and never gives a salt to anybody but those whom the caller has let in.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from api.auth import Caller
from api.control import Control
from api.db import SYSTEM, Unit
from api.errors import ApiError, Conflict, Invalid, NotFound, Unavailable
from api.ledger import repository
from api.ledger.repository import CosignedRow, HeadRow, Log, Subject, WitnessRow
from api.ledger.schemas import CosignedIn, EntriesOut, HeadOut, Heads, LogOut, NextHead, WitnessIn, WitnessOut
from api.ledger.store import PostgresStore
from consent.canonical import canonical, digest
from consent.keys import BadSignature, VerifyingKey
from consent.ledger import Entry, Kind, Ledger, LedgerError, check_head, encode, leaf_hash, new_salt, read_head
from consent.ledger.entries import salted_hash
from consent.ledger.heads import ROLE, witness_role
from consent.ledger.merkle import consistency_path
from consent.ledger.proofs import prove_consistency, prove_inclusion
from consent.receipt import LedgerPosition
from consent.signed import Document
from consent.suites import suite
from consent.times import parse, stamp

log = logging.getLogger("creditlab.ledger")

# a step back of the clock by NTP is waited for; a longer one refuses the write
PATIENCE_SECONDS = 2.0
# a head is signed this often even when nothing was written, so that a reader can ask for a fresh one
IDLE_HEAD_SECONDS = 60

# what a document is to the ledger, by its type
KINDS: dict[str, Kind] = {
    "request": Kind.CONSENT,
    "consent": Kind.CONSENT,
    "refusal": Kind.CONSENT,
    "transition": Kind.TRANSITION,
    "person_consent": Kind.CONSENT,
    "person_refusal": Kind.CONSENT,
    "person_withdrawal": Kind.TRANSITION,
    "person_expiry": Kind.TRANSITION,
    "institution_state": Kind.INSTITUTION,
    "ticket": Kind.TICKET,
    "release_order": Kind.RELEASE,
    "release_state": Kind.RELEASE,
    "score_permit": Kind.SCORE,
    "data_permit": Kind.DATA_USE,
    "usage": Kind.DATA_USE,
    "tree_head": Kind.HEAD,
    "usage_question": Kind.QUESTION,
}


class LedgerUnavailable(Unavailable):
    """The entry could not be written, so the act was not done."""

    code = "ledger_unavailable"


class LedgerNotOpen(LedgerUnavailable):
    """The database has no log yet: the control plane opens it when it starts."""

    code = "ledger_not_open"

    def __init__(self) -> None:
        super().__init__(
            "the ledger is not open yet: the control plane opens it when it starts",
            "透明日志尚未建立：控制平面启动时建立",
        )


# ---- writing


@dataclass
class Position:
    """Where a document stands in the ledger; `index` is known once the transaction is over."""

    log_id: str
    hash: str
    salt: bytes
    index: int | None = None
    entry: Entry | None = None

    def ledger(self) -> LedgerPosition:
        """For a receipt. Raises LedgerUnavailable before the transaction is over."""
        if self.index is None or self.entry is None:
            raise LedgerUnavailable("the entry is not written yet", "日志记录尚未写入")
        leaf = leaf_hash(encode(self.entry, self.index), self.hash)
        return LedgerPosition(self.log_id, self.index, leaf.hex(), self.salt.hex(), self.hash)


@dataclass
class _Pending:
    kind: Kind
    subject: str
    position: Position
    object_kind: str
    object_id: str
    document: str | None


@dataclass
class Batch:
    """The entries of one transaction."""

    unit: Unit
    pending: list[_Pending] = field(default_factory=list)

    def __post_init__(self) -> None:
        found = repository.log(self.unit.session)
        if found is None:
            raise LedgerNotOpen
        self.log_id, self.hash = found

    def finish(self) -> None:
        session = self.unit.session
        session.flush()
        try:
            repository.lock_end(session, self.log_id)
            ledger = Ledger(PostgresStore(session, self.log_id, self.hash))
            at = _now(self.unit, ledger.latest)
            entries = [Entry(str(one.kind), at, self.hash, one.subject) for one in self.pending]
            positions = ledger.append(entries)
        except LedgerError as error:
            raise LedgerUnavailable(error.message, error.message_zh, code=error.code) from error
        for one, made, index in zip(self.pending, entries, positions, strict=True):
            one.position.index, one.position.entry = index, made
        session.execute(
            repository.ADD_SUBJECTS,
            {
                "log": self.log_id,
                "positions": list(positions),
                "kinds": [one.object_kind for one in self.pending],
                "ids": [one.object_id for one in self.pending],
                "salts": [one.position.salt for one in self.pending],
                "documents": [one.document for one in self.pending],
            },
        )


def append(
    unit: Unit,
    kind: Kind | str | None,
    document: Document,
    of: tuple[str, str] | None = None,
    *,
    keep: bool = False,
) -> Position:
    """Puts a document into the ledger with this transaction: both stand, or neither.

    `kind` None takes the one that belongs to the document's type. `of` is (kind, id) of the row that keeps the
    document (`api.ledger.documents`); with `keep`, or without `of` (under its own digest then), it is kept beside its
    salt. The entry is written just before the commit. Raises LedgerNotOpen, and at the commit LedgerUnavailable.
    """
    batch = unit.last(Batch)
    body = document.get("body", document)
    chosen = KINDS[body["type"]] if kind is None else Kind(kind)
    salt = new_salt()
    position = Position(batch.log_id, batch.hash, salt)
    object_kind, object_id = of or (str(body["type"]), digest(document))
    kept = canonical(document).decode() if keep or of is None else None
    batch.pending.append(
        _Pending(chosen, salted_hash(document, salt, batch.hash), position, object_kind, object_id, kept)
    )
    return position


def _now(unit: Unit, latest: str) -> str:
    """The time under the lock, no earlier than the log's last; waits a little for a clock that was set back."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (at := stamp(unit.clock())) < latest and time.monotonic() < deadline:
        time.sleep(0.05)
    return at


# ---- opening, and signing heads


def open_log(control: Control) -> None:
    """Makes the database's one log on first start; its hash function is that of the platform's suite, for life."""
    with control.db.unit(SYSTEM) as unit:
        repository.lock_end(unit.session, "")
        if repository.log(unit.session) is None:
            name = suite(control.key.suite).hash_name
            unit.session.add(Log(log_id=control.settings.platform, hash=name, opened_at=unit.now))


def sign_head(control: Control, *, at_least: int = 0) -> None:
    """Signs one head over everything that is committed, when there is something new or the last head is old.

    With `at_least`, waits for whoever signs now and makes sure that a head covers that many entries. Does nothing
    while another process signs. Raises LedgerError when the store does not extend its last head.
    """
    with control.db.unit(SYSTEM) as unit:
        session = unit.session
        found = repository.log(session)
        if found is None:
            return
        log_id, name = found
        if at_least:
            repository.lock_heads(session, log_id)
        elif not repository.try_heads(session, log_id):
            return
        newest = repository.newest_head(session, log_id)
        size = repository.size(session, log_id)
        if newest is not None and newest.size >= size and _holds(control, head := read_head(newest.head)):
            age = unit.clock() - parse(head["body"]["at"])
            if at_least or age.total_seconds() < IDLE_HEAD_SECONDS:
                return
        repository.lock_end(session, log_id)
        ledger = Ledger(PostgresStore(session, log_id, name))
        at = _now(unit, ledger.latest)
        control.keyring.check(control.key.public, at)
        ledger.sign_head(control.key, at)


def _holds(control: Control, head: Document) -> bool:
    """Whether the log's signature still counts: a key compromised since proves nothing any more."""
    try:
        control.keyring.verify(head, ROLE, head["body"]["at"])
    except BadSignature:
        return False
    return True


class HeadKeeper:
    """Signs heads again and again; says once a minute why it cannot."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._quiet_until = 0.0

    def tick(self) -> None:
        try:
            sign_head(self._control)
        except (LedgerError, BadSignature) as error:
            if time.monotonic() >= self._quiet_until:
                self._quiet_until = time.monotonic() + 60
                log.error("no head of the ledger is signed: %s (%s)", error, error.code)


# ---- reading


def _log(session: Session) -> tuple[str, str]:
    found = repository.log(session)
    if found is None:
        raise LedgerNotOpen
    return found.log_id, found.hash


def _head_out(row: HeadRow) -> HeadOut:
    return HeadOut(number=row.number, size=row.size, head=json.loads(row.head))


def about(control: Control) -> LogOut:
    with control.db.read(SYSTEM) as session:
        log_id, name = _log(session)
        newest = repository.newest_head(session, log_id)
        return LogOut(
            log_id=log_id,
            hash=name,
            size=repository.size(session, log_id),
            head=None if newest is None else _head_out(newest),
            witnesses=[
                WitnessOut(name=row.name, public_key=row.public_key, number=number, size=size)
                for row, number, size in repository.witnesses(session)
            ],
        )


def heads(control: Control, after: int, limit: int) -> Heads:
    with control.db.read(SYSTEM) as session:
        log_id, _ = _log(session)
        return Heads(items=[_head_out(row) for row in repository.heads(session, log_id, after, limit)])


def latest(control: Control, known_size: int) -> NextHead:
    """The newest head with the path that shows that it extends the log of `known_size` entries."""
    with control.db.read(SYSTEM) as session:
        log_id, name = _log(session)
        newest = repository.newest_head(session, log_id)
        if newest is None:
            raise NotFound("tree head", "树头", log_id)
        if known_size > newest.size:
            raise Conflict(
                f"the log holds {newest.size} entries under its newest head, not {known_size}: keep the head that says "
                "so, it proves that entries were taken away",
                f"最新树头只有 {newest.size} 条记录，少于 {known_size} 条：请保留所见树头作为证据",
                code="log_shrunk",
            )
        store = PostgresStore(session, log_id, name)
        path = consistency_path(store, known_size, newest.size, name)
        return NextHead(**_head_out(newest).model_dump(), path=[one.hex() for one in path])


def entries(control: Control, start: int, limit: int) -> EntriesOut:
    with control.db.read(SYSTEM) as session:
        log_id, name = _log(session)
        store = PostgresStore(session, log_id, name)
        items = [json.loads(raw) for raw in store.entries(start, start + limit)]
        return EntriesOut(log_id=log_id, start=start, size=store.size(), entries=items)


def _covering(control: Control, session: Session, log_id: str, index: int) -> Document | None:
    """The newest witnessed head that covers entry `index` and still counts, else the newest head, else None."""
    for raw in (repository.cosigned(session, log_id, index + 1), _newest(session, log_id)):
        if raw is not None and (head := read_head(raw))["body"]["size"] > index and _holds(control, head):
            return head
    return None


def _newest(session: Session, log_id: str) -> bytes | None:
    found = repository.newest_head(session, log_id)
    return None if found is None else bytes(found.head)


def inclusion(control: Control, index: int) -> Document:
    """The proof that entry `index` is in the log. Signs a head first when none covers it yet."""
    return inclusions(control, [index])[0]


def inclusions(control: Control, indices: Sequence[int]) -> list[Document]:
    """The proofs of several entries, under one head."""
    if not indices:
        return []
    last = max(indices)
    with control.db.read(SYSTEM) as session:
        log_id, name = _log(session)
        if last >= repository.size(session, log_id):
            raise NotFound("entry", "日志记录", str(last))
        head = _covering(control, session, log_id, last)
    if head is None:
        try:
            sign_head(control, at_least=last + 1)
        except (LedgerError, BadSignature) as error:
            raise LedgerUnavailable(error.message, error.message_zh, code=error.code) from error
    with control.db.read(SYSTEM) as session:
        head = head or _covering(control, session, log_id, last)
        if head is None:
            raise LedgerUnavailable("no head covers the entry yet: try again", "尚无树头覆盖该记录：请稍后重试")
        return [_proved(session, log_id, name, index, head) for index in indices]


def _proved(session: Session, log_id: str, name: str, index: int, head: Document) -> Document:
    try:
        return prove_inclusion(PostgresStore(session, log_id, name), index, head)
    except LedgerError as error:
        raise LedgerUnavailable(error.message, error.message_zh, code=error.code) from error


def consistency(control: Control, old_size: int, new_size: int) -> Document:
    """The proof that the log under its head of `new_size` entries extends the one of `old_size`."""
    with control.db.read(SYSTEM) as session:
        log_id, name = _log(session)
        found = [repository.head_of_size(session, log_id, size) for size in (old_size, new_size)]
        for size, row in zip((old_size, new_size), found, strict=True):
            if row is None:
                raise NotFound("tree head over this many entries", "该条数的树头", str(size))
        if old_size > new_size:
            raise Invalid("old: not more than new", "old：不得大于 new", code="proof_beyond_tree")
        old, new = (read_head(row.head) for row in found if row is not None)
        try:
            return prove_consistency(PostgresStore(session, log_id, name), old, new)
        except LedgerError as error:
            raise LedgerUnavailable(error.message, error.message_zh, code=error.code) from error


# ---- what stands behind an entry


def position(session: Session, object_kind: str, object_id: str) -> tuple[LedgerPosition, Subject]:
    """Where the document of an object stands, with its salt. Whom this is told is for the caller to decide.

    Raises NotFound for an object that the ledger does not know.
    """
    row = repository.subject(session, object_kind, object_id)
    if row is None:
        raise NotFound("ledger entry of", "日志记录", f"{object_kind} {object_id}")
    _, name = _log(session)
    (raw,) = PostgresStore(session, row.log_id, name).entries(row.position, row.position + 1)
    leaf = leaf_hash(raw, name)
    return LedgerPosition(row.log_id, row.position, leaf.hex(), bytes(row.salt).hex(), name), row


def kept(session: Session, object_kind: str, object_ids: Sequence[str]) -> dict[str, Subject]:
    """Position and salt of each object's entry. Whom these are told is for the caller to decide."""
    return repository.subjects(session, object_kind, object_ids)


# ---- witnesses


class HeadUnknown(ApiError):
    """A head, truly signed by the platform, that this log never kept: somebody was shown another history."""

    status, code, title = 409, "log_forked", "Another history"


def register_witness(control: Control, caller: Caller, body: WitnessIn) -> WitnessOut:
    """Takes the public key of the caller's witness, once; another key needs another account."""
    try:
        witness_role(caller.name)
        key = VerifyingKey.from_b64(body.public_key)
    except (LedgerError, BadSignature) as error:
        raise Invalid(error.message, error.message_zh, code=error.code) from error
    with control.db.unit(caller) as unit:
        known = repository.witness(unit.session, caller.name)
        if known is None:
            row = WitnessRow(name=caller.name, account_id=caller.account_id, public_key=key.b64, registered_at=unit.now)
            unit.create(row, "witness.register", "registered by the witness", key_id=key.key_id)
        elif known.public_key != key.b64:
            raise Conflict(
                f"witness {caller.name} signs with another key: a new key needs a new account",
                f"见证方 {caller.name} 已登记另一公钥：更换密钥须另开账户",
                code="witness_key_differs",
            )
        return WitnessOut(name=caller.name, public_key=key.b64, number=None, size=None)


def cosign(control: Control, caller: Caller, body: CosignedIn) -> HeadOut:
    """Takes a head that the caller's witness cosigned. A head that this log never kept is refused."""
    document = body.head
    with control.db.unit(caller) as unit:
        session = unit.session
        log_id, name = _log(session)
        known = repository.witness(session, caller.name)
        if known is None:
            raise Conflict(
                "register the witness's public key first", "请先登记见证方公钥", code="witness_not_registered"
            )
        key = VerifyingKey.from_b64(known.public_key)
        try:
            head = check_head(
                document, control.keyring, log_id=log_id, hash_name=name, witnesses={caller.name: key}, quorum=1
            )
        except LedgerError as error:
            raise Invalid(error.message, error.message_zh, code=error.code) from error
        own = {"body": document["body"], "signatures": document["signatures"][:1]}
        row = repository.head_with(session, log_id, head.size, canonical(own))
        if row is None:
            log.error("witness %s holds a head over %d entries at %s that this log never kept: somebody was shown "
                      "another history", caller.name, head.size, head.at)  # fmt: skip
            raise HeadUnknown(
                "this head is signed by the platform, but this log never kept it: two histories exist; keep it as "
                "evidence",
                "该树头由平台签署，但本日志从未保存：存在两种历史；请保留作为证据",
            )
        if len(document["signatures"]) != 2:
            raise Invalid(
                "exactly the log's signature and this witness's are needed", "须恰有日志与本见证方的签名",
                code="head_malformed",
            )  # fmt: skip
        if session.get(CosignedRow, (log_id, row.number, caller.name)) is None:
            session.add(CosignedRow(log_id=log_id, number=row.number, witness=caller.name, head=canonical(document)))
        return _head_out(row)
