"""`creditlab node`: run a domain node; show an enterprise at the counter what jobs used; export the log of uses; list
the questions that the platform vouched for.

Owns the words. Whom the node's owner serves at the counter, it makes sure of itself, as it does of anybody who asks for
own data: nothing of it passes the platform.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enclave import config as configuration
from features.faults import DataRefused
from federated.relay.server import PortTaken

if TYPE_CHECKING:
    from enclave.asked import Note
    from enclave.journal import Journal
    from enclave.use_log import UseRecords

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


_CONFIG = typer.Option(help="node.toml", exists=True, dir_okay=False)


def _journal(config: Path) -> Journal:
    from enclave.journal import Journal

    try:
        path = configuration.load(config).state_dir / "journal.sqlite"
        if not path.exists():
            raise configuration.BadConfig(f"{path} does not exist: the node has not run yet · 节点尚未运行过")
        return Journal(path)
    except configuration.BadConfig as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _records(config: Path) -> tuple[Journal, UseRecords]:
    from consent.ledger.errors import LedgerError
    from enclave.use_log import UseRecords

    journal = _journal(config)
    try:
        return journal, UseRecords(journal)
    except LedgerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


@app.command()
def uses(
    config: Annotated[Path, _CONFIG],
    enterprise: Annotated[str, typer.Option(help="企业 · the enterprise, whose identity was checked")],
    out: Annotated[Path, typer.Option(help="写入的文件 · the file to write", dir_okay=False)],
) -> None:
    """柜台查询：哪些联合训练用了该企业的数据，附证明 · which joint training used an enterprise's data, with proofs."""
    from consent.node_log import bundle
    from consent.purposes import Purpose
    from enclave.asked import Asked
    from enclave.pki import write_private

    journal, log = _records(config)
    found = journal.uses_of(enterprise, str(Purpose.JOINT_TRAINING))
    files = [file for use in found if (file := log.file(use["use"], use["job_id"])) is not None]
    write_private(out, bundle(files))
    for use in found:
        typer.echo(f"{use['at']}  {use['job_id']}  {use['recipient']}  {use['consent_id']}")
    typer.echo(
        f"共 {len(found)} 次使用，其中 {len(files)} 次附证明 · {len(found)} uses, {len(files)} of them proved: {out}"
    )
    asked = Asked(journal).notes(enterprise)
    for note in asked:
        typer.echo(_line(note))
    typer.echo(
        f"平台作证、以该企业名义提出的询问共 {len(asked)} 次，请其指出并非本人提出的 · {len(asked)} questions by "
        "the platform's word in its name: have it say which it did not ask"
    )


@app.command()
def questions(
    config: Annotated[Path, _CONFIG],
    out: Annotated[
        Path | None,
        typer.Option(
            help="写入的文件，每行一份凭据 · a file to write, evidence of one question a line", dir_okay=False
        ),
    ] = None,
) -> None:
    """列出平台作证提出的询问，供所有方与审计 · questions that the platform vouched for, for owner and auditor."""
    from enclave.asked import Asked
    from enclave.pki import write_private

    notes = Asked(_journal(config)).notes()
    for note in notes:
        typer.echo(f"{_line(note)}  {note.enterprise}")
    answered = sum(note.code is None for note in notes)
    typer.echo(f"共 {len(notes)} 次，其中答复 {answered} 次 · {len(notes)} questions, {answered} of them answered")
    if out is not None:
        write_private(out, b"".join(note.evidence + b"\n" for note in notes))


def _line(note: Note) -> str:
    outcome = "已答复 answered" if note.code is None else f"未答复 refused ({note.code})"
    place = "账本 ledger -" if note.position is None else f"账本 ledger {note.position}"
    return f"{note.noted_at}  {note.question_id}  {place}  {outcome}"


@app.command("export-log")
def export_log(
    config: Annotated[Path, _CONFIG],
    out: Annotated[Path, typer.Argument(help="新文件夹 · a new folder", file_okay=False)],
) -> None:
    """导出使用日志（不含盐值与记录）交给审计方 · export the log of uses for an auditor, without salts and records."""
    from consent.keys import SigningKey
    from consent.ledger import export
    from consent.ledger.errors import LedgerError

    journal, log = _records(config)
    try:
        with journal.transaction() as db:
            export(log.store(db), out)
    except LedgerError as error:
        typer.echo(f"{error.message_zh} · {error.message}", err=True)
        raise typer.Exit(1) from None
    key = SigningKey.from_pem((configuration.load(config).state_dir / "vault" / "log.pem").read_bytes())
    (out.parent / f"{out.name}.pub").write_text(key.public.b64 + "\n")
    typer.echo(f"已导出 · exported: {out}；公钥 key: {out}.pub（creditlab ledger fsck {out} --keys {out}.pub）")
