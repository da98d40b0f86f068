"""Persons' own consents through the service: asked by role, given by the person, decisive for every use.

R44, PIPL §13, §15, §29: a sole trader and a named key person consent besides the enterprise, and take it back alone.
"""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from api.consents import persons, receipts
from api.consents.repository import Consent
from api.db import SYSTEM, tenant
from consent import person
from consent.canonical import canonical
from consent.receipt import verify
from consent.signed import sign
from consent.times import parse, stamp
from tests.api.conftest import Databases
from tests.api.test_consent_requests import answer, ask, take
from tests.api.test_enterprises import ORIGIN, Browser, enrol
from tests.api.test_jobs import refused
from tests.api.test_recalls import book_of
from tests.api.world import Enterprise, World
from tests.support.authenticator import EVIDENCE, Passkey, unb64u

TRADER = {"persons": ["sole_trader"]}
KEY = {"persons": ["legal_representative"], "terms": {"data": {"tax": "*", "key_persons": "*"}}}


class Own(Browser):
    """A person at the own pages."""

    def look(self, path: str = "/portal/own") -> Any:
        return super().look(path)

    def act(self, what: str, on: str, **changes: Any) -> Any:
        started = self.request("POST", "/portal/own/sign/start", json={"act": what, "consent": on})
        if started.status_code != 200:
            return started
        given = {"rp_id": "localhost", "origin": ORIGIN, "user": self.user, **changes}
        credential = self.key.credential(unb64u(started.json()["options"]["challenge"]), **given)
        body = {"ceremony": started.json()["ceremony"], "credential": credential}
        return self.request("POST", "/portal/own/sign/finish", json=body)

    def give(self, reference: str) -> int:
        said = self.act(person.CONSENT, reference)
        assert said.status_code == 200, said.text
        return int(said.json()["next"].rpartition("/")[2])


def trader(world: World) -> Enterprise:
    return Enterprise(enrol(world, subject="sole_trader")["enterprise"]["uscc"])


def named(world: World, one: Enterprise, role: str = "sole_trader", name: str = "李经营") -> Own:
    """The person of a role, named at the counter and enrolled with a passkey."""
    made = world.operator.call("POST", f"/v1/enterprises/{one.name}/persons", json={"role": role, "name": name})
    who = Own(world)
    return who.enrol({"enterprise": {"uscc": one.name}, "code": made["code"]})  # type: ignore[return-value]


def reference(asked: dict[str, Any]) -> str:
    [only] = asked["document"]["body"]["persons"]
    return only["reference"]


def number(world: World, seq: int) -> str:
    with world.db.read(SYSTEM) as session:
        found = session.scalar(sa.select(persons.PersonConsent.consent_id).where(persons.PersonConsent.seq == seq))
    assert found is not None
    return found


def score_of(world: World, one: Enterprise, job: str) -> str:
    """The consent that a score rested on."""
    with ThreadPoolExecutor() as pool:
        given = pool.submit(world.risk.score, one.name, "loan application", job_id=job)
        world.bank.score_once()
        return given.result(10)["consent_id"]


@pytest.fixture(scope="module")
def job(shared: World) -> str:
    found = shared.succeeded()
    shared.released(found)
    return found


# ---- asking


def test_a_sole_trader_is_never_asked_without_the_person(shared: World) -> None:
    """PIPL §13: the rule of every template; refused by name, in one line of a file as in a call."""
    one = trader(shared)
    error = refused(ask, shared, one)
    assert (error.code, bool(error.message_zh)) == ("person_consent_missing", True)
    lines = "enterprise,provider,purpose,valid_days,persons\n"
    rows = f"{one.name},lab,underwriting_score,90,\n{one.name},lab,underwriting_score,90,sole_trader\n"
    told = shared.risk.call(
        "POST", "/v1/consent-requests/import", content=(lines + rows).encode(), headers={"Content-Type": "text/csv"}
    )
    assert [each["code"] for each in told["errors"]] == ["person_consent_missing"]
    assert told["asked"] == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"persons": ["friend"]}, "invalid_request"),
        ({"persons": ["legal_representative"]}, "person_not_concerned"),
        ({**KEY, "persons": ["key_person"]}, "person_unknown"),
        ({"terms": KEY["terms"]}, "person_consent_missing"),
        ({"persons": ["sole_trader"], "purpose": "marketing"}, "purpose_not_allowed"),
    ],
)
def test_roles_that_cannot_be_asked_are_refused_by_name(shared: World, changes: dict[str, Any], code: str) -> None:
    one = Enterprise(enrol(shared)["enterprise"]["uscc"])
    assert refused(ask, shared, one, **changes).code == code


def test_the_same_request_again_is_the_same_and_tells_the_bank_no_person(shared: World) -> None:
    one = trader(shared)
    asked = ask(shared, one, **TRADER, reference="loan-77")
    assert ask(shared, one, **TRADER, reference="loan-77")["consent_id"] == asked["consent_id"]
    with shared.db.read(tenant("bank-a")) as session:
        assert session.execute(sa.text("SELECT * FROM consent_persons")).all() == []


# ---- giving and taking back


@pytest.mark.parametrize("person_first", [True, False])
def test_a_score_needs_both_in_either_order(shared: World, job: str, person_first: bool) -> None:
    """R44, PIPL §29: the digest of the offered terms is named before anybody has signed."""
    one = trader(shared)
    asked = ask(shared, one, **TRADER)
    who = named(shared, one)  # after the request: the role had its pseudonym already
    if person_first:
        who.give(reference(asked))
        take(shared, answer(one, asked))
    else:
        take(shared, answer(one, asked))
        assert refused(shared.risk.score, one.name, "loan", job_id=job).code == "person_consent_missing"
        assert not book_of(shared).covers(one.name, "bank-a", "underwriting_score", stamp(shared.clock()), used={})
        who.give(reference(asked))
    assert score_of(shared, one, job) == asked["consent_id"]
    assert book_of(shared).covers(one.name, "bank-a", "underwriting_score", stamp(shared.clock()), used={})


def test_the_persons_withdrawal_refuses_the_next_score_and_leaves_the_enterprises_word(shared: World, job: str) -> None:
    """PIPL §15: one act, nobody else's leave; given anew it permits again."""
    one = trader(shared)
    asked = ask(shared, one, **TRADER)
    take(shared, answer(one, asked))
    who = named(shared, one)
    given = number(shared, who.give(reference(asked)))
    assert who.act(person.WITHDRAWAL, given).status_code == 200
    error = refused(shared.risk.score, one.name, "loan", job_id=job)
    assert (error.code, "个人" in error.message_zh) == ("person_consent_withdrawn", True)
    assert shared.risk.consents(one.name)[0]["state"] == "active"
    assert who.act(person.WITHDRAWAL, given).json()["code"] == "illegal_transition"
    who.give(reference(asked))
    assert score_of(shared, one, job) == asked["consent_id"]


def test_a_refusal_permits_nothing_and_can_be_thought_over(shared: World, job: str) -> None:
    one = trader(shared)
    asked = ask(shared, one, **TRADER)
    take(shared, answer(one, asked))
    who = named(shared, one)
    assert who.act(person.REFUSAL, reference(asked)).status_code == 200
    assert refused(shared.risk.score, one.name, "loan", job_id=job).code == "person_consent_missing"
    who.give(reference(asked))
    assert who.act(person.REFUSAL, reference(asked)).json()["code"] == "consent_stands"
    assert score_of(shared, one, job) == asked["consent_id"]


def test_a_score_in_hand_holds_the_persons_word_until_it_is_on_record(shared: World) -> None:
    """R46: a withdrawal waits for a use that began before it, and never comes between look and record."""
    one = trader(shared)
    asked = ask(shared, one, **TRADER)
    take(shared, answer(one, asked))
    who = named(shared, one)
    given = number(shared, who.give(reference(asked)))
    ended = threading.Event()

    def withdraw() -> None:
        who.act(person.WITHDRAWAL, given)
        ended.set()

    with shared.db.unit(tenant("bank-a")) as unit:
        row = persons.repository.newest(unit.session, one.name, "bank-a", "lab", "underwriting_score", lock=True)
        assert persons.found(unit.session, row, stamp(shared.clock()), lock=True) is person.Given.GIVEN
        thread = threading.Thread(target=withdraw)
        thread.start()
        assert not ended.wait(0.4)
    thread.join(5)
    assert ended.is_set()


# ---- whose word it is


def test_nobody_answers_for_another_and_the_enterprise_cannot_either(shared: World) -> None:
    """PIPL §13: an owner with every right is not the person; another trader is not this one."""
    new = enrol(shared, subject="sole_trader")
    one = Enterprise(new["enterprise"]["uscc"])
    asked = ask(shared, one, **TRADER)
    owner = Own(shared)
    owner.enrol(new)
    other = trader(shared)
    stranger = named(shared, other)
    who = named(shared, one)
    for somebody in (owner, stranger):
        assert somebody.act(person.CONSENT, reference(asked)).json()["code"] == "not_found"
        assert somebody.request("GET", f"/portal/own/{reference(asked)}").status_code == 404
    given = number(shared, who.give(reference(asked)))
    for somebody in (owner, stranger):
        assert somebody.act(person.WITHDRAWAL, given).json()["code"] == "not_found"
        seq = shared.bank.feed()["head"]
        assert somebody.request("GET", f"/portal/own/receipts/{seq}/file").status_code == 404


def test_an_owner_who_is_the_trader_uses_the_account_there_is(shared: World) -> None:
    new = enrol(shared, subject="sole_trader")
    one = Enterprise(new["enterprise"]["uscc"])
    asked = ask(shared, one, **TRADER)
    owner = Own(shared)
    owner.enrol(new)
    form = {"csrf": owner.csrf, "role": "sole_trader", "person": new["person"]["id"], "name": ""}
    assert owner.request("POST", "/portal/people/consenting", data=form).status_code == 200
    owner.give(reference(asked))
    again = owner.request("POST", "/portal/people/consenting", data={**form, "person": "", "name": "张三"})
    assert again.json()["code"] == "person_named"


def test_the_person_sees_the_own_pages_and_nothing_of_the_enterprise(shared: World) -> None:
    """R47: no right in the enterprise comes with being its key person."""
    one = trader(shared)
    asked = ask(shared, one, **TRADER)
    who = named(shared, one)
    assert who.request("GET", "/portal/").headers["location"] == "/portal/own"
    for path in ("consents", "usage", "people", "notices", f"requests/{asked['consent_id']}"):
        assert who.request("GET", f"/portal/{path}").json()["code"] == "right_missing"
    started = who.request("POST", "/portal/sign/start", json={"act": "consent", "consent": asked["consent_id"]})
    assert started.json()["code"] == "right_missing"
    assert shared.operator.call("GET", f"/v1/enterprises/{one.name}")["state"] == "invited"


def test_a_ceremony_of_the_one_kind_is_not_finished_as_the_other(shared: World) -> None:
    one = trader(shared)
    asked = ask(shared, one, **TRADER)
    who = named(shared, one)
    body = {"act": person.CONSENT, "consent": reference(asked)}
    started = who.request("POST", "/portal/own/sign/start", json=body).json()
    credential = who.key.credential(
        unb64u(started["options"]["challenge"]), rp_id="localhost", origin=ORIGIN, user=who.user
    )
    finish = {"ceremony": started["ceremony"], "credential": credential}
    assert who.request("POST", "/portal/sign/finish", json=finish).json()["code"] == "act_unknown"


def test_no_gateway_brings_in_a_persons_consent(shared: World) -> None:
    """PIPL §29: the person's own session alone; not a file that somebody else delivers."""
    one = trader(shared)
    body = ask(shared, one, **TRADER)["document"]["body"]
    [row] = shared.operator.call("GET", f"/v1/enterprises/{one.name}/persons")["items"]
    made = person.answer(
        person.CONSENT,
        person.offer(body, row["id"], "sole_trader"),
        consent_id="pc-x",
        valid_from=body["valid_from"],
        valid_until=body["valid_until"],
        given_at=body["at"],
        evidence=EVIDENCE,
    )
    [error] = take(shared, json.dumps(Passkey().sign(made)).encode())["errors"]
    assert error["code"] in ("not_an_enterprise_document", "not_a_signed_document")
    signed = json.dumps(sign(made, one.key, "enterprise")).encode()
    [error] = take(shared, signed)["errors"]
    assert error["code"] == "not_an_enterprise_document"


def test_who_may_withdraw_is_not_removed_by_the_enterprise(shared: World) -> None:
    """PIPL §15: the way to withdraw is not the enterprise's to take away."""
    new = enrol(shared, subject="sole_trader")
    uscc = new["enterprise"]["uscc"]
    owner = Own(shared)
    owner.enrol(new)
    made = shared.operator.call("POST", f"/v1/enterprises/{uscc}/persons", json={"role": "sole_trader", "name": "李"})
    answer_ = owner.request("POST", f"/portal/people/{made['person']}/remove", data={"csrf": owner.csrf})
    assert answer_.json()["code"] == "person_of_consent"


def test_a_successor_has_another_pseudonym_and_the_old_word_stays_its_persons(shared: World, job: str) -> None:
    one = Enterprise(enrol(shared)["enterprise"]["uscc"])
    first = named(shared, one, "legal_representative", "甲")
    asked = ask(shared, one, **KEY)
    given = number(shared, first.give(reference(asked)))
    [row] = shared.operator.call("GET", f"/v1/enterprises/{one.name}/persons")["items"]
    shared.operator.call(
        "POST", f"/v1/enterprises/{one.name}/persons/{row['id']}/retire", json={"reason": "法定代表人变更"}
    )
    second = named(shared, one, "legal_representative", "乙")
    assert second.act(person.WITHDRAWAL, given).json()["code"] == "not_found"
    assert second.act(person.CONSENT, reference(asked)).json()["code"] == "not_found"
    assert first.act(person.WITHDRAWAL, given).status_code == 200
    shared.risk.call("POST", f"/v1/consent-requests/{asked['consent_id']}/cancel", json={"reason": "anew"})
    assert reference(ask(shared, one, **KEY)) != reference(asked)


# ---- terms that are over


def test_a_persons_consent_that_runs_out_is_over_for_both_sides_in_the_same_second(world: World) -> None:
    """PIPL §14: by the clock alone, and the same after the platform has said so, signed, in the feed and the ledger."""
    one = trader(world)
    asked = ask(world, one, **TRADER, valid_days=365)
    take(world, answer(one, asked))
    who = named(world, one)
    name = number(world, who.give(reference(asked)))
    with world.db.read(SYSTEM) as session:
        row = session.get_one(persons.PersonConsent, name)
        until = row.valid_until
        consent = session.get_one(Consent, asked["consent_id"])

    def found(at: str) -> set[person.Given]:
        """What the control plane and a node's book find."""
        with world.db.read(SYSTEM) as session:
            here = persons.found(session, session.get_one(Consent, consent.consent_id), at)
        return {here, book_of(world).persons(consent.consent_id, at)}

    last = stamp(parse(until) - timedelta(seconds=1))
    assert found(last) == {person.Given.GIVEN}
    assert found(until) == {person.Given.MISSING}

    world.clock.advance((parse(until) - world.clock()).total_seconds() + 1)
    deadline = time.monotonic() + 10
    while (word := book_of(world).word(name)) is None or word.ended is None:
        assert time.monotonic() < deadline, "the platform has not said so"
        time.sleep(0.1)
    assert (word.life.state, word.ended[1] >= until) == ("expired", True)
    assert found(until) == {person.Given.MISSING}
    with world.db.read(SYSTEM) as session:
        row = session.get_one(persons.PersonConsent, name)
        assert (row.state, row.ended_seq) == ("expired", word.ended[0])
        entered = session.scalar(
            sa.text("SELECT count(*) FROM ledger_subject WHERE object_kind = 'feed' AND object_id = :seq"),
            {"seq": str(row.ended_seq)},
        )
    assert entered == 1
    told = [each["body"] for each in world.risk.call("GET", "/v1/consent-events", params={"limit": 500})["events"]]
    states = [each["event"]["state"] for each in told if each["kind"] == "person_consent"]
    assert states == ["active", "expired"]
    receipt = json.loads(receipts_of(world, word.ended[0]))
    assert verify(canonical(receipt), world.keyring).transition == "person_expire"


def receipts_of(world: World, seq: int) -> bytes:
    with world.db.read(SYSTEM) as session:
        name = session.scalar(sa.text("SELECT consent_id FROM feed WHERE seq = :seq"), {"seq": seq})
        who = session.get_one(persons.PersonConsent, name).person
        return receipts.of_person_event(world.control, session, {who}, seq)


# ---- what is told, kept and shown


def test_documents_feed_and_events_name_a_pseudonym_and_no_person(shared: World) -> None:
    """PIPL §51: neither nodes nor the bank learn who it is."""
    one = trader(shared)
    asked = ask(shared, one, **TRADER)
    who = named(shared, one, name="司马相如")
    seq = who.give(reference(asked))
    [event] = shared.bank.feed(after=seq - 1, limit=1)["events"]
    assert event["kind"] == person.CONSENT
    said = json.dumps(event, ensure_ascii=False)
    assert "司马相如" not in said and who.user not in said and "cp-" in said
    told = [each["body"] for each in shared.risk.call("GET", "/v1/consent-events", params={"limit": 500})["events"]]
    mine = [each for each in told if each["kind"] == "person_consent" and each["event"]["enterprise"] == one.name]
    assert [each["event"]["state"] for each in mine] == ["active"]
    assert "司马相如" not in json.dumps(mine, ensure_ascii=False) and "person" not in mine[0]["event"]


def test_receipts_of_giving_and_withdrawing_hold_with_their_ledger_proofs(shared: World) -> None:
    """R44, R48: the same receipts as an enterprise's, from the person's own page."""
    one = trader(shared)
    asked = ask(shared, one, **TRADER)
    who = named(shared, one)
    seq = who.give(reference(asked))
    back = who.act(person.WITHDRAWAL, number(shared, seq)).json()["next"].rpartition("/")[2]
    for place, step in ((seq, "person_grant"), (back, "person_withdraw")):
        held = who.request("GET", f"/portal/own/receipts/{place}/file").json()
        view = verify(canonical(held["receipt"]), shared.keyring, proof=held["proof"])
        assert view.proven is not None
        assert (view.transition, view.party, view.person_key_id) == (step, "person", who.key.public.key_id)


def test_what_was_said_is_not_rewritten_and_a_bank_writes_none(shared: World) -> None:
    """R47: row-level security and column privileges, raw SQL included."""
    one = trader(shared)
    asked = ask(shared, one, **TRADER)
    name = number(shared, named(shared, one).give(reference(asked)))
    for actor, statement in (
        (tenant(one.name), "UPDATE person_consents SET offered = 'x' WHERE consent_id = :name"),
        (tenant("bank-a"), "UPDATE person_consents SET state = 'active' WHERE consent_id = :name"),
    ):
        with pytest.raises(sa.exc.ProgrammingError), shared.db.unit(actor) as unit:
            unit.session.execute(sa.text(statement), {"name": name})
    with shared.db.read(tenant("bank-b")) as session:
        assert session.execute(sa.text("SELECT * FROM person_consents")).all() == []
        found = session.execute(sa.text("SELECT * FROM feed WHERE consent_id = :name"), {"name": name})
        assert found.all() == []


@pytest.fixture(scope="module")
def coded(request: pytest.FixtureRequest, new_database: Databases) -> Any:
    world = World.inhabited(new_database, portal_session_code=True)
    yield world
    world.close()


def test_a_session_and_a_code_stand_for_a_passkey_where_that_is_allowed(coded: World) -> None:
    """The platform signs as registrar and says so; a node that refuses such evidence covers nothing."""
    one = trader(coded)
    asked = ask(coded, one, **TRADER)
    take(coded, answer(one, asked))
    made = coded.operator.call(
        "POST", f"/v1/enterprises/{one.name}/persons", json={"role": "sole_trader", "name": "李"}
    )

    def code(use: str) -> str:
        body = {"person": made["person"], "use": use, "reason": "at the counter"}
        return coded.operator.call("POST", f"/v1/enterprises/{one.name}/codes", json=body)["code"]

    who = Own(coded)
    assert who.request("POST", "/portal/login/code", data={"uscc": one.name, "code": code("login")}).status_code == 303
    who.look()
    form = {"csrf": who.csrf, "act": person.CONSENT, "consent": reference(asked), "code": code("confirm")}
    signed = who.request("POST", "/portal/own/sign/code", data=form)
    assert signed.status_code == 303, signed.text
    seq = int(signed.headers["location"].rpartition("/")[2])
    view = verify(canonical(who.request("GET", f"/portal/own/receipts/{seq}/file").json()["receipt"]), coded.keyring)
    assert (view.evidence, view.party, view.person_key_id) == ("session_code", "person", None)
    assert book_of(coded).covers(one.name, "bank-a", "underwriting_score", stamp(coded.clock()), used={})
