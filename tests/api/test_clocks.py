"""Deadlines: counted as the rules count them, reminded of once, listed when overdue, true to any history (R10, R11)."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.applications import handling, service
from api.applications.repository import Application, Progress, Referral
from api.applications.schemas import AcceptIn, ApplicationIn, ApprovalIn, FollowUpIn, ReviewIn
from api.applications.states import APPLICATION, CLOCK_OF, REFERRAL
from api.auth import Caller, Role
from api.client import LabClient
from api.clocks import periods, repository
from api.clocks import service as clocks
from api.clocks.repository import Clock, ClockWord
from api.credit import service as credit
from api.credit.schemas import ResultIn
from api.db import SYSTEM, Actor, IllegalTransition
from api.settings import BadSettings, Settings
from api.workdays import ZONE, add_workdays, end_of, is_workday, local_day
from tests.api.financing import Firm, Loan, firm, officer, shelved, today
from tests.api.world import World

moments = st.datetimes(datetime(2019, 1, 1), datetime(2040, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
SETTINGS = Settings.read({}, home=".")

# ---- the arithmetic


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ("2026-03-02T09:00", "2026-03-09"),  # a Monday: the day itself does not count
        ("2026-02-13T09:00", "2026-02-27"),  # over the Spring Festival of 2026, and the Saturday worked for it
        ("2026-09-24T23:59", "2026-10-09"),  # over Mid-autumn and the National Day's week
    ],
)
def test_five_working_days_to_accept_or_refuse(received: str, due: str) -> None:
    """R10."""
    since = datetime.fromisoformat(received).replace(tzinfo=ZONE)
    found = periods.PERIODS["accept"].due_at(SETTINGS, since)
    passed, day = 0, local_day(since)
    while passed < 5:
        day += timedelta(days=1)
        passed += is_workday(day)
    assert found == end_of(day)
    assert local_day(found - timedelta(seconds=1)) == date.fromisoformat(due)


@pytest.mark.parametrize(
    ("accepted", "due"),
    [
        ("2026-03-04", "2026-04-07"),  # 4 April is Qingming, and its holiday ends on Monday the 6th
        ("2026-01-31", "2026-02-28"),  # no 31st; a Saturday, but worked for the Spring Festival
        ("2026-12-15", "2027-01-15"),
    ],
)
def test_one_month_for_the_follow_up_moves_off_a_holiday(accepted: str, due: str) -> None:
    """R11."""
    since = datetime.fromisoformat(accepted + "T10:00").replace(tzinfo=ZONE)
    found = periods.PERIODS["follow_up"].due_at(SETTINGS, since)
    assert local_day(found - timedelta(seconds=1)) == date.fromisoformat(due)


@given(moments, st.integers(1, 12))
def test_a_month_is_never_shorter_and_ends_on_a_working_day(moment: datetime, n: int) -> None:
    last = local_day(periods.after_months(moment, n) - timedelta(seconds=1))
    assert is_workday(last)
    assert (last - local_day(moment)).days >= 28 * n
    assert add_workdays(moment, 1) <= end_of(last)


@given(moments, st.integers(1, 20), st.integers(1, 20))
def test_so_many_working_days_lie_between_a_reminder_and_its_deadline(moment: datetime, length: int, n: int) -> None:
    due_at = add_workdays(moment, length)
    begins = local_day(periods.workdays_before(due_at, n))
    last = local_day(due_at - timedelta(seconds=1))
    between = [begins + timedelta(days=i) for i in range((last - begins).days)]
    assert sum(map(is_workday, between)) == n


def test_periods_and_reminders_are_configuration(make_world: Any) -> None:
    """R11, R31."""
    with pytest.raises(BadSettings, match="CREDITLAB_CLOCK_REMINDERS"):
        Settings.read({"CREDITLAB_CLOCK_REMINDERS": "two"}, home=".")
    world = make_world(accept_days=3, report_days=7, clock_reminders="")
    told = {p["kind"]: p for p in officer(world).call("GET", "/v1/clocks/periods")["items"]}
    assert {kind: told[kind]["length"] for kind in ("accept", "follow_up", "report")} == {
        "accept": 3,
        "follow_up": 1,
        "report": 7,
    }
    assert told["accept"]["reminders"] == []
    loan = Loan(world, officer(world), firm(world), shelved(world, officer(world)))
    clock = loan.bank.call("GET", f"/v1/referrals/{loan.referral}")["clocks"][0]
    started = datetime.fromisoformat(clock["started_at"])
    assert datetime.fromisoformat(clock["due_at"]) == add_workdays(started, 3)


# ---- in the flow


@pytest.fixture(scope="module")
def bank(shared: World) -> LabClient:
    return officer(shared)


@pytest.fixture(scope="module")
def product(shared: World, bank: LabClient) -> str:
    return shelved(shared, bank)


@pytest.fixture
def loan(shared: World, bank: LabClient, product: str) -> Loan:
    return Loan(shared, bank, firm(shared), product)


def running(loan: Loan) -> dict[str, dict[str, Any]]:
    found = loan.bank.call("GET", f"/v1/referrals/{loan.referral}")["clocks"]
    return {clock["kind"]: clock for clock in found if clock["stopped_at"] is None}


def due(clock: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(clock["due_at"])


def past(world: World, moment: datetime) -> None:
    """Moves on to just after `moment`."""
    world.clock.advance((moment - world.clock()).total_seconds() + 1)


def words(world: World, clock: dict[str, Any]) -> list[str]:
    with world.db.read(SYSTEM) as session:
        return [row.mark for row in repository.words(session, clock["id"])]


def swept(world: World) -> None:
    """The service may sweep by itself at the same time: what counts is what was said, not who said it."""
    while clocks.sweep(world.control):
        pass


def test_each_state_has_its_clock_and_leaving_it_stops_that(loan: Loan) -> None:
    """R10, R11."""
    assert set(running(loan)) == {"accept"}
    loan.accept()
    assert set(running(loan)) == {"follow_up"}
    loan.follow_up()
    assert running(loan) == {}
    loan.approve()
    assert set(running(loan)) == {"report"}
    loan.result()
    assert running(loan) == {}


def test_the_report_is_due_from_the_day_of_the_approval_not_of_its_entry(loan: Loan) -> None:
    """R11."""
    loan.accept()
    loan.world.clock.advance(20 * 86_400)
    loan.follow_up()
    approved = today(loan.world) - timedelta(days=14)
    loan.approve(on_day=str(approved))
    clock = running(loan)["report"]
    assert due(clock) == add_workdays(datetime(approved.year, approved.month, approved.day, tzinfo=ZONE), 5)
    assert clock["overdue"] is True
    assert loan.result()["reported_late"] is True


def test_reminders_come_before_the_day_and_overdue_after_it_each_once(shared: World, loan: Loan) -> None:
    """R10."""
    clock = running(loan)["accept"]
    swept(shared)
    assert words(shared, clock) == []
    past(shared, periods.workdays_before(due(clock), 2))
    for _ in range(3):
        swept(shared)
    assert words(shared, clock) == ["before-2"]
    past(shared, periods.workdays_before(due(clock), 1))
    swept(shared)
    past(shared, due(clock))
    for _ in range(3):
        swept(shared)
    assert words(shared, clock) == ["before-2", "before-1", "overdue"]
    told = [
        e["body"]["event"]["mark"]
        for e in shared.risk.call("GET", "/v1/consent-events", params={"after": 0, "limit": 500})["events"]
        if e["body"]["kind"] == "clock" and e["body"]["event"]["clock_id"] == clock["id"]
    ]
    assert told == ["before-2", "before-1", "overdue"]


def test_after_a_silence_only_the_newest_word_is_said(shared: World, loan: Loan) -> None:
    clock = running(loan)["accept"]
    past(shared, due(clock) + timedelta(days=3))
    swept(shared)
    assert words(shared, clock)[-1:] == ["overdue"]
    assert len(words(shared, clock)) == 1


def test_what_is_overdue_is_listed_for_who_must_act_until_it_is_done(
    shared: World, bank: LabClient, loan: Loan
) -> None:
    """R10: overdue lists for each institution, the platform sees all."""
    clock = running(loan)["accept"]
    listed = lambda client: {  # noqa: E731
        c["id"] for c in client.call("GET", "/v1/clocks", params={"overdue": True, "limit": 500})["items"]
    }
    assert clock["id"] not in listed(bank)
    past(shared, due(clock))
    assert clock["id"] in listed(bank) & listed(shared.operator)
    assert clock["id"] not in listed(officer(shared, "bank-b"))
    counts = shared.operator.call("GET", "/v1/clocks/overdue")["items"]
    assert any(c["holder"] == "bank-a" and c["kind"] == "accept" and c["count"] >= 1 for c in counts)
    assert all(c["holder"] == "bank-b" for c in officer(shared, "bank-b").call("GET", "/v1/clocks/overdue")["items"])
    accepted = loan.accept()
    assert accepted["late"] is True
    assert accepted["progress"][-1]["late"] is True
    assert clock["id"] not in listed(bank)


def test_a_stopped_clock_says_nothing_more(shared: World, loan: Loan) -> None:
    clock = running(loan)["accept"]
    loan.step("refuse", reason="不符合条件")
    past(shared, due(clock))
    swept(shared)
    assert words(shared, clock) == []


def test_two_sweeps_at_once_say_everything_once(shared: World, bank: LabClient, product: str) -> None:
    loans = [Loan(shared, bank, firm(shared), product) for _ in range(12)]
    ids = {running(loan)["accept"]["id"] for loan in loans}
    past(shared, max(due(running(loan)["accept"]) for loan in loans))
    faults: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                clocks.sweep(shared.control, limit=3)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert faults == []
    with shared.db.read(SYSTEM) as session:
        said = session.execute(
            sa.select(ClockWord.clock, sa.func.count()).where(ClockWord.clock.in_(ids)).group_by(ClockWord.clock)
        ).all()
    assert {row[0]: row[1] for row in said} == dict.fromkeys(ids, 1)
    events = shared.risk.call("GET", "/v1/consent-events", params={"after": 0, "limit": 500})["events"]
    told = [e["body"]["event"]["clock_id"] for e in events if e["body"]["kind"] == "clock"]
    assert sorted(c for c in told if c in ids) == sorted(ids)


# ---- any history

ACTS = ("accept", "refuse", "follow_up", "note", "approve", "decline", "grant", "withdraw", "wait", "sweep")
LEADS = {
    "accept": "accepted",
    "refuse": "refused",
    "follow_up": "followed_up",
    "approve": "approved",
    "decline": "declined",
    "grant": "granted",
    "withdraw": "withdrawn",
}


class History:
    """One application before bank-a, acted on through the services as its parties would."""

    def __init__(self, world: World, who: Firm, product: str) -> None:
        self.world, self.control = world, world.control
        self.officer = Caller("a-officer", "officer", "bank-a", frozenset({Role.OFFICER}))
        self.person = Actor("ep-1", "王敏", who.uscc)
        operator = Caller("a-operator", "operator", "platform", frozenset({Role.OPERATOR}))
        loan = ApplicationIn(
            product=product, amount=200_000, term_months=12, purpose="备货", repayment="回款", guarantees=["credit"]
        )
        self.application = service.draft(self.control, self.person, loan).id
        service.submit(self.control, self.person, self.application)
        body = ReviewIn(decision="pass", opinion="齐全")
        self.referral = service.review(self.control, operator, self.application, body).referrals[0].id
        self.number = 0

    def act(self, what: str) -> None:
        """Raises IllegalTransition or another refusal for what the state does not allow."""
        control, officer, name = self.control, self.officer, self.referral
        day = today(self.world)
        said = FollowUpIn(on_day=day, note="x")
        if what == "accept":
            handling.accept(control, officer, name, AcceptIn(liaison_name="a", liaison_contact="b"))
        elif what == "refuse":
            handling.refuse(control, officer, name, "x")
        elif what == "follow_up":
            handling.follow_up(control, officer, name, said)
        elif what == "note":
            handling.note(control, officer, name, said)
        elif what == "approve":
            handling.approve(control, officer, name, ApprovalIn(on_day=day, note="x", approved_amount=10))
        elif what == "decline":
            handling.decline(control, officer, name, said)
        elif what == "grant":
            body = ResultIn(
                amount=10, rate=4, term_months=3, contract_no=name, signed_on=day, begins_on=day, ends_on=day,
                guarantee="credit",
            )  # fmt: skip
            credit.grant(control, officer, name, body)
        elif what == "withdraw":
            service.withdraw(control, self.person, self.application, "x")


def chosen(state: str, bold: int, pick: int) -> str:
    """Mostly an act that the state allows, so that histories go deep; sometimes any."""
    if bold:
        allowed = [act for act in ACTS if act not in LEADS or LEADS[act] in REFERRAL.transitions[state]]
        return allowed[pick % len(allowed)]
    return ACTS[pick % len(ACTS)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choices=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100), st.integers(0, 40)), max_size=12))
def test_any_history_of_an_application_is_legal_and_its_clocks_follow_it(
    shared: World, product: str, borrower: Firm, choices: list[tuple[int, int, int]]
) -> None:
    """R10, R11, R23, R25: whatever is tried, in whatever order and however late."""
    history = History(shared, borrower, product)
    state, steps, late = "received", 0, False
    for bold, pick, days in choices:
        act = chosen(state, bold, pick)
        if act == "wait":
            shared.clock.advance(days * 86_400)
            continue
        if act == "sweep":
            clocks.sweep(shared.control)
            continue
        legal = state not in REFERRAL.final if act == "note" else LEADS[act] in REFERRAL.transitions[state]
        with shared.db.read(SYSTEM) as session:
            ends = [c.due_at for c in repository.of_object(session, history.referral) if c.stopped_at is None]
        if not legal:
            with pytest.raises(Exception) as caught:
                history.act(act)
            assert isinstance(caught.value, IllegalTransition) or getattr(caught.value, "status", None) == 409
        else:
            history.act(act)
            if act != "note":
                state = LEADS[act]
                late = late or (act != "withdraw" and any(end <= shared.clock() for end in ends))
            steps += act != "withdraw"
        with shared.db.read(SYSTEM) as session:
            row = session.get_one(Referral, history.referral)
            application = session.get_one(Application, history.application)
            mine = repository.of_object(session, history.referral)
            told = session.scalar(
                sa.select(sa.func.count()).select_from(Progress).where(Progress.referral == history.referral)
            )
        assert row.state == state
        assert {c.kind for c in mine if c.stopped_at is None} == ({CLOCK_OF[state]} if state in CLOCK_OF else set())
        assert all(c.next_at is None for c in mine if c.stopped_at is not None)
        assert (application.state in APPLICATION.final) == (state in REFERRAL.final)
        assert told == steps
        assert row.late == late
        assert (row.ended_at is not None) == (state in REFERRAL.final)
    with shared.db.read(SYSTEM) as session:
        mine = session.scalars(sa.select(Clock).where(Clock.object_id == history.referral)).all()
        for clock in mine:
            said = [row.mark for row in repository.words(session, clock.id)]
            assert len(said) == len(set(said))


@pytest.fixture(scope="module")
def borrower(shared: World) -> Firm:
    made = firm(shared)
    made.profile()
    return made
