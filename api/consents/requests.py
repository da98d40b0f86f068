"""Requests for consent: an institution's offer of terms to one enterprise, signed by the platform, open until answered.

Owns the table of requests and how one is made. Whether one may be made is `consent.policy`'s to say, and what an
answer does is `api.consents.service`'s. A request is no event of the feed: the answer carries its digest.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.auth import Caller
from api.consent_events import service as consent_events
from api.consents import repository
from api.control import Control
from api.db import Base, Machine, SignedText, Stateful, Unit
from api.enterprises import own
from api.enterprises import repository as enterprises
from api.errors import Conflict, NotFound
from api.institutions import repository as institutions
from consent import artefact, person, policy, templates
from consent.canonical import digest
from consent.lifecycle import TRANSITIONS, Life, Quiet, State, quiet_until, state_at
from consent.purposes import Purpose
from consent.signed import sign
from consent.times import stamp

REQUEST = Machine(
    kind="consent_request",
    initial=frozenset({"requested"}),
    # what may become of a request stands in the one table of a consent's life; what follows is the consent's own
    transitions={
        str(State.REQUESTED): frozenset(map(str, TRANSITIONS[State.REQUESTED].values())),
        **{str(after): frozenset() for after in TRANSITIONS[State.REQUESTED].values()},
    },
)


class ConsentRequest(Stateful, Base):
    __tablename__ = "consent_requests"
    AUDIT_KIND: ClassVar[str] = "consent_request"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("consent_id",)
    MACHINE: ClassVar[Machine] = REQUEST

    consent_id: Mapped[str] = mapped_column(primary_key=True)
    enterprise: Mapped[str]
    recipient: Mapped[str]
    purpose: Mapped[str]
    valid_until: Mapped[str]
    document: Mapped[dict[str, Any]] = mapped_column(SignedText)
    sha256: Mapped[str]  # of the body: what the answer names as `request`
    reference: Mapped[str | None]  # the institution's own number: the same again is the same request
    reason: Mapped[str]
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    answer_by: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    state: Mapped[str]

    __table_args__ = (
        sa.Index("consent_requests_enterprise", "enterprise", "state", "asked_at"),
        sa.Index("consent_requests_recipient", "recipient", "state", "asked_at"),
        sa.UniqueConstraint("recipient", "reference", name="consent_requests_reference"),
        sa.Index(
            "consent_requests_one_open",
            "enterprise",
            "recipient",
            "purpose",
            unique=True,
            postgresql_where=sa.text("state = 'requested'"),
        ),
        sa.Index("consent_requests_due", "answer_by", postgresql_where=sa.text("state = 'requested'")),
    )


class EnterpriseNotice(Base):
    """Something that an enterprise is to be told. Append-only: a log itself."""

    __tablename__ = "enterprise_notices"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    enterprise: Mapped[str]
    kind: Mapped[str]
    object_id: Mapped[str]
    at: Mapped[datetime]

    __table_args__ = (sa.Index("enterprise_notices_enterprise", "enterprise", "id"),)


def life(row: ConsentRequest) -> Life:
    body = row.document["body"]
    return Life(row.consent_id, State(row.state), 0, row.sha256, body["at"], row.valid_until)


def known(session: Session, consent_ids: set[str]) -> dict[str, ConsentRequest]:
    rows = session.scalars(
        sa.select(ConsentRequest).where(ConsentRequest.consent_id.in_(consent_ids)).with_for_update()
    )
    return {row.consent_id: row for row in rows}


def known_to_read(session: Session, consent_ids: set[str]) -> dict[str, ConsentRequest]:
    rows = session.scalars(sa.select(ConsentRequest).where(ConsentRequest.consent_id.in_(consent_ids)))
    return {row.consent_id: row for row in rows}


def locked(session: Session, consent_id: str) -> ConsentRequest | None:
    return session.get(ConsentRequest, consent_id, with_for_update=True)


def overdue(session: Session, now: datetime, limit: int) -> Sequence[str]:
    """Requests that wait for an answer past their day."""
    query = sa.select(ConsentRequest.consent_id).where(
        ConsentRequest.state == "requested", ConsentRequest.answer_by <= now
    )
    return session.scalars(query.order_by(ConsentRequest.answer_by).limit(limit)).all()


def inform(unit: Unit, enterprise: str, kind: str, object_id: str) -> None:
    """Puts something on the list of what an enterprise is told."""
    values = {"enterprise": enterprise, "kind": kind, "object_id": object_id, "at": unit.now}
    # the number is not read back: the list is the enterprise's, not the writer's
    unit.session.execute(sa.insert(EnterpriseNotice).inline(), [values])


def notices(session: Session, enterprise: str, after: int, limit: int) -> Sequence[EnterpriseNotice]:
    query = sa.select(EnterpriseNotice).where(EnterpriseNotice.enterprise == enterprise, EnterpriseNotice.id > after)
    return session.scalars(query.order_by(EnterpriseNotice.id).limit(limit)).all()


def latest_notices(session: Session, enterprise: str, before: int | None, limit: int) -> Sequence[EnterpriseNotice]:
    """Newest first, for the enterprise's page."""
    query = sa.select(EnterpriseNotice).where(EnterpriseNotice.enterprise == enterprise)
    if before is not None:
        query = query.where(EnterpriseNotice.id < before)
    return session.scalars(query.order_by(EnterpriseNotice.id.desc()).limit(limit)).all()


def open_of(session: Session, enterprise: str, at: str) -> Sequence[ConsentRequest]:
    """The requests that wait for this enterprise's answer, oldest first."""
    query = sa.select(ConsentRequest).where(
        ConsentRequest.enterprise == enterprise, ConsentRequest.state == "requested", ConsentRequest.valid_until > at
    )
    return session.scalars(query.order_by(ConsentRequest.asked_at).limit(200)).all()


def one(session: Session, enterprise: str, consent_id: str) -> ConsentRequest:
    """Raises NotFound, also for another enterprise's."""
    row = session.get(ConsentRequest, consent_id)
    if row is None or row.enterprise != enterprise:
        raise NotFound("request", "授权请求", consent_id)
    return row


def page(
    session: Session,
    recipient: str | None,
    *,
    enterprise: str | None,
    state: str | None,
    before: datetime | None,
    limit: int,
) -> Sequence[ConsentRequest]:
    """Newest first; of one institution, or of all."""
    query = sa.select(ConsentRequest).order_by(ConsentRequest.asked_at.desc(), ConsentRequest.consent_id).limit(limit)
    if recipient is not None:
        query = query.where(ConsentRequest.recipient == recipient)
    if enterprise is not None:
        query = query.where(ConsentRequest.enterprise == enterprise)
    if state is not None:
        query = query.where(ConsentRequest.state == state)
    if before is not None:
        query = query.where(ConsentRequest.asked_at < before)
    return session.scalars(query).all()


def counts(session: Session, recipient: str | None) -> Sequence[Any]:
    columns = (ConsentRequest.recipient, ConsentRequest.purpose, ConsentRequest.state)
    query = sa.select(*columns, sa.func.count().label("n")).group_by(*columns).order_by(*columns)
    return session.execute(query if recipient is None else query.where(ConsentRequest.recipient == recipient)).all()


def ask(
    control: Control,
    caller: Caller,
    *,
    enterprise: str,
    provider: str,
    purpose: Purpose | str,
    valid_from: str,
    valid_until: str,
    terms: Mapping[str, Any] | None = None,
    roles: Sequence[str] = (),
    supersedes: str | None = None,
    reason: str = "",
    reference: str | None = None,
) -> str:
    """Asks an enterprise on record for its consent to the caller's institution; returns the consent's number.

    `terms` replace those of the purpose's template; `roles` say whose own consent is needed besides (`consent.person`):
    a sole trader's always is, and a request without it is refused. The same `reference` again is the same request, and
    makes no second one. Raises Denied (scope consent.request), MalformedDocument, NotFound or Conflict.
    """
    named = own.pseudonyms(control, enterprise, roles)
    with control.db.unit(caller) as unit:
        _one_at_a_time(unit.session, enterprise, caller.institution, str(purpose), reference)
        subject = enterprises.known(unit.session, enterprise)
        if subject is None or subject.state == "closed":
            raise NotFound("enterprise", "企业", enterprise)
        lab = institutions.institution(unit.session, provider)
        if lab is None or lab.kind != "lab":
            raise NotFound("provider", "数据提供方", provider)
        asked = {
            **({} if purpose not in tuple(Purpose) else templates.terms(purpose)),
            **(terms or {}),
            "enterprise": enterprise,
            "subject": subject.subject,
            "recipient": caller.institution,
            "provider": provider,
            "purpose": purpose,
            "valid_until": valid_until,
            "persons": [],
            "supersedes": supersedes,
        }
        if purpose in tuple(Purpose):
            asked["persons"] = _persons(asked, named)
        if reference is not None and (before := _referenced(unit.session, caller.institution, reference)) is not None:
            return _same(before, asked, reference)
        at = stamp(unit.now)
        facts = _facts(unit.session, caller.institution, enterprise, str(purpose), supersedes, at, control)
        if purpose not in tuple(Purpose):
            policy.check(policy.CONSENT_REQUEST, facts)
        body = artefact.request(at=at, consent_id=f"c-{secrets.token_hex(8)}", valid_from=max(at, valid_from), **asked)
        _allowed(facts, body)
        row = ConsentRequest(
            consent_id=body["consent_id"],
            enterprise=enterprise,
            recipient=caller.institution,
            purpose=str(purpose),
            valid_until=valid_until,
            document=sign(body, control.key, "platform"),
            sha256=digest(body),
            reason=reason,
            reference=reference,
            asked_by=caller.account_id,
            asked_at=unit.now,
            answer_by=unit.now + timedelta(days=control.settings.request_days),
        )
        said = reason or f"asked by {caller.name}"
        unit.create(row, "request.make", said, state="requested", purpose=str(purpose))
        inform(unit, enterprise, "request", row.consent_id)
        consent_events.tell(unit, [consent_events.of_request(row, unit.now)])
        return row.consent_id


def _persons(asked: Mapping[str, Any], named: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """The references to what each person will be offered. Raises MalformedDocument where the data concern nobody."""
    terms = {"storage": artefact.STORAGE, "onward": [], **asked}
    return [{"role": role, "reference": person.reference(person.offer(terms, name, role))} for role, name in named]


def cancel(control: Control, caller: Caller, consent_id: str, reason: str) -> None:
    """The institution takes back a request that waits for its answer; the enterprise is told.

    Raises NotFound, also for another institution's, or IllegalTransition for one that is over.
    """
    with control.db.unit(caller) as unit:
        row = locked(unit.session, consent_id)
        if row is None or row.recipient != caller.institution:
            raise NotFound("request", "授权请求", consent_id)
        unit.transition(row, str(State.CANCELLED), "request.cancel", reason)
        row.ended_at = unit.now
        inform(unit, row.enterprise, "request_cancelled", row.consent_id)
        consent_events.tell(unit, [consent_events.of_request(row, unit.now)])


def _one_at_a_time(session: Session, enterprise: str, recipient: str, purpose: str, reference: str | None) -> None:
    """Two calls about one subject, or with one reference, wait for each other: what one decides the other sees."""
    keys = [f"request/{enterprise}/{recipient}/{purpose}"]
    if reference is not None:
        keys.append(f"reference/{recipient}/{reference}")
    for key in sorted(keys):
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(key, 0))))


def _referenced(session: Session, recipient: str, reference: str) -> ConsentRequest | None:
    return session.scalar(
        sa.select(ConsentRequest).where(ConsentRequest.recipient == recipient, ConsentRequest.reference == reference)
    )


def _same(before: ConsentRequest, asked: Mapping[str, Any], reference: str) -> str:
    body = before.document["body"]
    if any(body[name] != value for name, value in asked.items()):
        raise Conflict(
            f"reference {reference!r} was used for another request ({before.consent_id})",
            f"编号 {reference!r} 已用于另一份请求（{before.consent_id}）",
            code="reference_reused",
        )
    return before.consent_id


def _facts(
    session: Session,
    recipient: str,
    enterprise: str,
    purpose: str,
    supersedes: str | None,
    at: str,
    control: Control,
) -> policy.Facts:
    subject = (enterprise, recipient, purpose)
    word = repository.standing(session, {subject}).get(subject)
    refused = repository.last_no(session, subject)
    pending = session.scalar(
        sa.select(ConsentRequest.consent_id).where(
            ConsentRequest.enterprise == enterprise,
            ConsentRequest.recipient == recipient,
            ConsentRequest.purpose == purpose,
            ConsentRequest.state == "requested",
        )
    )
    quiet = Quiet(control.settings.quiet_after_refusal_days, control.settings.quiet_after_withdrawal_days)
    state = None if word is None else state_at(repository.life(word), at)
    return policy.Facts(
        at=at,
        institution=institutions.state(session, recipient),
        purpose=purpose,
        consent_state=State.REQUESTED if pending is not None else state,
        history_known=True,
        quiet_until=None if refused is None else quiet_until(repository.life(refused), quiet),
        renewal=word is not None and supersedes == word.consent_id,
        within_template=True,
    )


def _allowed(facts: policy.Facts, body: Mapping[str, Any]) -> None:
    """Raises Denied; what goes beyond the template is named by field, bound and value."""
    try:
        templates.check(body)
    except templates.ExceedsTemplate as error:
        policy.check(policy.CONSENT_REQUEST, facts)  # a reason that is no matter of terms comes first
        raise policy.Denied(error.code, error.message, error.message_zh) from error
    policy.check(policy.CONSENT_REQUEST, facts)
