"""`creditlab witness DIR`: remembers the last head on its own disk and cosigns only what extends it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from api import witness_cli
from api.ledger import service
from api.platform_keys import founded
from api.witness_cli import app
from consent.canonical import canonical
from consent.keys import SigningKey, VerifyingKey
from consent.ledger import Ledger, MemoryStore, check_inclusion
from consent.times import stamp
from tests.api.test_ledger import by_force, headed
from tests.api.world import Enterprise, World, any_ca
from tests.consent.ledger.conftest import made


class Court:
    """A witness's folder and command, with an account of its own."""

    def __init__(self, world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.folder, self.first = world, folder / "witness", folder / "first.pub"
        self.first.write_text(world.keyring.first.b64 + "\n")
        world.operator.add_institution("court", "Court", "witness")
        world.person("court", "court", "witness")
        monkeypatch.setenv("CREDITLAB_URL", world.url)
        monkeypatch.setenv("CREDITLAB_CA", str(any_ca()))
        monkeypatch.setenv("CREDITLAB_TOKEN", world.tokens["court"])

    def look(self, *words: object) -> Any:
        given = (self.folder, "--trust", self.first, "--once", *words)
        return CliRunner().invoke(app, [str(word) for word in given])

    @property
    def head(self) -> dict[str, Any]:
        return json.loads((self.folder / "head.json").read_bytes())

    @property
    def evidence(self) -> list[Path]:
        return sorted(self.folder.glob("refused-*"))


@pytest.fixture
def court(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Court:
    monkeypatch.setattr(service.HeadKeeper, "tick", lambda self: None)  # heads come when the test says
    world.cohort(5)
    headed(world)
    return Court(world, tmp_path, monkeypatch)


def test_it_follows_the_log_and_its_word_stands_in_the_proofs(court: Court) -> None:
    assert court.look().exit_code == 0
    assert court.head["body"]["size"] == 5
    court.world.gateway.import_consents([Enterprise("late").consent("c-late")])
    headed(court.world)
    assert court.look().exit_code == 0
    assert court.head["body"]["size"] == 6
    assert court.look().exit_code == 0  # nothing new is no fault
    key = VerifyingKey.from_b64((court.folder / "key.pub").read_text().strip())
    proof = court.world.operator._get("/v1/ledger/entries/5/proof")
    check_inclusion(proof, court.world.keyring, witnesses={"court": key}, quorum=1)
    assert (court.folder / "key.pem").stat().st_mode & 0o077 == 0
    assert court.evidence == []


def rewritten(world: World, count: int) -> None:
    """The whole log made anew by force, over other entries, with a truly signed head: another history."""
    log = Ledger(MemoryStore("creditlab"))
    log.append([made(n, second=0) for n in range(count)])
    head = canonical(log.sign_head(world.key, stamp(world.clock())))
    by_force(world, "DELETE FROM ledger_head", "DELETE FROM ledger_node", "DELETE FROM ledger_entry")
    with world.db.owner.begin() as connection:
        store = service.PostgresStore(connection, "creditlab", "sha256")
        Ledger(store).append([made(n, second=0) for n in range(count)])
        connection.execute(
            sa.text("INSERT INTO ledger_head VALUES ('creditlab', 0, :n, :head)"), {"n": count, "head": head}
        )


@pytest.mark.parametrize(("count", "code"), [(5, "log_forked"), (9, "log_forked"), (3, "log_shrunk")])
def test_another_history_is_refused_and_kept_as_evidence(court: Court, count: int, code: str) -> None:
    court.look()
    before = court.head
    court.world.clock.advance(1)
    by_force(court.world, "DELETE FROM ledger_cosigned")
    rewritten(court.world, count)
    refused = court.look()
    assert refused.exit_code == 1
    assert code in refused.output
    assert court.head == before
    [kept] = court.evidence
    assert json.loads(kept.read_bytes())["body"]["size"] == count


def test_a_keyring_that_does_not_begin_with_the_trusted_key_or_goes_back_is_refused(court: Court) -> None:
    world = court.world
    court.first.write_text(SigningKey.generate().public.b64)
    assert "keyring_refused" in court.look().output
    court.first.write_text(world.keyring.first.b64)
    assert court.look().exit_code == 0
    other = SigningKey.generate()
    at = stamp(world.clock())
    newer = world.keyring.add(world.key, other.public, at=at, valid_from=at, valid_until="2040-01-01T00:00:00Z")
    (court.folder / "keyring.json").write_bytes(newer.to_json() + b"\n")
    assert "keyring_rolled_back" in court.look().output
    (court.folder / "keyring.json").unlink()
    world.control.keyring = founded(other, "creditlab", world.clock(), 10)
    assert "keyring_refused" in court.look().output


def test_an_old_head_is_not_cosigned(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something newer may be withheld: the platform shows a head from ten minutes ago."""
    court.look()
    before = court.head
    court.world.gateway.import_consents([Enterprise("late").consent("c-late")])
    headed(court.world)
    monkeypatch.setattr(witness_cli, "_now", lambda: datetime.now(UTC) + timedelta(minutes=10))
    refused = court.look()
    assert refused.exit_code == 1
    assert "head_stale" in refused.output
    assert court.head == before
