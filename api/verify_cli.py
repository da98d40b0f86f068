"""`creditlab verify`: checks a receipt or a ledger record offline and says in Chinese and English what is proved.

It takes a receipt, a receipt with its proof in one file, a ledger record (a document with salt and proof), or what a
node proves of an enterprise's data in joint training. Owns the words. It asks no server and decides nothing:
`consent.receipt`, `consent.ledger` and `consent.node_log` check, this prints. Exit code 0 when it holds, 1 when it is
refused.
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
    from consent.ledger import Proven
    from consent.node_log import NodeUse
    from consent.receipt import ReceiptView
    from consent.signed import Document

app = typer.Typer(
    help="核验回执、日志凭据或使用证明 · verify a receipt, a ledger record or a proof of use",
    pretty_exceptions_enable=False,
)
Line = tuple[str, str]


@app.command()
def verify(
    receipt: Annotated[
        Path,
        typer.Argument(
            help="回执、日志凭据或使用证明 · a receipt, a ledger record or a proof of use", exists=True, dir_okay=False
        ),
    ],
    keys: Annotated[Path, typer.Option(help="平台密钥环 · the platform's keyring", exists=True, dir_okay=False)],
    trust: Annotated[
        Path | None,
        typer.Option(help="另行取得的平台首个公钥 · the platform's first key, had by other means", exists=True),
    ] = None,
    proof: Annotated[
        Path | None, typer.Option(help="账本证明 · inclusion proof from the ledger", exists=True, dir_okay=False)
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE 须有其副署的见证方及其公钥 · a witness that must have cosigned, and its public key"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """离线核验回执、日志凭据或使用证明 · check a receipt, a ledger record or a proof of use offline."""
    from consent import node_log
    from consent import receipt as receipts
    from consent.canonical import canonical
    from consent.errors import Refused
    from consent.keyring import Keyring
    from consent.ledger import records
    from consent.ledger.errors import LedgerError
    from consent.ledger.proofs import load

    names = dict(_witness(text) for text in witness or [])
    try:
        raw = _read(keys)
        keyring = Keyring.read(raw, _public(trust)) if trust else Keyring.read_untrusted(raw)
        given, parts = _read(receipt), _parts(_read(receipt))
        if parts == _RECORD:
            record = records.load(given)
            proven = records.check(record, keyring, witnesses=names, quorum=len(names))
            _print_record(receipt, record, proven, keyring, trusted=trust is not None, as_json=as_json, names=names)
            return
        if node_log.is_file(parts):
            files = node_log.load(given)
            uses = [node_log.check(one, keyring, witnesses=names, quorum=len(names)) for one in files]
            _print_uses(receipt, uses, keyring, trusted=trust is not None, as_json=as_json, names=names)
            return
        shown = load(proof.read_bytes()) if proof else None
        if parts == _BUNDLE:
            bundle = load(given)
            given, shown = canonical(bundle["receipt"]), bundle["proof"] if shown is None else shown
        view = receipts.verify(given, keyring, proof=shown, witnesses=names, quorum=len(names))
        if names and shown is None:
            raise receipts.ProofMismatch(
                "a witness can only be checked with the inclusion proof: pass --proof",
                "核对见证方须提供账本证明（--proof）",
            )
    except (Refused, LedgerError) as error:
        if as_json:
            found = {"valid": False, "code": error.code, "message": error.message, "message_zh": error.message_zh}
            typer.echo(json.dumps(found, ensure_ascii=False))
        else:
            typer.echo(f"未通过核验，不证明任何事 · refused, it proves nothing: {receipt}")
            typer.echo(f"  {error.message_zh} · {error.message} ({error.code})")
        raise typer.Exit(1) from None
    proved, not_proved = _proved(view, names), _not_proved(view, keyring, names, trusted=trust is not None)
    if as_json:
        typer.echo(json.dumps(_as_json(view, proved, not_proved), ensure_ascii=False))
        return
    typer.echo(f"回执有效 · the receipt holds: {receipt}")
    for name, value in _facts(view):
        typer.echo(f"  {name}: {value}")
    _section("已证明 · proved", "✓", proved)
    _section("未证明 · not proved", "–", not_proved)


_BUNDLE = frozenset({"proof", "receipt"})
_RECORD = frozenset({"document", "proof", "salt", "type", "version"})


def _parts(raw: bytes) -> frozenset[str]:
    """The names of a file's parts, to tell its kind; nothing is believed yet."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(found) if isinstance(found, dict) else frozenset()


def _witness(text: str) -> tuple[str, VerifyingKey]:
    name, _, file = text.partition("=")
    if not name or not Path(file).is_file():
        raise typer.BadParameter(f"{text!r}: NAME=FILE 见证方名称与公钥文件 · a witness's name and key file are needed")
    return name, _public(Path(file))


def _print_record(
    path: Path,
    record: Document,
    proven: Proven,
    keyring: Keyring,
    *,
    trusted: bool,
    as_json: bool,
    names: dict[str, VerifyingKey],
) -> None:
    from consent import usage
    from consent.errors import MalformedDocument
    from consent.ledger import Kind

    entry, head = proven.recorded, proven.head
    proved = [
        (
            f"日志 {head.log_id} 截至 {head.at} 共 {head.size} 条记录，第 {entry.sequence} 条（{entry.entry.kind}，"
            f"{entry.entry.at}）即该文件（自 0 起）",
            f"the document is entry {entry.sequence} (from 0, {entry.entry.kind}, {entry.entry.at}) of the {head.size} "
            f"in ledger {head.log_id} at {head.at}",
        ),
        *_witnessed(names),
    ]
    not_proved = [
        ("登记时间由平台给出，并非独立时间戳", "the times are the platform's own word, not an independent time stamp"),
        *_untrusted(keyring, trusted),
        *([] if names else [_NOT_WITNESSED]),
    ]
    words: tuple[str, str] | None = None
    try:
        if entry.entry.kind == Kind.QUESTION:
            words = _asked(record["document"])
        else:
            usage.check(record["document"])
            words = usage.sentence(record["document"])
    except (MalformedDocument, TypeError):
        pass  # another kind of document: it is shown by its kind alone
    if as_json:
        found = {
            "valid": True,
            "kind": entry.entry.kind,
            "index": entry.sequence,
            "at": entry.entry.at,
            "document": record["document"],
            "sentence": None if words is None else {"zh": words[0], "en": words[1]},
            "proved": [{"zh": zh, "en": en} for zh, en in proved],
            "not_proved": [{"zh": zh, "en": en} for zh, en in not_proved],
        }
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    typer.echo(f"日志凭据有效 · the record holds: {path}")
    if words is not None:
        typer.echo(f"  {words[0]}\n  {words[1]}")
    _section("已证明 · proved", "✓", proved)
    _section("未证明 · not proved", "–", not_proved)


def _asked(document: Document) -> tuple[str, str]:
    """What a question by the platform's word says. Raises MalformedDocument or TypeError."""
    from consent import usage_question

    body = document["body"]
    usage_question.check(body)
    asked, one, number = body["at"], body["enterprise"], body["question_id"]
    return (
        f"平台于 {asked} 凭会话加验证码作证，以企业 {one} 的名义询问节点：哪些联合建模训练用了其数据（{number}）",
        f"at {asked} the platform vouched, by session and code, for enterprise {one}, and asked the nodes which joint "
        f"training used its data ({number})",
    )


def _print_uses(
    path: Path,
    uses: list[NodeUse],
    keyring: Keyring,
    *,
    trusted: bool,
    as_json: bool,
    names: dict[str, VerifyingKey],
) -> None:
    from consent.node_log import told
    from consent.usage import sentence

    not_proved = [
        (
            "节点没有遗漏：未记入节点日志的使用无从证明",
            "that a node left nothing out: what it never entered in its log cannot be proved",
        ),
        (
            "节点密钥由谁掌握：由平台登记并以账本担保",
            "who holds a node's key: the platform took it and vouches by its ledger",
        ),
        _OWN_TIMES,
        *_untrusted(keyring, trusted),
        *([] if names else [_NOT_WITNESSED]),
    ]
    found = []
    for one in uses:
        zh, en = sentence(told(one.use, one.job))
        proved = [*_use_proved(one), *_witnessed(names)]
        found.append(
            {
                "node": one.by.node,
                "node_key": one.by.key.b64,
                "use": one.use,
                "job": one.job,
                "sentence": {"zh": zh, "en": en},
                "proved": [{"zh": zh, "en": en} for zh, en in proved],
            }
        )
        if not as_json:
            typer.echo(f"使用证明有效 · the proof of use holds: {path}")
            typer.echo(f"  {zh}\n  {en}")
            typer.echo(f"  节点公钥 the node's key: {one.by.key.b64}")
            _section("已证明 · proved", "✓", proved)
    if as_json:
        told_not = [{"zh": zh, "en": en} for zh, en in not_proved]
        typer.echo(json.dumps({"valid": True, "uses": found, "not_proved": told_not}, ensure_ascii=False))
        return
    if not uses:
        typer.echo(f"文件中没有使用 · the file holds no use: {path}")
    _section("未证明 · not proved", "–", not_proved)


def _use_proved(use: NodeUse) -> list[Line]:
    by, own, platform = use.by, use.in_node, use.in_platform
    return [
        (
            f"节点 {by.node} 的使用日志共 {by.head.size} 条，第 {own.recorded.sequence} 条即该使用（自 0 起）",
            f"the use is entry {own.recorded.sequence} (from 0) of the {by.head.size} in the log of node {by.node}",
        ),
        (
            f"该日志就作业 {by.job_id} 的树头（{by.head.at}）即账本 {platform.head.log_id} 第 "
            f"{platform.recorded.sequence} 条（{platform.recorded.entry.at}）",
            f"that log's head ({by.head.at}) is entry {platform.recorded.sequence} ({platform.recorded.entry.at}) of "
            f"ledger {platform.head.log_id}, for job {by.job_id}",
        ),
        (
            f"作业由 {use.job['institution']} 的 {use.job['user']} 提出，其记录为账本第 "
            f"{use.job_in_platform.recorded.sequence} 条",
            f"{use.job['user']} of {use.job['institution']} asked for the job, entry "
            f"{use.job_in_platform.recorded.sequence} of the ledger",
        ),
    ]


_OWN_TIMES = (
    "登记时间由节点与平台自行声明，并非独立时间戳",
    "the times are the node's and the platform's own word, not an independent time stamp",
)
_NOT_WITNESSED = (
    "账本树头是否有见证方副署：未核对（--witness）",
    "that witnesses cosigned the ledger's head: this was not checked (--witness)",
)


def _witnessed(names: dict[str, VerifyingKey]) -> list[Line]:
    return [(f"见证方 {name} 副署了该树头", f"witness {name} cosigned that head") for name in names]


def _untrusted(keyring: Keyring, trusted: bool) -> list[Line]:
    if trusted:
        return []
    first = keyring.first
    return [
        (
            f"密钥环是否属于该平台：请将首个公钥与平台公布的核对，或用 --trust 指定：{first.b64}",
            f"that the keyring is the platform's: compare its first key with the published one or pass --trust: "
            f"{first.b64}",
        )
    ]


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


# whose word a document is; the platform's own is neither's
_PARTIES = {
    "enterprise": ("企业", "enterprise"),
    "person": ("个人（本人）", "person"),
    "platform": ("企业", "enterprise"),
}


def _proved(view: ReceiptView, names: dict[str, VerifyingKey]) -> list[Line]:
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
    if (key_id := view.enterprise_key_id or view.person_key_id) is not None:
        means = ("通行密钥", "passkey") if view.evidence == "passkey" else ("密钥", "key")
        who = _PARTIES[view.party]
        lines.append(
            (
                f"{means[0]} {key_id} 以{who[0]}身份签署了该文件",
                f"{means[1]} {key_id} signed the document as the {who[1]}",
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
        lines += _witnessed(names)
    return lines


def _not_proved(view: ReceiptView, keyring: Keyring, names: dict[str, VerifyingKey], *, trusted: bool) -> list[Line]:
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
    zh, en = _PARTIES[view.party]
    if view.evidence == "session_code":
        lines.append(
            (
                f"{zh}的签名：平台核验登录会话与一次性验证码后，以登记员身份代为签署",
                f"a signature of the {en}: the platform checked a session and a one-time code and signed as "
                "registrar in its stead",
            )
        )
    elif view.party == "platform":
        lines.append((f"{zh}的签名：该文件由平台签署", f"a signature of the {en}: this document is the platform's"))
    else:
        lines.append(
            (
                f"{zh}密钥由谁掌握：由平台核验身份并以副署担保",
                f"who holds the {en}'s key: the platform checked that and vouches by its countersignature",
            )
        )
    lines += _untrusted(keyring, trusted)
    if view.proven is None:
        lines.append(
            (
                "该文件是否已载入账本：未核验账本证明（--proof）",
                "that the ledger holds the document: no inclusion proof was checked (--proof)",
            )
        )
    elif not names:
        lines.append(_NOT_WITNESSED)
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
            "hash", "document_hash", "platform", "suite", "key_id", "enterprise_key_id", "person_key_id",
            "evidence",
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
