"""`creditlab verify`: checks a receipt offline and says in Chinese and English what is proved and what is not.

Owns the words. It asks no server and decides nothing: `consent.receipt` checks, this prints. Exit code 0 when the
receipt holds, 1 when it is refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from consent.keyring import Keyring
    from consent.keys import VerifyingKey
    from consent.receipt import ReceiptView

app = typer.Typer(help="核验回执 · verify a receipt", pretty_exceptions_enable=False)
Line = tuple[str, str]


@app.command()
def verify(
    receipt: Annotated[Path, typer.Argument(help="回执文件 · the receipt", exists=True, dir_okay=False)],
    keys: Annotated[Path, typer.Option(help="平台密钥环 · the platform's keyring", exists=True, dir_okay=False)],
    trust: Annotated[
        Path | None,
        typer.Option(help="另行取得的平台首个公钥 · the platform's first key, had by other means", exists=True),
    ] = None,
    proof: Annotated[
        Path | None, typer.Option(help="账本证明 · inclusion proof from the ledger", exists=True, dir_okay=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """离线核验回执 · check a receipt offline."""
    from consent import receipt as receipts
    from consent.errors import Refused
    from consent.keyring import Keyring
    from consent.ledger.errors import LedgerError
    from consent.ledger.proofs import load

    try:
        raw = _read(keys)
        keyring = Keyring.read(raw, _public(trust)) if trust else Keyring.read_untrusted(raw)
        shown = load(proof.read_bytes()) if proof else None
        view = receipts.verify(_read(receipt), keyring, proof=shown)
    except (Refused, LedgerError) as error:
        if as_json:
            found = {"valid": False, "code": error.code, "message": error.message, "message_zh": error.message_zh}
            typer.echo(json.dumps(found, ensure_ascii=False))
        else:
            typer.echo(f"回执未通过核验，不证明任何事 · refused, it proves nothing: {receipt}")
            typer.echo(f"  {error.message_zh} · {error.message} ({error.code})")
        raise typer.Exit(1) from None
    proved, not_proved = _proved(view), _not_proved(view, keyring, trusted=trust is not None)
    if as_json:
        typer.echo(json.dumps(_as_json(view, proved, not_proved), ensure_ascii=False))
        return
    typer.echo(f"回执有效 · the receipt holds: {receipt}")
    for name, value in _facts(view):
        typer.echo(f"  {name}: {value}")
    _section("已证明 · proved", "✓", proved)
    _section("未证明 · not proved", "–", not_proved)


def _read(path: Path) -> bytes:
    return path.read_bytes().removesuffix(b"\n")


def _public(path: Path) -> VerifyingKey:
    from consent.keys import VerifyingKey

    raw = path.read_bytes()
    if raw.startswith(b"-----"):
        return VerifyingKey.from_pem(raw)
    return VerifyingKey.from_b64(raw.decode(errors="replace").strip())


def _facts(view: ReceiptView) -> list[Line]:
    return [
        ("回执 receipt", view.receipt_id),
        ("步骤 step", view.transition),
        ("授权 consent", view.consent_id),
        ("企业 enterprise", view.enterprise),
        ("机构 recipient", view.recipient),
        ("用途 purpose", view.purpose),
        ("登记时间 recorded", view.recorded_at),
        ("出具时间 issued", view.issued_at),
        ("文件摘要 document", f"{view.hash}:{view.document_hash}"),
        ("平台 platform", f"{view.platform} ({view.suite}, {view.key_id})"),
    ]


def _proved(view: ReceiptView) -> list[Line]:
    lines = [
        (
            f"平台密钥 {view.key_id} 签署了本回执，该密钥在 {view.issued_at} 有效",
            f"platform key {view.key_id} signed this receipt and was valid at {view.issued_at}",
        ),
        (
            "所附文件即回执所指文件，平台已副署，二者均未被改动",
            "the document carried is the one meant, countersigned by the platform, and neither was changed",
        ),
    ]
    if view.enterprise_key_id is not None:
        means = ("通行密钥", "passkey") if view.evidence == "passkey" else ("密钥", "key")
        lines.append(
            (
                f"{means[0]} {view.enterprise_key_id} 以企业身份签署了该文件",
                f"{means[1]} {view.enterprise_key_id} signed the document as the enterprise",
            )
        )
    if view.proven is not None:
        head, index = view.proven.head, view.proven.recorded.sequence
        lines.append(
            (
                f"账本 {head.log_id} 截至 {head.at} 共 {head.size} 条记录，第 {index} 条即该文件（自 0 起）",
                f"the document is entry {index} (from 0) of the {head.size} in ledger {head.log_id} at {head.at}",
            )
        )
    return lines


def _not_proved(view: ReceiptView, keyring: Keyring, *, trusted: bool) -> list[Line]:
    lines = [
        (
            "该授权现在是否仍然有效：其后可能已暂停、撤回或到期",
            "that the consent still stands: it may have been paused, withdrawn or have run out since",
        ),
        (
            "密钥环是否最新：其后声明的密钥泄露不在其中",
            "that the keyring is the newest: a key declared compromised later is not in it",
        ),
        (
            "登记时间由平台自行声明，并非独立时间戳",
            "the times are the platform's own word, not an independent time stamp",
        ),
    ]
    if view.evidence == "session_code":
        lines.append(
            (
                "企业的签名：平台核验登录会话与一次性验证码后，以登记员身份代为签署",
                "a signature of the enterprise: the platform checked a session and a one-time code and signed as "
                "registrar in its stead",
            )
        )
    elif view.enterprise_key_id is None:
        lines.append(("企业的签名：该文件由平台签署", "a signature of the enterprise: this document is the platform's"))
    else:
        lines.append(
            (
                "企业密钥由谁掌握：由平台核验身份并以副署担保",
                "who holds the enterprise's key: the platform checked that and vouches by its countersignature",
            )
        )
    if not trusted:
        first = keyring.first
        lines.append(
            (
                f"密钥环是否属于该平台：请将首个公钥与平台公布的核对，或用 --trust 指定：{first.b64}",
                f"that the keyring is the platform's: compare its first key with the published one or pass --trust: "
                f"{first.b64}",
            )
        )
    if view.proven is None:
        lines.append(
            (
                "该文件是否已载入账本：未核验账本证明（--proof）",
                "that the ledger holds the document: no inclusion proof was checked (--proof)",
            )
        )
    else:
        lines.append(
            ("账本树头是否有见证方副署：未核对", "that witnesses cosigned the ledger's head: this was not checked")
        )
    return lines


def _section(title: str, mark: str, lines: list[Line]) -> None:
    typer.echo(title)
    for zh, en in lines:
        typer.echo(f"  {mark} {zh} · {en}")


def _as_json(view: ReceiptView, proved: list[Line], not_proved: list[Line]) -> dict[str, object]:
    facts = {
        name: getattr(view, name)
        for name in (
            "receipt_id", "transition", "consent_id", "enterprise", "recipient", "purpose", "recorded_at", "issued_at",
            "hash", "document_hash", "platform", "suite", "key_id", "enterprise_key_id", "evidence",
        )
    }  # fmt: skip
    return {
        "valid": True,
        **facts,
        "ledger": asdict(view.ledger) if view.ledger else None,
        "in_ledger": view.proven is not None,
        "proved": [{"zh": zh, "en": en} for zh, en in proved],
        "not_proved": [{"zh": zh, "en": en} for zh, en in not_proved],
    }
