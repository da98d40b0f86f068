"""`creditlab features`: build and refresh the serving view, explain a value, print and compare the catalogue.

Owns what these commands print. Never computes a feature itself.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from features.catalogue import CatalogueRefused, diff, load
from features.catalogue.dictionary import render
from features.catalogue.model import UnknownName
from features.derive.build import build as build_table
from features.derive.expression import ExpressionRefused
from features.derive.lineage import Lineage, explain
from features.derive.serving import ServingView, ViewRefused
from features.ingest import cli as ingest
from features.quality import cli as quality
from features.receive.refused import SettingsRefused
from features.store import EventStore, StoreRefused

if TYPE_CHECKING:
    from daft import DataFrame

app = typer.Typer(
    help="Public-credit features: build, refresh, explain. 公共信用特征：构建、更新、溯源。",
    no_args_is_help=True,
    add_completion=False,
)
app.add_typer(ingest.app, name="ingest")
app.add_typer(quality.app, name="quality")

StoreFolder = Annotated[Path, typer.Option("--store", help="Folder of the event store. 事件库文件夹。")]
ViewFolder = Annotated[Path, typer.Option("--view", help="Folder of the serving view. 服务视图文件夹。")]
AsOf = Annotated[dt.datetime, typer.Option("--as-of", formats=["%Y-%m-%d"], help="Date, YYYY-MM-DD. 时点。")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output. 输出 JSON。")]


@app.command("explain")
def explain_value(uscc: str, feature: str, store: StoreFolder, as_of: AsOf, as_json: AsJson = False) -> None:
    """List the records behind a value, with source, batch and dates. 列出某个特征值依据的记录。"""
    with _told():
        opened = _store(store)
        found = explain(opened.snapshot(), opened.catalogue, uscc, feature, as_of.date())
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "uscc": found.uscc,
                    "feature": found.feature.name,
                    "as_of": found.as_of.isoformat(),
                    "value": found.value,
                    "catalogue": found.catalogue,
                    "records": list(found.records),
                },
                ensure_ascii=False,
                default=str,
            )
        )
    else:
        _print_lineage(found)


@app.command()
def build(store: StoreFolder, view: ViewFolder, as_of: AsOf) -> None:
    """Build the serving view of every enterprise as of a date. 构建全部企业在某一时点的服务视图。"""
    with _told():
        ServingView(view, _store(store)).rebuild(as_of.date())
    typer.echo(f"built 已构建: {view} ({as_of:%Y-%m-%d})")


@app.command()
def refresh(store: StoreFolder, view: ViewFolder, as_of: AsOf) -> None:
    """Bring the serving view forward to a date. 将服务视图更新到某一时点。"""
    with _told():
        counts = ServingView(view, _store(store)).refresh(as_of.date())
    for category, count in counts.items():
        if count:
            typer.echo(f"{category}: {count}")
    typer.echo(f"refreshed 已更新: {view} ({as_of:%Y-%m-%d})")


@app.command("table")
def table_of(
    spine: Annotated[Path, typer.Argument(help="Parquet file with uscc and as_of. 企业与时点表。")],
    store: StoreFolder,
    out: Annotated[Path, typer.Option("--out", help="New folder for Parquet files. 输出文件夹。")],
    ray: Annotated[
        str | None,
        typer.Option("--ray", help="Address of a Ray cluster; needs the extra `scale`. Ray 集群地址。"),
    ] = None,
) -> None:
    """Compute the features of enterprises, each at its date. 计算各企业在各自时点的特征。"""
    with _told():
        if out.exists():
            raise StoreRefused(
                "out_exists", f"{out.name}: exists already; name a new folder", f"{out.name}：已存在，请另设文件夹"
            )
        opened = _store(store)
        pairs = _spine(spine)
        if ray is None:
            found = build_table(opened.snapshot(), opened.catalogue, pairs)
            out.mkdir()
            pq.write_table(found, out / "features.parquet")
        else:
            _apart(opened, pairs, ray).write_parquet(str(out))
    typer.echo(f"built 已构建: {out}")


def _spine(path: Path) -> pa.Table:
    try:
        return (
            pq.read_table(path)
            .select(["uscc", "as_of"])
            .cast(pa.schema([("uscc", pa.string()), ("as_of", pa.date32())]))
        )
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise StoreRefused(
            "spine_unreadable",
            f"{path.name}: not a Parquet file with `uscc` (text) and `as_of` (date): {error}; correct it",
            f"{path.name}：应为含 `uscc`（文本）与 `as_of`（日期）的 Parquet 文件，请改正",
        ) from None


def _apart(store: EventStore, pairs: pa.Table, address: str) -> DataFrame:
    try:
        import daft

        from features.derive.scale import build_apart
    except ImportError:
        raise StoreRefused(
            "scale_missing",
            "Daft and Ray are not installed; install the extra `scale` on every machine",
            "未安装 Daft 与 Ray，请在每台机器安装 `scale` 附加组件",
        ) from None
    daft.set_runner_ray(address=address)
    return build_apart(store.snapshot(), store.catalogue, pairs)


@app.command()
def upkeep(store: StoreFolder) -> None:
    """Merge the store's small files and renew the copy by enterprise. 合并小文件，更新按企业排列的副本。"""
    with _told():
        opened = _store(store)
        for category in opened.catalogue:
            opened.compact(category.id)
            opened.cluster(category.id)
    typer.echo(f"done 已完成: {store}")


@app.command()
def expire(store: StoreFolder, as_of: AsOf) -> None:
    """Delete records whose time of retention is over; run it when nobody reads. 删除保存期满的记录（停读时执行）。"""
    with _told():
        opened = _store(store)
        for category in opened.catalogue:
            count = opened.expire(category.id, as_of.date())
            if count:
                typer.echo(f"{category.id}: {count}")
    typer.echo(f"done 已完成: {store} ({as_of:%Y-%m-%d})")


@app.command()
def receive(
    config: Annotated[Path, typer.Option("--config", help="receive.toml; see docs/ingestion.md. 服务设置文件。")],
) -> None:
    """Serve the HTTP interface for source units, until SIGTERM. 启动来源单位推送接口。"""
    from features.receive import server, settings  # the web is loaded by this command only

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with _told():
        catalogue = load()
        server.serve(settings.load(config, catalogue), catalogue)


@app.command()
def dictionary() -> None:
    """Print the data dictionary as Markdown. 输出数据字典（Markdown）。"""
    typer.echo(render(load()))


@app.command("diff")
def compare(
    old: Annotated[Path, typer.Argument(help="Folder of the older catalogue. 旧目录文件夹。")],
    new: Annotated[
        Path | None, typer.Argument(help="Folder of the newer one; else the present. 新目录文件夹。")
    ] = None,
) -> None:
    """Say what changed between two catalogues and which features it touches. 比较两版目录，列出受影响的特征。"""
    with _told():
        changes = diff(load(old), load(new))
    for sign, names in (("+", changes.added), ("-", changes.removed)):
        for name in names:
            typer.echo(f"{sign} {name}")
    for name, keys in changes.changed.items():
        typer.echo(f"~ {name}: {', '.join(keys)}")
    typer.echo(f"features touched 受影响的特征: {', '.join(changes.touched) or '–'}")


def _store(folder: Path) -> EventStore:
    if not (folder / "manifest").is_dir():
        raise StoreRefused(
            "store_missing",
            f"{folder.name}: no event store; give the folder that holds `manifest`",
            f"{folder.name}：不是事件库，请指定含 `manifest` 的文件夹",
        )
    return EventStore(folder, load())


@contextmanager
def _told() -> Iterator[None]:
    """A refusal is printed in both languages and ends the command with exit code 1."""
    try:
        yield
    except (
        CatalogueRefused,
        ExpressionRefused,
        SettingsRefused,
        StoreRefused,
        UnknownName,
        ViewRefused,
    ) as refused:
        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        console.print(f"{refused.code}: {refused.message_zh}")
        console.print(f"{refused.code}: {refused.message}")
        raise typer.Exit(1) from None


def _print_lineage(found: Lineage) -> None:
    feature = found.feature
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{feature.zh} {feature.en} (`{feature.name}`) · {found.uscc} · {found.as_of}", markup=False)
    console.print(f"值 value: {'缺失 missing' if found.value is None else found.value}")
    console.print(f"{feature.why_zh} {feature.why_en}", markup=False)
    console.print(f"定义 definition: {feature.sql}", markup=False)
    table = Table(title=f"依据的记录 records: {len(found.records)}", title_justify="left")
    named = ("记录 record", "来源 source", "批次 batch", "发生 happened", "知悉 known")
    for name in (*named, *feature.reads):
        table.add_column(name, overflow="fold")
    for record in found.records:
        table.add_row(*("" if value is None else str(value) for value in record.values()))
    console.print(table)
