"""`creditlab ledger`: checks an exported log offline and says in Chinese and English what holds, or what is bad first.

Owns the words and the exit code: 0 when the log is whole, 1 when something in it is bad, 2 when it could not be
checked. It asks no server and decides nothing: `consent.ledger.fsck` checks, this prints.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from consent.errors import Refused
    from consent.keys import VerifyingKey
    from consent.ledger import Checked, HeadKeys, LedgerDamaged

app = typer.Typer(help="透明日志 · the transparency ledger", no_args_is_help=True, pretty_exceptions_enable=False)
Line = tuple[str, str]
DAMAGED, UNCHECKED = 1, 2


@app.callback()
def root() -> None:
    """透明日志 · the transparency ledger."""


@app.command()
def fsck(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="导出的日志文件夹 · an exported log")],
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
    from consent.errors import Refused
    from consent.ledger import FolderStore, LedgerDamaged, read_head
    from consent.ledger import fsck as check

    try:
        outside = [read_head(_read(path)) for path in witnessed or []]
        names = dict(_witness(text) for text in witness or [])
        head_keys = _keys(keys, trust)
        with FolderStore(folder) as store:
            checked = check(store, head_keys, outside, witnesses=names)
    except LedgerDamaged as damage:
        _damaged(folder, damage, as_json)
    except Refused as error:
        _unchecked(folder, error, as_json)
    proved, not_proved = _proved(checked, len(outside)), _not_proved(checked, keys, trust, len(outside))
    if as_json:
        facts = {
            "log_id": checked.log_id,
            "hash": checked.hash_name,
            "size": checked.size,
            "root": checked.root.hex(),
            "heads": checked.heads,
            "covered": checked.covered,
        }
        words = {"proved": _pairs(proved), "not_proved": _pairs(not_proved)}
        typer.echo(json.dumps({"whole": True, **facts, **words}, ensure_ascii=False))
        return
    typer.echo(f"日志完好 · the log is whole: {folder}")
    typer.echo(f"  日志 log: {checked.log_id} ({checked.hash_name})")
    typer.echo(f"  记录 entries: {checked.size}")
    typer.echo(f"  树根 root: {checked.root.hex()}")
    _section("已证明 · proved", "✓", proved)
    _section("未证明 · not proved", "–", not_proved)


def _damaged(folder: Path, damage: LedgerDamaged, as_json: bool) -> NoReturn:
    if as_json:
        found = {
            "whole": False,
            "code": damage.code,
            "fault": str(damage.fault),
            "place": damage.place,
            "index": damage.index,
            "level": damage.level,
            "entry": damage.entry,
            "message": damage.message,
            "message_zh": damage.message_zh,
            "remedy": damage.remedy,
            "remedy_zh": damage.remedy_zh,
        }
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        typer.echo(f"日志已损坏 · the log is damaged: {folder}")
        typer.echo(f"  第一处 first: {damage.message_zh} · {damage.message} ({damage.fault})")
        typer.echo(f"  处理 remedy: {damage.remedy_zh} · {damage.remedy}")
    raise typer.Exit(DAMAGED)


def _unchecked(folder: Path, error: Refused, as_json: bool) -> NoReturn:
    if as_json:
        found = {"whole": None, "code": error.code, "message": error.message, "message_zh": error.message_zh}
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        typer.echo(f"未能检查 · could not be checked: {folder}", err=True)
        typer.echo(f"  {error.message_zh} · {error.message} ({error.code})", err=True)
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


def _proved(checked: Checked, outside: int) -> list[Line]:
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
    return lines


def _not_proved(checked: Checked, keys: Path | None, trust: Path | None, outside: int) -> list[Line]:
    lines = [
        (
            "记录所指文件的内容：须由文件持有方出示文件与盐值",
            "what the documents behind the entries say: their owners show them, with their salts",
        )
    ]
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
