"""The state machines: histories are legal whatever is asked, and a state is written in one place only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.applications.states import APPLICATION, CLOCK_OF, REFERRAL, TAKEN_UP
from api.consent_events.states import WEBHOOK
from api.consents.requests import REQUEST
from api.consents.states import CONSENT
from api.credit.states import CREDIT, LENT, MEDIATION, WARNING
from api.db import SYSTEM, AuditRow, Database, IllegalTransition, Machine, StateWrittenOutsideTransition
from api.disputes.states import DISPUTE
from api.guarantees.states import GUARANTEE
from api.incidents.states import INCIDENT
from api.institutions.repository import Account, Institution
from api.institutions.states import STANDING
from api.jobs import causes
from api.jobs.repository import Job
from api.jobs.states import JOB, PARTY
from api.permits.states import PERMIT
from api.products.states import PRODUCT
from api.publications.states import PUBLICATION, QUESTION
from api.recalls.states import NOTICE
from api.releases.states import OPEN, RELEASE, UNBLINDED

MACHINES = [
    CONSENT, JOB, PARTY, RELEASE, PERMIT, REQUEST, STANDING, NOTICE, WEBHOOK, DISPUTE,
    PRODUCT, APPLICATION, REFERRAL, CREDIT, MEDIATION, GUARANTEE, PUBLICATION, QUESTION, INCIDENT,
]  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.kind)
def test_every_state_is_named_reachable_and_can_end(machine: Machine) -> None:
    assert machine.initial <= machine.states
    assert all(after <= machine.states for after in machine.transitions.values())
    reached, frontier = set(machine.initial), set(machine.initial)
    while frontier := {s for state in frontier for s in machine.transitions[state]} - reached:
        reached |= frontier
    assert reached == machine.states
    for state in machine.states:
        ahead, frontier = {state}, {state}
        while frontier := {s for f in frontier for s in machine.transitions[f]} - ahead:
            ahead |= frontier
        assert ahead & machine.final, f"{state} never ends"


def test_withdrawn_is_final() -> None:
    assert CONSENT.transitions["withdrawn"] == frozenset()


def test_the_release_sets_name_states_of_the_machine() -> None:
    assert RELEASE.states >= OPEN
    assert RELEASE.states >= UNBLINDED
    assert not OPEN & (RELEASE.final - {"released"})


def test_the_sets_of_the_financing_flow_name_states_of_their_machines() -> None:
    assert REFERRAL.states >= TAKEN_UP
    assert set(CLOCK_OF) <= REFERRAL.states - REFERRAL.final
    assert CREDIT.states - CREDIT.final >= LENT > WARNING


@pytest.fixture
def job(db: Database) -> Job:
    with db.unit(SYSTEM) as unit:
        for name, kind in (("bank", "bank"), ("lab", "lab")):
            unit.create(Institution(id=name, name=name, kind=kind, created_at=unit.now), "test", "test")
        account = Account(id="a-1", name="a", institution="bank", roles=[], level="service", created_at=unit.now)
        unit.create(account, "test", "test")
        job = Job(
            id="j-1", project="p", dataset="d", bank="bank", bank_node="b", lab="lab", lab_node="l", mode="zone",
            recipe={}, proposal={}, requested_by="a-1", requested_at=unit.now,
        )  # fmt: skip
        return unit.create(job, "test", "test", state="proposed")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.lists(st.sampled_from(sorted(JOB.states)), max_size=8))
def test_any_history_of_requests_stays_legal_and_leaves_its_audit(db: Database, job: Job, wanted: list[str]) -> None:
    name = f"j-{datetime.now(UTC).timestamp()}"
    with db.unit(SYSTEM) as unit:
        values = {c.key: getattr(job, c.key) for c in sa.inspect(Job).columns if c.key not in {"id", "state"}}
        unit.create(Job(id=name, **values), "test", "test", state="draft")
    state, path = "draft", ["draft"]
    for to in wanted:
        with db.unit(SYSTEM) as unit:
            row = unit.session.get_one(Job, name)
            if to in JOB.transitions[state]:
                unit.transition(row, to, "test", "because")
                state = to
                path.append(to)
            else:
                with pytest.raises(IllegalTransition) as caught:
                    unit.transition(row, to, "test", "because")
                assert caught.value.status == 409
    with db.read(SYSTEM) as session:
        assert session.get_one(Job, name).state == state
        rows = session.scalars(sa.select(AuditRow).where(AuditRow.object_id == name).order_by(AuditRow.seq))
        assert [row.to_state for row in rows] == path


def test_a_state_cannot_be_assigned_past_the_table(db: Database, job: Job) -> None:
    with db.unit(SYSTEM) as unit:
        row = unit.session.get_one(Job, job.id)
        with pytest.raises(StateWrittenOutsideTransition):
            row.state = "succeeded"
        with pytest.raises(StateWrittenOutsideTransition):
            Job(id="j-2", state="succeeded")
        with pytest.raises(StateWrittenOutsideTransition):
            unit.create(Job(id="j-2"), "test", "test", state="succeeded")


# ---- the watchdog's decision, without clock or database

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1)


@dataclass(frozen=True)
class Party:
    party: str
    node: str
    state: str = "running"
    code: str | None = None
    message: str | None = None
    message_zh: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True)
class Watched:
    state: str = "running"
    approved_at: datetime | None = LONG_AGO
    expires_at: datetime | None = NOW + timedelta(hours=1)
    started_at: datetime | None = None
    settle_at: datetime | None = None


DEADLINES = {"connect": 30, "stall": 60, "phase": 900, "job": 1800}


def verdict(job: Watched, parties: list[Party], silent: dict[str, float], since: datetime = LONG_AGO) -> str | None:
    why = causes.verdict(
        job,
        {p.party: p for p in parties},
        {node: NOW - timedelta(seconds=s) for node, s in silent.items()},
        DEADLINES,
        NOW,
        since=since,
        lease=30,
        margin=15,
    )
    return why and why["code"]


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_a_lively_job_is_left_alone() -> None:
    parties = [Party("bank", "b", started_at=ago(600)), Party("lab", "l", started_at=ago(600))]
    assert verdict(Watched(started_at=ago(600)), parties, {"b": 25, "l": 3}) is None


def test_silence_is_counted_from_the_restart_of_the_control_plane() -> None:
    parties = [Party("bank", "b", started_at=ago(600)), Party("lab", "l", started_at=ago(600))]
    job = Watched(started_at=ago(600))
    assert verdict(job, parties, {"b": 300, "l": 300}) == "node_not_heard"
    assert verdict(job, parties, {"b": 300, "l": 300}, since=ago(10)) is None


def test_a_party_that_has_ended_owes_no_heartbeat() -> None:
    parties = [Party("bank", "b", "succeeded", started_at=ago(60)), Party("lab", "l", started_at=ago(60))]
    assert verdict(Watched(started_at=ago(60)), parties, {"b": 300, "l": 3}) is None


def test_queued_behind_another_job_is_no_fault_until_the_ticket_expires() -> None:
    parties = [Party("bank", "b", "pending"), Party("lab", "l", "pending")]
    job = Watched("approved", approved_at=ago(600))
    assert verdict(job, parties, {"b": 5, "l": 5}) is None
    assert verdict(replace(job, expires_at=NOW), parties, {"b": 5, "l": 5}) == "ticket_expired"


def test_one_begun_and_the_other_not_is_bounded_by_the_connect_deadline() -> None:
    def at(seconds: float) -> str | None:
        parties = [Party("bank", "b", started_at=ago(seconds)), Party("lab", "l", "pending")]
        return verdict(Watched(started_at=ago(seconds)), parties, {"b": 1, "l": 1})

    assert at(44) is None
    assert at(46) == "node_not_started"


def test_a_job_ends_soon_after_its_own_deadline() -> None:
    parties = [Party("bank", "b", started_at=ago(1900)), Party("lab", "l", started_at=ago(1900))]
    assert verdict(Watched(started_at=ago(1900)), parties, {"b": 1, "l": 1}) == "job_deadline"


@given(
    codes=st.permutations([("bank", "peer_lost", 0), ("lab", "engine_died", 5)]),
)
def test_the_first_cause_is_the_fault_not_its_echo(codes: list[tuple[str, str, int]]) -> None:
    ends = [Party(p, p, "failed", code, ended_at=ago(100 - after)) for p, code, after in codes]
    assert causes.first_cause(ends).code == "engine_died"


def test_every_cause_is_told_in_both_languages() -> None:
    party, other = Party("bank", "b"), Party("lab", "l")
    told = [
        causes.not_heard(party, 31),
        causes.not_started(party, other, 45),
        causes.ticket_expired(),
        causes.overdue(party, 40),
        causes.of_party(replace(party, state="failed", code="x", message="m", message_zh="因")),
    ]
    for why in told:
        assert why["code"]
        assert why["message"]
        assert any("\u4e00" <= c <= "\u9fff" for c in why["message_zh"])
