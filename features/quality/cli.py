"""`creditlab features quality`: the board of measures, tickets to sources, their answers and reviews.

Owns what these commands print.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from features.catalogue import load
from features.catalogue.model import UnknownName
from features.ingest.clock import civil_now
from features.ingest.refused import IngestRefused
from features.quality import measures as quality
from features.quality import tickets as feedback
from features.quality.period import period
from features.store import EventStore, StoreRefused

app = typer.Typer(help="Quality of records. 数据质量。", no_args_is_help=True, add_completion=False)

StoreFolder = Annotated[Path, typer.Option("--store", help="Folder of the event store. 事件库文件夹。")]
OfSource = Annotated[str | None, typer.Option("--source", help="Only of this source unit. 仅该来源单位。")]
OfCategory = Annotated[str | None, typer.Option("--category", help="Only this category. 仅该类别。")]
From = Annotated[str | None, typer.Option("--from", help="First month, YYYY-MM; else 12 months back. 起始月份。")]
To = Annotated[str | None, typer.Option("--to", help="Last month, YYYY-MM; else last month. 截止月份。")]
By = Annotated[str, typer.Option("--by", help="Who does this. 经办人。")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output. 输出 JSON。")]


@app.command()
def board(
    store: StoreFolder,
    first: From = None,
    last: To = None,
    source: OfSource = None,
    category: OfCategory = None,
    as_json: AsJson = False,
) -> None:
    """Measures by item, source and month; the table shows what is not good. 按数据项、来源和月份列出质量指标。"""
    with _told():
        found = _measured(_store(store), first, last, source, category)
    if as_json:
        typer.echo(json.dumps([one.to_json() for one in found], ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    shown = [one for one in found if one.band in ("watch", "bad")]
    table = Table(title=f"{len(found)} 项指标 measures, {len(shown)} 项需关注 not good", title_justify="left")
    for name in ("来源 source", "类别 category", "数据项 item", "指标 measure", "月份 month", "值 value",
                 "记录 records", "判定 band"):  # fmt: skip
        table.add_column(name, overflow="fold")
    for one in shown:
        told = " ".join(quality.NAMES[one.name])
        table.add_row(one.source, one.category, one.item or "–", told, one.month, f"{one.value:.3f}",
                      f"{one.records:,}", one.band)  # fmt: skip
    console.print(table)


@app.command("period")
def period_report(
    store: StoreFolder,
    first: From = None,
    last: To = None,
    source: OfSource = None,
    as_json: AsJson = False,
) -> None:
    """Report of a period by source: deliveries, quality, tickets, use. 按来源的期间报告：交付、质量、反馈、用途。"""
    with _told():
        found = period(_store(store), *_months(first, last), source=source)
    if as_json:
        typer.echo(json.dumps([one.to_json() for one in found], ensure_ascii=False))
        return
    table = Table(title=f"期间报告 period: {len(found)}", title_justify="left")
    for name in ("来源 source", "类别 category", "批次 batches", "行 rows", "合格 accepted", "迟报 late", "隔离 held",
                 "不合格 bad", "未结 open", "特征 features"):  # fmt: skip
        table.add_column(name, overflow="fold")
    for one in found:
        waiting = sum(count for state, count in one.tickets.items() if state != "corrected")
        counts = (one.batches, one.delivered, one.accepted, one.late, one.held, one.bands.get("bad", 0), waiting,
                  len(one.features))  # fmt: skip
        table.add_row(one.source, one.category, *(f"{count:,}" for count in counts))
    Console(highlight=False, soft_wrap=True).print(table)


@app.command()
def feed(
    store: StoreFolder,
    by: By,
    first: From = None,
    last: To = None,
    source: OfSource = None,
    category: OfCategory = None,
    as_json: AsJson = False,
) -> None:
    """Open a ticket to the source for every bad measure. 对不合格指标向来源单位开出反馈单。"""
    with _told():
        opened = _store(store)
        made = feedback.open_tickets(opened, _measured(opened, first, last, source, category), by)
    _print(made, as_json)


@app.command("tickets")
def list_tickets(store: StoreFolder, source: OfSource = None, as_json: AsJson = False) -> None:
    """List the tickets. 列出反馈单。"""
    with _told():
        found = feedback.ticket_list(_store(store), source=source)
    _print(found, as_json)


@app.command()
def answer(ticket: str, text: str, store: StoreFolder, by: By) -> None:
    """Record what the source answers. 登记来源单位的答复。"""
    with _told():
        done = feedback.answer(_store(store), ticket, text, by)
    _print([done], False)


@app.command()
def review(store: StoreFolder, by: By, as_json: AsJson = False) -> None:
    """Measure again what open tickets are about. 对未结反馈单重新测量。"""
    with _told():
        done = feedback.review(_store(store), by)
    _print(done, as_json)


def _measured(
    store: EventStore, first: str | None, last: str | None, source: str | None, category: str | None
) -> list[quality.Measure]:
    return quality.measure(store, *_months(first, last), source=source, category=category)


def _months(first: str | None, last: str | None) -> tuple[str, str]:
    today = civil_now().date()
    first, last = first or quality.month_before(today, 12), last or quality.month_before(today, 1)
    for month in (first, last):
        if not quality.MONTH.fullmatch(month):
            raise feedback.TicketRefused(
                "quality_month", f"`{month}`: a month is written YYYY-MM", f"`{month}`：月份应写作 YYYY-MM"
            )
    return first, last


def _store(folder: Path) -> EventStore:
    if not (folder / "manifest").is_dir():
        raise StoreRefused(
            "store_missing",
            f"{folder.name}: no event store; give the folder that holds `manifest`",
            f"{folder.name}：不是事件库，请指定含 `manifest` 的文件夹",
        )
    return EventStore(folder, load())


def _print(found: list[feedback.Ticket], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False))
        return
    table = Table(title=f"反馈单 tickets: {len(found)}", title_justify="left")
    for name in ("编号 id", "状态 state", "来源 source", "数据项 item", "指标 measure", "月份 month", "首次 first",
                 "最近 latest", "更正 corrections"):  # fmt: skip
        table.add_column(name, overflow="fold")
    for one in found:
        told = " ".join(quality.NAMES[one.name])
        table.add_row(one.id, one.state, one.source, f"{one.category}.{one.item}", told, one.month, f"{one.value:.3f}",
                      f"{one.latest:.3f}", str(one.corrections))  # fmt: skip
    Console(highlight=False, soft_wrap=True).print(table)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (IngestRefused, StoreRefused, UnknownName, feedback.TicketRefused) as refused:
        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        console.print(f"{refused.code}: {refused.message_zh}")
        console.print(f"{refused.code}: {refused.message}")
        raise typer.Exit(1) from None
