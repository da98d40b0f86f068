"""`creditlab data`: check a data folder, write the simulated example, list the enterprises of a folder.

Owns what these commands print. Never changes a table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.table import Table

from features import simulator
from features.contract import read_contract
from features.faults import DataRefused, Fault, listing
from features.parts import write_part
from features.reading import Reading, read_table
from features.twin import TwinRefused, write_twin
from features.validation import compare, examine

app = typer.Typer(
    help="Data folders: check, simulate, list enterprises. 数据文件夹：检查、模拟、列出企业。",
    no_args_is_help=True,
    add_completion=False,
)

Folder = Annotated[Path, typer.Argument(help="Folder with dataset.toml and two tables. 数据文件夹。")]
Party = Annotated[str | None, typer.Option("--party", help="Only the rows of this bank. 仅检查该银行的行。")]


@app.command()
def check(
    folder: Folder,
    party: Party = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output. 输出 JSON。")] = False,
) -> None:
    """Check both tables of a folder before anything runs. 运行前检查文件夹中的两张表。

    Prints a summary, or every error with file, row, column and remedy (exit code 1).
    """
    bank, lab, faults = _examine(folder, party)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "folder": folder.name,
                    "ok": not faults,
                    "errors": [fault.to_json() for fault in faults],
                    "summary": _summary(bank, lab) if bank and lab and not faults else None,
                },
                ensure_ascii=False,
            )
        )
    elif faults or bank is None or lab is None:
        _refuse(faults)
    else:
        _print_summary(_summary(bank, lab))
    if faults:
        raise typer.Exit(1)


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write. 输出文件夹。")],
    seed: Annotated[int, typer.Option(help="Random seed. 随机种子。")] = simulator.SEED,
    bank: Annotated[int, typer.Option(min=500, help="Enterprises at the bank. 银行侧企业数。")] = 6000,
    lab: Annotated[int, typer.Option(min=500, help="Enterprises at the lab. 公共信用侧企业数。")] = 8000,
) -> None:
    """Write the simulated province: enterprises that do not exist. 生成模拟省份（企业均不存在）。"""
    common = round(min(bank, lab) * 5 / 6)
    simulator.write(out, seed, simulator.Size(bank, lab, common))
    typer.echo(f"simulated 已生成模拟数据: {out} (bank 银行 {bank}, lab 公共信用 {lab}, common 共同 {common})")


@app.command()
def part(
    folder: Folder,
    out: Annotated[Path, typer.Argument(help="Folder of that owner. 该方的文件夹。")],
    side: Annotated[str, typer.Option(help="bank | lab")],
    party: Party = None,
) -> None:
    """Give one owner its own folder: its table and the contract. 拆出一方自己的数据文件夹。"""
    if side not in ("bank", "lab"):
        raise typer.BadParameter("bank or lab 应为 bank 或 lab", param_hint="--side")
    try:
        table = write_part(folder, out, "bank" if side == "bank" else "lab", party)
    except DataRefused as refused:
        _refuse(list(refused.faults))
        raise typer.Exit(1) from None
    typer.echo(f"{side} → {table}")


@app.command()
def twin(
    folder: Folder,
    out: Annotated[Path, typer.Argument(help="Folder to write. 输出文件夹。")],
    rows: Annotated[int, typer.Option(min=100, max=5000, help="Rows of each table. 每张表行数。")] = 1000,
    seed: Annotated[int, typer.Option(help="Random seed. 随机种子。")] = simulator.SEED,
) -> None:
    """Write a mock twin: same columns, ranges and codes, no real row. 生成模拟件：同结构，无真实行。"""
    try:
        write_twin(folder, out, rows, seed)
    except DataRefused as refused:
        _refuse(list(refused.faults))
        raise typer.Exit(1) from None
    except TwinRefused as refused:
        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        console.print(f"{refused.code}: {refused.message_zh}")
        console.print(f"{refused.code}: {refused.message}")
        raise typer.Exit(1) from None
    typer.echo(f"mock twin 模拟件 → {out}")


@app.command()
def ids(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", help="File to write, JSON lines. 输出文件。")],
) -> None:
    """List every enterprise of both tables. 列出两张表中的全部企业。

    One JSON object a line: id, in_bank, in_lab, party, split (train, test or null). It needs both tables, so it
    serves examples and tests; in operation no one place holds both.
    """
    bank, lab, faults = _examine(folder, None)
    if faults or bank is None or lab is None:
        _refuse(faults)
        raise typer.Exit(1)
    count = 0
    with out.open("w", encoding="utf-8") as stream:
        for line in _enterprises(bank, lab):
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    typer.echo(f"{count} enterprises 家企业 → {out}")


def _examine(folder: Path, party: str | None) -> tuple[Reading | None, Reading | None, list[Fault]]:
    try:
        contract = read_contract(folder)
    except DataRefused as refused:
        return None, None, list(refused.faults)
    bank = examine(read_table(folder, contract, "bank", party))
    lab = examine(read_table(folder, contract, "lab"))
    return bank, lab, bank.faults + lab.faults + compare(bank, lab)


def _refuse(faults: list[Fault]) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    console.print(f"refused: {len(faults)} error(s) · 未通过：{len(faults)} 处问题")
    console.print(listing(faults))
    console.print(listing(faults, "zh"))


def _enterprises(bank: Reading, lab: Reading) -> list[dict[str, object]]:
    spec = bank.contract.bank
    assert bank.data is not None
    assert lab.data is not None
    at_bank = bank.data.column(bank.contract.id).to_pylist()
    at_lab = lab.data.column(lab.contract.id).to_pylist()
    nothing = [None] * len(at_bank)
    parties = bank.data.column(spec.party).to_pylist() if spec.party else nothing
    splits = bank.data.column(spec.split).to_pylist() if spec.split else nothing
    windows = {spec.train: "train", spec.test: "test"}
    held = set(at_lab)
    lines: list[dict[str, object]] = [
        {"id": one, "in_bank": True, "in_lab": one in held, "party": party, "split": windows.get(split)}
        for one, party, split in zip(at_bank, parties, splits, strict=True)
    ]
    known = set(at_bank)
    lines += [
        {"id": one, "in_bank": False, "in_lab": True, "party": None, "split": None}
        for one in at_lab
        if one not in known
    ]
    return lines


def _summary(bank: Reading, lab: Reading) -> dict[str, Any]:
    """Counts only: nothing in it is about one enterprise."""
    assert bank.data is not None
    assert lab.data is not None
    contract, spec = bank.contract, bank.contract.bank
    label = bank.data.column(spec.label)
    common = pc.sum(
        pc.is_in(bank.data.column(contract.id), value_set=lab.data.column(contract.id).combine_chunks())
    ).as_py()
    summary: dict[str, Any] = {
        "name": contract.name,
        "title": contract.title,
        "label": spec.label,
        "bank": {"file": bank.file, "rows": bank.data.num_rows, "columns": [dict(c) for c in bank.columns]},
        "lab": {"file": lab.file, "rows": lab.data.num_rows, "columns": [dict(c) for c in lab.columns]},
        "common": common,
        "bad_rate": round(pc.mean(label).as_py(), 4),
    }
    if spec.split:
        split = bank.data.column(spec.split)
        summary["train"] = pc.sum(pc.equal(split, spec.train)).as_py()
        summary["test"] = pc.sum(pc.equal(split, spec.test)).as_py()
        if contract.as_of:
            days = bank.data.column(contract.as_of)
            last = pc.max(days.filter(pc.equal(split, spec.train))).as_py()
            first = pc.min(days.filter(pc.equal(split, spec.test))).as_py()
            summary["out_of_time"] = bool(first > last)
    if contract.as_of:
        days = bank.data.column(contract.as_of)
        summary["as_of"] = [pc.min(days).as_py().isoformat(), pc.max(days).as_py().isoformat()]
    if spec.party:
        counts = pc.value_counts(bank.data.column(spec.party).combine_chunks()).to_pylist()
        summary["parties"] = {
            item["values"]: item["counts"] for item in sorted(counts, key=lambda item: str(item["values"]))
        }
    return summary


def _print_summary(summary: dict[str, Any]) -> None:
    console = Console(highlight=False)
    table = Table(title=f"{summary['title']} · {summary['name']}", show_header=False, title_justify="left")
    bank, lab = summary["bank"], summary["lab"]

    def kinds(side: dict[str, Any]) -> str:
        texts = sum(column["kind"] == "categorical" for column in side["columns"])
        return f"{len(side['columns'])} inputs 输入列 ({texts} categorical 类别)"

    table.add_row("bank 银行", f"{bank['file']}: {bank['rows']:,} rows 行, {kinds(bank)}")
    table.add_row("lab 公共信用", f"{lab['file']}: {lab['rows']:,} rows 行, {kinds(lab)}")
    table.add_row("common 共同企业", f"{summary['common']:,}")
    table.add_row("label 标签", f"{summary['label']}, bad rate 违约率 {summary['bad_rate']:.1%}")
    if "train" in summary:
        kind = " (out of time 跨期)" if summary.get("out_of_time") else ""
        table.add_row("windows 窗口", f"train 训练 {summary['train']:,}, test 测试 {summary['test']:,}{kind}")
    else:
        table.add_row("windows 窗口", "70/30 by a stable hash of the id 按标识稳定哈希")
    if "as_of" in summary:
        first, last = summary["as_of"]
        table.add_row("as of 时点", f"{first} … {last}")
    if "parties" in summary:
        table.add_row("banks 所属方", ", ".join(f"{name} {n:,}" for name, n in summary["parties"].items()))
    console.print(table)
    console.print("all checks passed 检查全部通过")
