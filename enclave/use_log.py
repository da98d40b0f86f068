"""This node's own log of the uses that jobs make of its rows, whose heads the platform's ledger holds (R46).

Each use is entered with its row of the journal, in one transaction, before a row is read. Then the signed head goes to
the platform, and the job goes on once the platform has proved that its ledger holds it. Owns the order of these and
what of them is proved to an enterprise. The records and salts stay here: the platform learns how many there are.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx

from consent import node_log, usage
from consent.canonical import canonical
from consent.errors import Refused
from consent.keys import SigningKey
from consent.ledger import Entry, Kind, Ledger, entry, new_salt, prove_inclusion, read_head, records
from consent.ledger.errors import LogShrunk, MalformedStore, WrongLog
from consent.ledger.merkle import consistency_path
from consent.purposes import Mode, Purpose
from consent.signed import Document
from consent.suites import suite
from consent.times import stamp
from enclave.control import unreachable, why
from enclave.endings import JobEnded
from enclave.journal import Journal
from enclave.pki import write_private
from enclave.platform_keys import PlatformKeys
from enclave.use_store import SqliteStore
from federated.relay.link import Cause

log = logging.getLogger("creditlab.use_log")
BATCH = 2000  # uses in one transaction: whoever else needs the journal waits for one of them
PATIENCE_SECONDS = 2.0  # a step back of the clock by NTP is waited for; a longer one refuses the use
RETRY_SECONDS = 1.0


class Used(NamedTuple):
    """One row that enters a job: whose it is, under which consent, and the data that this covers."""

    enterprise: str
    consent_id: str
    data: Mapping[str, Any]


class HeadTaker(Protocol):
    """Who enters this node's heads into the platform's ledger (`enclave.control.Control`)."""

    async def log_size(self) -> dict[str, Any]:
        """{log_id, size} of the last head of this node that stands there; size 0 and no log_id before the first."""
        ...

    async def enter_head(self, job_id: str, head: Document, path: list[str]) -> dict[str, Any]:
        """{head, job}: the ledger records of the head's document and of the job's usage record."""
        ...


def load_key(state_dir: Path, suite_id: str) -> SigningKey:
    """The key of this node's log, of the platform's suite; made once, kept with mode 0600."""
    path = state_dir / "vault" / "log.pem"
    if not path.exists():
        write_private(path, SigningKey.generate(suite_id).to_pem())
    return SigningKey.from_pem(path.read_bytes())


def _now() -> str:
    return stamp(datetime.now(UTC))


class UseRecords:
    """What the log of a journal holds, to be read. Raises MalformedStore for a journal without a log."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        with journal.transaction() as db:
            row = db.execute("SELECT log_id, hash FROM log").fetchone()
        if row is None:
            raise MalformedStore("the journal holds no log of uses yet", "日志库中尚无使用日志")
        self.log_id, self.hash_name = row

    def store(self, db: sqlite3.Connection) -> SqliteStore:
        """The log as the transaction of `Journal.transaction` sees it."""
        return SqliteStore(db, self.log_id, self.hash_name)

    def record_of(self, use: int, job_id: str) -> Document | None:
        """The ledger record of a use, by its number in the journal, under the head of its job.

        None for a use of a job for which no head was signed: then no row was read, or it was before this log.
        """
        with self._journal.transaction() as db:
            row = db.execute(
                "SELECT log_use.position, log_form.form, log_use.salt, use.enterprise, use.consent_id, log_job.head"
                " FROM use JOIN log_use ON log_use.use = use.id JOIN log_form ON log_form.number = log_use.form"
                " JOIN log_job ON log_job.job_id = use.reference WHERE use.id = ? AND use.reference = ?",
                (use, job_id),
            ).fetchone()
            if row is None:
                return None
            position, form, salt, enterprise, consent_id, head = row
            proof = prove_inclusion(self.store(db), position, read_head(bytes(head)))
        body = _body(json.loads(form), self.log_id, position, enterprise, consent_id)
        return records.load(records.make(body, bytes(salt), proof))

    def file(self, use: int, job_id: str) -> Document | None:
        """The file that proves a use by itself (`consent.node_log`); None where its head is not known to stand."""
        entered, record = self._entered(job_id), self.record_of(use, job_id)
        return None if entered is None or record is None else node_log.make(record, *entered)

    def platform_log(self) -> str | None:
        """The platform's ledger in which this node's newest head stands; None before the first."""
        with self._journal.transaction() as db:
            row = db.execute("SELECT head FROM log_entered ORDER BY rowid DESC LIMIT 1").fetchone()
        return None if row is None else str(json.loads(row[0])["proof"]["head"]["body"]["log_id"])

    def _entered(self, job_id: str) -> tuple[Document, Document] | None:
        """The platform's records of the head and of the job, as they were kept."""
        with self._journal.transaction() as db:
            row = db.execute("SELECT head, job FROM log_entered WHERE job_id = ?", (job_id,)).fetchone()
        return None if row is None else (json.loads(row[0]), json.loads(row[1]))


class UseLog(UseRecords):
    """One node's log. `lapsed` says whether the platform has been silent for too long to wait any more."""

    def __init__(
        self,
        journal: Journal,
        key: SigningKey,
        node: str,
        heads: HeadTaker,
        platform: PlatformKeys,
        lapsed: Callable[[], bool],
        clock: Callable[[], str] = _now,
    ) -> None:
        log_id = node_log.log_id(key.public)
        with journal.transaction() as db:
            db.execute("INSERT OR IGNORE INTO log VALUES (1, ?, ?)", (log_id, suite(key.suite).hash_name))
        super().__init__(journal)
        if self.log_id != log_id:
            raise WrongLog(
                f"the journal holds log {self.log_id}, the key in vault/log.pem signs {log_id}: restore that log's "
                "key from the backup",
                f"日志库中为日志 {self.log_id}，而 vault/log.pem 的密钥属于 {log_id}：请从备份恢复原密钥",
            )
        self._key = key
        self._node = node
        self._heads = heads
        self._platform = platform
        self._lapsed = lapsed
        self._clock = clock
        self._lock = asyncio.Lock()  # heads reach the platform in the order in which they were signed

    # -- before a row is read ----------------------------------------------------------------------------------

    async def use(self, ticket: Mapping[str, Any], uses: Sequence[Used], *, at: str, content: str) -> None:
        """Puts every use of a job on record, here and, by the log's head, in the platform's ledger.

        Raises JobEnded with the reason: then nothing may be read.
        """
        try:
            await asyncio.to_thread(self.record, ticket, uses, at=at, content=content)
            await self.enter(ticket["job_id"])
        except httpx.HTTPStatusError as error:
            raise _not_entered(*why(error)) from error
        except Refused as error:
            raise _not_entered(error.code, error.message, error.message_zh) from error

    def record(self, ticket: Mapping[str, Any], uses: Sequence[Used], *, at: str, content: str) -> None:
        """The journal's rows and the log's entries of a job's uses. Raises ClockMovedBack or MalformedDocument."""
        forms: dict[int, dict[str, Any]] = {}  # by the object of the data: consents to the same terms share it
        for one in uses:
            if id(one.data) not in forms:
                forms[id(one.data)] = self._form(ticket, one, at)
        recipient = ticket["parties"]["bank"]["institution"]
        for part in batched(uses, BATCH):
            with self._journal.transaction() as db:
                ledger = Ledger(self.store(db))
                (first,) = db.execute("SELECT coalesce(max(id), 0) + 1 FROM use").fetchone()
                numbers = self._keep_forms(db, [forms[id(one.data)] for one in part])
                entered_at = self._time(ledger.latest)
                entries: list[Entry] = []
                kept: list[tuple[int, int, int, bytes]] = []
                for number, one in enumerate(part):
                    position, salt = ledger.size + number, new_salt()
                    form = forms[id(one.data)]
                    body = _body(form, self.log_id, position, one.enterprise, one.consent_id)
                    usage.check(body)
                    entries.append(entry(Kind.DATA_USE, entered_at, body, salt, self.hash_name))
                    kept.append((first + number, position, numbers[id(form)], salt))
                db.executemany(
                    "INSERT INTO use (id, at, enterprise, recipient, purpose, content, reference, consent_id)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        (first + n, at, one.enterprise, recipient, ticket["purpose"], content, ticket["job_id"],
                         one.consent_id)
                        for n, one in enumerate(part)
                    ],
                )  # fmt: skip
                ledger.append(entries)
                db.executemany("INSERT INTO log_use VALUES (?, ?, ?, ?)", kept)

    def _form(self, ticket: Mapping[str, Any], one: Used, at: str) -> dict[str, Any]:
        """What the uses of one job and of consents to the same data have in common."""
        body = usage.usage(
            usage_id=self.log_id, at=at, user=self._node, institution=ticket["parties"]["bank"]["institution"],
            reason=f"joint training job {ticket['job_id']} of project {ticket['project']}", use=Mode.JOINT_TRAINING,
            purpose=Purpose.JOINT_TRAINING, object_kind=node_log.ROWS_OF, object_id=one.enterprise, data=one.data,
            consent_id=one.consent_id, job_id=ticket["job_id"],
        )  # fmt: skip
        return {name: value for name, value in body.items() if name not in ("usage_id", "object", "consent_id")}

    @staticmethod
    def _keep_forms(db: sqlite3.Connection, forms: Sequence[dict[str, Any]]) -> dict[int, int]:
        """id of each form → its number in the table."""
        numbers: dict[int, int] = {}
        for form in forms:
            if id(form) not in numbers:
                text = canonical(form).decode()
                db.execute("INSERT OR IGNORE INTO log_form (form) VALUES (?)", (text,))
                (numbers[id(form)],) = db.execute("SELECT number FROM log_form WHERE form = ?", (text,)).fetchone()
        return numbers

    def _time(self, latest: str) -> str:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (at := self._clock()) < latest and time.monotonic() < deadline:
            time.sleep(0.05)
        return at  # the log refuses one that is still too early, by name

    # -- the head ----------------------------------------------------------------------------------------------

    async def enter(self, job_id: str) -> None:
        """Signs the head over everything entered and has the platform's ledger hold it, proved. Once for each job."""
        async with self._lock:
            if await asyncio.to_thread(self._entered, job_id) is not None:
                return
            known = await self._patiently(self._heads.log_size)
            head, path = await asyncio.to_thread(self._sign, job_id, int(known["size"]))
            given = await self._patiently(lambda: self._heads.enter_head(job_id, head, path))
            await asyncio.to_thread(self._keep, node_log.head_document(self._node, job_id, head), given)

    async def _patiently(self, ask: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """What the control plane answers; a short outage is borne as long as the consent feed's lease."""
        while True:
            try:
                return await ask()
            except httpx.HTTPError as error:
                if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                    raise
                log.warning("the log's head is not entered yet (%s)", type(error).__name__)
            if self._lapsed():
                raise unreachable(
                    "the control plane did not enter the log's head; no row is read without it",
                    "控制平面未登记本节点日志的树头，未登记不得读取数据",
                )
            await asyncio.sleep(RETRY_SECONDS)

    def _sign(self, job_id: str, known: int) -> tuple[Document, list[str]]:
        """A head over all entries, and the path that shows that it extends the platform's last one."""
        with self._journal.transaction() as db:
            ledger = Ledger(self.store(db))
            if known > ledger.size:
                raise LogShrunk(
                    f"the platform holds a head of this node over {known} uses, the journal has {ledger.size}: restore "
                    "the journal from its newest backup",
                    f"平台持有本节点 {known} 条使用记录的树头，而日志库只有 {ledger.size} 条：请从最新备份恢复日志库",
                )
            head = ledger.sign_head(self._key, self._time(ledger.latest))
            db.execute("INSERT INTO log_job VALUES (?, ?)", (job_id, canonical(head)))
            path = consistency_path(ledger.store, known, ledger.size, self.hash_name)
        return head, [one.hex() for one in path]

    def _keep(self, document: Document, given: Mapping[str, Any]) -> None:
        """Keeps what the platform answered, once it proves that its ledger holds this very head before this job.

        Raises a LedgerError otherwise.
        """
        keys, job_id = self._platform.head_keys(), document["job_id"]
        parts = {name: records.load(canonical(given.get(name))) for name in ("head", "job")}
        for part in parts.values():
            records.check(part, keys)
        if parts["head"]["document"] != document:
            raise node_log.HeadMismatch(
                "the platform proved the entry of another head than the one it was sent: keep both as evidence",
                "平台所证明的并非本节点提交的树头：请保留双方文件作为证据",
            )
        asked = parts["job"]["document"]
        usage.check(asked)
        if asked["object"] != {"kind": "job", "id": job_id}:
            raise node_log.UseMismatch(
                f"the platform proved the record of another job than {job_id}", f"平台所证明的并非作业 {job_id} 的记录"
            )
        with self._journal.transaction() as db:
            values = (job_id, canonical(parts["head"]), canonical(parts["job"]))
            db.execute("INSERT INTO log_entered VALUES (?, ?, ?)", values)


def _not_entered(code: str, message: str, message_zh: str) -> JobEnded:
    return JobEnded(
        Cause(
            "use_not_entered",
            f"no row is read, for its use could not be put on record: {message} ({code})",
            f"使用未能登记，不得读取数据：{message_zh}（{code}）",
        )
    )


def _body(form: Mapping[str, Any], log_id: str, position: int, enterprise: str, consent_id: str) -> dict[str, Any]:
    """A use as it is entered: the same for a proof as it was before the use."""
    return {
        **form,
        "usage_id": f"{log_id}/{position}",
        "object": {"kind": node_log.ROWS_OF, "id": enterprise},
        "consent_id": consent_id,
    }
