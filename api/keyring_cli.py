"""`creditlab keyring`: the platform's keys over time: shown, rotated, retired, declared compromised.

Owns the words. Changes are made while the control plane is stopped, so that no process signs with a key that is over.
It prints public keys only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from api.home import Home
    from api.settings import Settings
    from consent.keyring import Keyring, PlatformKey
    from consent.keys import SigningKey

app = typer.Typer(help="平台密钥环 · the platform's keys", no_args_is_help=True, pretty_exceptions_enable=False)

HomeOption = Annotated[Path, typer.Option(help="控制平面文件夹 · the control plane's folder")]
Suite = Annotated[str | None, typer.Option(help="ed25519 或 or sm2；默认 default CREDITLAB_SUITE")]
By = Annotated[
    Path | None,
    typer.Option(help="代为签署的恢复密钥 · the recovery key, to sign in place of the working one", exists=True),
]
Days = Annotated[float | None, typer.Option(help="有效天数；默认 default CREDITLAB_KEY_DAYS")]


def _now() -> datetime:
    return datetime.now(UTC)


@app.command()
def show(home: HomeOption) -> None:
    """列出全部密钥 · every key, with its time."""
    from api.home import Home
    from api.platform_keys import read

    _print(read(Home(home)))


@app.command()
def rotate(home: HomeOption, suite: Suite = None, days: Days = None, by: By = None) -> None:
    """换用新密钥，旧密钥到此为止，其已签文件仍有效 · a new working key; what the old one signed stays good."""
    from api import platform_keys

    with _stopped(home, suite) as (folder, settings):
        keyring = platform_keys.rotate(
            folder, suite=settings.suite, days=days or settings.key_days, clock=_now, by=_private(by)
        )
    _print(keyring)
    typer.echo(
        "节点会自行跟随：旧密钥已签署新密钥 · nodes follow by themselves, since the old key has signed the new one"
        if by is None
        else f"由恢复密钥签署；无法跟随的节点须重新取得 {folder.platform_public} · signed by the recovery key; a node "
        f"that cannot follow is given {folder.platform_public}"
    )
    if settings.suite != os.environ.get("CREDITLAB_SUITE", "ed25519"):
        typer.echo(f"启动前请设置 · before starting, set CREDITLAB_SUITE={settings.suite}")


@app.command()
def retire(home: HomeOption, key_id: str) -> None:
    """停用不再需要的密钥（如恢复密钥）· end the time of a key that is not the working one."""
    from api import platform_keys

    with _stopped(home, None) as (folder, _):
        _print(platform_keys.retire(folder, key_id, clock=_now))


@app.command()
def compromise(
    home: HomeOption,
    key_id: str,
    since: Annotated[str, typer.Option(help="自何时起泄露 · since when, 2026-01-31T08:00:00Z")],
    suite: Suite = None,
    days: Days = None,
    by: By = None,
) -> None:
    """声明密钥已泄露；若为工作密钥则先换新 · declare a key compromised; the working one is replaced first."""
    from api import platform_keys

    with _stopped(home, suite) as (folder, settings):
        keyring = platform_keys.compromise(
            folder,
            key_id,
            since=since,
            suite=settings.suite,
            days=days or settings.key_days,
            clock=_now,
            by=_private(by),
        )
    _print(keyring)


@app.command()
def recovery(
    home: HomeOption,
    out: Annotated[Path, typer.Argument(help="私钥文件，离线保管 · the private key's file, to be kept offline")],
    suite: Suite = None,
    days: Days = None,
) -> None:
    """添加恢复密钥，只签密钥环 · add a recovery key; it signs keyrings only, for when the working key is stolen."""
    from api import platform_keys

    with _stopped(home, suite) as (folder, settings):
        keyring = platform_keys.add_recovery(
            folder, out, suite=settings.suite, days=days or settings.key_days, clock=_now
        )
    _print(keyring)
    typer.echo(f"请将 {out} 移至离线介质 · move {out} to offline media")


@contextmanager
def _stopped(home: Path, suite: str | None) -> Iterator[tuple[Home, Settings]]:
    """The folder, while nobody serves from it."""
    from api.home import Home, HomeError, only_one
    from api.settings import Settings

    settings = Settings.read(os.environ, home=home, suite=suite)
    folder = Home(home)
    if not folder.keyring.exists():
        raise HomeError(
            f"{folder.keyring} is missing: the first `creditlab serve` makes it",
            f"缺少 {folder.keyring}：首次运行 creditlab serve 时生成",
        )
    with only_one(folder):
        yield folder, settings


def _private(path: Path | None) -> SigningKey | None:
    from api.home import read_key

    return None if path is None else read_key(path)


def _print(keyring: Keyring) -> None:
    from consent.times import stamp

    at = stamp(_now())
    typer.echo(f"平台 platform: {keyring.platform}，第 {keyring.sequence} 份声明 · statement {keyring.sequence}")
    for key in keyring.keys:
        typer.echo(
            f"  {key.public.key_id}  {key.public.suite}  {key.use}  {key.valid_from} – {key.end}  {_state(key, at)}"
        )
    typer.echo(f"首个公钥 first key: {keyring.first.b64}")


def _state(key: PlatformKey, at: str) -> str:
    if key.compromised_at is not None:
        return f"已泄露 compromised since {key.compromised_at}"
    if key.retired_at is not None and key.retired_at <= at:
        return "已停用 retired"
    if at >= key.end:
        return "已过期 expired"
    return "有效 valid" if at >= key.valid_from else "尚未生效 not yet valid"
