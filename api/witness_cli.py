"""`creditlab witness`: somebody outside who remembers the ledger's last head and cosigns only what extends it.

Owns the witness's folder: its key, the platform's keyring as last seen, and the last head it cosigned, which is on disk
before it is given away. A head that does not extend it is refused, kept as evidence, and never overwritten.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from api.client import LabClient
    from consent.keyring import Keyring
    from consent.keys import SigningKey
    from consent.signed import Document

app = typer.Typer(help="做日志见证方 · witness the ledger", pretty_exceptions_enable=False)
REFUSED = 1


class WitnessFolder:
    """key.pem, key.pub, keyring.json, head.json, and refused-….json for each head that was refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def key(self, suite: str) -> SigningKey:
        """The witness's own key, made on first run."""
        from api.home import read_key, write_private
        from consent.keys import SigningKey

        file = self.path / "key.pem"
        if not file.exists():
            write_private(file, SigningKey.generate(suite).to_pem())
        key = read_key(file)
        (self.path / "key.pub").write_text(key.public.b64 + "\n")
        return key

    def keyring(self, raw: bytes, trust: Path) -> Keyring:
        """The platform's keyring, which only ever goes forward from what was seen before. Raises KeyringRefused."""
        from api.home import write_private
        from consent.keyring import Keyring
        from consent.keys import VerifyingKey

        file = self.path / "keyring.json"
        anchor = VerifyingKey.from_b64(trust.read_text().strip())
        found = Keyring.read(raw, anchor)
        if file.exists():
            found = Keyring.read(file.read_bytes().removesuffix(b"\n"), anchor).advance(raw)
        write_private(file, found.to_json() + b"\n")
        return found

    def last(self) -> Document | None:
        from consent.ledger import read_head

        file = self.path / "head.json"
        return read_head(file.read_bytes().removesuffix(b"\n")) if file.exists() else None

    def keep(self, name: str, document: Document) -> Path:
        from api.home import write_private
        from consent.canonical import canonical

        write_private(self.path / name, canonical(document) + b"\n")
        return self.path / name


@app.command()
def witness(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="见证方文件夹 · the witness's folder")],
    trust: Annotated[
        Path, typer.Option(help="另行取得的平台首个公钥 · the platform's first key, had by other means", exists=True)
    ],
    every: Annotated[float, typer.Option(help="间隔秒数 · seconds between two looks", min=1)] = 60,
    once: Annotated[bool, typer.Option(help="只看一次 · look once and end")] = False,
    max_age: Annotated[int, typer.Option(help="树头最大秒数 · how old a head may be, seconds", min=60)] = 300,
    suite: Annotated[str, typer.Option(help="首次生成密钥的套件 · suite of the key when it is made")] = "ed25519",
) -> None:
    """记住最后的树头，只副署其延伸 · remember the last head and cosign what extends it (CREDITLAB_URL, _CA, _TOKEN)."""
    from api.client import LabClient, LabError
    from consent.errors import Refused

    place = WitnessFolder(folder)
    key = place.key(suite)
    with LabClient.from_settings(os.environ, ctx.find_root().obj) as client:
        name = client.whoami()["name"]
        client.call("PUT", "/v1/ledger/witness", json={"public_key": key.public.b64})
        while True:
            try:
                _look(client, place, key, name, trust, max_age)
            except Refused as error:
                typer.echo(f"拒绝 · refused: {error.message_zh} · {error.message} ({error.code})", err=True)
                raise typer.Exit(REFUSED) from None
            except LabError as error:
                if once or error.status:
                    raise
                typer.echo(f"无法连接，稍后再试 · not reached, trying again: {error.message}", err=True)
            if once:
                return
            time.sleep(every)


def _look(client: LabClient, place: WitnessFolder, key: SigningKey, name: str, trust: Path, max_age: int) -> None:
    """One look: cosigns the newest head if it is new. Raises a ProofRefused or KeyringRefused by name."""
    from consent.canonical import canonical
    from consent.ledger import ProofRefused, Witness
    from consent.times import stamp

    keyring = place.keyring(canonical(client.call("GET", "/v1/keyring")), trust)
    last = place.last()
    size = 0 if last is None else int(last["body"]["size"])
    log_id = str(client.call("GET", "/v1/ledger")["log_id"]) if last is None else str(last["body"]["log_id"])
    now = stamp(_now())
    found = _latest(client, place, size)
    if last is not None and found["head"]["body"] == last["body"]:
        client.call("POST", "/v1/ledger/cosigned", json={"head": last})  # in case our last word was lost
        return
    cosigner = Witness(name, key, log_id, keyring, max_age_seconds=max_age, last=last)
    try:
        cosigned = cosigner.cosign(found["head"], [bytes.fromhex(one) for one in found["path"]], now)
    except ProofRefused:
        kept = place.keep(f"refused-{now.replace(':', '')}.json", found["head"])
        typer.echo(f"已保存为证据 · kept as evidence: {kept}", err=True)
        raise
    place.keep("head.json", cosigned)
    client.call("POST", "/v1/ledger/cosigned", json={"head": cosigned})
    typer.echo(f"{name}: {cosigned['body']['size']} 条 entries, {cosigned['body']['at']}")


def _now() -> datetime:
    return datetime.now(UTC)


def _latest(client: LabClient, place: WitnessFolder, size: int) -> dict[str, Any]:
    """The newest head and its path from our size; a log that shows fewer entries than we saw is refused."""
    from api.client import LabError
    from consent.ledger import LogShrunk

    try:
        found: dict[str, Any] = client.call("GET", "/v1/ledger/heads/latest", params={"size": size})
        return found
    except LabError as error:
        if error.code != "log_shrunk":
            raise
        shown = client.call("GET", "/v1/ledger")["head"]
        kept = place.keep("refused-shrunk.json", shown["head"])
        typer.echo(f"已保存为证据 · kept as evidence: {kept}: {json.dumps(shown['size'])}", err=True)
        raise LogShrunk(error.message, error.message_zh) from error
