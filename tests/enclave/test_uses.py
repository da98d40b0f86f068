"""A node tells an enterprise which jobs used its data: the enterprise itself, and of itself alone (R46, R51).

One that never had a key may ask by the platform's word: noted, counted, within the owner's limit.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consent.canonical import canonical
from consent.keyring import Keyring
from consent.keys import SigningKey
from consent.ledger import FixedKeys, Kind, records
from consent.signed import Document, countersign, sign
from consent.times import parse, stamp
from consent.usage_question import question
from enclave import asked
from enclave.asked import Asked
from enclave.endings import JobEnded
from enclave.gate import UNREACHABLE, Consents
from enclave.journal import Journal
from enclave.platform_keys import PlatformKeys
from enclave.use_log import Used, UseLog, load_key
from enclave.uses import Uses
from federated.relay.link import Cause
from tests.enclave.feeds import Feed
from tests.enclave.heads import Heads

AT = "2026-05-01T08:00:00Z"
BY_CODE = {"kind": "session_code", "reference": "0" * 64}
TICKET = {
    "job_id": "j-1", "project": "sme", "purpose": "joint_training", "parties": {"bank": {"institution": "bank_a"}},
}  # fmt: skip


class Node:
    """A node on whose journal a job used three enterprises' rows; `by-code` never had a key."""

    def __init__(self, folder: Path) -> None:
        self.feed, self.folder = Feed(), folder
        self.numbers = itertools.count(1)
        maker = self.feed.maker
        given = {name: maker.consent(name) for name in ("e1", "e2")}
        given["by-code"] = maker.consent("by-code", evidence=BY_CODE)
        self.ids = {name: event["document"]["body"]["consent_id"] for name, event in given.items()}
        self.heads = Heads(maker.platform)
        self.open()
        used = [Used(who, consent_id, {"tax": "*"}) for who, consent_id in self.ids.items()]
        asyncio.run(self.log.use(TICKET, used, at=AT, content="age"))
        for purpose, reference in (("underwriting_score", "p-1"), ("joint_training", "j-2")):
            self.journal.record_uses(
                self.ids.items(), at=AT, recipient="bank_a", purpose=purpose, content="age", reference=reference
            )

    def open(self, most: int = 3) -> None:
        """Starts the node, whose owner lets it answer so many questions by the platform's word a day."""
        self.journal = Journal(self.folder / "journal.sqlite")
        maker = self.feed.maker
        platform = PlatformKeys(maker.platform.public)
        consents = Consents(self.journal, platform, self.feed.fetch)
        key = load_key(self.folder, maker.platform.suite)
        self.log = UseLog(self.journal, key, "lab-node", self.heads, platform, lambda: consents.lapsed)
        self.uses = Uses(self.journal, consents, self.log, platform, most)
        self.notes = Asked(self.journal)

    def word(self, enterprise: str = "by-code", key: SigningKey | None = None, **changes: Any) -> Document:
        """A question for which the platform vouches."""
        fields = {"question_id": f"q-{next(self.numbers):016x}", "at": stamp(datetime.now(UTC)), **changes}
        platform = key or self.feed.maker.platform
        body = question(enterprise=enterprise, evidence=BY_CODE, **fields)
        return countersign(sign(body, platform, "registrar"), platform, "platform")

    def record(self, document: Document) -> Document:
        """The platform's ledger holds it: the record under a head of now."""
        return self.heads.record(Kind.QUESTION, document)

    def by_word(self, enterprise: str = "by-code", **changes: Any) -> Any:
        document = self.word(enterprise, **changes)
        return self.answer(document, self.record(document))

    def ask(self, enterprise: str = "e1", key: SigningKey | None = None) -> Any:
        evidence = {"kind": "import", "reference": "0" * 64}
        body = question(
            question_id="q-0123456789abcdef", enterprise=enterprise, at=stamp(datetime.now(UTC)), evidence=evidence
        )
        return self.answer(sign(body, key or self.feed.maker.key(enterprise), "enterprise"))

    def answer(self, document: Document, record: Any = None) -> Any:
        name, told = asyncio.run(self.uses.answer(document, record))
        assert name == str(document["body"].get("question_id", ""))
        return told


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_it_tells_the_jobs_with_time_consent_and_data(node: Node) -> None:
    told = node.ask()["uses"]
    assert [use["job_id"] for use in told] == ["j-1", "j-2"]  # scores are the control plane's own records
    assert told[0].keys() == {"at", "recipient", "job_id", "consent_id", "data", "record"}
    assert (told[0]["at"], told[0]["consent_id"]) == (AT, node.ids["e1"])
    assert told[0]["data"]["tax"] == "*"


def test_it_proves_each_use_that_its_log_holds(node: Node) -> None:
    """R46: the record is of this enterprise's row and of no other; one from before the log is told without."""
    [first, before] = node.ask()["uses"]
    assert first["record"]["document"]["object"] == {"kind": "enterprise", "id": "e1"}
    proven = records.check(first["record"], FixedKeys(load_key(node.folder, "ed25519").public), log_id=node.log.log_id)
    assert proven.head.size == 3
    assert before["record"] is None


def test_an_enterprise_that_was_not_used_is_told_so(node: Node) -> None:
    node.feed.maker.refusal("e3")
    assert node.ask("e3") == {"uses": [], "asked": []}


def test_nobody_asks_about_another_enterprise(node: Node) -> None:
    stranger = SigningKey.generate()
    for key in (stranger, node.feed.maker.key("e2"), node.feed.maker.platform):
        told = node.ask("e1", key)
        assert told["code"] == "not_the_enterprise"
        assert "uses" not in told


def test_after_a_withdrawal_the_enterprise_still_learns_what_was_used(node: Node) -> None:
    first = next(event for event in node.feed.maker.events if event["document"]["body"]["enterprise"] == "e1")
    node.feed.maker.withdrawal(first, at=stamp(datetime.now(UTC)))
    assert len(node.ask()["uses"]) == 2


@pytest.mark.parametrize("document", [{"body": {}}, {"body": {"type": "x"}, "signatures": []}])
def test_what_is_no_question_is_refused(node: Node, document: Document) -> None:
    assert node.answer(document)["code"] == "question_refused"


def test_without_the_feed_nothing_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut_off(_: int) -> dict:
        raise JobEnded(Cause(UNREACHABLE, "no answer", "无应答"))

    monkeypatch.setattr(node.uses._consents, "_fetch", cut_off)
    assert node.ask().get("code") == "lease_lapsed"


# ---- by the platform's word


def test_an_enterprise_that_never_had_a_key_is_answered_by_the_platforms_word(node: Node) -> None:
    """R46: with the same proofs; the note stands before the answer, with the ledger's record as evidence."""
    told = node.by_word()
    assert [use["job_id"] for use in told["uses"]] == ["j-1", "j-2"]
    assert told["uses"][0]["record"]["document"]["object"]["id"] == "by-code"
    assert told["asked"] == []
    [note] = node.notes.notes()
    assert (note.enterprise, note.code) == ("by-code", None)
    kept = records.load(note.evidence)
    assert records.check(kept, FixedKeys(node.feed.maker.platform.public)).recorded.sequence == note.position
    assert kept["document"]["body"]["question_id"] == note.question_id


def test_it_hears_of_every_earlier_question_in_its_name_answered_or_not(node: Node) -> None:
    """One that it did not ask shows up: to itself, and to nobody else."""
    first, second = node.word(), node.word()
    node.answer(first, node.record(first))
    node.answer(second)  # never entered: refused, and noted all the same
    asked = node.by_word()["asked"]
    assert [(one["question_id"], one["answered"]) for one in asked] == [
        (first["body"]["question_id"], True), (second["body"]["question_id"], False),
    ]  # fmt: skip
    assert asked[0]["at"] == first["body"]["at"]
    assert node.ask("e1")["asked"] == []
    node.feed.maker.consent("by-code", recipient="bank_b")  # from now on it has a key, and still hears of it
    assert len(node.ask("by-code")["asked"]) == 3


def refused(node: Node, told: Any, code: str) -> None:
    assert told["code"] == code
    assert "uses" not in told
    assert node.notes.notes()[-1].code == code


def test_the_platforms_word_opens_nobody_who_ever_signed(node: Node) -> None:
    """R51: no cohort of enterprises with keys can be read out."""
    refused(node, node.by_word("e1"), "own_key_needed")
    node.feed.maker.consent("by-code", recipient="bank_b")  # signed with a key of its own
    refused(node, node.by_word(), "own_key_needed")
    refused(node, node.by_word("unknown"), "not_the_enterprise")
    assert [note.position for note in node.notes.notes()] == [None] * 3


def test_a_question_that_the_ledger_does_not_hold_is_refused(node: Node) -> None:
    document = node.word()
    refused(node, node.answer(document), "question_not_entered")
    refused(node, node.answer(node.word(), node.record(document)), "question_not_entered")
    document = node.word()
    refused(node, node.answer(document, node.heads.record(Kind.DATA_USE, document)), "question_not_entered")
    document = node.word()
    record = node.record(document)
    refused(node, node.answer(document, {**record, "salt": "0" * 64}), "ledger_entry_mismatch")
    aside = Heads(node.feed.maker.platform, log="aside")  # a second log, that no witness knows
    document = node.word()
    refused(node, node.answer(document, aside.record(Kind.QUESTION, document)), "head_of_another_log")


def test_no_more_are_answered_in_a_day_than_the_owner_allows(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on what a platform that lies could read out; refusals do not count."""
    start = datetime.now(UTC)

    def later(**more: float) -> None:
        monkeypatch.setattr(node.uses._asked, "_clock", lambda: stamp(start + timedelta(**more)))

    node.answer(node.word())  # refused: not entered
    for hours in (0, 1, 2):
        later(hours=hours)
        assert "uses" in node.by_word()
    told = node.by_word()
    refused(node, told, "questions_spent")
    again = stamp(parse(stamp(start)) + timedelta(days=1))
    assert again in told["message"] and again in told["message_zh"] and "柜台" in told["message_zh"]
    later(hours=24, seconds=-1)
    refused(node, node.by_word(), "questions_spent")
    later(hours=24)
    assert "uses" in node.by_word()
    refused(node, node.by_word(), "questions_spent")
    later(hours=-48)  # a clock that is set back frees nothing
    refused(node, node.by_word(), "questions_spent")


def test_an_owner_may_take_no_such_word(node: Node) -> None:
    node.open(most=0)
    refused(node, node.by_word(), "platform_word_not_taken")
    assert "uses" in node.ask("e1")


def test_a_question_is_answered_once(node: Node) -> None:
    """A replay gets nothing, also past the day in which it was counted, and also where it was refused."""
    document = node.word()
    record = node.record(document)
    assert "uses" in node.answer(document, record)
    assert node.answer(document, record)["code"] == "question_repeated"
    assert len(node.notes.notes()) == 1
    document = node.word()
    assert node.answer(document)["code"] == "question_not_entered"
    assert node.answer(document, node.record(document))["code"] == "question_repeated"


def test_an_old_question_is_refused_though_the_ledger_holds_it(node: Node) -> None:
    document = node.word(at=stamp(datetime.now(UTC) - timedelta(minutes=11)))
    refused(node, node.answer(document, node.record(document)), "expired")


def test_another_key_than_the_platforms_is_no_word_and_leaves_no_note(node: Node) -> None:
    """Else anybody could make an enterprise believe that the platform asked."""
    stranger = SigningKey.generate()
    document = node.word(key=stranger)
    assert node.answer(document, node.record(document))["code"] == "unknown_key"
    assert node.notes.notes() == []


def test_a_key_that_followed_the_pinned_one_vouches_too(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is dated `at`, which says whether its key was the platform's then."""
    platform = node.feed.maker.platform
    since = stamp(datetime.now(UTC) - timedelta(hours=1))
    ring = Keyring.found(platform, platform="p", at=since, valid_until=stamp(datetime.now(UTC) + timedelta(days=30)))
    monkeypatch.setattr(node.uses._platform, "_ring", ring)
    assert "uses" in node.by_word()
    early = node.word(at=stamp(datetime.now(UTC) - timedelta(hours=2)))
    assert node.answer(early)["code"] == "key_not_valid"


def test_cut_off_between_note_and_answer_it_is_counted_and_not_answered_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the platform was told is never more than what is noted."""
    document = node.word()
    record = node.record(document)

    class Killed(BaseException):
        pass

    def cut_off(_: str) -> list[dict]:
        raise Killed

    monkeypatch.setattr(node.uses, "of", cut_off)
    with pytest.raises(Killed):
        node.answer(document, record)
    node.journal.close()
    node.open(most=1)
    assert [note.code for note in node.notes.notes()] == [None]
    assert node.answer(document, record)["code"] == "question_repeated"
    refused(node, node.by_word(), "questions_spent")


def test_what_cannot_be_noted_is_not_answered(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(asked.Asked, "_add", staticmethod(full))
    with pytest.raises(sqlite3.OperationalError):
        node.by_word()


@pytest.mark.parametrize("change", ["UPDATE question SET code = 'x'", "DELETE FROM question"])
def test_a_note_is_changed_by_nobody(node: Node, change: str) -> None:
    node.by_word()
    with pytest.raises(sqlite3.IntegrityError, match="append only"), node.journal.transaction() as db:
        db.execute(change)
    assert canonical(records.load(node.notes.notes()[0].evidence))
