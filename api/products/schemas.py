"""Shapes of products."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.fields import Body, Prose, Text
from api.financing import Guarantee, Industry, Module, Money, Months, Percent, Rate, Region, Yuan

ProductId = Annotated[str, StringConstraints(pattern=r"^pr-[0-9a-f]{12}$")]
ProductState = Literal["draft", "submitted", "returned", "approved", "on_shelf", "off_shelf", "retired"]


class ProductIn(Body):
    """A product as its institution describes it, with a named person to turn to (R33)."""

    name: Text
    # a text and not the code list: a class that is refused by name must be told why
    product_class: Text = Field(description="see /v1/products/classes")
    summary: Prose
    amount_min: Money
    amount_max: Money
    term_min: Months
    term_max: Months
    rate_min: Rate
    rate_max: Rate
    guarantees: Annotated[list[Guarantee], Field(min_length=1, max_length=len(Guarantee))]
    regions: Annotated[list[Region], Field(max_length=100)] = Field(
        default_factory=list, description="GB/T 2260; empty: everywhere"
    )
    industries: Annotated[list[Industry], Field(max_length=100)] = Field(
        default_factory=list, description="GB/T 4754; empty: all"
    )
    modules: Annotated[list[Module], Field(max_length=len(Module))] = Field(default_factory=list)
    conditions: Prose
    materials: Annotated[list[Text], Field(max_length=50)] = Field(default_factory=list)
    liaison_name: Text
    liaison_contact: Text

    @model_validator(mode="after")
    def _ranges(self) -> ProductIn:
        for name in ("amount", "term", "rate"):
            if getattr(self, f"{name}_min") > getattr(self, f"{name}_max"):
                raise ValueError(f"{name}_min is above {name}_max")
        return self


class ReviewIn(Body):
    """The opinion of whoever reviews it for the platform (R8, R24)."""

    decision: Literal["approve", "return"]
    opinion: Prose
    flags_considered: bool = Field(False, description="must be true to approve what has `flags`")


class ProductOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    institution: str
    name: str
    product_class: str
    summary: str
    amount_min: Yuan
    amount_max: Yuan
    term_min: int
    term_max: int
    rate_min: Percent
    rate_max: Percent
    guarantees: list[Guarantee]
    regions: list[str]
    industries: list[str]
    modules: list[Module]
    conditions: str
    materials: list[str]
    liaison_name: str
    liaison_contact: str
    state: ProductState
    attested_name: str
    attested_at: datetime
    version: int


class ProductDetail(ProductOut):
    """As its institution and whoever reviews it see it."""

    flags: list[str] = Field(description="words that a business product has little reason to use")
    created_at: datetime
    submitted_at: datetime | None
    reviewed_at: datetime | None
    opinion: str | None


class Code(BaseModel):
    code: str
    zh: str
    en: str


class Codes(BaseModel):
    """The code lists of products, and what is refused by name."""

    classes: list[Code]
    refused: list[Code]
    guarantees: list[Code]
    modules: list[Code]
    sizes: list[Code]
