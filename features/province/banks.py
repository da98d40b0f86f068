"""The simulated banks: overlapping customers, one loan book each, outcomes, and who has consented to what.

Owns what a bank knows of its borrowers. A loan's outcome is drawn from the hidden health of both faces, so a bank alone
cannot tell all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from features.province.enterprises import FIRST, Enterprises

FIRST_LOAN, OUT_OF_TIME, LAST_LOAN = (np.datetime64(day) for day in ("2022-04-01", "2022-10-01", "2022-12-28"))
_TRAIN = "train"
_COLLATERAL = ("credit", "guarantee", "property", "pledge")
TEST = "oot"


@dataclass(frozen=True)
class Book:
    """One bank's customers (positions of enterprises) and its table of loans, one row per customer."""

    bank: str
    who: np.ndarray
    limit: np.ndarray
    loans: pa.Table
    risk: np.ndarray


def books(rng: np.random.Generator, people: Enterprises, banks: int) -> list[Book]:
    """The books of `banks` banks; about two enterprises in three bank somewhere, some of them at several."""
    count = len(people)
    borrows = rng.random(count) < 0.68
    shares = 1 / np.arange(1, banks + 1) ** 0.7
    home = rng.choice(banks, count, p=shares / shares.sum())
    chance = rng.random(count)  # one fate, whichever bank asks
    found = []
    for number in range(banks):
        also = rng.random(count) < 0.25
        days = FIRST_LOAN + rng.integers(0, int((LAST_LOAN - FIRST_LOAN).astype(int)) + 1, count)
        month = (days.astype("datetime64[M]") - FIRST).astype(int)
        who = np.flatnonzero(borrows & ((home == number) | also) & (people.born < month - 1))
        risk = people.risk(month)
        found.append(_book(rng, people, f"bank_{_letter(number)}", who, days, month, risk, chance))
    return found


def consents(rng: np.random.Generator, people: Enterprises, book: Book) -> list[dict[str, Any]]:
    """What each customer said to its bank; behind a sole trader stands a person, who is asked as well (R14)."""
    told = []
    for place in book.who:
        trader = bool(people.trader[place])
        dice = rng.random()
        state = "refused" if dice < 0.06 else "withdrawn" if dice < 0.08 else "granted"
        told.append(
            {
                "simulated": True,
                "uscc": str(people.uscc[place]),
                "recipient": book.bank,
                "purpose": "joint_training",
                "categories": ["public_credit", "bank_loan"],
                "valid_from": "2022-01-01",
                "valid_until": "2025-01-01",
                "state": state,
                "person": f"SIM-LE-{place:07d}" if trader else None,
                "person_consented": (state == "granted" and rng.random() < 0.9) if trader else None,
            }
        )
    return told


def effective(consent: dict[str, Any]) -> bool:
    """Whether a row may be used: granted, and by the person too where one stands behind the enterprise."""
    return consent["state"] == "granted" and consent["person_consented"] is not False


def _book(rng: np.random.Generator, people: Enterprises, bank: str, who: np.ndarray, days: np.ndarray,
          month: np.ndarray, risk: np.ndarray, chance: np.ndarray) -> Book:  # fmt: skip
    count = len(who)
    account = people.account[who, month[who]]
    size = people.size[who]

    def seen(share: float) -> Any:
        return share * account + np.sqrt(1 - share**2) * rng.normal(size=count)

    limit = np.clip(np.round(np.exp(12.9 + 0.8 * size + 0.3 * rng.normal(size=count)), -3), 20_000, 30_000_000)
    bad = chance[who] < 1 / (1 + np.exp(-risk[who]))
    growth = np.round(0.04 + 0.22 * seen(0.55), 4)
    loans = pa.table(
        {
            "uscc": people.uscc[who],
            "as_of": days[who],
            "loan_amount": limit,
            "term_months": rng.choice([6, 12, 24, 36], count, p=[0.15, 0.5, 0.2, 0.15]),
            "collateral_type": rng.choice(
                ["credit", "guarantee", "property", "pledge"], count, p=[0.45, 0.25, 0.22, 0.08]
            ),
            "relationship_months": np.round(rng.gamma(1.6, 22, count) * np.exp(0.1 * account)),
            # a firm that banks elsewhere as well has no turnover figure here
            "turnover_growth_6m": pa.array(growth, mask=rng.random(count) < 0.07),
            "balance_to_limit": np.round(1 / (1 + np.exp(-(0.2 - 1.0 * seen(0.55)))), 4),
            "dpd_max_12m": np.round(np.maximum(0, 14 * (-seen(0.60) - 0.9))),
            "cheque_returns_12m": rng.poisson(np.exp(-2.0 - 0.65 * seen(0.5))),
            "debt_to_income": np.round(np.exp(-0.8 - 0.35 * seen(0.5)), 4),
            "party": np.full(count, bank),
            "split": np.where(days[who] < OUT_OF_TIME, _TRAIN, TEST),
            "bad_12m": bad.astype(np.int64),
        }
    )
    return Book(bank, who, limit, loans, risk[who])


def _letter(number: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[number]
