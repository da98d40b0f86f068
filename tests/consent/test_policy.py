"""The policy denies by default and says why (R50, R51)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.policy import MIN_COHORT, SCOPES, Denied, Facts, check

TICKET = {
    "at": "2026-05-01T00:00:00Z",
    "purpose": "joint_training",
    "mode": "zone",
    "recipe": "boosting",
    "valid_from": "2026-05-01T00:00:00Z",
    "valid_until": "2026-05-01T01:00:00Z",
}


@pytest.mark.parametrize("scope", [*SCOPES, "never.heard.of"])
def test_every_scope_denies_when_nothing_is_known(scope: str) -> None:
    with pytest.raises(Denied):
        check(scope, Facts())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"purpose": "marketing"}, "purpose_not_allowed"),
        ({"mode": "plain"}, "mode_unknown"),
        ({"recipe": "deep"}, "recipe_unknown"),
        ({"at": "2026-05-01T01:00:00Z"}, "expired"),
        ({"at": "2026-04-30T00:00:00Z"}, "not_yet_valid"),
        ({"cohort": 0}, "no_consented_rows"),
        ({"cohort": MIN_COHORT - 1}, "cohort_too_small"),
        ({"cohort": None}, "no_consented_rows"),
    ],
)
def test_a_job_start_is_denied_by_name(changes: dict, code: str) -> None:
    """R50: data is used only to support enterprise financing."""
    check("job.start", Facts(**{**TICKET, "cohort": 1000}))
    with pytest.raises(Denied) as denied:
        check("job.start", Facts(**{**TICKET, "cohort": 1000, **changes}))
    assert denied.value.code == code
    assert denied.value.message
    assert denied.value.message_zh


@given(
    author=st.sampled_from("abc"),
    approvals=st.lists(st.sampled_from("abcd"), max_size=4),
    rejections=st.lists(st.sampled_from("abcd"), max_size=1),
)
def test_a_release_needs_two_approvals_not_from_the_author(
    author: str, approvals: list[str], rejections: list[str]
) -> None:
    facts = Facts(author=author, approvals=tuple(approvals), rejections=tuple(rejections))
    allowed = len(set(approvals)) >= 2 and author not in approvals and not rejections
    if allowed:
        check("release", facts)
    else:
        with pytest.raises(Denied):
            check("release", facts)
