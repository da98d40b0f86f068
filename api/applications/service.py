"""Applications as an enterprise fills and follows them, and the platform's review before anything is referred.

Functions for the enterprise take its person as `Actor` (whose institution is the USCC), for its pages and REST alike.
The platform checks that an application is complete and refers it; whether credit is given is no business of its own
(R18), and no function here lets it say so.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from sqlalchemy.orm import Session

from api.applications import complete, profiles, repository
from api.applications.profiles import Basic, Profile, ProfileIn, ProfileOut
from api.applications.repository import Application, Referral
from api.applications.schemas import (
    ApplicationDetail,
    ApplicationIn,
    ApplicationOut,
    ReferralOut,
    ReviewIn,
)
from api.applications.states import CLOCK_OF, EDITABLE, REFERRAL, TAKEN_UP
from api.auth import Caller
from api.clocks import service as clocks
from api.consent_events import service as consent_events
from api.consents.requests import inform
from api.control import Control
from api.db import Actor, Unit
from api.enterprises import repository as enterprises
from api.errors import Conflict, Invalid, NotFound
from api.etags import check
from api.financing import suspect_words
from api.institutions import repository as institutions
from api.paging import Order, Page, page
from api.products import repository as products
from api.publications import matching

_MINE = Order("created", (Application.created_at, Application.id), descending=True)
_QUEUE = Order("submitted", (Application.submitted_at, Application.id))


class Incomplete(Invalid):
    """Something is not filled in; `missing` names it."""

    code = "application_incomplete"


class ProductNotFit(Invalid):
    """The product is not offered for what is asked; `misfits` names it."""

    code = "product_not_fit"


class FlagsNotConsidered(Conflict):
    """Its purpose reads like something that is no business financing."""

    code = "flags_not_considered"


class NobodyToReferTo(Conflict):
    """No institution would receive it."""

    code = "nobody_to_refer_to"


# ---- the enterprise's basic information


def save_profile(control: Control, actor: Actor, body: ProfileIn, if_match: str | None = None) -> ProfileOut:
    """Keeps it, and pushes the published policies that fit it now and were not pushed before."""
    with control.db.unit(actor) as unit:
        firm = enterprises.enterprise(unit.session, actor.institution)
        if firm is None:
            raise NotFound("enterprise", "企业", actor.institution)
        values = body.model_dump()
        values["certifications"] = sorted(set(values["certifications"]))
        row = profiles.profile(unit.session, firm.uscc, lock=True)
        if row is None:
            row = Profile(enterprise=firm.uscc, name=firm.name, **values)
            row.attest(actor, unit.now)
            unit.create(row, "profile.create", "filled in")
        else:
            check(if_match, row.version)
            for name, value in {**values, "name": firm.name}.items():
                setattr(row, name, value)
            row.attest(actor, unit.now)
            unit.session.flush()
            unit.record("profile.change", row, "corrected")
        matching.push_to(unit, row)
        return ProfileOut.model_validate(row)


def get_profile(control: Control, actor: Actor) -> ProfileOut:
    with control.db.read(actor) as session:
        row = profiles.profile(session, actor.institution)
        if row is None:
            raise NotFound("profile", "企业基本信息", actor.institution)
        return ProfileOut.model_validate(row)


# ---- filling in


def _product(session: Session, product_id: str) -> products.Product:
    row = products.product(session, product_id)
    if row is None or row.state != "on_shelf":
        raise NotFound("product on the shelf", "在架产品", product_id)
    return row


def _values(session: Session, body: ApplicationIn) -> dict[str, Any]:
    values = body.model_dump()
    values["guarantees"] = sorted({str(each) for each in body.guarantees})
    values["flags"] = suspect_words(body.purpose or "")
    values["kind"], values["institution"] = "need", None
    if body.product is not None:
        product = _product(session, body.product)
        values |= {
            "kind": "product",
            "institution": product.institution,
            "product_class": product.product_class,
            "open_to_all": False,
        }
    return values


def draft(control: Control, actor: Actor, body: ApplicationIn) -> ApplicationDetail:
    """Begins an application. Raises NotFound for a product that is not on the shelf."""
    with control.db.unit(actor) as unit:
        row = Application(
            id=f"ap-{secrets.token_hex(6)}",
            enterprise=actor.institution,
            basic=None,
            created_at=unit.now,
            submitted_at=None,
            reviewed_by=None,
            reviewed_at=None,
            opinion=None,
            chosen=None,
            ended_at=None,
            **_values(unit.session, body),
        )
        row.attest(actor, unit.now)
        unit.create(row, "application.draft", "filled in", state="draft", kind=row.kind)
        return _detail(unit.session, row)


def _own(unit: Unit, actor: Actor, application_id: str) -> Application:
    """The enterprise's own, held. Raises NotFound, also for another's."""
    repository.hold(unit.session, application_id)
    row = repository.application(unit.session, application_id)
    if row is None or row.enterprise != actor.institution:
        raise NotFound("application", "申请", application_id)
    return row


def change(
    control: Control, actor: Actor, application_id: str, body: ApplicationIn, if_match: str | None = None
) -> ApplicationDetail:
    with control.db.unit(actor) as unit:
        row = _own(unit, actor, application_id)
        check(if_match, row.version)
        if row.state not in EDITABLE:
            raise Conflict(
                f"application {row.id} is {row.state}: it can no longer be changed",
                f"申请 {row.id} 当前状态为 {row.state}，不能再修改",
                code="not_editable",
            )
        for name, value in _values(unit.session, body).items():
            setattr(row, name, value)
        row.attest(actor, unit.now)
        unit.session.flush()
        unit.record("application.change", row, "corrected")
        return _detail(unit.session, row)


def submit(control: Control, actor: Actor, application_id: str) -> ApplicationDetail:
    """Hands it in for review, with a copy of the basic information. Raises Incomplete or ProductNotFit (R23)."""
    with control.db.unit(actor) as unit:
        row = _own(unit, actor, application_id)
        profile = profiles.profile(unit.session, row.enterprise)
        if lacks := complete.missing(row, profile is not None):
            raise Incomplete(
                f"application {row.id}: fill in {', '.join(lacks)}",
                f"申请 {row.id}：请补充 {'、'.join(lacks)}",
                missing=lacks,
            )
        assert profile is not None
        if row.product is not None:
            product = _product(unit.session, row.product)
            if found := complete.misfits(row, product, profile):
                raise ProductNotFit(
                    f"product {product.id} is not offered for this {', '.join(found)}: change it or choose another",
                    f"产品 {product.id} 不适用于所填的 {'、'.join(found)}：请修改或另选产品",
                    misfits=found,
                )
        row.basic = Basic.model_validate(profile).model_dump(mode="json")
        row.submitted_at = unit.now
        row.attest(actor, unit.now)
        unit.transition(row, "submitted", "application.submit", "handed in for review")
        return _detail(unit.session, row)


# ---- the platform's review


def review(control: Control, caller: Caller, application_id: str, body: ReviewIn) -> ApplicationDetail:
    """Passes it on, or returns it with an opinion. Only what passes reaches an institution (R23)."""
    with control.db.unit(caller) as unit:
        row = _submitted(unit, application_id)
        row.reviewed_by, row.reviewed_at, row.opinion = caller.account_id, unit.now, body.opinion
        if body.decision == "return":
            unit.transition(row, "returned", "application.return", body.opinion)
            inform(unit, row.enterprise, "application_returned", row.id)
            return _detail(unit.session, row)
        if row.flags and not body.flags_considered:
            raise FlagsNotConsidered(
                f"its purpose reads like no business financing ({', '.join(row.flags)}): "
                "return it, or pass it with flags_considered",
                f"用途疑似非企业经营用途（{'、'.join(row.flags)}）：请退回，或确认已核查后通过",
            )
        unit.transition(row, "pushed", "application.pass", body.opinion, flags=row.flags)
        chosen = dict.fromkeys(body.institutions, "named")
        if row.kind == "product":
            assert row.institution is not None
            _product(unit.session, row.product or "")  # taken off the shelf since: nobody receives it
            chosen = {row.institution: "product"}
        elif body.by_rule:
            chosen |= dict.fromkeys(_by_rule(unit.session, row), "rule")
        if not refer(unit, control, row, chosen) and not row.open_to_all:
            raise NobodyToReferTo(
                f"no institution offers what application {row.id} asks for: name some in `institutions`",
                f"没有机构的产品符合申请 {row.id}：请在 institutions 中指定机构",
            )
        inform(unit, row.enterprise, "application_pushed", row.id)
        return _detail(unit.session, row)


def push(control: Control, caller: Caller, application_id: str, names: Iterable[str], reason: str) -> ApplicationDetail:
    """Refers an open need to further institutions."""
    with control.db.unit(caller) as unit:
        row = _submitted(unit, application_id)
        if row.kind != "need" or row.state != "pushed":
            raise Conflict(
                f"application {row.id} is no open need before institutions",
                f"申请 {row.id} 不是推送中的融资需求",
                code="not_an_open_need",
            )
        if not refer(unit, control, row, dict.fromkeys(names, "named")):
            raise NobodyToReferTo("each of them has it already", "所列机构均已收到")
        unit.record("application.push", row, reason)
        return _detail(unit.session, row)


def _submitted(unit: Unit, application_id: str) -> Application:
    repository.hold(unit.session, application_id)
    row = repository.application(unit.session, application_id)
    if row is None or row.submitted_at is None:
        raise NotFound("application", "申请", application_id)
    return row


def _by_rule(session: Session, row: Application) -> list[str]:
    """Institutions in good standing with a product on the shelf that fits."""
    assert row.basic is not None
    query = products.offered(
        amount=row.amount,
        term_months=row.term_months,
        rate_max=row.rate_most,
        region=row.basic["region"],
        industry=row.basic["industry"],
        product_class=row.product_class,
    ).where(products.Product.guarantees.overlap(row.guarantees))
    return list(products.institutions_offering(session, query))


def refer(unit: Unit, control: Control, row: Application, chosen: dict[str, str]) -> int:
    """Refers it to each institution (→ why) that does not have it yet; its clock starts. Returns to how many.

    Raises NotFound for an institution that is no bank on record, Conflict for a suspended one.
    """
    have = {each.institution for each in repository.referrals_of(unit.session, row.id)}
    new = [name for name in sorted(chosen) if name not in have]
    for name in new:
        institution = institutions.institution(unit.session, name)
        if institution is None or institution.kind != "bank":
            raise NotFound("bank", "银行", name)
        if institutions.state(unit.session, name) != "active":
            raise Conflict(
                f"institution {name} is suspended: nothing is referred to it",
                f"机构 {name} 已被暂停，不能向其推送",
                code="institution_suspended",
            )
        received(unit, control, row, name, chosen[name])
    return len(new)


def received(unit: Unit, control: Control, row: Application, institution: str, origin: str) -> Referral:
    """The referral of an application to one institution, with its clock (R10)."""
    assert row.basic is not None
    referral = Referral(
        id=f"rf-{secrets.token_hex(6)}",
        application=row.id,
        kind=row.kind,
        origin=origin,
        enterprise=row.enterprise,
        enterprise_name=row.basic["name"],
        institution=institution,
        product=row.product,
        product_class=row.product_class,
        region=row.basic["region"],
        industry=row.basic["industry"],
        amount=row.amount,
        term_months=row.term_months,
        received_at=unit.now,
        late=False,
    )
    referral.attest(unit.actor, unit.now)
    unit.create(referral, "referral.receive", origin, state="received", application=row.id)
    clocks.start(unit, control, CLOCK_OF["received"], ("referral", referral.id), institution, enterprise=row.enterprise)
    tell(unit, referral)
    return referral


def tell(unit: Unit, referral: Referral) -> None:
    """The institution, through its events."""
    body = {
        "referral_id": referral.id,
        "application_id": referral.application,
        "state": referral.state,
        "at": unit.now.isoformat(),
    }
    consent_events.tell(unit, [(referral.institution, "referral", body)])


# ---- the enterprise's ways out


def end_referral(unit: Unit, referral: Referral, reason: str) -> None:
    """The enterprise takes a referral back, with its clocks."""
    clocks.stop(unit, referral.id, reason="withdrawn")
    referral.reason, referral.ended_at = reason, unit.now
    unit.transition(referral, "withdrawn", "referral.withdraw", reason)
    tell(unit, referral)


def withdraw(control: Control, actor: Actor, application_id: str, reason: str) -> ApplicationDetail:
    """Ends it, and every referral that is still open. With a credit already granted it is closed instead."""
    with control.db.unit(actor) as unit:
        row = _own(unit, actor, application_id)
        referrals = repository.referrals_of(unit.session, row.id)
        granted = any(each.state == "granted" for each in referrals)
        row.ended_at = unit.now
        unit.transition(row, "closed" if granted else "withdrawn", "application.withdraw", reason)
        for each in referrals:
            if each.state not in REFERRAL.final:
                end_referral(unit, each, reason)
        return _detail(unit.session, row)


def choose(control: Control, actor: Actor, application_id: str, referral_id: str, reason: str) -> ApplicationDetail:
    """The enterprise goes on with one institution and takes the others back. Nothing else closes them."""
    with control.db.unit(actor) as unit:
        row = _own(unit, actor, application_id)
        referrals = {each.id: each for each in repository.referrals_of(unit.session, row.id)}
        wanted = referrals.get(referral_id)
        if wanted is None:
            raise NotFound("referral", "受理单", referral_id)
        if wanted.state not in TAKEN_UP:
            raise Conflict(
                f"referral {wanted.id} is {wanted.state}: choose one that an institution has accepted",
                f"受理单 {wanted.id} 当前状态为 {wanted.state}：只能选择已受理的机构",
                code="not_taken_up",
            )
        row.chosen = wanted.id
        unit.session.flush()
        unit.record("application.choose", row, reason, detail={"referral": wanted.id})
        for each in referrals.values():
            if each is not wanted and each.state not in REFERRAL.final:
                end_referral(unit, each, reason)
        return _detail(unit.session, row)


# ---- reading


def _detail(session: Session, row: Application) -> ApplicationDetail:
    has_profile = row.basic is not None or profiles.profile(session, row.enterprise) is not None
    return ApplicationDetail(
        **ApplicationOut.model_validate(row).model_dump(),
        basic=row.basic,
        flags=row.flags,
        missing=complete.missing(row, has_profile),
        referrals=[ReferralOut.model_validate(each) for each in repository.referrals_of(session, row.id)],
    )


def mine(control: Control, actor: Actor, state: str | None, cursor: str | None, limit: int) -> Page[ApplicationOut]:
    """The enterprise's own, newest first."""
    query = repository.applications(enterprise=actor.institution, state=state)
    with control.db.read(actor) as session:
        return page(session, query, _MINE, cursor, limit, ApplicationOut.model_validate)


def get_mine(control: Control, actor: Actor, application_id: str) -> ApplicationDetail:
    with control.db.read(actor) as session:
        row = repository.application(session, application_id)
        if row is None or row.enterprise != actor.institution:
            raise NotFound("application", "申请", application_id)
        return _detail(session, row)


def queue(control: Control, caller: Caller, state: str, cursor: str | None, limit: int) -> Page[ApplicationOut]:
    """For the platform: what was handed in, the oldest first."""
    query = repository.applications(state=state, submitted=True)
    with control.db.read(caller) as session:
        return page(session, query, _QUEUE, cursor, limit, ApplicationOut.model_validate)


def get(control: Control, caller: Caller, application_id: str) -> ApplicationDetail:
    """For the platform; a draft is the enterprise's alone."""
    with control.db.read(caller) as session:
        row = repository.application(session, application_id)
        if row is None or row.submitted_at is None:
            raise NotFound("application", "申请", application_id)
        return _detail(session, row)
