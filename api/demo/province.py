"""The embedded example: a simulated province, and which of its public features the demo's bank asks for.

A job names its columns: no more than the purpose needs (R51). Owns the province's size and that choice.
"""

from __future__ import annotations

ENTERPRISES, BANKS, SEED = 8000, 2, 3

# one to a few of each category that says something of a small firm's health; named as in the catalogue
LAB_COLUMNS = (
    # registration
    "age_months", "registration_industry", "paid_in_ratio", "largest_share", "legal_rep_tenure_months",
    # tax
    "vat_sales_growth_12m", "tax_burden_12m", "tax_grade",
    # social insurance
    "si_base_per_head", "si_paid_ratio_12m", "headcount_trend_12m",
    # electricity and water
    "kwh_yoy", "water_yoy", "usage_cv_12m",
    # courts
    "exec_unpaid_ratio", "lawsuit_amount_24m",
)  # fmt: skip


def command(out: str, store: str) -> tuple[str, ...]:
    """The words of `creditlab` that write the province's deliveries, take them in, and make both tables."""
    return (
        "simulate", "--out", out, "--enterprises", str(ENTERPRISES), "--banks", str(BANKS), "--seed", str(SEED),
        "--load", store,
    )  # fmt: skip
