"""Who gives consent in person besides an enterprise: a pseudonym for each, and the account that it belongs to.

The pseudonym stands in documents, feed and ledger; which account it is stays in this table. It is made when somebody is
named, or when a bank asks for a role that one person only can have, so that either may come first. A person of an
enterprise without any right in it signs in to the own pages and nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.control import Control
from api.db import SYSTEM, Actor, Audited, Base, Unit
from api.enterprises import codes, repository, service
from api.enterprises.schemas import ConsentPersonIn, ConsentPersonOut, ConsentPersons, NewConsentPerson
from api.enterprises.sessions import Visitor
from api.enterprises.states import Right
from api.errors import Conflict, Invalid, NotFound
from consent.notice import PERSON_ROLES

SEVERAL = frozenset({"key_person"})  # every other role is one person's
MAX = 20


class ConsentPerson(Audited, Base):
    """One person in one role of one enterprise. `person` is empty until somebody is named."""

    __tablename__ = "consent_persons"
    AUDIT_KIND: ClassVar[str] = "consent_person"

    id: Mapped[str] = mapped_column(primary_key=True)  # the pseudonym
    enterprise: Mapped[str] = mapped_column(sa.ForeignKey("enterprises.uscc"))
    role: Mapped[str]
    person: Mapped[str | None] = mapped_column(sa.ForeignKey("enterprise_people.id"))
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]  # somebody else has the role now; the person goes on to see and withdraw

    __table_args__ = (
        sa.Index("consent_persons_enterprise", "enterprise", "role"),
        sa.Index(
            "consent_persons_one",
            "enterprise",
            "role",
            unique=True,
            postgresql_where=sa.text("role <> 'key_person' AND retired_at IS NULL"),
        ),
    )


# ---- reading


def of_enterprise(session: Session, uscc: str) -> Sequence[ConsentPerson]:
    """Those who have a role now."""
    query = sa.select(ConsentPerson).where(ConsentPerson.enterprise == uscc, ConsentPerson.retired_at.is_(None))
    return session.scalars(query.order_by(ConsentPerson.created_at, ConsentPerson.id)).all()


def of_person(session: Session, who: Visitor) -> Sequence[ConsentPerson]:
    """The pseudonyms that are the visitor's own, retired ones too."""
    query = sa.select(ConsentPerson).where(ConsentPerson.enterprise == who.uscc, ConsentPerson.person == who.account_id)
    return session.scalars(query.order_by(ConsentPerson.created_at, ConsentPerson.id)).all()


def known(session: Session, pseudonym: str) -> ConsentPerson | None:
    return session.get(ConsentPerson, pseudonym)


def listed(control: Control, uscc: str) -> ConsentPersons:
    """Raises NotFound."""
    with control.db.read(SYSTEM) as session:
        if repository.enterprise(session, uscc) is None:
            raise NotFound("enterprise", "企业", uscc)
        return ConsentPersons(items=[ConsentPersonOut.model_validate(one) for one in of_enterprise(session, uscc)])


# ---- a bank asks


def pseudonyms(control: Control, uscc: str, roles: Iterable[str]) -> list[tuple[str, str]]:
    """(role, pseudonym) of everybody who has one of `roles`; a role that is one person's gets its pseudonym now.

    In a unit of its own: who asks sees no person of an enterprise. Raises NotFound, or Conflict `person_unknown`.
    """
    wanted = list(dict.fromkeys(roles))
    if not wanted:
        return []
    with control.db.unit(SYSTEM) as unit:
        if repository.enterprise(unit.session, uscc, lock=True) is None:
            raise NotFound("enterprise", "企业", uscc)
        found: list[tuple[str, str]] = []
        there = of_enterprise(unit.session, uscc)
        for role in wanted:
            having = [one.id for one in there if one.role == role]
            if not having and role in SEVERAL:
                raise Conflict(
                    f"persons: no {role} of {uscc} is on record: the enterprise or the operator must name them first",
                    f"persons：企业 {uscc} 尚未登记 {role}：请先由企业或平台登记",
                    code="person_unknown",
                )
            if not having:
                having = [_make(unit, uscc, role, None, "a role that was asked for").id]
            found += [(role, name) for name in having]
        return found


def _make(unit: Unit, uscc: str, role: str, person: str | None, reason: str) -> ConsentPerson:
    row = ConsentPerson(id=f"cp-{secrets.token_hex(8)}", enterprise=uscc, role=role, person=person, created_at=unit.now)
    return unit.create(row, "consent_person.create", reason, role=role)


# ---- naming


def name(control: Control, actor: Actor, uscc: str, body: ConsentPersonIn) -> NewConsentPerson:
    """Says who has a role: somebody on record, or somebody new with a code to enrol. Raises by name.

    Who has a role that is one person's stays until the operator changes it: it is that person's word that counts.
    """
    if body.role not in PERSON_ROLES:
        raise Invalid(f"role: one of {', '.join(PERSON_ROLES)}", f"role：应为 {'、'.join(PERSON_ROLES)} 之一")
    if (body.person is None) == (body.name is None):
        raise Invalid("exactly one of person and name is needed", "person 与 name 须恰好给出一项")
    with control.db.unit(actor) as unit:
        enterprise = repository.enterprise(unit.session, uscc, lock=True)
        if enterprise is None:
            raise NotFound("enterprise", "企业", uscc)
        there = of_enterprise(unit.session, uscc)
        slot = next((one for one in there if one.role == body.role and one.role not in SEVERAL), None)
        if (slot is not None and slot.person is not None) or len(there) >= MAX:
            raise Conflict(
                f"{body.role} of {uscc} is named already: only the operator changes that",
                f"企业 {uscc} 的该角色已登记：如需变更请联系平台运营方",
                code="person_named",
            )
        person, code, expires_at = _account(unit, control, uscc, body)
        if any(one.person == person.id and one.role == body.role for one in there):
            raise Conflict("this person has this role already", "该人员已登记此角色", code="exists")
        if slot is None:
            slot = _make(unit, uscc, body.role, person.id, f"named by {actor.name}")
        else:
            slot.person = person.id
            unit.session.flush()
            unit.record("consent_person.name", slot, f"named by {actor.name}")
        return NewConsentPerson(id=slot.id, role=slot.role, person=person.id, code=code, expires_at=expires_at)


def _account(
    unit: Unit, control: Control, uscc: str, body: ConsentPersonIn
) -> tuple[repository.Person, str | None, datetime | None]:
    if body.person is not None:
        found = repository.person(unit.session, body.person, lock=True)
        if found is None or found.enterprise != uscc or found.state == "removed":
            raise NotFound("person of this enterprise", "该企业的人员", body.person)
        return found, None, None
    assert body.name is not None
    made = service.add_account(unit, uscc, body.name, ())
    code, expires_at = codes.issue(unit, control, uscc, made.id, codes.ENROL)
    unit.record("code.issue", made, f"named by {unit.actor.name}", detail={"use": codes.ENROL})
    return made, code, expires_at


def name_by_owner(control: Control, who: Visitor, body: ConsentPersonIn) -> NewConsentPerson:
    """As `name`, by whoever manages the enterprise's people and has just signed in."""
    who.need(Right.MANAGE)
    who.check_fresh(control.db.clock())
    return name(control, who, who.uscc, body)


def retire(control: Control, actor: Actor, uscc: str, pseudonym: str, reason: str) -> None:
    """Somebody else has the role now: asked from now on is whoever is named next, under another pseudonym.

    What was said under the old one stays that person's, who may still withdraw it. Raises NotFound.
    """
    with control.db.unit(actor) as unit:
        row = unit.session.get(ConsentPerson, pseudonym, with_for_update=True)
        if row is None or row.enterprise != uscc or row.retired_at is not None:
            raise NotFound("person who consents", "单独同意的个人", pseudonym)
        row.retired_at = unit.now
        unit.session.flush()
        unit.record("consent_person.retire", row, reason)
