"""`creditlab verify` says in Chinese and English what a receipt proves and what not, and exits 0 or 1 (R14, R44)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from api.verify_cli import app
from consent import artefact, templates
from consent.canonical import canonical
from consent.keyring import Keyring
from consent.keys import SigningKey
from consent.ledger.entries import entry, new_salt
from consent.ledger.log import Ledger
from consent.ledger.merkle import leaf_hash
from consent.ledger.proofs import prove_inclusion
from consent.ledger.store import MemoryStore
from consent.receipt import LedgerPosition, issue
from consent.signed import countersign, sign
from consent.suites import SUITES

AT = "2026-06-01T08:00:00Z"


class Files:
    """A receipt, the keyring, the platform's public key and a proof in a folder."""

    def __init__(self, folder: Path, suite: str) -> None:
        platform, enterprise = SigningKey.generate(suite), SigningKey.generate(suite)
        body = artefact.consent(
            consent_id="c-1",
            enterprise="91110108MA01ABCD2X",
            recipient="bank_a",
            provider="lab",
            valid_from=AT,
            valid_until="2026-12-01T00:00:00Z",
            given_at=AT,
            evidence={"kind": "import", "reference": "0" * 64},
            **templates.terms("joint_training"),
        )
        document = countersign(sign(body, enterprise, "enterprise"), platform, "platform")
        keyring = Keyring.found(platform, platform="zone", at=AT, valid_until="2027-01-01T00:00:00Z")
        name, salt = SUITES[suite].hash_name, new_salt()
        store = MemoryStore("zone-log", name)
        log = Ledger(store)
        log.append([entry("consent", AT, document, salt, name)])
        proof = prove_inclusion(store, 0, log.sign_head(platform, AT))
        (raw,) = store.entries(0, 1)
        times: dict[str, Any] = {"platform": "zone", "recorded_at": AT, "issued_at": AT}
        position = LedgerPosition("zone-log", 0, leaf_hash(raw, name).hex(), salt.hex(), name)
        self.platform, self.document, self.position, self.times = platform, document, position, times
        self.receipt = folder / "receipt.json"
        self.keys = folder / "keys.json"
        self.trust = folder / "platform.pub"
        self.proof = folder / "proof.json"
        self.receipt.write_bytes(issue(document, platform, receipt_id="r-1", ledger=position, **times) + b"\n")
        self.keys.write_bytes(keyring.to_json())
        self.trust.write_text(platform.public.b64 + "\n")
        self.proof.write_bytes(canonical(proof))

    def run(self, *options: object) -> Result:
        return CliRunner().invoke(app, [str(self.receipt), "--keys", str(self.keys), *map(str, options)])


@pytest.fixture(params=sorted(SUITES))
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return Files(tmp_path, request.param)


def test_a_good_receipt_says_what_is_proved_and_what_is_not(files: Files) -> None:
    result = files.run()
    assert result.exit_code == 0, result.output
    assert "回执有效 · the receipt holds" in result.output
    proved, not_proved = result.output.split("未证明 · not proved")
    for text in ("bank_a", "91110108MA01ABCD2X", "signed the document as the enterprise", "以企业身份签署"):
        assert text in proved
    for text in ("that the consent still stands", "其后可能已暂停", files.platform.public.b64, "no inclusion proof"):
        assert text in not_proved


def test_trust_and_proof_move_lines_from_not_proved_to_proved(files: Files) -> None:
    result = files.run("--trust", files.trust, "--proof", files.proof, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["valid"] and found["in_ledger"] and found["ledger"]["index"] == 0
    proved, not_proved = (" ".join(line["en"] for line in found[name]) for name in ("proved", "not_proved"))
    assert "entry 0 (from 0) of the 1 in ledger zone-log" in proved
    assert "keyring is the platform's" not in not_proved and "inclusion proof" not in not_proved
    assert all(line["zh"] and line["en"] for line in found["proved"] + found["not_proved"])


def test_a_pem_is_trusted_as_well(files: Files) -> None:
    files.trust.write_bytes(files.platform.public.to_pem())
    assert files.run("--trust", files.trust).exit_code == 0


def test_a_changed_receipt_is_refused_with_exit_code_1(files: Files) -> None:
    raw = files.receipt.read_bytes()
    for position in (len(raw) // 2, len(raw) - 10):
        changed = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
        files.receipt.write_bytes(changed)
        result = files.run()
        assert result.exit_code == 1
        assert "未通过核验，不证明任何事 · refused, it proves nothing" in result.output
        found = json.loads(files.run("--json").output)
        assert found["valid"] is False and found["code"] and found["message"] and found["message_zh"]


def test_another_platforms_key_is_refused(files: Files) -> None:
    files.trust.write_text(SigningKey.generate().public.b64)
    result = files.run("--trust", files.trust)
    assert result.exit_code == 1 and "keyring_refused" in result.output


def test_a_proof_of_another_place_is_refused(files: Files) -> None:
    moved = replace(files.position, index=5)
    raw = issue(files.document, files.platform, receipt_id="r-2", ledger=moved, **files.times)
    files.receipt.write_bytes(raw)
    assert files.run().exit_code == 0
    result = files.run("--proof", files.proof)
    assert result.exit_code == 1 and "receipt_proof_mismatch" in result.output


@pytest.mark.parametrize("broken", ["receipt", "keys", "trust", "proof"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"[" * 50_000])
def test_broken_files_are_refused_without_a_traceback(files: Files, broken: str, content: bytes) -> None:
    getattr(files, broken).write_bytes(content)
    result = files.run("--trust", files.trust, "--proof", files.proof)
    assert result.exit_code == 1
    assert "refused" in result.output and "Traceback" not in result.output
