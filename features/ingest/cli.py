"""`creditlab features ingest`: take batches in, correct and confirm held rows, cross-check, reconcile.

Owns what these commands print. Never decides anything about a record itself.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from features.catalogue import CatalogueRefused, load
from features.catalogue.model import UnknownName
from features.ingest import crosscheck, quarantine, reconcile
from features.ingest.delivery import Delivery, read_folder
from features.ingest.intake import Intake
from features.ingest.log import Entry, Log
from features.ingest.reading import read_file, read_query
from features.ingest.refused import IngestRefused
from features.store import EventStore, StoreRefused

app = typer.Typer(help="Ingestion of public records. 公共信用记录归集。", no_args_is_help=True, add_completion=False)

StoreFolder = Annotated[Path, typer.Option("--store", help="Folder of the event store. 事件库文件夹。")]
Source = Annotated[str, typer.Option("--source", help="Source unit, e.g. tax_bureau. 来源单位。")]
OfSource = Annotated[str | None, typer.Option("--source", help="Only of this source unit. 仅该来源单位。")]
InCategory = Annotated[str, typer.Option("--category", help="Category of the catalogue. 目录类别。")]
OfCategory = Annotated[str | None, typer.Option("--category", help="Only this category. 仅该类别。")]
Object = Annotated[str, typer.Option("--object", help="What was collected, in words. 归集对象。")]
Method = Annotated[str, typer.Option("--method", help="file | database | push | form | entry. 归集方式。")]
Submitter = Annotated[str, typer.Option("--submitter", help="Who delivers it. 提交人。")]
By = Annotated[str, typer.Option("--by", help="Who does this. 经办人。")]
Collected = Annotated[
    dt.datetime | None,
    typer.Option("--collected-at", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="When drawn. 归集时间。"),
]
Backfill = Annotated[bool, typer.Option("--backfill", help="History with its own known_at. 历史补录。")]
Lender = Annotated[bool, typer.Option("--lender", help="This is a lender's own store. 贷款机构自有事件库。")]
New = Annotated[bool, typer.Option("--new", help="Make the store. 新建事件库。")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output. 输出 JSON。")]


@app.command("load")
def load_batch(
    path: Annotated[Path, typer.Argument(help="Data file, or folder with batch.toml. 数据文件或批次文件夹。")],
    store: StoreFolder,
    source: Source = "",
    category: InCategory = "",
    object_: Object = "",
    method: Method = "file",
    submitter: Submitter = "",
    collected_at: Collected = None,
    backfill: Backfill = False,
    encoding: Annotated[str, typer.Option(help="utf-8 | gb18030. 编码。")] = "utf-8",
    lender: Lender = False,
    new: New = False,
    as_json: AsJson = False,
) -> None:
    """Take in one batch: a CSV, JSON lines or Parquet file. 归集一个批次。

    Good rows are kept, bad ones held with their reasons; exit code 2 when some were held.
    """
    with _told():
        if path.is_dir():
            delivery, file = read_folder(path)
            delivery = Delivery(**{**delivery.__dict__, "lender": lender})
        else:
            file = path
            delivery = Delivery(
                source, category, object_, method, submitter, collected_at, backfill, encoding=encoding, lender=lender
            )
        intake = Intake(_store(store, new=new))
        entry = intake.ingest(delivery, read_file(file, delivery.encoding))
    _print_batches(store, [entry], as_json)


@app.command("query")
def load_query(
    sql: Annotated[Path, typer.Argument(help="File with one SQL query. 查询语句文件。")],
    store: StoreFolder,
    database_env: Annotated[
        str, typer.Option(help="Environment variable with the SQLAlchemy address. 存放数据库地址的环境变量。")
    ],
    source: Source,
    category: InCategory,
    object_: Object,
    submitter: Submitter,
    backfill: Backfill = False,
    lender: Lender = False,
    new: New = False,
    as_json: AsJson = False,
) -> None:
    """Take in the rows of a query on a database. 从数据库查询归集。

    The address is named by a variable, so that no password stands on the command line.
    """
    with _told():
        url = os.environ.get(database_env)
        if not url:
            raise IngestRefused(
                "ingest_database_address",
                f"the environment variable {database_env} is empty; put the database's address there",
                f"环境变量 {database_env} 为空，请填入数据库地址",
            )
        delivery = Delivery(source, category, object_, "database", submitter, backfill=backfill, lender=lender)
        entry = Intake(_store(store, new=new)).ingest(delivery, read_query(url, sql.read_text(encoding="utf-8")))
    _print_batches(store, [entry], as_json)


@app.command("quarantine")
def export_held(
    store: StoreFolder,
    category: InCategory,
    out: Annotated[Path, typer.Option("--out", help="CSV file to write. 输出文件。")],
    source: OfSource = None,
) -> None:
    """Write the held rows of a category as a table to correct. 导出某类别的隔离记录以便更正。"""
    with _told():
        opened = _store(store)
        rows = Intake(opened).held(source=source, category=opened.catalogue.category(category).id)
        out.write_text(quarantine.to_csv(opened.catalogue.category(category), rows), encoding="utf-8", newline="")
    typer.echo(f"{len(rows)} rows 行 → {out}")


@app.command()
def correct(
    table: Annotated[Path, typer.Argument(help="Corrected table. 更正后的表。")],
    store: StoreFolder,
    by: By,
    as_json: AsJson = False,
) -> None:
    """Take in corrected rows and link them to the held ones. 提交更正后的隔离记录。"""
    with _told():
        entries = Intake(_store(store)).correct(table, by)
    _print_batches(store, entries, as_json)


@app.command()
def matches(
    store: StoreFolder,
    confirm: Annotated[str | None, typer.Option(help="Match to confirm. 确认。")] = None,
    reject: Annotated[str | None, typer.Option(help="Match to reject. 否决。")] = None,
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """List, confirm or reject enterprises found by name only. 列出、确认或否决仅凭名称的匹配。"""
    with _told():
        intake = Intake(_store(store))
        if confirm and reject:
            raise IngestRefused("ingest_two_decisions", "either confirm or reject", "确认与否决只能选其一")
        if confirm:
            _print_batches(store, intake.confirm(confirm, by), as_json)
        elif reject:
            intake.reject(reject, by)
            typer.echo(f"rejected 已否决: {reject}")
        else:
            _print_rows(
                "待确认的匹配 matches",
                {"id": "编号", "source": "来源", "name": "名称", "uscc": "候选企业", "rows": "行数", "state": "状态"},
                [asdict(one) for one in intake.matches()],
                as_json,
            )


@app.command()
def log(store: StoreFolder, as_json: AsJson = False) -> None:
    """List every act of ingestion: the collection records and what followed. 列出归集记录。"""
    with _told():
        entries = Log(_store(store).root).entries()
    headings = {"seq": "序号", "kind": "种类", "batch": "批次", "received_at": "时间", "object": "对象"}
    headings |= {"method": "方式", "submitter": "提交人", "sha256": "SHA-256"}
    _print_rows("归集记录 log", headings, [asdict(entry) for entry in entries], as_json)


@app.command()
def verify(store: StoreFolder) -> None:
    """Check that log, held rows and events are as they were written. 校验归集记录、隔离记录与事件。"""
    with _told():
        opened = _store(store)
        Log(opened.root).verify()
        opened.verify()
    typer.echo(f"as written 与写入时一致: {store}")


@app.command("crosscheck")
def cross_check(store: StoreFolder, by: By, as_json: AsJson = False) -> None:
    """Compare the same facts of several sources; record new differences. 多源比对，登记差异。"""
    with _told():
        entry, found = crosscheck.check(_store(store), submitter=by)
    headings = {"rule": "规则", "uscc": "企业", "fact": "事实", "item": "数据项"}
    headings |= {"left_source": "来源一", "left_value": "值一", "right_source": "来源二", "right_value": "值二"}
    _print_rows(f"新差异 new differences: {len(found)} · {entry.batch}", headings, found.to_pylist(), as_json)


@app.command("reconcile")
def reconcile_statement(
    statement: Annotated[Path, typer.Argument(help="Statement or monthly form. 对账单或月报表。")],
    store: StoreFolder,
    source: Source,
    category: InCategory,
    submitter: Submitter,
    as_json: AsJson = False,
) -> None:
    """Compare a source's own counts and sums with the store. 与来源单位对账。Exit code 2 when they differ."""
    with _told():
        delivery = Delivery(source, category, "对账单 statement", "form", submitter)
        _, lines = reconcile.reconcile(_store(store), delivery, read_file(statement))
    headings = {"month": "月份", "group": "分组", "stated": "应有", "stored": "已入库", "missed": "漏报"}
    headings |= {"late": "迟报", "concealed": "瞒报", "sums": "合计（应有，已入库）", "agrees": "一致"}
    _print_rows("对账 reconciliation", headings, [line.to_json() for line in lines], as_json)
    if not all(line.agrees for line in lines):
        raise typer.Exit(2)


@app.command()
def rates(store: StoreFolder, source: OfSource = None, category: OfCategory = None, as_json: AsJson = False) -> None:
    """Missed, late and concealed rates by source and month. 各来源各月的漏报率、迟报率、瞒报率。"""
    with _told():
        found = reconcile.rates(_store(store), source=source, category=category)
    rows = [
        {**asdict(one), **{f"{name}_rate": one.rate(name) for name in ("missed", "late", "concealed")}} for one in found
    ]
    headings = {"source": "来源", "category": "类别", "month": "月份", "total": "总数"}
    headings |= {"missed_rate": "漏报率", "late_rate": "迟报率", "concealed_rate": "瞒报率"}
    _print_rows("漏报、迟报、瞒报 rates", headings, rows, as_json)


def _store(folder: Path, *, new: bool = False) -> EventStore:
    if not new and not (folder / "manifest").is_dir():
        raise StoreRefused(
            "store_missing",
            f"{folder.name}: no event store; give the folder that holds `manifest`, or make one with `load --new`",
            f"{folder.name}：不是事件库，请指定含 `manifest` 的文件夹，或用 `load --new` 新建",
        )
    return EventStore(folder, load())


def _print_batches(store: Path, entries: Sequence[Entry], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries], ensure_ascii=False))
    else:
        for entry in entries:
            counts = entry.counts
            typer.echo(
                f"{entry.batch}: delivered 收到 {counts['delivered']}, accepted 合格 {counts['accepted']} "
                f"(new 新增 {counts['written']}, again 重复 {counts['redelivered']}), "
                f"refused 不合格 {counts['refused']}"
            )
            for code, count in counts["faults"].items():
                typer.echo(f"  {code}: {count}")
            for one in entry.files:
                if one.role == "report":
                    typer.echo(f"  report 错误报告: {store / one.path}")
    if any(entry.counts["refused"] for entry in entries):
        raise typer.Exit(2)


def _print_rows(title: str, headings: dict[str, str], rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, default=str))
        return
    table = Table(title=title, title_justify="left")
    for name, zh in headings.items():
        table.add_column(f"{zh} {name}", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in headings))
    Console(highlight=False, soft_wrap=True, markup=False).print(table)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case float():
            return f"{value:.2%}"
        case bool():
            return "是 yes" if value else "否 no"
        case dict():
            return ", ".join(f"{name}={_cell(one)}" for name, one in value.items())
        case list() | tuple():
            return "/".join(_cell(one) for one in value)
    return str(value)


@contextmanager
def _told() -> Iterator[None]:
    """A refusal is printed in both languages and ends the command with exit code 1."""
    try:
        yield
    except (CatalogueRefused, IngestRefused, StoreRefused, UnknownName) as refused:
        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        console.print(f"{refused.code}: {refused.message_zh}")
        console.print(f"{refused.code}: {refused.message}")
        raise typer.Exit(1) from None
