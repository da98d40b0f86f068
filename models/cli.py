"""Command line of the models part: `creditlab report …`.

Owns reading a report file and showing it. It never trains, scores or reaches a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.report import InvalidReport, read, render
from models.report import summary as summarise

__all__ = ["app"]

app = typer.Typer(help="Read reports of joint-modelling jobs. 查看联合建模报告。", no_args_is_help=True)
Source = Annotated[Path, typer.Argument(help="report.json", exists=True, dir_okay=False)]


def _read(path: Path) -> dict:  # type: ignore[type-arg]
    try:
        return read(path)
    except InvalidReport as error:
        typer.echo(f"{path}: {error.message}\n{path}：{error.message_zh}", err=True)
        raise typer.Exit(1) from None


@app.command("render")
def render_command(source: Source, target: Annotated[Path, typer.Argument(help="HTML file to write")]) -> None:
    """Write the self-contained HTML page of a report."""
    target.write_text(render(_read(source)), encoding="utf-8")


@app.command()
def validate(source: Source) -> None:
    """Check a report against the published schema."""
    _read(source)
    typer.echo(f"{source}: valid / 符合格式")


@app.command()
def summary(source: Source) -> None:
    """Print what a banker needs to know, in Chinese and English."""
    typer.echo(summarise(_read(source)))
