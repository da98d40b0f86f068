"""Lays the simulated province down: deliveries as source units hand them in, loan books, consents, and the truth.

Owns the folder's form and the load of it into a store. Never writes into a store in another way than ingestion does.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from features.catalogue import load
from features.catalogue.model import Catalogue, Category
from features.derive import build
from features.ingest import Intake, read_file
from features.ingest.checking import HEADINGS
from features.ingest.delivery import read_folder
from features.ingest.intake import REGISTRY
from features.province.banks import TEST, books, consents, effective
from features.province.blemish import deliver
from features.province.enterprises import LAST, settle
from features.province.records import Facts, Province
from features.store import EventStore
from features.store.engine import connect

#: The last day of the records; features are as of the day of each loan, or as of this day.
AS_OF: dt.date = ((LAST + 1).astype("datetime64[D]") - np.timedelta64(1, "D")).item()
#: Rows of one delivery; a batch is handled in memory.
_ROWS = 400_000
#: Categories that come as CSV in GB18030 with Chinese headings, and as JSON lines; the others as Parquet.
_CSV, _LINES = ("administrative", "judicial", "operation"), ("qualifications", "environment")
_MOST_BANKS = 26


@dataclass(frozen=True)
class Order:
    """How large a province: so many enterprises, so many banks, and the seed that settles everything else."""

    enterprises: int
    banks: int
    seed: int

    def __post_init__(self) -> None:
        if self.enterprises < 100 or not 1 <= self.banks <= _MOST_BANKS:
            raise ValueError(f"at least 100 enterprises and 1 to {_MOST_BANKS} banks")


def write(out: Path, order: Order) -> dict[str, int]:
    """Writes the province into the new or empty folder `out`; returns counts. Raises FileExistsError."""
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(out)
    catalogue = load()
    people = settle(np.random.default_rng([order.seed, 0]), order.enterprises)
    province = Province(np.random.default_rng([order.seed, 1]), people)
    rng = np.random.default_rng([order.seed, 2])
    rows = 0
    for number, parts in enumerate(_grouped(province.all())):
        category = catalogue.category(parts[0].category)
        rows += _deliveries(
            out / "deliveries", number, category, parts[0].source, deliver(rng, category, people, parts)
        )
    bank_rng = np.random.default_rng([order.seed, 3])
    lending = books(bank_rng, people, order.banks)
    for book in lending:
        folder = out / "banks" / book.bank
        facts = province.credit(book.who, book.bank, book.limit)
        table = deliver(rng, catalogue.category("credit"), people, [facts])
        rows += _deliveries(folder / "deliveries", 0, catalogue.category("credit"), book.bank, table)
        pa.parquet.write_table(book.loans, folder / "loans.parquet")
        told = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in consents(bank_rng, people, book))
        (folder / "consents.jsonl").write_text(told, encoding="utf-8")
    truth = out / "truth"
    truth.mkdir()
    pa.parquet.write_table(
        pa.table(
            {
                "uscc": people.uscc,
                "sector": people.sector,
                "scale": people.scale,
                "district": people.district,
                "enterprise_type": people.kind,
                "sole_trader": people.trader,
                "established": people.established.astype("datetime64[D]"),
                "account_health": people.account.mean(axis=1),
                "public_health": people.public.mean(axis=1),
            }
        ),
        truth / "enterprises.parquet",
    )
    for book in lending:
        risks = pa.table({"uscc": people.uscc[book.who], "log_odds": book.risk})
        pa.parquet.write_table(risks, truth / f"{book.bank}.parquet")
    counts = {
        "enterprises": len(people),
        "rows": rows,
        "banks": order.banks,
        "loans": sum(len(book.loans) for book in lending),
    }
    (out / "README.md").write_text(_README.format(**counts, seed=order.seed, as_of=AS_OF), encoding="utf-8")
    return counts


def load_into(folder: Path, store: Path, tell: Callable[[str], None] = lambda text: None) -> dict[str, int]:
    """Takes every public delivery into the store (made if needed), in order; returns counts. Raises IngestRefused."""
    intake = Intake(EventStore(store, load()))
    counts = {"delivered": 0, "accepted": 0, "held": 0}
    for batch in sorted((folder / "deliveries").iterdir()):
        delivery, file = read_folder(batch)
        entry = intake.ingest(delivery, read_file(file, delivery.encoding))
        counts["delivered"] += entry.counts["delivered"]
        counts["accepted"] += entry.counts["accepted"]
        counts["held"] += entry.counts["refused"]
        tell(f"{batch.name}: {entry.counts['accepted']:,} / {entry.counts['delivered']:,}")
    return counts


def joint(folder: Path, store: Path) -> Path:
    """The folder of two tables for joint modelling, as `creditlab data check` and the demo take it.

    One row per consenting borrower, at its first loan; the lab's table has the features known on that day, and those of
    the other enterprises as of the last day. Columns that are empty or the same everywhere are left out.
    """
    catalogue = load()
    loans, said = [], {}
    for bank in sorted((folder / "banks").iterdir()):
        loans.append(pa.parquet.read_table(bank / "loans.parquet"))
        lines = (bank / "consents.jsonl").read_text(encoding="utf-8").splitlines()
        said |= {(one["recipient"], one["uscc"]): effective(one) for one in map(json.loads, lines)}
    table = pa.concat_tables(loans).sort_by([("uscc", "ascending"), ("as_of", "ascending"), ("party", "ascending")])
    keys = list(zip(table.column("party").to_pylist(), table.column("uscc").to_pylist(), strict=True))
    seen: set[str] = set()
    keep = []
    for place, key in enumerate(keys):
        if said[key] and key[1] not in seen:
            seen.add(key[1])
            keep.append(place)
    bank_table = table.take(pa.array(keep, pa.int64()))
    snapshot = EventStore(store, catalogue).snapshot()
    with connect() as db:
        known = snapshot.table(snapshot.of(REGISTRY))
        everyone = db.sql(f"SELECT DISTINCT uscc FROM {known} ORDER BY uscc").to_arrow_table().column("uscc")  # noqa: S608 - our own files
    others = everyone.filter(pc.invert(pc.is_in(everyone, value_set=bank_table.column("uscc").combine_chunks())))
    spine = pa.concat_tables(
        [
            bank_table.select(["uscc", "as_of"]),
            pa.table({"uscc": others, "as_of": pa.repeat(pa.scalar(AS_OF), len(others))}),
        ]
    )
    lab_table = _useful(build(snapshot, catalogue, spine, _shared(catalogue)))
    out = folder / "joint"
    out.mkdir(exist_ok=True)
    pa.parquet.write_table(bank_table, out / "bank.parquet")
    pa.parquet.write_table(lab_table, out / "lab.parquet")
    texts = [name for name in lab_table.column_names if pa.types.is_string(lab_table.schema.field(name).type)]
    listed = ", ".join(f'"{name}"' for name in texts if name != "uscc")
    (out / "dataset.toml").write_text(_CONTRACT.format(test=TEST, texts=listed), encoding="utf-8")
    (out / "README.md").write_text(_JOINT_README, encoding="utf-8")
    return out


def _shared(catalogue: Catalogue) -> list[str]:
    return [one.name for one in catalogue.features if one.sharing != "lender"]


def _useful(table: pa.Table) -> pa.Table:
    """The table without columns that say the same of everybody."""
    kept = [name for name in table.column_names if len(pc.unique(table.column(name).drop_null())) > 1]
    return table.select(kept)


def _grouped(facts: Sequence[Facts]) -> list[list[Facts]]:
    """By category and source, in the order in which they are to be delivered."""
    groups: dict[tuple[str, str], list[Facts]] = {}
    for one in facts:
        groups.setdefault((one.category, one.source), []).append(one)
    return list(groups.values())


def _deliveries(root: Path, number: int, category: Category, source: str, table: pa.Table) -> int:
    for part, start in enumerate(range(0, len(table), _ROWS)):
        folder = root / f"{number:02d}-{category.id}-{source}-{part:02d}"
        folder.mkdir(parents=True)
        _delivery(folder, category, source, table.slice(start, _ROWS))
    return len(table)


def _delivery(folder: Path, category: Category, source: str, table: pa.Table) -> None:
    encoding = "utf-8"
    if category.id in _CSV:
        file, encoding = "records.csv", "gb18030"
        zh = {**HEADINGS, **{item.name: item.zh for item in category.items}}
        buffer = pa.BufferOutputStream()
        pa.csv.write_csv(table.rename_columns([zh[name] for name in table.column_names]), buffer)
        (folder / file).write_bytes(buffer.getvalue().to_pybytes().decode().encode(encoding))
    elif category.id in _LINES:
        file = "records.jsonl"
        lines = (json.dumps(row, ensure_ascii=False, default=lambda day: day.isoformat()) for row in table.to_pylist())
        (folder / file).write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
    else:
        file = "records.parquet"
        pa.parquet.write_table(table, folder / file)
    (folder / "batch.toml").write_text(
        f'# 模拟数据 SIMULATED: no enterprise in it exists\nfile = "{file}"\nsource = "{source}"\n'
        f'category = "{category.id}"\nobject = "模拟省份 {category.zh} SIMULATED"\nmethod = "file"\n'
        f'submitter = "simulator"\nbackfill = true\nencoding = "{encoding}"\n',
        encoding="utf-8",
    )


_README = """# 模拟省份 · Simulated province

**模拟数据：其中的企业、个人、银行、单位和事件均不存在。** 由 `creditlab simulate`（种子 {seed}）生成；
行政区划代码未分配，不会与真实企业重合。其上测得的效果不代表任何真实资产组合。
**Simulated. No enterprise, person, bank, unit or event in it exists.** Made by `creditlab simulate` (seed {seed}); the
administrative division is not assigned, so no code can be a real one. Quality measured on it says nothing about any
real portfolio.

| 内容 what | 说明 |
|---|---|
| `deliveries/` | 公共信用来源单位的批次，依次归集 batches of the public source units, in the order to load |
| `banks/*/deliveries/` | 信贷类别，留存于该银行 category credit, stays with that bank |
| `banks/*/loans.parquet` | 贷款台账与 12 个月内结果 loan book with the outcome within twelve months |
| `banks/*/consents.jsonl` | 企业（及个人）的同意 what enterprises, and persons behind them, consented to |
| `truth/` | 隐藏的健康度，仅供检验，不得归集 the hidden health, for tests only, never to be loaded |

企业 enterprises {enterprises}; 记录行 rows {rows}; 银行 banks {banks}; 贷款 loans {loans};
记录止于 records end {as_of}.

含有：季节性、缺失来源、重复、错误、迟到、更正、异议、修复与删除。
It has season, missing sources, duplicates, errors, late arrivals, corrections, disputes, repairs and deletions.
"""

_JOINT_README = """# 模拟省份：联合建模的两张表 · Simulated province: two tables for joint modelling

**模拟数据，企业均不存在。Simulated, no enterprise in it exists.**
银行表每行为一家已同意企业的首笔贷款；公共信用表为该日已知信息算出的特征。
A row of the bank's table is the first loan of a consenting borrower; the lab's table has the features known that day.
"""

_CONTRACT = """# SIMULATED: no enterprise in it exists. Two tables joined only by `id`.
name = "simulated_province"
title = "Simulated province (no real enterprise)"
id = "uscc"
as_of = "as_of"

[bank]
table = "bank.parquet"
label = "bad_12m"
split = "split"
train = "train"
test = "{test}"
party = "party"
ignore = []
categorical = ["collateral_type"]

[lab]
table = "lab.parquet"
ignore = []
categorical = [{texts}]
"""
