"""`creditlab pki`: the local certificate authority on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enclave import pki

app = typer.Typer(help="本地证书颁发机构 · local certificate authority", no_args_is_help=True)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="folder of the CA; made once")]) -> None:
    """Make the CA (ca.crt, ca.key) unless it is there already."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    typer.echo(pki.create_ca(folder))


@app.command()
def issue(
    folder: Annotated[Path, typer.Argument(help="folder of the CA")],
    name: Annotated[str, typer.Argument(help="common name, for a node its name")],
    out: Annotated[Path, typer.Option(help="where NAME.crt, NAME.key and ca.crt go")],
    host: Annotated[list[str], typer.Option(help="host name or address it also serves")] = [],  # noqa: B006
    days: float = pki.CERT_DAYS,
) -> None:
    """Issue a certificate for client and server use."""
    if not (folder / "ca.key").exists():
        typer.echo(f"{folder}/ca.key 不存在，请先运行 creditlab pki init · missing: run `creditlab pki init` first")
        raise typer.Exit(1)
    cert, _ = pki.issue(folder, name, host, out, days=days)
    typer.echo(cert)
