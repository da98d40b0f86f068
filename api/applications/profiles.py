"""An enterprise's basic information, kept by itself once and used in every application and to match policies (R23).

Owns the table and its shapes. An application carries a copy of what it was when it was submitted.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.db import Audited, Base
from api.fields import Body, Text
from api.financing import MONEY, Attested, Balance, Industry, Region, Size

Certification = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class Profile(Attested, Audited, Base):
    __tablename__ = "enterprise_profiles"
    AUDIT_KIND: ClassVar[str] = "enterprise_profile"
    AUDIT_KEY: ClassVar[tuple[str, ...]] = ("enterprise",)

    enterprise: Mapped[str] = mapped_column(sa.ForeignKey("enterprises.uscc"), primary_key=True)
    name: Mapped[str]
    region: Mapped[str]
    industry: Mapped[str]
    size: Mapped[str]
    established_on: Mapped[date]
    employees: Mapped[int]
    annual_revenue: Mapped[Decimal] = mapped_column(MONEY)
    address: Mapped[str]
    contact_name: Mapped[str]
    contact: Mapped[str]
    certifications: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    version: Mapped[int] = mapped_column()

    __mapper_args__: ClassVar[dict[str, Any]] = {"version_id_col": version}
    __table_args__ = (sa.Index("enterprise_profiles_region", "region"),)


class ProfileIn(Body):
    region: Region
    industry: Industry
    size: Size
    established_on: date
    employees: Annotated[int, Field(ge=0, le=10_000_000)]
    annual_revenue: Balance
    address: Text
    contact_name: Text
    contact: Text
    certifications: Annotated[list[Certification], Field(max_length=30)] = Field(
        default_factory=list, description="for example high_tech, specialized_new, little_giant"
    )


class ProfileOut(ProfileIn):
    model_config = ConfigDict(from_attributes=True, extra="ignore")

    enterprise: str
    name: str
    attested_name: str
    attested_at: datetime
    version: int


class Basic(BaseModel):
    """The copy that goes with an application."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    region: str
    industry: str
    size: Size
    established_on: date
    employees: int
    annual_revenue: Decimal
    address: str
    contact_name: str
    contact: str
    certifications: list[str]


def profile(session: Session, enterprise: str, *, lock: bool = False) -> Profile | None:
    return session.get(Profile, enterprise, with_for_update=lock or None)
