"""Usage records: written with the use or the use is refused, read by the enterprise in plain words, provable (R46)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from api.db import SYSTEM
from api.usage import service
from api.usage.asking import ask
from api.usage.repository import Usage
from api.verify_cli import app as verify_app
from consent import node_log, usage, usage_question
from consent.canonical import canonical
from consent.errors import Refused
from consent.keyring import Keyring
from consent.ledger import records
from consent.signed import countersign, sign
from consent.times import stamp
from tests.api.node_logs import NodeLog
from tests.api.test_jobs import refused
from tests.api.test_scores import score
from tests.api.world import SHA, Enterprise, FakeNode, World
from tests.support.failing import failing


@pytest.fixture(scope="module")
def scored(shared: World) -> tuple[World, str, str]:
    """A world, a job with a released model, and the record of one score."""
    job_id = shared.succeeded()
    shared.released(job_id)
    shared.gateway.import_consents([Enterprise("E-score").consent("c-score", purpose="underwriting_score")])
    return shared, job_id, score(shared, job_id)["usage_id"]


def test_the_record_in_the_ledger_answers_the_seven_questions(scored: tuple[World, str, str]) -> None:
    """R46: user, institution, time, reason, content, object, purpose; and consent, job, release and permit."""
    world, job_id, usage_id = scored
    [row] = world.risk.usage("E-score")
    body = row["record"]
    usage.check(body)
    assert body["usage_id"] == usage_id
    assert (body["user"], body["institution"], body["reason"]) == ("risk", "bank-a", "loan application 17")
    assert (body["purpose"], body["object"]) == ("underwriting_score", {"kind": "enterprise", "id": "E-score"})
    assert (body["content"]["use"], body["content"]["sha256"]) == ("scoring", SHA)
    assert (body["consent_id"], body["job_id"]) == ("c-score", job_id)
    assert body["release_id"].startswith("r-") and body["permit_id"].startswith("p-")
    assert "risk" in row["sentence"]["zh"] and "loan application 17" in row["sentence"]["en"]


def test_the_use_of_a_job_names_no_enterprise(scored: tuple[World, str, str]) -> None:
    """R51: the control plane never learns a cohort."""
    world, job_id, _ = scored
    [row] = [row for row in world.operator.usage() if row["object_kind"] == "job"]
    assert row["record"]["object"] == {"kind": "job", "id": job_id}
    assert (row["record"]["consent_id"], row["record"]["content"]["use"]) == (None, "joint_training")


@pytest.mark.parametrize("broken", ["usage", "ledger_entry", "ledger_subject"])
def test_without_its_record_there_is_no_use(world: World, broken: str) -> None:
    """The insert fails in the database itself: the score is refused and nothing is given to the node."""
    job_id = world.succeeded()
    world.released(job_id)
    world.gateway.import_consents([Enterprise("E-score").consent("c-score", purpose="underwriting_score")])
    with failing(world.db.owner, broken):
        denied = refused(world.risk.score, "E-score", "loan", job_id=job_id)
    assert denied.status in (500, 503)
    assert world.bank.work() == []
    with world.db.read(SYSTEM) as session:
        for table in ("permits", "permit_transit"):
            assert session.scalar(sa.text(f"SELECT count(*) FROM {table}")) == 0
        assert session.scalars(sa.select(Usage).where(Usage.object_kind == "enterprise")).all() == []


@pytest.mark.parametrize("reason", ["", "two\nlines", "x" * 201, "line\u2028separator"])
def test_a_use_without_a_plain_reason_is_refused_at_the_door(scored: tuple[World, str, str], reason: str) -> None:
    world, job_id, _ = scored
    denied = refused(world.risk.score, "E-score", reason, job_id=job_id)
    assert (denied.status, denied.code) == (422, "invalid_request")


def test_an_enterprise_sees_all_of_its_own_and_nothing_else(scored: tuple[World, str, str]) -> None:
    world, job_id, usage_id = scored
    other = Enterprise("E-other")
    world.gateway.import_consents([other.consent("c-other", purpose="underwriting_score")])
    theirs = score(world, job_id, "E-other")["usage_id"]
    assert [row.id for row in service.of_enterprise(world.control, "E-score").items] == [usage_id]
    assert json.loads(service.record_of(world.control, "E-score", usage_id))["document"]["usage_id"] == usage_id
    for name in (theirs, "u-0000000000000000"):
        with pytest.raises(Exception, match="there is no usage record"):
            service.record_of(world.control, "E-score", name)


def test_every_record_is_downloaded_with_a_proof_that_holds_offline(scored: tuple[World, str, str]) -> None:
    world, job_id, _ = scored
    score(world, job_id)
    lines = list(service.download(world.control, "E-score"))
    assert len(lines) == len(world.risk.usage("E-score")) > 1
    for line in lines:
        record = records.load(line)
        proven = records.check(record, world.keyring, log_id="creditlab")
        assert proven.recorded.entry.kind == "data_use"
        assert record["document"]["object"]["id"] == "E-score"
    assert lines == sorted(lines, key=lambda line: json.loads(line)["proof"]["entry"]["sequence"])


def test_many_records_come_in_pages_without_gap(
    scored: tuple[World, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _, _ = scored
    whole = [json.loads(line)["document"] for line in service.download(world.control, "E-score")]
    monkeypatch.setattr(service, "_BATCH", 1)
    assert [json.loads(line)["document"] for line in service.download(world.control, "E-score")] == whole


def test_a_bank_takes_away_its_own_records_only(scored: tuple[World, str, str]) -> None:
    world, _, usage_id = scored
    record = world.risk._get(f"/v1/usage/{usage_id}/record")
    records.check(record, world.keyring)
    world.operator.add_institution("bank-u", "Bank U", "bank")
    stranger = world.person("risk-u", "bank-u", "risk")
    assert refused(stranger._get, f"/v1/usage/{usage_id}/record").status == 404
    assert world.operator._get(f"/v1/usage/{usage_id}/record")["document"] == record["document"]


def test_the_file_is_checked_with_the_command(scored: tuple[World, str, str], tmp_path: Path) -> None:
    world, _, usage_id = scored
    path, keys, first = tmp_path / "record.json", tmp_path / "keys.json", tmp_path / "first.pub"
    raw = service.record_of(world.control, "E-score", usage_id)
    keys.write_bytes(world.keyring.to_json() + b"\n")
    first.write_text(world.key.public.b64)

    def run(*words: object) -> Any:
        words = (path, "--keys", keys, "--trust", first, *words)
        return CliRunner().invoke(verify_app, [str(word) for word in words])

    path.write_bytes(raw)
    shown = run()
    assert shown.exit_code == 0, shown.output
    for words in ("日志凭据有效 · the record holds", "使用了贵企业的数据", "used your data", "data_use", "not checked"):
        assert words in shown.output
    told = json.loads(run("--json").output)
    assert (told["kind"], told["document"]["usage_id"]) == ("data_use", usage_id)
    assert run("--witness", f"court={first}").exit_code == 1  # nobody cosigned

    changed = json.loads(raw)
    changed["document"]["reason"] = "another reason"
    path.write_text(json.dumps(changed, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
    assert "ledger_entry_mismatch" in run().output


@pytest.mark.parametrize("step", range(7))
def test_any_changed_byte_of_a_record_is_refused(scored: tuple[World, str, str], step: int) -> None:
    world, _, usage_id = scored
    raw = service.record_of(world.control, "E-score", usage_id)
    for place in range(step, len(raw), 7):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises(Refused):
            checked(changed, world.keyring)


def checked(raw: bytes, keyring: Keyring) -> None:
    records.check(records.load(raw), keyring)


# ---- joint training: the nodes answer the enterprise


class Asking:
    """An enterprise whose row a job used, and two nodes that hold that on record."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.one = world.cohort(120)[0]
        self.job_id = world.running()
        self.number = 0

    def question(self, **changes: Any) -> dict[str, Any]:
        self.number += 1
        fields = {
            "question_id": f"q-{self.number:016x}",
            "enterprise": self.one.name,
            "at": stamp(datetime.now(UTC)),
            "evidence": {"kind": "import", "reference": "0" * 64},
        }
        return sign(usage_question.question(**{**fields, **changes}), self.one.key, "enterprise")

    def use(self, **changes: Any) -> dict[str, Any]:
        return {
            "at": "2026-05-01T08:00:00Z", "recipient": "bank-a", "job_id": self.job_id, "consent_id": "c-E0",
            "data": {"tax": "*"}, **changes,
        }  # fmt: skip

    def ask(self, answers: dict[FakeNode, Any], document: dict[str, Any] | None = None) -> Any:
        """Asks while each node gives its answer."""
        asked: list[dict[str, Any]] = []

        def tell(node: FakeNode, told: Any) -> None:
            item = node.wait_for("usage")
            asked.append(item["question"])
            path = f"/v1/node/usage/{item['question']['body']['question_id']}"
            node.http.post(path, json=told).raise_for_status()

        threads = [threading.Thread(target=tell, args=pair) for pair in answers.items()]
        for thread in threads:
            thread.start()
        document = document or self.question()
        try:
            return self.world.gateway._post("/v1/usage/questions", {"question": document})
        finally:
            for thread in threads:
                thread.join(10)
            assert asked == [document] * len(answers)  # as the enterprise signed it


@pytest.fixture
def asking(make_world: Callable[..., World]) -> Asking:
    return Asking(make_world(score_seconds=1.0))


def test_the_enterprise_is_told_by_the_nodes_in_plain_words_and_nothing_is_kept(asking: Asking) -> None:
    """R46, R51: user, institution, time, reason, content, object and purpose of each job; no other enterprise's."""
    world = asking.world
    told = asking.ask({world.bank: {"uses": [asking.use()]}, world.lab: {"uses": [asking.use()]}})
    assert told["silent"] == []
    [item] = told["items"]
    assert (item["job_id"], item["nodes"]) == (asking.job_id, ["bank-node", "lab-node"])
    usage.check(item["record"])
    assert (item["record"]["user"], item["record"]["reason"]) == ("risk", "proposed by the bank")
    assert item["record"]["object"] == {"kind": "enterprise", "id": "E0"}
    assert "bank-a" in item["sentence"]["zh"] and "Joint" in item["sentence"]["en"].title()
    records.check(item["proven"], world.keyring, log_id="creditlab")
    assert item["proven"]["document"]["object"] == {"kind": "job", "id": asking.job_id}
    assert item["files"] == []  # no head of either node stands: it is their word
    with world.db.read(SYSTEM) as session:
        assert session.scalar(sa.text("SELECT count(*) FROM node_questions")) == 0
    assert world.bank.work() == world.lab.work() == []


@pytest.fixture
def proving(asking: Asking) -> tuple[Asking, NodeLog]:
    """The lab's node has entered its log's head for the job, the bank's has not."""
    log = NodeLog(asking.world.lab)
    log.entered(asking.job_id, "E0", "E1", "E2")
    return asking, log


def test_a_use_comes_with_its_proof_through_both_logs(proving: tuple[Asking, NodeLog], tmp_path: Path) -> None:
    """R46: that this row was in that job holds offline, with the platform's keys alone."""
    asking, log = proving
    world = asking.world
    told = asking.ask({world.bank: {"uses": [asking.use()]}, world.lab: {"uses": [log.told("E0", asking.job_id)]}})
    [item] = told["items"]
    assert item["nodes"] == ["bank-node", "lab-node"]
    [file] = item["files"]
    found = node_log.check(*node_log.load(canonical(file)), world.keyring, platform_log="creditlab")
    assert (found.by.node, found.by.job_id, found.use["object"]["id"]) == ("lab-node", asking.job_id, "E0")

    path, keys, first = tmp_path / "uses.json", tmp_path / "keys.json", tmp_path / "first.pub"
    keys.write_bytes(world.keyring.to_json())
    first.write_text(world.key.public.b64)

    def run(*words: object) -> Any:
        return CliRunner().invoke(verify_app, [str(word) for word in (path, "--keys", keys, "--trust", first, *words)])

    for raw in (canonical(file), node_log.bundle([file, file])):
        path.write_bytes(raw)
        shown = run()
        assert shown.exit_code == 0, shown.output
        for words in ("使用证明有效 · the proof of use holds", "risk", "lab-node", log.key.public.b64, "not proved"):
            assert words in shown.output
        told = json.loads(run("--json").output)
        assert told["uses"][0]["use"] == log.bodies[0]
        assert run("--witness", f"court={first}").exit_code == 1  # nobody cosigned
    path.write_bytes(raw.replace(b"c-E0", b"c-E1"))
    assert "ledger_entry_mismatch" in run().output
    path.write_bytes(node_log.bundle([]))
    assert "holds no use" in run().output


BAD_PROOFS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "none": lambda use: {**use, "record": None},
    "another's": lambda use: {**use, "record": {**use["record"], "document": {}}},
    "another time": lambda use: {**use, "at": "2026-01-01T00:00:00Z"},
    "other data": lambda use: {**use, "data": {"judicial": "*"}},
}


@pytest.mark.parametrize("case", BAD_PROOFS)
def test_a_node_whose_head_stands_must_prove_what_it_tells(proving: tuple[Asking, NodeLog], case: str) -> None:
    asking, log = proving
    wrong = {"uses": [BAD_PROOFS[case](log.told("E0", asking.job_id))]}
    denied = refused(asking.ask, {asking.world.bank: {"uses": []}, asking.world.lab: wrong})
    assert (denied.status, denied.code) == (502, "node_answer_refused")


def test_the_proof_of_another_enterprises_row_is_refused(proving: tuple[Asking, NodeLog]) -> None:
    asking, log = proving
    wrong = {"uses": [log.told("E1", asking.job_id, consent_id="c-E0")]}
    denied = refused(asking.ask, {asking.world.bank: {"uses": []}, asking.world.lab: wrong})
    assert denied.code == "node_answer_refused"


def test_a_node_that_does_not_answer_is_named(asking: Asking) -> None:
    told = asking.ask({asking.world.lab: {"uses": [asking.use()]}})
    assert (told["silent"], [item["nodes"] for item in told["items"]]) == (["bank-node"], [["lab-node"]])


def test_one_nodes_refusal_reaches_the_enterprise_and_hides_no_other_answer(asking: Asking) -> None:
    no = {"code": "not_the_enterprise", "message": "no", "message_zh": "否"}
    told = asking.ask({asking.world.bank: no, asking.world.lab: {"uses": [asking.use()]}})
    assert told["refused"] == [{"node": "bank-node", **no}]
    assert [item["nodes"] for item in told["items"]] == [["lab-node"]]
    assert told["silent"] == []
    told = asking.ask({asking.world.bank: no, asking.world.lab: {"code": "expired"}})
    assert (told["items"], [one["node"] for one in told["refused"]]) == ([], ["bank-node", "lab-node"])
    assert told["refused"][1] == {"node": "lab-node", "code": "expired", "message": "expired", "message_zh": "expired"}


def test_it_hears_from_each_node_who_asked_in_its_name(asking: Asking) -> None:
    """R51: a question for which the platform vouched and that the enterprise did not ask shows up."""
    one, two = ({"question_id": f"q-{n:016x}", "at": f"2026-05-0{n}T08:00:00Z", "answered": n == 1} for n in (1, 2))
    both = {asking.world.bank: {"uses": [], "asked": [two, one]}, asking.world.lab: {"uses": [], "asked": [one]}}
    told = asking.ask(both)
    assert told["asked"] == [
        {"question_id": one["question_id"], "at": one["at"], "nodes": ["bank-node", "lab-node"],
         "answered": ["bank-node", "lab-node"]},
        {"question_id": two["question_id"], "at": two["at"], "nodes": ["bank-node"], "answered": []},
    ]  # fmt: skip


@pytest.mark.parametrize("changes", [{"job_id": "j-000000000000"}, {"consent_id": "c-E1"}, {"recipient": "bank-b"}])
def test_an_answer_that_contradicts_the_record_is_refused(asking: Asking, changes: dict[str, Any]) -> None:
    wrong = {"uses": [asking.use(**changes)]}
    denied = refused(asking.ask, {asking.world.bank: wrong, asking.world.lab: {"uses": []}})
    assert (denied.status, denied.code) == (502, "node_answer_refused")


def test_nobody_is_asked_for_what_the_enterprise_did_not_sign(asking: Asking) -> None:
    world = asking.world
    document = asking.question()
    document["body"]["enterprise"] = "E1"
    assert refused(world.gateway._post, "/v1/usage/questions", {"question": document}).code == "bad_signature"
    for bad in ({}, {"body": {}}, {"body": 1, "signatures": []}):
        denied = refused(world.gateway._post, "/v1/usage/questions", {"question": bad})
        assert denied.status == 422
    assert refused(world.risk._post, "/v1/usage/questions", {"question": asking.question()}).code == "role_missing"
    assert world.bank.work() == []
    never = Enterprise("E-never")
    body = usage_question.question(
        question_id="q-" + "f" * 16, enterprise="E-never", at=stamp(datetime.now(UTC)),
        evidence={"kind": "import", "reference": "0" * 64},
    )  # fmt: skip
    told = world.gateway._post("/v1/usage/questions", {"question": sign(body, never.key, "enterprise")})
    assert told == {"items": [], "silent": [], "refused": [], "asked": []}


def test_nobody_asks_by_the_platforms_word_through_the_interface(asking: Asking) -> None:
    """What looks like it, also by the platform's own key, comes from the portal's transaction alone."""
    world = asking.world
    evidence = {"kind": "session_code", "reference": "0" * 64}
    body = usage_question.question(
        question_id="q-" + "e" * 16, enterprise="E0", at=stamp(datetime.now(UTC)), evidence=evidence
    )
    document = countersign(sign(body, world.key, "registrar"), world.key, "platform")
    denied = refused(world.gateway._post, "/v1/usage/questions", {"question": document})
    assert (denied.status, denied.code) == (422, "not_the_enterprise")
    assert world.bank.work() == []


def test_a_session_asks_for_its_own_enterprise_only(asking: Asking) -> None:
    with pytest.raises(Exception, match="there is no enterprise"):
        asyncio.run(ask(asking.world.control, asking.question(), "E1"))
