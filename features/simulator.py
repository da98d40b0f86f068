"""A small simulated province: two tables of enterprises that do not exist, to try the system without data.

Owns the embedded example. Every enterprise has a hidden health with two faces: what its bank sees of it
(turnover through the account, use of credit, past delays) and what public records see (tax, wages, energy,
courts). The outcome depends on both, so the joint model is really better than the bank's, and neither side
could say so alone. Never touches real data; what it writes says in its title, its README and its ids that it
is simulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from features import uscc

NAME = "simulated_province"
#: The embedded example. Bank alone reaches an AUC of about .69, both together about .76.
SEED = 3
_FIRST, _OUT_OF_TIME, _LAST = "2021-01-01", "2023-01-01", "2023-09-30"
_INDUSTRIES = (
    "manufacturing",
    "wholesale_retail",
    "construction",
    "transport",
    "catering",
    "agriculture",
    "it_services",
    "business_services",
)
_INDUSTRY_SHARES = (0.27, 0.24, 0.10, 0.09, 0.09, 0.08, 0.06, 0.07)
#: Added to the log-odds of the outcome, by industry.
_INDUSTRY_RISK = (-0.1, 0.05, 0.3, 0.1, 0.45, -0.15, -0.35, -0.2)
_CITIES = ("city_a", "city_b", "city_c", "city_d", "city_e", "city_f")
_CITY_SHARES = (0.34, 0.22, 0.16, 0.12, 0.09, 0.07)


@dataclass(frozen=True)
class Size:
    """How many enterprises each side holds; `common` of them stand in both tables."""

    bank: int = 6000
    lab: int = 8000
    common: int = 5000

    def __post_init__(self) -> None:
        if not 0 < self.common <= min(self.bank, self.lab):
            raise ValueError("common must be between 1 and the smaller of the two tables")


def simulate(seed: int = SEED, size: Size | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The bank's and the lab's table; the same seed gives the same tables."""
    size = size or Size()
    rng = np.random.default_rng(seed)
    total = size.bank + size.lab - size.common
    ids = np.array(uscc.simulate(rng, total))
    days = np.arange(np.datetime64(_FIRST), np.datetime64(_LAST) + np.timedelta64(1, "D"))
    as_of = rng.choice(days, size=total)
    account = rng.normal(size=total)  # the face of health that the bank sees
    public = 0.25 * account + np.sqrt(1 - 0.25**2) * rng.normal(size=total)  # and the one public records see
    scale = rng.normal(size=total)  # size of the firm, logarithmic
    industry = rng.choice(len(_INDUSTRIES), size=total, p=_INDUSTRY_SHARES)
    age = rng.gamma(2.0, 45.0, size=total) + 6  # months since registration
    risk = (
        -3.40
        - 0.90 * account
        - 0.70 * public
        - 0.15 * scale
        - 0.30 * np.log(age / 80)
        + 0.30 * np.maximum(-account, 0) * np.maximum(-public, 0)
        + np.take(_INDUSTRY_RISK, industry)
    )
    bad = rng.random(total) < 1 / (1 + np.exp(-risk))
    bank = _bank_table(rng, ids, as_of, account, scale, bad)
    lab = _lab_table(rng, ids, as_of, public, scale, industry, age)
    at_bank = rng.permutation(size.bank)
    at_lab = size.bank - size.common + rng.permutation(size.lab)
    return bank.iloc[at_bank].reset_index(drop=True), lab.iloc[at_lab].reset_index(drop=True)


def _bank_table(
    rng: np.random.Generator,
    ids: np.ndarray,
    as_of: np.ndarray,
    account: np.ndarray,
    scale: np.ndarray,
    bad: np.ndarray,
) -> pd.DataFrame:
    """The loan book: what the bank knows on the day it decides, and the outcome within twelve months."""
    count = len(ids)

    def seen(share: float) -> Any:
        return share * account + np.sqrt(1 - share**2) * rng.normal(size=count)

    limit = np.round(np.exp(12.9 + 0.8 * scale + 0.3 * rng.normal(size=count)), -3)
    table = pd.DataFrame(
        {
            "uscc": ids,
            "as_of": as_of.astype("datetime64[us]"),
            "loan_amount": np.clip(limit, 20_000, 30_000_000),
            "term_months": rng.choice([6, 12, 24, 36], size=count, p=[0.15, 0.5, 0.2, 0.15]),
            "collateral_type": rng.choice(
                ["credit", "guarantee", "property", "pledge"], size=count, p=[0.45, 0.25, 0.22, 0.08]
            ),
            "relationship_months": np.round(rng.gamma(1.6, 22, size=count) * np.exp(0.1 * account)),
            "turnover_growth_6m": np.round(0.04 + 0.22 * seen(0.55), 4),
            "balance_to_limit": np.round(1 / (1 + np.exp(-(0.2 - 1.0 * seen(0.55)))), 4),
            "dpd_max_12m": np.round(np.maximum(0, 14 * (-seen(0.60) - 0.9))),
            "cheque_returns_12m": rng.poisson(np.exp(-2.0 - 0.65 * seen(0.5))),
            "debt_to_income": np.round(np.exp(-0.8 - 0.35 * seen(0.5)), 4),
        }
    )
    # firms that bank elsewhere as well have no turnover figure here
    table.loc[rng.random(count) < 0.07, "turnover_growth_6m"] = np.nan
    table.loc[rng.random(count) < 0.04, "debt_to_income"] = np.nan
    table["party"] = np.where(rng.random(count) < 0.6, "bank_a", "bank_b")
    table["split"] = np.where(as_of < np.datetime64(_OUT_OF_TIME), "train", "oot")
    table["bad_12m"] = bad.astype(np.int64)
    return table


def _lab_table(
    rng: np.random.Generator,
    ids: np.ndarray,
    as_of: np.ndarray,
    public: np.ndarray,
    scale: np.ndarray,
    industry: np.ndarray,
    age: np.ndarray,
) -> pd.DataFrame:
    """Public credit information of the same day; named as in the catalogue of categories."""
    count = len(ids)

    def seen(share: float) -> Any:
        return share * public + np.sqrt(1 - share**2) * rng.normal(size=count)

    def happens(base: float, slope: float) -> np.ndarray:
        return (rng.random(count) < 1 / (1 + np.exp(-(base - slope * public)))).astype(np.int64)

    grade = seen(0.5)
    table = pd.DataFrame(
        {
            "uscc": ids,
            "as_of": as_of.astype("datetime64[us]"),
            "industry": np.take(_INDUSTRIES, industry),
            "city": rng.choice(_CITIES, size=count, p=_CITY_SHARES),
            "age_months": np.round(age),
            "change_cnt_12m": rng.poisson(np.exp(-0.6 - 0.2 * public)),
            "tax_grade": np.select([grade > 1.1, grade > -0.2, grade > -1.2, grade > -1.9], ["A", "B", "M", "C"], "D"),
            "tax_arrears_months": np.minimum(12, rng.poisson(np.exp(-1.5 - 0.8 * seen(0.75)))),
            "vat_sales_growth_12m": np.round(0.05 + 0.28 * seen(0.6), 4),
            "zero_filing_cnt_12m": np.minimum(12, rng.poisson(np.exp(-1.1 - 0.5 * seen(0.6)))),
            "headcount": np.maximum(1, np.round(np.exp(2.4 + 0.9 * scale + 0.2 * rng.normal(size=count)))),
            "headcount_trend_12m": np.round(0.01 + 0.15 * seen(0.6), 4),
            "si_gap_months_12m": np.minimum(12, rng.poisson(np.exp(-1.4 - 0.6 * seen(0.65)))),
            "utility_delinq_cnt_6m": np.minimum(6, rng.poisson(np.exp(-1.6 - 0.7 * seen(0.65)))),
            "kwh_yoy": np.round(0.03 + 0.25 * seen(0.55), 4),
            "exec_cnt_24m": rng.poisson(np.exp(-2.4 - 0.8 * seen(0.65))),
            "judgment_defaulter_flag": happens(-4.6, 1.1),
            "abnormal_list_flag": happens(-3.9, 0.9),
            "hi_tech_flag": happens(-2.5, -0.3),
        }
    )
    small = table["headcount"].to_numpy() <= 3
    table.loc[small & (rng.random(count) < 0.6), ["headcount_trend_12m", "si_gap_months_12m"]] = np.nan
    table.loc[rng.random(count) < 0.15, "kwh_yoy"] = np.nan  # the meter is the landlord's
    table.loc[rng.random(count) < 0.05, "vat_sales_growth_12m"] = np.nan  # first year of filing
    table.loc[rng.random(count) < 0.06, "tax_grade"] = None  # not yet graded
    return table


_CONTRACT = f'''# A vertical split: two tables joined only by `id`. SIMULATED: no enterprise in it exists.
name = "{NAME}"
title = "Simulated province (no real enterprise)"
id = "uscc"
as_of = "as_of"                    # both tables: the date at which the features were known

[bank]
table = "bank.parquet"
label = "bad_12m"                  # 1 = bad: 90 days past due within twelve months of as_of
split = "split"
train = "train"                    # decided before {_OUT_OF_TIME}
test = "oot"                       # out of time: decided later
party = "party"                    # which bank owns the row
ignore = []
categorical = ["collateral_type"]

[lab]
table = "lab.parquet"
ignore = []
categorical = ["industry", "city", "tax_grade"]
'''

_README = """# Simulated province · 模拟省份

**Simulated. No enterprise, bank, city or event in these tables exists.** Written by `creditlab data simulate`
(seed {seed}); the codes use an administrative division that is not assigned, so none can belong to a real
enterprise. Quality measured on these tables says nothing about any real portfolio.

**模拟数据：表中企业、银行、城市和事件均不存在。** 由 `creditlab data simulate` 生成（种子 {seed}）；
统一社会信用代码使用未分配的行政区划，不会与真实企业重合。其上测得的效果不代表任何真实资产组合。

| table 表 | rows 行 | columns 列 |
|---|---|---|
| bank.parquet | {bank_rows} | {bank_columns} |
| lab.parquet | {lab_rows} | {lab_columns} |

Common enterprises 共同企业: {common}. Bad rate at the bank 银行侧违约率: {bad_rate:.1%}.
"""


def write(folder: Path | str, seed: int = SEED, size: Size | None = None) -> Path:
    """Write bank.parquet, lab.parquet, dataset.toml and a README into `folder` (made if needed)."""
    bank, lab = simulate(seed, size)
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    for name, table in (("bank", bank), ("lab", lab)):
        pyarrow.parquet.write_table(
            pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None),
            out / f"{name}.parquet",
        )
    (out / "dataset.toml").write_text(_CONTRACT, encoding="utf-8")
    (out / "README.md").write_text(
        _README.format(
            seed=seed,
            bank_rows=len(bank),
            lab_rows=len(lab),
            bank_columns=bank.shape[1],
            lab_columns=lab.shape[1],
            common=len(set(bank["uscc"]) & set(lab["uscc"])),
            bad_rate=bank["bad_12m"].mean(),
        ),
        encoding="utf-8",
    )
    return out
