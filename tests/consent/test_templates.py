"""A request beyond its purpose's template is refused with field, bound and value (R51, PIPL §6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consent import artefact, templates
from consent.purposes import Mode, Purpose
from consent.templates import PUBLISHED, ExceedsTemplate
from tests.consent.conftest import Maker


def body(**changes: Any) -> dict[str, Any]:
    return artefact.consent(**Maker.fields("91350100M000100Y43", **changes))


@pytest.mark.parametrize("purpose", Purpose)
def test_what_a_template_proposes_is_within_it_and_is_the_least_kind_of_use(purpose: str) -> None:
    proposed = body(purpose=purpose, valid_until="2026-06-01T00:00:00Z")
    templates.check(proposed)
    assert len(proposed["modes"]) == 1
    assert "key_persons" not in proposed["data"]
    assert Mode.RAW_DETAIL not in proposed["modes"]


@pytest.mark.parametrize(
    ("changes", "field", "bound"),
    [
        ({"window_months": 61}, "window_months", 60),
        ({"life_days": 31}, "life_days", 30),
        ({"valid_until": "2027-01-03T00:00:00Z"}, "valid_until", "366 days"),
        ({"onward": ["insurer"]}, "onward", "nobody"),
        ({"purpose": "report_query", "limits": {"total": 25, "count": 1, "period_days": 30}}, "limits.total", 24),
        ({"purpose": "report_query", "limits": {"total": None, "count": 1, "period_days": 30}}, "limits.total", 24),
        (
            {"purpose": "underwriting_score", "limits": {"total": None, "count": 100, "period_days": 29}},
            "limits.count",
            "100 in 30 days",
        ),
        (
            {"purpose": "underwriting_score", "limits": {"total": 1, "count": None, "period_days": None}},
            "limits.count",
            "100 in 30 days",
        ),
    ],
)
def test_terms_beyond_a_bound_are_refused_naming_field_bound_and_value(
    changes: dict[str, Any], field: str, bound: object
) -> None:
    changes.setdefault("valid_until", "2026-06-01T00:00:00Z")
    with pytest.raises(ExceedsTemplate) as refused:
        templates.check(body(**changes))
    assert (refused.value.field, refused.value.bound) == (field, bound)
    assert str(bound) in refused.value.message and str(refused.value.found) in refused.value.message_zh


def test_an_operator_may_publish_tighter_templates() -> None:
    tight = {
        Purpose.JOINT_TRAINING: replace(
            PUBLISHED[Purpose.JOINT_TRAINING], data={"tax": ["tax_grade"]}, default_onward=("fund",), onward=("fund",)
        )
    }
    terms = templates.terms(Purpose.JOINT_TRAINING, tight)
    assert terms["onward"] == ["fund"]
    templates.check(body(**terms), tight)
    with pytest.raises(ExceedsTemplate) as refused:
        templates.check(body(**{**terms, "data": {"tax": "*"}}), tight)
    assert refused.value.found == "tax/*"
    with pytest.raises(ExceedsTemplate) as refused:
        templates.check(body(purpose="report_query"), tight)
    assert refused.value.field == "purpose"
    with pytest.raises(ExceedsTemplate) as refused:
        templates.check(
            body(purpose="report_query", modes=["raw_detail"], valid_until="2026-06-01T00:00:00Z"),
            {Purpose.REPORT_QUERY: replace(PUBLISHED[Purpose.REPORT_QUERY], modes=(Mode.REPORT_QUERY,))},
        )
    assert refused.value.field == "modes"
