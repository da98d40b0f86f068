"""Products: described by an institution, reviewed by the platform, put on the shelf by the institution, retired.

Personal consumer loans and wealth products are refused by class; words that point to them are flags, which the
reviewer must consider (R22). A change after the review needs another review. The platform never writes a product.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from api.auth import Caller
from api.consent_events import service as consent_events
from api.control import Control
from api.db import SYSTEM, Actor, Unit
from api.errors import Conflict, Forbidden, Invalid, NotFound
from api.etags import check
from api.financing import (
    CLASSES,
    GUARANTEES,
    MODULES,
    REFUSED_CLASSES,
    SIZES,
    ProductClass,
    suspect_words,
)
from api.paging import Order, Page, order_named, page
from api.products import repository
from api.products.repository import Product
from api.products.schemas import Code, Codes, ProductDetail, ProductIn, ProductOut, ReviewIn
from api.products.states import EDITABLE

_OWN = Order("created", (Product.created_at, Product.id), descending=True)
OFFERS = {
    "rate": Order("rate", (Product.rate_min, Product.id)),
    "newest": Order("newest", (Product.created_at, Product.id), descending=True),
}


class ClassRefused(Invalid):
    """Not business financing: nobody may publish it here (R22)."""

    code = "product_class_refused"


class FlagsNotConsidered(Conflict):
    """Something in its words points to a product that is refused here."""

    code = "flags_not_considered"


def class_of(code: str) -> ProductClass:
    """The class of a code. Raises ClassRefused, or Invalid for one that is not known."""
    if code in REFUSED_CLASSES:
        zh, en = REFUSED_CLASSES[code]
        raise ClassRefused(
            f"product_class: {en.lower()} is not business financing and is not published here",
            f"product_class：{zh}不属于企业融资服务，本平台不予发布",
        )
    try:
        return ProductClass(code)
    except ValueError:
        known = ", ".join(ProductClass)
        raise Invalid(
            f"product_class: {code!r} is not known; known are {known}",
            f"product_class：未知类别 {code!r}，可用类别为 {known}",
            code="product_class_unknown",
        ) from None


def _values(body: ProductIn) -> dict[str, Any]:
    values = body.model_dump()
    values["product_class"] = str(class_of(body.product_class))
    for name in ("guarantees", "regions", "industries", "modules"):
        values[name] = sorted({str(each) for each in values[name]})
    values["flags"] = suspect_words(body.name, body.summary, body.conditions)
    return values


def create(control: Control, caller: Caller, body: ProductIn) -> ProductDetail:
    """A draft. Raises ClassRefused or Invalid."""
    values = _values(body)
    with control.db.unit(caller) as unit:
        row = Product(
            id=f"pr-{secrets.token_hex(6)}",
            institution=caller.institution,
            created_at=unit.now,
            submitted_at=None,
            reviewed_by=None,
            reviewed_at=None,
            opinion=None,
            **values,
        )
        row.attest(caller, unit.now)
        unit.create(row, "product.create", "described", state="draft", flags=row.flags)
        return ProductDetail.model_validate(row)


def _own(unit: Unit, caller: Actor, product_id: str) -> Product:
    """The caller's institution's own product, held. Raises NotFound, also for another's."""
    row = repository.locked(unit.session, product_id)
    if row is None or row.institution != caller.institution:
        raise NotFound("product", "产品", product_id)
    return row


def change(control: Control, caller: Caller, product_id: str, body: ProductIn, if_match: str | None) -> ProductDetail:
    """Describes it anew. Raises Conflict once it was submitted: take it back to a draft first."""
    values = _values(body)
    with control.db.unit(caller) as unit:
        row = _own(unit, caller, product_id)
        check(if_match, row.version)
        if row.state not in EDITABLE:
            raise Conflict(
                f"product {row.id} is {row.state}: revise it first, then it is reviewed again",
                f"产品 {row.id} 当前状态为 {row.state}：请先退回修改，修改后须重新审核",
                code="not_editable",
            )
        for name, value in values.items():
            setattr(row, name, value)
        row.attest(caller, unit.now)
        unit.session.flush()
        unit.record("product.change", row, "described anew", detail={"flags": row.flags})
        return ProductDetail.model_validate(row)


# what an institution does to its own product → the state that follows
MOVES: Mapping[str, str] = {
    "submit": "submitted",
    "revise": "draft",
    "list": "on_shelf",
    "delist": "off_shelf",
    "retire": "retired",
}


def move(control: Control, caller: Caller, product_id: str, what: str, reason: str) -> ProductDetail:
    """One of MOVES. Raises IllegalTransition."""
    with control.db.unit(caller) as unit:
        row = _own(unit, caller, product_id)
        if what == "submit":
            row.submitted_at = unit.now
            row.attest(caller, unit.now)
        unit.transition(row, MOVES[what], f"product.{what}", reason)
        return ProductDetail.model_validate(row)


def review(control: Control, caller: Caller, product_id: str, body: ReviewIn) -> ProductDetail:
    """The platform's opinion (R8, R24). Raises Forbidden for one's own, FlagsNotConsidered."""
    with control.db.unit(caller) as unit:
        row = repository.locked(unit.session, product_id)
        if row is None:
            raise NotFound("product", "产品", product_id)
        if caller.account_id == row.attested_by:
            raise Forbidden("nobody reviews what they wrote", "不得审核本人提交的内容", code="own_work")
        if body.decision == "approve" and row.flags and not body.flags_considered:
            raise FlagsNotConsidered(
                f"its words point to a product that is refused here ({', '.join(row.flags)}): "
                "return it, or approve it with flags_considered",
                f"内容含有疑似不予发布的产品用语（{'、'.join(row.flags)}）：请退回，或确认已核查后通过",
            )
        row.reviewed_by, row.reviewed_at, row.opinion = caller.account_id, unit.now, body.opinion
        to = "approved" if body.decision == "approve" else "returned"
        unit.transition(row, to, f"product.{body.decision}", body.opinion, flags=row.flags)
        _tell(unit, row)
        return ProductDetail.model_validate(row)


def take_down(control: Control, caller: Caller, product_id: str, reason: str) -> ProductDetail:
    """The platform takes a product off the shelf whose publication is not lawful (R8)."""
    with control.db.unit(caller) as unit:
        row = repository.locked(unit.session, product_id)
        if row is None:
            raise NotFound("product", "产品", product_id)
        row.reviewed_by, row.reviewed_at, row.opinion = caller.account_id, unit.now, reason
        unit.transition(row, "off_shelf", "product.take_down", reason)
        unit.transition(row, "draft", "product.take_down", "reviewed again before it returns")
        _tell(unit, row)
        return ProductDetail.model_validate(row)


def _tell(unit: Unit, row: Product) -> None:
    body = {"product_id": row.id, "state": row.state, "opinion": row.opinion, "at": unit.now.isoformat()}
    consent_events.tell(unit, [(row.institution, "product", body)])


# ---- reading


def _visible(caller: Actor, row: Product | None) -> bool:
    return row is not None and (row.state == "on_shelf" or caller.institution in (row.institution, SYSTEM.institution))


def get(control: Control, caller: Caller, product_id: str) -> ProductDetail:
    """A product of one's own, or for the platform any. Raises NotFound."""
    with control.db.read(caller) as session:
        row = repository.product(session, product_id)
        if row is None or caller.institution not in (row.institution, SYSTEM.institution):
            raise NotFound("product", "产品", product_id)
        return ProductDetail.model_validate(row)


def own(control: Control, caller: Caller, state: str | None, cursor: str | None, limit: int) -> Page[ProductDetail]:
    """The institution's own products, newest first; for the platform, everybody's."""
    query = sa.select(Product)
    if caller.institution != SYSTEM.institution:
        query = query.where(Product.institution == caller.institution)
    if state is not None:
        query = query.where(Product.state == state)
    with control.db.read(caller) as session:
        return page(session, query, _OWN, cursor, limit, ProductDetail.model_validate)


def offer(control: Control, actor: Actor, product_id: str) -> ProductOut:
    """A product on the shelf, for anybody who has signed in. Raises NotFound."""
    with control.db.read(actor) as session:
        row = repository.product(session, product_id)
        if row is None or not _visible(actor, row):
            raise NotFound("product", "产品", product_id)
        return ProductOut.model_validate(row)


def offers(
    control: Control,
    actor: Actor,
    sort: str,
    cursor: str | None,
    limit: int,
    *,
    amount: Decimal | None,
    **filters: Any,
) -> Page[ProductOut]:
    """Products on the shelf that fit what is given (R21)."""
    query = repository.offered(amount=amount, **filters)
    with control.db.read(actor) as session:
        return page(session, query, order_named(OFFERS, sort), cursor, limit, ProductOut.model_validate)


def codes() -> Codes:
    def listed(table: Mapping[Any, tuple[str, str]]) -> list[Code]:
        return [Code(code=str(code), zh=zh, en=en) for code, (zh, en) in table.items()]

    return Codes(
        classes=listed(CLASSES),
        refused=listed(REFUSED_CLASSES),
        guarantees=listed(GUARANTEES),
        modules=listed(MODULES),
        sizes=listed(SIZES),
    )
