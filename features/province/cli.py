"""`creditlab simulate`: a province that does not exist, as deliveries, and on request loaded into a store.

Owns what the command prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from features.ingest.refused import IngestRefused
from features.province.write import AS_OF, Order, joint, load_into, write
from features.store import StoreRefused

app = typer.Typer(add_completion=False)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", help="New or empty folder to write. 输出文件夹（新建或空）。")],
    enterprises: Annotated[int, typer.Option(min=100, help="Enterprises. 企业数。")] = 2000,
    banks: Annotated[int, typer.Option(min=1, max=26, help="Banks. 银行数。")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Random seed. 随机种子。")] = 3,
    load: Annotated[Path | None, typer.Option("--load", help="Store to load it into. 归集到该事件库。")] = None,
) -> None:
    """Simulate a province: deliveries of all categories, banks, consents. 模拟省份（企业均不存在）。

    With --load the deliveries are taken in and the two tables for joint modelling are made, in the folder `joint`.
    """
    try:
        counts = write(out, Order(enterprises, banks, seed))
        typer.echo("模拟数据，企业均不存在。SIMULATED: none of these enterprises exists.")
        typer.echo(f"{out}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
        if load is not None:
            taken = load_into(out, load, typer.echo)
            typer.echo(f"{load}: " + ", ".join(f"{name} {count:,}" for name, count in taken.items()))
            typer.echo(f"feature table 特征表: {joint(out, load)} (≤ {AS_OF})")
    except FileExistsError:
        typer.echo(f"simulate_not_empty: {out.name}：文件夹不为空，请另选", err=True)
        typer.echo(f"simulate_not_empty: {out.name}: the folder is not empty; choose another", err=True)
        raise typer.Exit(1) from None
    except (IngestRefused, StoreRefused) as refused:
        typer.echo(f"{refused.code}: {refused.message_zh}", err=True)
        typer.echo(f"{refused.code}: {refused.message}", err=True)
        raise typer.Exit(1) from None
