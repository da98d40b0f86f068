"""One table moves every consent, whatever the history (R14; PIPL §14–16; 网络数据安全管理条例)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import artefact, lifecycle
from consent.canonical import digest
from consent.lifecycle import (
    FINAL,
    STANDING,
    TRANSITIONS,
    Action,
    AlreadyExpired,
    BrokenChain,
    ClockMovedBack,
    ConsentStands,
    IllegalTransition,
    Life,
    LifecycleError,
    NotYetExpired,
    OutOfSequence,
    Quiet,
    QuietPeriod,
    RenewalNotYetValid,
    State,
    SupersedesUnknown,
    apply,
    may_ask,
    quiet_until,
    state_at,
    succession,
)
from consent.times import stamp
from tests.consent.conftest import Maker

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def at(days: float) -> str:
    return stamp(START + days * DAY)


def answer(kind: str = "consent", **changes: Any) -> dict[str, Any]:
    return getattr(artefact, kind)(**Maker.fields("e1", **changes))


def request(**changes: Any) -> dict[str, Any]:
    fields = Maker.fields("e1", **changes)
    del fields["given_at"], fields["evidence"]
    return artefact.request(at=at(0), **fields)


def answered(asked: dict[str, Any], kind: str = "consent", days: float = 1) -> dict[str, Any]:
    evidence = {"kind": "passkey", "reference": "0" * 64}
    return artefact.answer(asked, kind, digest=digest(asked), given_at=at(days), evidence=evidence)


def moved(life: Life, action: str, days: float = 10, **changes: Any) -> dict[str, Any]:
    fields = {
        "consent_id": life.consent_id,
        "enterprise": "e1",
        "action": action,
        "at": at(days),
        "sequence": life.sequence + 1,
        "previous": life.head,
    }
    return artefact.transition(**{**fields, **changes})


def life_in(state: State) -> Life:
    if state is State.REQUESTED:
        return apply(None, request())
    if state is State.CANCELLED:
        return lifecycle.ended(apply(None, request()), Action.CANCEL, at(5), "0" * 64)
    life = apply(None, answer("refusal" if state is State.REFUSED else "consent"))
    action = {State.PAUSED: "pause", State.WITHDRAWN: "withdraw"}.get(state)
    if action:
        life = apply(life, moved(life, action, 5))
    if state is State.EXPIRED:
        life = apply(life, moved(life, "expire", 365))
    assert life.state is state
    return life


def test_the_table_is_the_one_of_the_design() -> None:
    table = {(s, a): t for s, moves in TRANSITIONS.items() for a, t in moves.items()}
    assert table == {
        ("requested", "grant"): "active",
        ("requested", "refuse"): "refused",
        ("requested", "expire"): "expired",
        ("requested", "cancel"): "cancelled",
        ("active", "pause"): "paused",
        ("active", "withdraw"): "withdrawn",
        ("active", "expire"): "expired",
        ("active", "supersede"): "expired",
        ("paused", "resume"): "active",
        ("paused", "withdraw"): "withdrawn",
        ("paused", "expire"): "expired",
        ("paused", "supersede"): "expired",
    }
    assert frozenset({"refused", "withdrawn", "expired", "cancelled"}) == FINAL


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("action", ["pause", "resume", "withdraw", "expire"])
def test_a_transition_is_possible_exactly_where_the_table_has_it(state: State, action: str) -> None:
    life = life_in(state)
    body = moved(life, action, 365 if action == "expire" else 20)
    after = TRANSITIONS[state].get(Action(action))
    if after is None:
        with pytest.raises(IllegalTransition) as refused:
            apply(life, body)
        assert refused.value.code == "illegal_transition"
        assert str(state) in refused.value.message and not refused.value.message_zh.isascii()
    else:
        assert apply(life, body).state is after


@pytest.mark.parametrize("state", [one for one in State if one is not State.REQUESTED])
def test_an_answer_comes_once(state: State) -> None:
    life = life_in(state)
    with pytest.raises(IllegalTransition):
        apply(life, answer(consent_id=life.consent_id))
    with pytest.raises(IllegalTransition):
        apply(life, request(consent_id=life.consent_id))


def test_a_request_is_granted_or_refused_by_the_document_that_answers_it() -> None:
    asked = request()
    life = apply(None, asked)
    granted = apply(life, answered(asked))
    assert (granted.state, granted.sequence) == (State.ACTIVE, 1)
    assert apply(life, answered(asked, "refusal")).state is State.REFUSED
    # without the request on record, the digest that the answer names stands for it
    assert apply(None, answered(asked)) == granted
    with pytest.raises(BrokenChain):
        apply(life, answer(consent_id=asked["consent_id"], request="0" * 64))
    with pytest.raises(BrokenChain):
        apply(life, answered(request()))


def test_a_request_that_ran_out_cannot_be_granted() -> None:
    asked = request(valid_until=at(30))
    life = apply(None, asked)
    assert apply(life, answered(asked, days=29)).state is State.ACTIVE
    with pytest.raises(AlreadyExpired):
        apply(life, answered(asked, days=30))
    assert apply(life, answered(asked, "refusal", days=30)).state is State.REFUSED


def test_a_document_out_of_its_place_is_refused_by_name() -> None:
    """A missing, repeated or foreign document, and a clock that was moved back."""
    life = life_in(State.ACTIVE)
    paused = apply(life, body := moved(life, "pause"))
    with pytest.raises(OutOfSequence):
        apply(paused, body)
    with pytest.raises(OutOfSequence):
        apply(paused, moved(paused, "resume", 11, sequence=3))
    with pytest.raises(BrokenChain):
        apply(paused, moved(paused, "resume", 11, previous="0" * 64))
    with pytest.raises(BrokenChain):
        apply(paused, moved(life_in(State.PAUSED), "resume", 11))
    with pytest.raises(ClockMovedBack):
        apply(paused, moved(paused, "resume", 9))
    with pytest.raises(OutOfSequence):
        apply(None, body)
    # two devices, four minutes apart: taken, and the later time stays on record
    assert apply(paused, moved(paused, "resume", 10 - 4 / 1440)).at == paused.at


def test_a_withdrawal_never_fails_for_being_out_of_step() -> None:
    """PIPL §15: as easy to withdraw as to give."""
    life = life_in(State.PAUSED)
    late = artefact.withdrawal(consent_id=life.consent_id, enterprise="e1", at=at(-100))
    assert apply(life, late).state is State.WITHDRAWN
    with pytest.raises(OutOfSequence):  # but what it claims must be true
        apply(life, moved(life, "withdraw", sequence=7))


def test_only_time_expires_a_consent_and_it_needs_no_document() -> None:
    life = life_in(State.ACTIVE)
    with pytest.raises(NotYetExpired):
        apply(life, moved(life, "expire", 364))
    assert state_at(life, at(364)) is State.ACTIVE
    assert state_at(life, at(365)) is State.EXPIRED
    paused = life_in(State.PAUSED)
    assert state_at(paused, at(365)) is State.EXPIRED
    with pytest.raises(AlreadyExpired):
        apply(paused, moved(paused, "resume", 365))
    assert state_at(life_in(State.WITHDRAWN), at(400)) is State.WITHDRAWN


def test_a_standing_consent_is_renewed_never_doubled() -> None:
    life = life_in(State.ACTIVE)
    renewal = {"supersedes": life.consent_id, "valid_from": at(20), "valid_until": at(380), "given_at": at(20)}
    assert succession(life, answer(**renewal)) is Action.SUPERSEDE
    with pytest.raises(ConsentStands):
        succession(life, answer())
    with pytest.raises(ConsentStands):
        succession(life_in(State.PAUSED), answer())
    with pytest.raises(SupersedesUnknown):
        succession(life, answer(**{**renewal, "supersedes": "c-other"}))
    with pytest.raises(SupersedesUnknown):
        succession(None, answer(**renewal))
    with pytest.raises(RenewalNotYetValid):
        succession(life, answer(**{**renewal, "given_at": at(19)}))
    # after its term the old one needs no naming
    assert succession(life, answer(valid_from=at(365), valid_until=at(400))) is Action.EXPIRE


@pytest.mark.parametrize("state", [State.REFUSED, State.WITHDRAWN])
def test_what_was_refused_or_withdrawn_is_not_renewed(state: State) -> None:
    life = life_in(state)
    with pytest.raises(SupersedesUnknown, match="final"):
        succession(life, answer(supersedes=life.consent_id))
    assert succession(life, answer()) is None


def test_a_refused_renewal_leaves_what_stands_and_any_other_refusal_ends_it() -> None:
    life = life_in(State.ACTIVE)
    assert succession(life, answer("refusal", supersedes=life.consent_id)) is None
    assert succession(life, answer("refusal")) is Action.WITHDRAW


def test_nobody_is_asked_again_within_the_quiet_period_after_a_no() -> None:
    """网络数据安全管理条例: no repeated asking after a refusal; both periods are configuration."""
    quiet = Quiet(after_refusal_days=90, after_withdrawal_days=30)
    refused, withdrawn = life_in(State.REFUSED), life_in(State.WITHDRAWN)
    assert quiet_until(refused, quiet) == at(90)
    assert quiet_until(withdrawn, quiet) == at(35)
    for life in (None, life_in(State.ACTIVE), life_in(State.EXPIRED)):
        assert quiet_until(life, quiet) is None
        may_ask(life, at(1), quiet)
    may_ask(refused, at(90), quiet)
    with pytest.raises(QuietPeriod) as no:
        may_ask(refused, at(89), quiet)
    assert no.value.code == "quiet_period" and at(90) in no.value.message_zh
    may_ask(refused, at(89), Quiet(after_refusal_days=0))


# ---- random histories

ACTS = ["ask", "grant", "refuse", "pause", "resume", "withdraw", "expire", "renew", "replay"]


class Enterprise:
    """One enterprise's answers to one recipient and purpose, kept by the rules alone."""

    def __init__(self) -> None:
        self.lives: dict[str, Life] = {}
        self.newest: str | None = None
        self.asked: dict[str, Any] | None = None
        self.taken: list[dict[str, Any]] = []

    def _answer(self, body: dict[str, Any]) -> None:
        before = self.lives[self.newest] if self.newest else None
        known = self.lives.get(body["consent_id"])
        life = apply(known, body)
        action = succession(before, body)
        if before is not None and action is not None:
            self.lives[before.consent_id] = lifecycle.ended(before, action, life.at, life.head)
        self.lives[life.consent_id] = life
        if body["type"] == "consent" or body["supersedes"] is None:
            self.newest = life.consent_id
        self.asked = None

    def act(self, act: str, day: int) -> None:
        body = self._body(act, day)
        if body is None:
            return
        if body["type"] == "transition":
            self.lives[body["consent_id"]] = apply(self.lives[body["consent_id"]], body)
        elif body["type"] == "request":
            self.lives[body["consent_id"]] = apply(self.lives.get(body["consent_id"]), body)
            self.asked = body
        else:
            self._answer(body)
        self.taken.append(body)

    def _body(self, act: str, day: int) -> dict[str, Any] | None:
        term = {"valid_from": at(day), "valid_until": at(day + 60), "given_at": at(day)}
        if act == "replay":
            return self.taken[-1] if self.taken else None
        if act == "ask":
            fields = Maker.fields("e1", **term)
            del fields["given_at"], fields["evidence"]
            return artefact.request(at=at(day), **fields)
        if act in ("grant", "refuse"):
            kind = "consent" if act == "grant" else "refusal"
            if self.asked is not None:
                return answered(self.asked, kind, day)
            return answer(kind, **term)
        if self.newest is None:
            return None
        if act == "renew":
            return answer(supersedes=self.newest, **term)
        return moved(self.lives[self.newest], act, day)


@given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 20)), max_size=25))
def test_no_history_leads_out_of_the_table(history: list[tuple[str, int]]) -> None:
    """Never two standing consents; a final state stays; every step is one of the table; a refusal changes nothing."""
    one, day = Enterprise(), 0
    for act, days in history:
        day += days
        before, refused = dict(one.lives), None
        try:
            one.act(act, day)
        except LifecycleError as error:
            refused = error
        if refused is not None:
            assert refused.code != "refused" and refused.message and not refused.message_zh.isascii()
            assert one.lives == before
        for name, life in one.lives.items():
            if (earlier := before.get(name)) is None:
                continue
            assert life.sequence >= earlier.sequence and life.at >= earlier.at
            if life.state is not earlier.state:
                assert life.state in TRANSITIONS[earlier.state].values()
            if earlier.state in FINAL:
                assert life == earlier, "final is final"
        standing = [life for life in one.lives.values() if life.state in STANDING]
        assert len(standing) <= 1
        # the enterprise's last word is the one that counts
        assert not standing or standing[0].consent_id == one.newest


@given(st.integers(1, 8))
def test_a_chain_of_renewals_has_one_living_end(length: int) -> None:
    one = Enterprise()
    one.act("grant", 0)
    for number in range(length):
        one.act("renew", 10 * (number + 1))
    states = [life.state for life in one.lives.values()]
    assert states == [State.EXPIRED] * length + [State.ACTIVE]
