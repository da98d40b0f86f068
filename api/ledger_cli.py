"""`creditlab ledger`: checks a log and says in Chinese and English what holds, or what is bad first; exports it.

Owns the words and the exit code: 0 when the log is whole, 1 when something in it is bad, 2 when it could not be
checked. An exported folder is checked offline; with --home the database is read, and each document behind an entry
too. It decides nothing (`consent.ledger.fsck` checks) and never writes to the log.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    import sqlalchemy as sa

    from api.ledger.documents import DocumentDamaged
    from consent.keys import VerifyingKey
    from consent.ledger import Checked, HeadKeys, LedgerDamaged, Store

app = typer.Typer(help="透明日志 · the transparency ledger", no_args_is_help=True, pretty_exceptions_enable=False)
Line = tuple[str, str]
DAMAGED, UNCHECKED = 1, 2


@app.callback()
def root() -> None:
    """透明日志 · the transparency ledger."""


@app.command()
def fsck(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="导出的日志文件夹 · an exported log")] = None,
    home: Annotated[
        Path | None,
        typer.Option(
            help="控制平面文件夹：检查数据库及记录所指文件 · the control plane's folder: its database and the "
            "documents behind the entries",
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="平台密钥环或日志公钥 · the platform's keyring or the log's public key", exists=True, dir_okay=False
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(help="另行取得的平台首个公钥 · the platform's first key, had by other means", exists=True),
    ] = None,
    witnessed: Annotated[
        list[Path] | None,
        typer.Option(help="见证方保存的树头 · a head that a witness kept", exists=True, dir_okay=False),
    ] = None,
    witness: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE 见证方及其公钥 · a witness and its public key")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """从原始记录重建全部杂凑值，指出第一处损坏 · rebuild every hash from the raw entries, name the first bad thing."""
    from api.ledger.documents import DocumentDamaged
    from api.ledger.documents import check as check_documents
    from consent.keyring import Keyring
    from consent.ledger import LedgerDamaged, read_head, vouched
    from consent.ledger import fsck as check

    where = _where(folder, home)
    documents = None
    try:
        outside = [read_head(_read(path)) for path in witnessed or []]
        names = dict(_witness(text) for text in witness or [])
        if keys is None and home is not None:
            keys = _own_keyring(home)
        head_keys = _keys(keys, trust)
        with _opened(folder, home) as (store, connection):
            believed = vouched(head_keys, store) if isinstance(head_keys, Keyring) else head_keys
            checked = check(store, believed, outside, witnesses=names)
            if connection is not None:
                documents = check_documents(connection, store.log_id)
    except (LedgerDamaged, DocumentDamaged) as damage:
        _damaged(where, damage, as_json)
    except _unusable() as error:
        _unchecked(where, error, as_json)
    proved = _proved(checked, len(outside), documents)
    not_proved = _not_proved(checked, keys, trust, len(outside), documents)
    if as_json:
        facts = {
            "log_id": checked.log_id,
            "hash": checked.hash_name,
            "size": checked.size,
            "root": checked.root.hex(),
            "heads": checked.heads,
            "covered": checked.covered,
            "documents": documents,
        }
        words = {"proved": _pairs(proved), "not_proved": _pairs(not_proved)}
        typer.echo(json.dumps({"whole": True, **facts, **words}, ensure_ascii=False))
        return
    typer.echo(f"日志完好 · the log is whole: {where}")
    typer.echo(f"  日志 log: {checked.log_id} ({checked.hash_name})")
    typer.echo(f"  记录 entries: {checked.size}")
    typer.echo(f"  树根 root: {checked.root.hex()}")
    _section("已证明 · proved", "✓", proved)
    _section("未证明 · not proved", "–", not_proved)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="新文件夹 · a new folder")],
    home: Annotated[Path, typer.Option(help="控制平面文件夹 · the control plane's folder")],
) -> None:
    """导出整个日志（不含盐值与文件）交给审计方 · export the whole log for an auditor, without salts and documents."""
    from consent.ledger import export as write

    try:
        with _opened(None, home) as (store, _):
            write(store, folder)
    except _unusable() as error:
        _unchecked(str(home), error, as_json=False)
    typer.echo(f"已导出 · exported: {folder}")


def _where(folder: Path | None, home: Path | None) -> str:
    if (folder is None) == (home is None):
        raise typer.BadParameter("DIR 或 --home 二选一 · one of DIR and --home is needed")
    return str(folder or home)


def _unusable() -> tuple[type[Exception], ...]:
    """What keeps a log from being read at all."""
    from sqlalchemy.exc import SQLAlchemyError

    from api.embedded import PostgresFailed
    from api.home import HomeError
    from api.settings import BadSettings
    from consent.errors import Refused

    return Refused, HomeError, PostgresFailed, BadSettings, SQLAlchemyError


@contextmanager
def _opened(folder: Path | None, home: Path | None) -> Iterator[tuple[Store, sa.Connection | None]]:
    from consent.ledger import FolderStore

    if folder is not None:
        with FolderStore(folder) as store:
            yield store, None
        return
    from api.ledger import offline
    from api.settings import Settings

    with offline.connected(Settings.read(os.environ, home=home)) as connection:
        yield offline.store(connection), connection


def _own_keyring(home: Path) -> Path | None:
    from api.home import Home

    path = Home(home).keyring
    return path if path.is_file() else None


def _damaged(where: str, damage: LedgerDamaged | DocumentDamaged, as_json: bool) -> NoReturn:
    from consent.ledger import LedgerDamaged

    found = {
        "whole": False,
        "code": damage.code,
        "index": damage.index,
        "message": damage.message,
        "message_zh": damage.message_zh,
    }
    if isinstance(damage, LedgerDamaged):
        found |= {
            "fault": str(damage.fault),
            "place": damage.place,
            "level": damage.level,
            "entry": damage.entry,
            "remedy": damage.remedy,
            "remedy_zh": damage.remedy_zh,
        }
    else:
        found |= {"object_kind": damage.kind, "object_id": damage.name}
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        typer.echo(f"日志已损坏 · the log is damaged: {where}")
        typer.echo(f"  第一处 first: {damage.message_zh} · {damage.message} ({found.get('fault', damage.code)})")
        if "remedy" in found:
            typer.echo(f"  处理 remedy: {found['remedy_zh']} · {found['remedy']}")
    raise typer.Exit(DAMAGED)


def _unchecked(where: str, error: Exception, as_json: bool) -> NoReturn:
    message = getattr(error, "message", None) or " ".join(str(error).split())
    found = {
        "whole": None,
        "code": getattr(error, "code", None) or "unreadable",
        "message": message,
        "message_zh": getattr(error, "message_zh", None) or message,
    }
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        typer.echo(f"未能检查 · could not be checked: {where}", err=True)
        typer.echo(f"  {found['message_zh']} · {message} ({found['code']})", err=True)
    raise typer.Exit(UNCHECKED)


def _keys(path: Path | None, trust: Path | None) -> HeadKeys:
    from consent.keyring import Keyring
    from consent.ledger import FixedKeys, NamedKeys

    if path is None:
        return NamedKeys()
    raw = _read(path)
    if not raw.startswith(b"["):
        return FixedKeys(_public(path))
    return Keyring.read(raw, _public(trust)) if trust else Keyring.read_untrusted(raw)


def _public(path: Path) -> VerifyingKey:
    from consent.keys import VerifyingKey

    raw = _read(path)
    return (
        VerifyingKey.from_pem(raw) if raw.startswith(b"-----") else VerifyingKey.from_b64(raw.decode(errors="replace"))
    )


def _witness(text: str) -> tuple[str, VerifyingKey]:
    name, _, file = text.partition("=")
    if not name or not Path(file).is_file():
        raise typer.BadParameter(f"{text!r}: NAME=FILE 见证方名称与公钥文件 · a witness's name and key file are needed")
    return name, _public(Path(file))


def _read(path: Path) -> bytes:
    return path.read_bytes().removesuffix(b"\n")


def _proved(checked: Checked, outside: int, documents: int | None) -> list[Line]:
    lines = [
        (
            f"全部 {checked.size} 条记录形式正确、序号连续、时间不倒退，与存储的每个杂凑值一致",
            f"all {checked.size} entries are well formed, in order of number and time, and match every stored hash",
        )
    ]
    if checked.covered:
        lines.append(
            (
                f"{checked.heads} 个已签名树头与记录一致，覆盖前 {checked.covered} 条",
                f"{checked.heads} signed heads agree with the entries and cover the first {checked.covered}",
            )
        )
    if outside:
        lines.append(
            (f"与见证方保存的 {outside} 个树头一致", f"it extends the {outside} heads that witnesses kept"),
        )
    if documents is not None:
        lines.append(
            (
                f"{documents} 份文件与其记录相符，须入日志的各行均已入日志",
                f"the {documents} documents are those that were entered, and no row was written past the ledger",
            )
        )
    return lines


def _not_proved(
    checked: Checked, keys: Path | None, trust: Path | None, outside: int, documents: int | None
) -> list[Line]:
    lines = []
    if documents is None:
        lines.append(
            (
                "记录所指文件的内容：须由文件持有方出示文件与盐值",
                "what the documents behind the entries say: their owners show them, with their salts",
            )
        )
    if checked.covered < checked.size:
        lines.append(
            (
                f"自第 {checked.covered} 条起的 {checked.size - checked.covered} 条：尚无已签名树头覆盖",
                f"the {checked.size - checked.covered} entries from {checked.covered} on: no signed head covers them",
            )
        )
    if keys is None:
        lines.append(
            (
                "树头由谁签署：未指定 --keys，只核对了树头自带的公钥",
                "who signed the heads: without --keys they were checked against the keys they name",
            )
        )
    elif trust is None:
        lines.append(
            (
                "密钥是否属于该平台：请与平台公布的核对，密钥环可用 --trust 指定首个公钥",
                "that the keys are the platform's: compare them with the published ones; a keyring takes --trust",
            )
        )
    if not outside:
        lines.append(
            (
                "日志没有向他人出示另一种历史，末尾没有被连同树头一起截去：请用 --witnessed 提供见证方的树头",
                "that nobody was shown another history and no tail was cut off with its heads: pass --witnessed",
            )
        )
    return lines


def _pairs(lines: list[Line]) -> list[dict[str, str]]:
    return [{"zh": zh, "en": en} for zh, en in lines]


def _section(title: str, mark: str, lines: list[Line]) -> None:
    typer.echo(title)
    for zh, en in lines:
        typer.echo(f"  {mark} {zh} · {en}")
