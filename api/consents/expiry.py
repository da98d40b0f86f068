"""Terms that are over: the platform signs that each such consent, an enterprise's or a person's, has expired, and no
answer keeps a request open.

A term that is over permits nothing from its very second, whether or not this has run (`consent.policy`); the signed
word is what tells nodes, banks and the enterprise.
"""

from __future__ import annotations

from datetime import datetime

from api.consent_events import service as consent_events
from api.consents import feed, persons, repository, requests
from api.control import Control
from api.db import SYSTEM
from consent import artefact
from consent.lifecycle import STANDING, Action, State, apply
from consent.times import stamp

BATCH = 500


def sweep(control: Control) -> int:
    """Expires what is over, at most a batch of each kind; returns how many."""
    now = control.db.clock()
    return _consents(control, now) + _persons(control, now) + _requests(control, now)


def _consents(control: Control, now: datetime) -> int:
    with control.db.read(SYSTEM) as session:
        over = repository.over(session, stamp(now), BATCH)
    if not over:
        return 0
    done = 0
    with control.db.unit(SYSTEM) as unit:
        writer, told = feed.Writer(unit), []
        at = stamp(unit.now)
        moved = []
        for name in over:
            row = repository.locked(unit.session, name)
            if row is None or row.state not in STANDING or row.valid_until > at:
                continue  # renewed or withdrawn a moment ago
            body = artefact.transition(
                consent_id=name,
                enterprise=row.enterprise,
                action=Action.EXPIRE,
                at=at,
                sequence=row.sequence + 1,
                previous=row.head_sha256,
            )
            life = apply(repository.life(row), body)
            moved.append((row, life, feed.say(writer, control.key, body, name)))
        writer.close()
        for row, life, seq in moved:
            row.sequence, row.head_sha256, row.changed_at = life.sequence, life.head, life.at
            unit.transition(row, State.EXPIRED.value, "consent.expire", "its term is over", seq=seq)
            told.append(consent_events.of_consent(row, State.EXPIRED.value, seq, at))
            done += 1
        consent_events.tell(unit, told)
    return done


def _persons(control: Control, now: datetime) -> int:
    with control.db.read(SYSTEM) as session:
        names = persons.over(session, stamp(now), BATCH)
    if not names:
        return 0
    with control.db.unit(SYSTEM) as unit:
        return persons.expire(unit, control, names)


def _requests(control: Control, now: datetime) -> int:
    with control.db.read(SYSTEM) as session:
        overdue = requests.overdue(session, now, BATCH)
    if not overdue:
        return 0
    with control.db.unit(SYSTEM) as unit:
        told = []
        for name in overdue:
            row = requests.locked(unit.session, name)
            if row is None or row.state != "requested" or row.answer_by > unit.now:
                continue
            row.ended_at = unit.now
            unit.transition(row, "expired", "request.expire", "the enterprise has not answered in time")
            told.append(consent_events.of_request(row, unit.now))
            requests.inform(unit, row.enterprise, "request_expired", row.consent_id)
        consent_events.tell(unit, told)
    return len(told)
