"""`creditlab node`: run a domain node."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer

from enclave import config as configuration
from features.faults import DataRefused
from federated.relay.server import PortTaken

app = typer.Typer(help="域内节点 · domain node", no_args_is_help=True)


@app.callback()
def node() -> None:
    """A domain node runs beside its owner's data."""


@app.command()
def run(config: Annotated[Path, typer.Option(help="node.toml")]) -> None:
    """Serve until SIGTERM: poll for signed work, run it behind the gate."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from enclave.agent import Agent

    async def serve() -> None:
        await Agent(configuration.load(config)).run()

    try:
        asyncio.run(serve())
    except (configuration.BadConfig, DataRefused, PortTaken) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
