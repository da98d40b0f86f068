"""What people type into the financing pages, read into the shapes that REST takes. Names the fields that are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from api.applications.profiles import ProfileIn, ProfileOut
from api.applications.schemas import ApplicationIn, ApplicationOut
from api.portal.financing_words import plain

Fields = Mapping[str, str]
_LOAN = ("amount", "term_months", "rate_most", "purpose", "repayment", "product_class")
_PROFILE = (
    "region", "size", "established_on", "employees", "annual_revenue", "address", "contact_name", "contact",
)  # fmt: skip


def prose(text: str) -> str:
    """A browser sends line breaks as CR LF."""
    return text.replace("\r\n", "\n").strip()


def _number(text: str) -> str:
    """A number as people group it."""
    return text.replace(",", "").replace("，", "").replace(" ", "")


def read[M: BaseModel](shape: type[M], values: Mapping[str, Any]) -> tuple[M | None, list[str]]:
    """The shape, or the names of the fields that do not fit, in their order."""
    try:
        return shape.model_validate(values), []
    except ValidationError as error:
        return None, list(dict.fromkeys(str(one["loc"][0]) for one in error.errors()))


# ---- an application


def typed_loan(fields: Fields, lists: Mapping[str, list[str]]) -> dict[str, Any]:
    """What was typed, to be shown again."""
    typed: dict[str, Any] = {name: prose(fields.get(name, "")) for name in _LOAN}
    return typed | {"guarantees": lists.get("guarantees", []), "open_to_all": fields.get("open_to_all") == "yes"}


def blank_loan() -> dict[str, Any]:
    return typed_loan({}, {})


def loan_of(row: ApplicationOut) -> dict[str, Any]:
    """A kept application as it would be typed."""
    numbers = {name: plain(value) for name in ("amount", "rate_most") if (value := getattr(row, name)) is not None}
    words = {name: value for name in _LOAN if (value := getattr(row, name)) is not None and name not in numbers}
    typed = {name: str(value) for name, value in {**words, **numbers}.items()}
    lists = {"guarantees": [str(each) for each in row.guarantees]}
    return blank_loan() | typed | lists | {"open_to_all": row.open_to_all}


def application(typed: Mapping[str, Any], product: str | None) -> tuple[ApplicationIn | None, list[str]]:
    """A draft may lack any field; what is given must fit."""
    values: dict[str, Any] = {name: typed[name] or None for name in _LOAN}
    for name in ("amount", "term_months", "rate_most"):
        values[name] = _number(typed[name]) or None
    values |= {"guarantees": typed["guarantees"], "open_to_all": typed["open_to_all"], "product": product}
    if product is not None:
        values |= {"product_class": None, "open_to_all": False}
    return read(ApplicationIn, values)


# ---- the basic information


def typed_profile(fields: Fields, lists: Mapping[str, list[str]]) -> dict[str, Any]:
    typed: dict[str, Any] = {name: prose(fields.get(name, "")) for name in _PROFILE}
    parts = {name: fields.get(name, "").strip() for name in ("section", "branch")}
    return typed | parts | {"certifications": lists.get("certifications", [])}


def blank_profile(uscc: str) -> dict[str, Any]:
    """The region that a USCC names is where it was registered: a first guess."""
    region = uscc[2:8] if uscc[2:8].isdigit() and uscc[2] != "0" else ""
    return typed_profile({"region": region}, {})


def profile_of(row: ProfileOut) -> dict[str, Any]:
    typed = {name: str(getattr(row, name)) for name in _PROFILE}
    typed["annual_revenue"] = plain(row.annual_revenue)
    return {
        **typed,
        "section": row.industry[:1],
        "branch": row.industry[1:],
        "certifications": list(row.certifications),
    }


def profile(typed: Mapping[str, Any]) -> tuple[ProfileIn | None, list[str]]:
    values: dict[str, Any] = {name: typed[name] for name in (*_PROFILE, "certifications")}
    values["annual_revenue"], values["employees"] = _number(typed["annual_revenue"]), _number(typed["employees"])
    values["industry"] = typed["section"] + typed["branch"]
    return read(ProfileIn, values)
