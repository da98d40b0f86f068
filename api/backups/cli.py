"""`creditlab backup`: keygen, create, copy, verify, restore, from the platform's machine or another (R42).

Owns the words and exit codes: 0 done, 1 the backup is not what it should be, 2 it could not be done.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="备份与恢复 · backup and restore", no_args_is_help=True, pretty_exceptions_enable=False)
DAMAGED, UNDONE = 1, 2

Identity = Annotated[
    Path, typer.Option(help="备份私钥文件 · the private key that backups are read with", exists=True, dir_okay=False)
]
Backup = Annotated[Path, typer.Argument(help="备份文件 · a backup", exists=True, dir_okay=False)]


@contextmanager
def _told() -> Iterator[None]:
    from api.backups.errors import BackupDamaged, BackupError
    from api.embedded import PostgresFailed
    from api.home import HomeError

    try:
        yield
    except BackupDamaged as error:
        typer.echo(f"备份已损坏：{error.message_zh}\nthe backup is damaged: {error.message}", err=True)
        raise typer.Exit(DAMAGED) from error
    except (BackupError, HomeError) as error:
        typer.echo(f"未完成：{error.message_zh}\nnot done: {error.message}", err=True)
        raise typer.Exit(UNDONE) from error
    except PostgresFailed as error:
        typer.echo(f"未完成 · not done: {error}", err=True)
        raise typer.Exit(UNDONE) from error


@app.command()
def keygen(
    file: Annotated[Path, typer.Argument(help="新私钥文件，离线保管 · the new private key: keep it off this machine")],
) -> None:
    """生成备份密钥对 · make a key pair; prints the public key."""
    from api.backups import archive

    with _told():
        typer.echo(archive.new_key(file))


@app.command()
def create(
    home: Annotated[Path, typer.Option(help="控制平面文件夹 · the control plane's folder")],
    to: Annotated[Path, typer.Option(help="备份文件夹 · folder for the backup")],
    recipient: Annotated[str, typer.Option(help="备份公钥 · public key, age1…")],
    tried: Annotated[
        bool, typer.Option("--tried/--untried", help="先在临时库中试恢复 · restore it aside first")
    ] = True,
) -> None:
    """备份数据库与密钥，运行中亦可 · back up database and keys, while it serves or not."""
    from api.backups import service
    from api.settings import Settings

    with _told():
        file = service.make(Settings.read(os.environ, home=home), to, recipient, tried=tried)
    typer.echo(str(file))


@app.command()
def copy(backup: Backup, to: Annotated[Path, typer.Option(help="异地存储 · the off-site place, mounted")]) -> None:
    """复制到异地并读回核对 · copy off-site and read back."""
    from api.backups import archive

    with _told():
        typer.echo(str(archive.copy(backup, to)))


@app.command()
def verify(
    backup: Backup,
    identity: Identity,
    work: Annotated[Path | None, typer.Option(help="临时文件夹所在 · where to work, default beside the backup")] = None,
    record: Annotated[Path | None, typer.Option(help="追加核验记录的文件 · file to append the record to")] = None,
) -> None:
    """解密、恢复、逐表比对并重建日志 · decrypt, restore aside, compare every table, rebuild the ledger."""
    from api.backups import service

    with _told():
        seen = asdict(service.verify(backup, identity, work))
    line = json.dumps(seen, ensure_ascii=False)
    if record is not None:
        with record.open("a") as file:
            file.write(line + "\n")
    typer.echo(line)


@app.command()
def restore(
    backup: Backup,
    identity: Identity,
    home: Annotated[Path, typer.Option(help="新的控制平面文件夹 · a new folder for the control plane")],
) -> None:
    """恢复到新文件夹（或 DATABASE_URL 所指空库） · restore into a new folder, and an empty DATABASE_URL if set."""
    from api.backups import service
    from api.settings import Settings

    with _told():
        settings = Settings.read(os.environ, home=home)
        manifest = service.restore(backup, identity, home, settings.database_url)
    typer.echo(f"已恢复 {manifest.made_at} 的备份 · restored the backup of {manifest.made_at} into {home}")
