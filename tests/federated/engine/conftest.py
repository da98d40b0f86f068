"""Where the engine's tests find its package (its pure modules also run on the root's Python) and their data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from .harness import ENGINE, PARTIES

sys.path.insert(0, str(ENGINE))

COLUMNS: dict[str, list[dict[str, str]]] = {
    "bank": [
        {"name": "amount", "kind": "numeric"},
        {"name": "tenure", "kind": "numeric"},
        {"name": "channel", "kind": "categorical"},
    ],
    "lab": [
        {"name": "tax_arrears", "kind": "numeric"},
        {"name": "headcount", "kind": "numeric"},
        {"name": "amount", "kind": "numeric"},
        {"name": "province", "kind": "categorical"},
        {"name": "industry", "kind": "categorical"},
    ],
}


def make_tables(rows: int = 900, overlap: float = 0.8, seed: int = 7) -> dict[str, pd.DataFrame]:
    """Two tables of `rows` enterprises with real structure: missing values that mean something, categories (text and
    number-coded), a column name both sides use."""
    random = np.random.default_rng(seed)
    total = int(rows * (2 - overlap))
    ids = np.array([f'ent-{number:06d}"企,业' for number in random.permutation(total)])
    province = random.choice(["广东", "江西", "山西", "贵州", "O'Neil, Inc"], total, p=[0.4, 0.25, 0.2, 0.14, 0.01])
    industry = random.choice([11, 23, 31, 44, 52, 62, 72], total)
    arrears = np.where(random.random(total) < 0.25, np.nan, random.gamma(1.0, 2.0, total))
    amount, tenure = random.lognormal(10, 1, total), random.integers(0, 40, total).astype(float)
    headcount = random.integers(1, 300, total).astype(float)
    risk = (
        0.8 * np.nan_to_num(arrears, nan=4.0)
        + np.select([province == "山西", province == "贵州"], [1.2, -1.0], 0.0)
        - 0.02 * (industry - 40)
        - 0.05 * tenure
        + 0.5 * (np.log(amount) - 10)
    )
    bad = (random.random(total) < 1 / (1 + np.exp(-(risk - np.quantile(risk, 0.7))))).astype(int)
    bank = pd.DataFrame(
        {
            "id": ids,
            "amount": amount,
            "tenure": tenure,
            "channel": random.choice(["web", "branch", None], total, p=[0.5, 0.4, 0.1]),
            "y": bad,
            "window": random.choice(["train", "oot"], total, p=[0.75, 0.25]),
        }
    )
    lab = pd.DataFrame(
        {
            "id": ids,
            "tax_arrears": arrears,
            "headcount": headcount,
            "amount": random.normal(size=total),
            "province": np.where(random.random(total) < 0.05, None, province),
            "industry": industry,
        }
    )
    return {
        "bank": bank.iloc[:rows].sample(frac=1, random_state=seed).reset_index(drop=True),
        "lab": lab.iloc[total - rows :].sample(frac=1, random_state=seed + 1).reset_index(drop=True),
    }


def write_inputs(tables: dict[str, pd.DataFrame], folder: Path) -> dict[str, Path]:
    out = {}
    for party in PARTIES:
        out[party] = folder / f"in-{party}"
        out[party].mkdir(parents=True)
        tables[party].to_parquet(out[party] / "table.parquet", index=False)
    return out


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    return make_tables()


def raw_rows(tables: dict[str, pd.DataFrame], ids: Any) -> dict[str, list[dict[str, Any]]]:
    """Raw rows of both parties in the order of `ids`, as the scoring runtime gets them."""
    out = {}
    for party in PARTIES:
        frame = tables[party].set_index("id").loc[list(ids)]
        out[party] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return out
