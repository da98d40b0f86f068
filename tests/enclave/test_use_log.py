"""A node's own log: every use entered before a row is read, its head in the platform's ledger, each use provable."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from consent import node_log
from consent.canonical import canonical
from consent.errors import Refused
from consent.keys import SigningKey
from consent.ledger import FixedKeys, Kind, export, fsck
from consent.ledger.folder import FolderStore
from enclave import use_log
from enclave.endings import JobEnded
from enclave.journal import Journal
from enclave.platform_keys import PlatformKeys
from enclave.use_log import Used, UseLog, load_key
from tests.enclave.heads import Heads

AT = "2026-05-01T08:00:00Z"
DATA: dict[str, Any] = {"tax": "*", "import_export": ("volume",)}


def ticket(number: int = 1) -> dict[str, Any]:
    parties = {"bank": {"institution": "bank_a"}, "lab": {"institution": "lab"}}
    return {"job_id": f"j-{number:012x}", "project": "sme", "purpose": "joint_training", "parties": parties}


class Node:
    """A node's log beside a platform in memory."""

    def __init__(self, folder: Path, suite: str = "ed25519") -> None:
        self.folder = folder
        self.platform = SigningKey.generate(suite)
        self.heads = Heads(self.platform)
        self.lapsed = False
        self.now: Callable[[], str] | None = None
        self.open()

    def open(self, journal: str = "journal.sqlite") -> UseLog:
        self.journal = Journal(self.folder / journal)
        key = load_key(self.folder, self.platform.suite)
        clock = {} if self.now is None else {"clock": self.now}
        self.log = UseLog(
            self.journal, key, "lab-node", self.heads, PlatformKeys(self.platform.public), lambda: self.lapsed, **clock
        )
        return self.log

    def use(self, number: int = 1, rows: int = 3) -> None:
        uses = [Used(f"e{n}", f"c-{n}", DATA) for n in range(rows)]
        asyncio.run(self.log.use(ticket(number), uses, at=AT, content="age"))

    def file(self, enterprise: str, number: int = 1) -> dict[str, Any] | None:
        uses = self.journal.uses_of(enterprise, "joint_training")
        [use] = [one for one in uses if one["job_id"] == ticket(number)["job_id"]]
        return self.log.file(use["use"], use["job_id"])

    def refused(self, number: int = 1) -> str:
        """The reason that the job's cause gives."""
        with pytest.raises(JobEnded) as caught:
            self.use(number)
        cause = caught.value.cause
        if cause.code != "use_not_entered":
            return cause.code
        code = cause.message.rpartition("(")[2].rstrip(")")
        assert cause.message_zh.endswith(f"（{code}）")
        return code


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(use_log, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(use_log, "PATIENCE_SECONDS", 0.1)
    return Node(tmp_path)


@pytest.mark.parametrize("suite", ["ed25519", "sm2"])
def test_each_use_is_proved_to_a_head_that_the_platform_holds(suite: str, tmp_path: Path) -> None:
    """R46."""
    node = Node(tmp_path, suite)
    node.use(1)
    node.use(2, rows=5)
    keys = FixedKeys(node.platform.public)
    for number in (1, 2):
        for n in range(3):
            file = node.file(f"e{n}", number)
            assert file is not None
            found = node_log.check(*node_log.load(canonical(file)), keys, platform_log="platform")
            assert found.use["object"] == {"kind": "enterprise", "id": f"e{n}"}
            assert (found.use["consent_id"], found.use["at"]) == (f"c-{n}", AT)
            assert found.use["content"]["data"] == ["import_export/volume", "tax/*"]
            assert found.by.job_id == found.use["job_id"] == ticket(number)["job_id"]
            assert found.in_node.head.size == (3 if number == 1 else 8)


def test_the_platform_learns_how_many_and_not_who(node: Node) -> None:
    """R51: nothing that leaves the node before a job names an enterprise or can be tried against a list."""
    sent: list[Any] = []
    take = node.heads.enter_head

    async def recording(*given: Any) -> dict[str, Any]:
        sent.append(given)
        return await take(*given)

    node.heads.enter_head = recording  # type: ignore[method-assign]
    node.use()
    [(job_id, head, path)] = sent
    assert (job_id, path) == (ticket()["job_id"], [])
    assert head["body"].keys() == {"type", "version", "log_id", "hash", "size", "root", "at"}
    assert head["body"]["size"] == 3


def test_uses_in_many_batches_make_one_log(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_log, "BATCH", 7)
    node.use(1, rows=40)
    node.use(2, rows=16)
    with node.journal.transaction() as db:
        checked = fsck(node.log.store(db), FixedKeys(load_key(node.folder, "ed25519").public))
    assert (checked.size, checked.heads, checked.covered) == (56, 2, 56)
    assert node.journal.count_uses(ticket(1)["job_id"]) == 40
    assert node.file("e39") is not None


def test_an_auditor_checks_an_exported_log_as_any_other(node: Node, tmp_path: Path) -> None:
    node.use()
    with node.journal.transaction() as db:
        export(node.log.store(db), tmp_path / "out")
    key = load_key(node.folder, "ed25519").public
    assert fsck(FolderStore(tmp_path / "out"), FixedKeys(key)).size == 3


def test_the_same_job_enters_one_head(node: Node) -> None:
    node.use()
    asked = node.heads.asked
    asyncio.run(node.log.enter(ticket()["job_id"]))
    assert node.heads.asked == asked


def test_a_restarted_node_goes_on_with_its_log(node: Node) -> None:
    node.use(1)
    node.open()
    node.use(2)
    assert node.heads.last is not None
    assert node.heads.last.head.size == 6
    assert node.file("e1", 1) is not None


def test_an_answer_that_was_lost_is_asked_for_again(node: Node) -> None:
    """The platform's last head counts, not what this node remembers of it."""
    node.heads.faults = [httpx.ConnectError("x"), httpx.ReadTimeout("x")]
    node.use(1)
    given = node.heads.answer
    node.heads.answer = lambda _: (_ for _ in ()).throw(httpx.ReadTimeout("x"))  # entered, and the answer lost
    node.lapsed = True
    assert node.refused(2) == "control_plane_unreachable"
    assert node.file("e1", 2) is None  # its head is not known to stand, and no row was read
    [_, use] = node.journal.uses_of("e1", "joint_training")
    assert node.log.record_of(use["use"], use["job_id"]) is not None  # which the platform may hold, and so can prove
    node.heads.answer, node.lapsed = given, False
    node.use(3)
    assert node.file("e1", 3) is not None


def refusal(status: int, **problem: Any) -> httpx.HTTPStatusError:
    answer = httpx.Response(status, json=problem, request=httpx.Request("PUT", "https://x"))
    return httpx.HTTPStatusError("x", request=answer.request, response=answer)


def test_nothing_is_used_without_the_platforms_entry(node: Node) -> None:
    """R46: what is not on record may not be done; the reason is the platform's own."""
    node.heads.faults = [refusal(422, code="log_forked", detail="no", detail_zh="否")]
    assert node.refused() == "log_forked"
    node.heads.faults = [refusal(403)]
    assert node.refused(2) == "403"
    node.heads.faults, node.lapsed = [refusal(503)], True
    assert node.refused(3) == "control_plane_unreachable"


def other_head(given: dict[str, Any], heads: Heads) -> dict[str, Any]:
    document = {**given["head"]["document"], "job_id": "j-2"}
    return {**given, "head": heads.record(Kind.HEAD, document)}


ANSWERS: dict[str, tuple[Callable[[dict[str, Any], Heads], dict[str, Any]], str]] = {
    "the head of another job": (other_head, "proof_head_mismatch"),
    "the record of another job": (
        lambda given, heads: {**given, "job": heads.record(Kind.DATA_USE, heads.job("j-2"))},
        "proof_use_mismatch",
    ),
    "by a stranger": (
        lambda given, heads: {**given, "head": Heads(SigningKey.generate()).record(Kind.HEAD, given["head"])},
        "head_forged",
    ),
    "no proof": (lambda given, heads: {**given, "head": {}}, "proof_malformed"),
    "a changed proof": (
        lambda given, heads: {**given, "head": {**given["head"], "salt": "0" * 64}},
        "ledger_entry_mismatch",
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_what_does_not_prove_the_entry_of_this_head_is_no_permission(case: str, node: Node) -> None:
    change, code = ANSWERS[case]
    node.heads.answer = lambda given: change(given, node.heads)
    assert node.refused() == code
    assert node.file("e1") is None


def test_a_journal_set_back_is_not_used_any_more(node: Node) -> None:
    """An older copy of the journal would sign another history: the platform's size shows it before that."""
    node.use(1)
    node.open("older.sqlite")
    with node.journal.transaction() as db:
        (first,) = db.execute("SELECT count(*) FROM log_entry").fetchone()
    assert first == 0
    with pytest.raises(JobEnded, match="log_shrunk"):
        asyncio.run(node.log.use(ticket(2), [Used("e", "c", DATA)], at=AT, content="age"))


def test_two_histories_of_one_log_are_refused_by_the_platform(node: Node) -> None:
    node.use(1)
    node.open("older.sqlite")
    node.heads.answer = lambda given: given
    assert node.refused(2) == "log_forked"


def test_a_clock_set_back_refuses_the_use(node: Node) -> None:
    node.now = lambda: "2026-05-02T08:00:00Z"
    node.heads.clock = node.now
    node.open()
    node.use(1)
    node.now = lambda: "2026-05-02T07:00:00Z"
    node.open()
    assert node.refused(2) == "ledger_clock_moved_back"
    assert node.journal.count_uses(ticket(2)["job_id"]) == 0


def test_the_log_of_another_key_is_not_gone_on_with(node: Node) -> None:
    node.use()
    (node.folder / "vault" / "log.pem").unlink()
    with pytest.raises(Refused, match="restore") as caught:
        node.open()
    assert caught.value.code == "head_of_another_log"


def test_the_key_is_its_owners_alone(node: Node) -> None:
    assert (node.folder / "vault" / "log.pem").stat().st_mode & 0o777 == 0o600


COLUMNS = {
    "log": "hash", "log_entry": "entry", "log_node": "hash", "log_head": "head", "log_form": "form", "log_use": "salt",
    "log_job": "head", "log_entered": "head", "use": "at",
}  # fmt: skip


@pytest.mark.parametrize("table", COLUMNS)
@pytest.mark.parametrize("change", ["DELETE FROM {0}", "UPDATE {0} SET {1} = {1}"])
def test_the_database_refuses_to_change_what_was_entered(table: str, change: str, node: Node) -> None:
    node.use()
    statement = change.format(table, COLUMNS[table])
    with pytest.raises(sqlite3.DatabaseError, match="append only"), node.journal.transaction() as db:
        db.execute(statement)


def test_a_use_that_cannot_be_entered_leaves_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of the journal and the entry of the log stand or fall together."""
    monkeypatch.setattr(use_log.usage, "check", lambda body: (_ for _ in ()).throw(ValueError("x")))
    with pytest.raises(ValueError, match="x"):
        node.log.record({**ticket()}, [Used("e1", "c-1", DATA)], at=AT, content="age")
    assert node.journal.count_uses(ticket()["job_id"]) == 0
