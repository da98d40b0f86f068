"""/v1/products for institutions and the platform, /v1/my/products for enterprises."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response

from api.auth import Action, Caller, permits
from api.control import ControlDep
from api.enterprises.persons import as_person
from api.enterprises.sessions import Visitor
from api.enterprises.states import Right
from api.etags import IfMatch, tell
from api.fields import Limit, ReasonIn, Text
from api.financing import Guarantee, Industry, Module, ProductClass, Region
from api.paging import CursorParam, Page
from api.products import service
from api.products.schemas import (
    Codes,
    ProductDetail,
    ProductId,
    ProductIn,
    ProductOut,
    ProductState,
    ReviewIn,
)

router = APIRouter(tags=["products"])

Manager = Annotated[Caller, Depends(permits(Action.PRODUCT_MANAGE))]
Reader = Annotated[Caller, Depends(permits(Action.PRODUCT_READ))]
Reviewer = Annotated[Caller, Depends(permits(Action.PRODUCT_REVIEW))]
Person = Annotated[Visitor, Depends(as_person(Action.MY_READ, Right.VIEW))]

Sum = Annotated[Decimal | None, Query(gt=0, le=10**12, description="yuan")]
Term = Annotated[int | None, Query(ge=1, le=480, description="months")]
RateMost = Annotated[Decimal | None, Query(ge=0, le=36, description="percent a year")]
Sort = Annotated[Literal["rate", "newest"], Query(description="lowest rate first, or newest first")]


@router.post("/v1/products", status_code=201)
def create(control: ControlDep, caller: Manager, body: ProductIn) -> ProductDetail:
    """Describe a product. It is seen once the platform has reviewed it and its institution put it on the shelf."""
    return service.create(control, caller, body)


@router.get("/v1/products")
def own(
    control: ControlDep,
    caller: Reader,
    state: ProductState | None = None,
    cursor: CursorParam = None,
    limit: Limit = 100,
) -> Page[ProductDetail]:
    """The institution's own products, newest first; the platform sees everybody's."""
    return service.own(control, caller, state, cursor, limit)


@router.get("/v1/products/classes")
def classes(caller: Reader) -> Codes:
    """Code lists: classes, what is refused by name, ways to secure a loan, special modules, sizes."""
    return service.codes()


@router.get("/v1/products/{product_id}")
def get(control: ControlDep, caller: Reader, product_id: ProductId, response: Response) -> ProductDetail:
    found = service.get(control, caller, product_id)
    tell(response, found.version)
    return found


@router.put("/v1/products/{product_id}")
def change(
    control: ControlDep,
    caller: Manager,
    product_id: ProductId,
    body: ProductIn,
    response: Response,
    if_match: IfMatch = None,
) -> ProductDetail:
    """Describe it anew, while it is a draft or was returned."""
    changed = service.change(control, caller, product_id, body, if_match)
    tell(response, changed.version)
    return changed


@router.post("/v1/products/{product_id}/submit")
def submit(control: ControlDep, caller: Manager, product_id: ProductId, body: ReasonIn) -> ProductDetail:
    """Hand it in for review."""
    return service.move(control, caller, product_id, "submit", body.reason)


@router.post("/v1/products/{product_id}/review")
def review(control: ControlDep, caller: Reviewer, product_id: ProductId, body: ReviewIn) -> ProductDetail:
    """The platform's review of its legality: approve or return."""
    return service.review(control, caller, product_id, body)


@router.post("/v1/products/{product_id}/list")
def put_on_shelf(control: ControlDep, caller: Manager, product_id: ProductId, body: ReasonIn) -> ProductDetail:
    """Put it on the shelf."""
    return service.move(control, caller, product_id, "list", body.reason)


@router.post("/v1/products/{product_id}/delist")
def take_off_shelf(control: ControlDep, caller: Manager, product_id: ProductId, body: ReasonIn) -> ProductDetail:
    """Take it off the shelf."""
    return service.move(control, caller, product_id, "delist", body.reason)


@router.post("/v1/products/{product_id}/take-down")
def take_down(control: ControlDep, caller: Reviewer, product_id: ProductId, body: ReasonIn) -> ProductDetail:
    """The platform takes it off the shelf; it comes back only through another review."""
    return service.take_down(control, caller, product_id, body.reason)


@router.post("/v1/products/{product_id}/revise")
def revise(control: ControlDep, caller: Manager, product_id: ProductId, body: ReasonIn) -> ProductDetail:
    """Make it a draft again, to be changed and reviewed again."""
    return service.move(control, caller, product_id, "revise", body.reason)


@router.post("/v1/products/{product_id}/retire")
def retire(control: ControlDep, caller: Manager, product_id: ProductId, body: ReasonIn) -> ProductDetail:
    """End it for good."""
    return service.move(control, caller, product_id, "retire", body.reason)


# ---- enterprises


@router.get("/v1/my/products")
def offers(
    control: ControlDep,
    who: Person,
    amount: Sum = None,
    term_months: Term = None,
    rate_max: RateMost = None,
    region: Annotated[Region | None, Query()] = None,
    industry: Annotated[Industry | None, Query()] = None,
    product_class: ProductClass | None = None,
    guarantee: Guarantee | None = None,
    module: Module | None = None,
    institution: Text | None = None,
    sort: Sort = "rate",
    cursor: CursorParam = None,
    limit: Limit = 50,
) -> Page[ProductOut]:
    """Products on the shelf that fit what is given."""
    return service.offers(
        control,
        who,
        sort,
        cursor,
        limit,
        amount=amount,
        term_months=term_months,
        rate_max=rate_max,
        region=region,
        industry=industry,
        product_class=product_class,
        guarantee=guarantee,
        module=module,
        institution=institution,
    )


@router.get("/v1/my/products/{product_id}")
def offer(control: ControlDep, who: Person, product_id: ProductId) -> ProductOut:
    return service.offer(control, who, product_id)
