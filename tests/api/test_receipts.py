"""Receipts: one for every document of a consent, with its ledger position, checked offline, in both suites (R14)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from api.ledger import service as ledger
from api.platform_keys import founded
from api.receipts import service
from api.receipts.service import Viewer
from api.verify_cli import app as verify_app
from consent.canonical import canonical
from consent.errors import Refused
from consent.keyring import Keyring
from consent.keys import SigningKey, VerifyingKey
from consent.ledger import Witness, check_inclusion
from consent.receipt import verify
from consent.signed import read_canonical
from consent.times import stamp
from tests.api.test_jobs import refused
from tests.api.world import Enterprise, World


def made(new_database: Callable[[], str], suite: str) -> World:
    world = World(new_database(), suite=suite)
    if suite != "ed25519":
        world.key = SigningKey.generate(suite)
        world.keyring = founded(world.key, "creditlab", world.clock(), 100)
        world.control.key, world.control.keyring = world.key, world.keyring
    return world.start().populate()


@pytest.fixture(scope="module", params=["ed25519", "sm2"])
def told(request: pytest.FixtureRequest, new_database: Callable[[], str]) -> Iterator[tuple[World, list[Any]]]:
    """A consent that was given, paused, resumed and withdrawn, and its receipts as the bank gets them."""
    world = made(new_database, request.param)
    one = Enterprise("E1")
    consent = one.consent("c-1")
    paused = one.transition(consent, "pause")
    lines = [consent, paused, one.transition(paused, "resume"), one.withdrawal("c-1"), Enterprise("E2").refusal("c-2")]
    assert world.gateway.import_consents(lines)["failed"] == 0
    yield world, world.risk._get("/v1/consents/c-1/receipts")["items"]
    world.close()


class Files:
    """What an enterprise holds: a receipt, the platform's keyring and its first key."""

    def __init__(self, folder: Path, world: World) -> None:
        self.receipt, self.keys, self.first = folder / "receipt.json", folder / "keyring.json", folder / "first.pub"
        self.keys.write_bytes(world.control.keyring.to_json() + b"\n")
        self.first.write_text(world.keyring.first.b64 + "\n")

    def verify(self, raw: bytes, *words: object) -> Result:
        self.receipt.write_bytes(raw)
        words = (self.receipt, "--keys", self.keys, "--trust", self.first, *words)
        return CliRunner().invoke(verify_app, [str(word) for word in words])


def test_every_document_has_a_receipt_that_stands_alone(told: tuple[World, list[Any]]) -> None:
    world, items = told
    assert [item["step"] for item in items] == ["consent", "pause", "resume", "withdraw"]
    for item in items:
        view = verify(canonical(item["receipt"]), world.keyring, proof=item["proof"])
        assert (view.consent_id, view.enterprise, view.recipient) == ("c-1", "E1", "bank-a")
        assert view.platform == "creditlab"
        assert view.ledger is not None and view.proven is not None
        assert view.proven.recorded.sequence == view.ledger.index
        assert view.suite == world.key.suite
    [refusal] = world.operator._get("/v1/consents/c-2/receipts")["items"]
    assert verify(canonical(refusal["receipt"]), world.keyring, proof=refusal["proof"]).transition == "refuse"


def test_the_file_is_checked_offline_with_the_command(told: tuple[World, list[Any]], tmp_path: Path) -> None:
    world, items = told
    files = Files(tmp_path, world)
    raw = service.file(world.control, Viewer(enterprise="E1"), "c-1", items[3]["seq"])
    result = files.verify(raw)
    assert result.exit_code == 0, result.output
    for words in (
        "回执有效 · the receipt holds",
        "withdraw",
        "in ledger creditlab",
        "signed the document as the enterprise",
    ):
        assert words in result.output
    found = json.loads(files.verify(raw, "--json").output)
    assert (found["in_ledger"], found["transition"]) == (True, "withdraw")
    alone = files.verify(canonical(items[3]["receipt"]))
    assert alone.exit_code == 0
    assert "no inclusion proof was checked" in alone.output
    # the proof of another receipt does not go with this one
    swapped = canonical({"proof": items[0]["proof"], "receipt": items[3]["receipt"]})
    assert "receipt_proof_mismatch" in files.verify(swapped).output


def test_whom_the_consent_does_not_concern_does_not_learn_of_it(told: tuple[World, list[Any]]) -> None:
    world, items = told
    world.operator.add_institution("bank-x", "Bank X", "bank")
    stranger = world.person("risk-x", "bank-x", "risk")
    for path in ("/v1/consents/c-1/receipts", f"/v1/consents/c-1/receipts/{items[0]['seq']}/file"):
        assert refused(stranger._get, path).status == 404
        assert refused(world.owner._get, path).code == "role_missing"
    assert refused(world.risk._get, "/v1/consents/c-none/receipts").status == 404
    assert refused(world.risk._get, "/v1/consents/c-1/receipts/5/file").status == 404  # of c-2
    for who in (Viewer(enterprise="E2"), Viewer(institution="bank-x")):
        with pytest.raises(Exception, match="there is no consent"):
            service.of_consent(world.control, who, "c-1")
    assert len(service.of_consent(world.control, Viewer(enterprise="E1"), "c-1").items) == 4


@pytest.mark.parametrize("step", range(5))
def test_any_changed_byte_of_a_receipt_file_is_refused(told: tuple[World, list[Any]], step: int) -> None:
    world, items = told
    raw = service.file(world.control, Viewer(), "c-1", items[3]["seq"])
    every = 5 * (37 if world.key.suite == "ed25519" else 149)
    for place in range(step * 31, len(raw), every):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises((Refused, KeyError)):
            checked(changed, world.keyring)


def checked(raw: bytes, keyring: Keyring) -> None:
    bundle = read_canonical(raw)
    verify(canonical(bundle["receipt"]), keyring, proof=bundle["proof"])


def test_a_witness_of_ones_choice_can_be_asked_for(told: tuple[World, list[Any]], tmp_path: Path) -> None:
    world, items = told
    files = Files(tmp_path, world)
    world.operator.add_institution("court", "Court", "witness")
    court = world.person("court", "court", "witness")
    key = SigningKey.generate()
    court.call("PUT", "/v1/ledger/witness", json={"public_key": key.public.b64})
    head = court._get("/v1/ledger/heads/latest")["head"]
    witness = Witness("court", key, "creditlab", world.keyring, max_age_seconds=300)
    court._post("/v1/ledger/cosigned", {"head": witness.cosign(head, [], stamp(world.clock()))})
    (tmp_path / "court.pub").write_text(key.public.b64)
    (tmp_path / "other.pub").write_text(SigningKey.generate().public.b64)
    raw = service.file(world.control, Viewer(), "c-1", items[0]["seq"])
    asked = files.verify(raw, "--witness", f"court={tmp_path / 'court.pub'}")
    assert asked.exit_code == 0, asked.output
    assert "witness court cosigned" in asked.output
    assert files.verify(raw, "--witness", f"court={tmp_path / 'other.pub'}").exit_code == 1
    alone = files.verify(canonical(items[0]["receipt"]), "--witness", f"court={tmp_path / 'court.pub'}")
    assert alone.exit_code == 1
    assert "pass --proof" in alone.output


def test_a_receipt_is_there_at_once_after_the_document(
    told: tuple[World, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No waiting for the next head: one is signed when a proof is asked for."""
    world, _ = told
    monkeypatch.setattr(ledger.HeadKeeper, "tick", lambda self: None)
    world.gateway.import_consents([Enterprise("E9").consent("c-9")])
    [item] = world.risk._get("/v1/consents/c-9/receipts")["items"]
    assert verify(canonical(item["receipt"]), world.keyring, proof=item["proof"]).proven is not None


# ---- keys change


def rotated(world: World, suite: str) -> SigningKey:
    """As `creditlab keyring rotate` and a restart do it."""
    new = SigningKey.generate(suite)
    world.clock.advance(2)
    at = stamp(world.clock())
    world.clock.advance(2)
    after = stamp(world.clock())
    ring: Keyring = world.control.keyring.add(
        world.control.key, new.public, at=at, valid_from=after, valid_until="2040-01-01T00:00:00Z"
    )
    world.control.keyring = ring.retire(new, world.control.key.public.key_id, at=after)
    world.control.key = new
    world.clock.advance(1)
    return new


@pytest.mark.parametrize(("before", "after"), [("ed25519", "sm2"), ("sm2", "ed25519")])
def test_after_a_rotation_old_receipts_hold_and_new_ones_are_by_the_new_key(
    new_database: Callable[[], str], tmp_path: Path, before: str, after: str
) -> None:
    world = made(new_database, before)
    try:
        one = Enterprise("E1")
        world.gateway.import_consents([one.consent("c-1")])
        old = service.file(world.control, Viewer(), "c-1", 1)
        new = rotated(world, after)
        world.gateway.import_consents([one.withdrawal("c-1")])
        files = Files(tmp_path, world)
        assert files.verify(old).exit_code == 0
        for seq, step in ((1, "grant"), (2, "withdraw")):
            result = files.verify(service.file(world.control, Viewer(), "c-1", seq), "--json")
            found = json.loads(result.output)
            assert (found["valid"], found["transition"], found["in_ledger"]) == (True, step, True), result.output
            assert (found["suite"], found["key_id"]) == (after, new.public.key_id)
        heads = world.operator._get("/v1/ledger/heads")["items"]
        assert {head["head"]["signatures"][0]["suite"] for head in heads} == {before, after}
        # somebody who only knows the first key follows to the new one
        first = VerifyingKey.from_b64(files.first.read_text().strip())
        assert (
            Keyring.read(world.control.keyring.to_json(), anchor=first).current(stamp(world.clock())).public
            == new.public
        )
    finally:
        world.close()


def test_after_a_compromise_receipts_are_made_anew_and_proofs_stand_under_new_heads(
    world: World, tmp_path: Path
) -> None:
    one = Enterprise("E1")
    world.gateway.import_consents([one.consent("c-1")])
    old = service.file(world.control, Viewer(), "c-1", 1)
    stolen = world.control.key.public.key_id
    world.clock.advance(60)
    since = stamp(world.clock())
    new = rotated(world, "ed25519")
    world.control.keyring = world.control.keyring.compromise(new, stolen, since=since, at=stamp(world.clock()))
    files = Files(tmp_path, world)
    assert "key_not_valid" in files.verify(old).output
    again = service.file(world.control, Viewer(), "c-1", 1)
    assert files.verify(again).exit_code == 0, files.verify(again).output
    head = check_inclusion(json.loads(again)["proof"], world.control.keyring).head
    assert head.size == 1
