"""The platform's keys on disk: rotated, retired, declared compromised; nothing that was signed loses its worth."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api import platform_keys
from api.home import Home, HomeError, only_one
from api.keyring_cli import app
from consent.keyring import KeyNotValid, Keyring
from consent.keys import SigningKey, VerifyingKey
from consent.ledger import Ledger, LedgerDamaged, MemoryStore, fsck, vouched
from consent.signed import sign, verify
from consent.times import stamp
from tests.consent.ledger.conftest import made

START = datetime(2026, 3, 1, 8, tzinfo=UTC)


class Clock:
    """Half a second later at each look, so that waiting ends."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=0.5)
        return self.now


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def load(home: Home, now: datetime = START, **changes: Any) -> platform_keys.PlatformKeys:
    return platform_keys.load(home, **{"suite": "ed25519", "platform": "creditlab", "days": 100, "now": now, **changes})


def test_the_first_start_makes_key_and_keyring_and_the_next_takes_them_up(home: Home) -> None:
    first = load(home)
    again = load(home, START + timedelta(days=1))
    assert (again.key.public, again.keyring) == (first.key.public, first.keyring)
    assert first.keyring.first == first.key.public
    assert home.platform_public.read_text() == home.first_public.read_text() == first.key.public.b64 + "\n"
    assert home.platform_key.stat().st_mode & 0o077 == 0
    assert 98 < again.days_left(START + timedelta(days=1)) <= 99


@pytest.mark.parametrize("suite", ["ed25519", "sm2"])
def test_after_a_rotation_old_signatures_hold_and_the_old_key_makes_no_new_ones(home: Home, suite: str) -> None:
    clock = Clock()
    old = load(home)
    before = sign({"type": "x"}, old.key, "platform")
    ring = platform_keys.rotate(home, suite=suite, days=100, clock=clock)
    new = load(home, clock(), suite=suite)
    assert new.keyring == ring
    assert new.key.suite == suite
    assert new.key.public != old.key.public
    ring.verify(before, "platform", stamp(START))
    with pytest.raises(KeyNotValid):
        ring.verify(before, "platform", stamp(clock()))
    ring.verify(sign({"type": "x"}, new.key, "platform"), "platform", stamp(clock()))
    # every second has one key: no gap between them and no overlap
    old_end, new_start = ring.key(old.key.public.key_id).end, ring.key(new.key.public.key_id).valid_from
    assert old_end == new_start
    assert Keyring.read(home.keyring.read_bytes().removesuffix(b"\n"), anchor=old.key.public) == ring
    assert home.first_public.read_text().strip() == old.key.public.b64
    assert home.platform_public.read_text().strip() == new.key.public.b64
    assert list(home.platform_key.parent.glob("next-*")) == []


def test_a_rotation_that_was_cut_off_is_finished_or_forgotten(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill −9 before the keyring is written leaves the old key, after it the new one."""
    old = load(home).key.public
    real = platform_keys._write

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(platform_keys, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        platform_keys.rotate(home, suite="ed25519", days=100, clock=Clock())
    monkeypatch.setattr(platform_keys, "_write", real)
    assert load(home, START + timedelta(seconds=9)).key.public == old
    assert list(home.platform_key.parent.glob("next-*")) == []

    def writes_then_dies(*words: Any) -> None:
        real(*words)
        raise KeyboardInterrupt

    monkeypatch.setattr(platform_keys, "_write", writes_then_dies)
    with pytest.raises(KeyboardInterrupt):
        platform_keys.rotate(home, suite="ed25519", days=100, clock=Clock())
    monkeypatch.setattr(platform_keys, "_write", real)
    finished = load(home, START + timedelta(seconds=9))
    assert finished.key.public != old
    assert finished.keyring.key(old.key_id).retired_at is not None
    assert home.platform_public.read_text().strip() == finished.key.public.b64
    assert list(home.platform_key.parent.glob("next-*")) == []


def test_a_stolen_key_is_declared_by_its_successor_and_its_dates_are_no_longer_believed(home: Home) -> None:
    clock = Clock()
    stolen = load(home).key
    ring = platform_keys.compromise(
        home, stolen.public.key_id, since=stamp(START), suite="ed25519", days=100, clock=clock
    )
    assert ring.key(stolen.public.key_id).compromised_at == stamp(START)
    assert load(home, clock()).key.public != stolen.public
    with pytest.raises(KeyNotValid):
        ring.verify(sign({"type": "x"}, stolen, "platform"), "platform", stamp(START))


def test_the_recovery_key_replaces_a_lost_or_expired_working_key(home: Home, tmp_path: Path) -> None:
    clock = Clock()
    load(home, days=1)
    out = tmp_path / "recovery.pem"
    ring = platform_keys.add_recovery(home, out, suite="ed25519", days=3000, clock=clock)
    assert out.stat().st_mode & 0o077 == 0
    with pytest.raises(HomeError, match="exists"):
        platform_keys.add_recovery(home, out, suite="ed25519", days=3000, clock=clock)
    clock.now = START + timedelta(days=30)
    with pytest.raises(HomeError, match="rotate --by"):
        load(home, clock.now)
    with pytest.raises(KeyNotValid):
        platform_keys.rotate(home, suite="ed25519", days=100, clock=clock)
    by = SigningKey.from_pem(out.read_bytes())
    platform_keys.rotate(home, suite="ed25519", days=100, clock=clock, by=by)
    assert load(home, clock()).keyring.sequence == ring.sequence + 1  # an expired key need not be retired
    ring = platform_keys.retire(home, by.public.key_id, clock=clock)
    assert ring.key(by.public.key_id).retired_at is not None


def test_the_working_key_is_not_retired_but_rotated(home: Home) -> None:
    key = load(home).key.public.key_id
    with pytest.raises(HomeError, match="rotate"):
        platform_keys.retire(home, key, clock=Clock())


def test_what_does_not_belong_together_is_refused_by_name(home: Home, tmp_path: Path) -> None:
    load(home)
    with pytest.raises(HomeError, match="a platform keeps its name"):
        load(home, platform="other")
    other = Home(tmp_path / "other")
    load(other)
    home.platform_key.write_bytes(other.platform_key.read_bytes())
    with pytest.raises(HomeError, match="one backup"):
        load(home)
    home.keyring.write_bytes(b"[]")
    with pytest.raises(HomeError, match="no usable keyring"):
        load(home)


# ---- a log whose key was stolen later


def test_heads_by_a_key_stolen_later_count_as_far_as_a_later_head_vouches_for_them(home: Home) -> None:
    clock = Clock()
    old = load(home).key
    log = Ledger(MemoryStore("creditlab"))
    log.append([made(n, second=0) for n in range(3)])

    def moment() -> str:
        return stamp(clock())

    log.sign_head(old, moment())
    clock.now += timedelta(seconds=60)
    since = moment()
    clock.now += timedelta(seconds=60)
    ring = platform_keys.compromise(home, old.public.key_id, since=since, suite="ed25519", days=100, clock=clock)
    with pytest.raises(LedgerDamaged, match="forged"):  # nothing by a good key vouches for it
        fsck(log.store, vouched(ring, log.store))
    new = load(home, clock()).key
    log.append([made(3, second=0)._replace(at=moment())])
    log.sign_head(new, moment())
    assert fsck(log.store, vouched(ring, log.store)).heads == 2
    log.sign_head(old, moment())  # the thief goes on signing
    with pytest.raises(LedgerDamaged, match="forged") as found:
        fsck(log.store, vouched(ring, log.store))
    assert found.value.index == 2


# ---- the command


@pytest.fixture
def run(home: Home, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("CREDITLAB_SUITE", raising=False)
    load(home, datetime.now(UTC) - timedelta(seconds=5))

    def invoke(*words: object) -> Any:
        return CliRunner().invoke(app, [*map(str, words), "--home", str(home.path)])

    return invoke


def test_the_command_rotates_and_shows_public_keys_only(home: Home, run: Any) -> None:
    old = load(home, datetime.now(UTC)).key
    done = run("rotate", "--suite", "sm2")
    assert done.exit_code == 0, done.output
    assert "CREDITLAB_SUITE=sm2" in done.output
    assert "nodes follow by themselves" in done.output
    shown = run("show").output
    assert "已停用 retired" in shown and "有效 valid" in shown and "sm2" in shown
    assert f"first key: {old.public.b64}" in shown
    assert "PRIVATE" not in shown + done.output
    assert load(home, datetime.now(UTC), suite="sm2").key.suite == "sm2"


def test_the_command_declares_a_compromise_and_adds_a_recovery_key(home: Home, run: Any, tmp_path: Path) -> None:
    out = tmp_path / "recovery.pem"
    assert run("recovery", out).exit_code == 0
    stolen = load(home, datetime.now(UTC)).key.public
    since = stamp(datetime.now(UTC) - timedelta(seconds=2))
    done = run("compromise", stolen.key_id, "--since", since, "--by", out)
    assert done.exit_code == 0, done.output
    assert f"compromised since {since}" in done.output
    statements = json.loads(home.keyring.read_bytes())
    signer = VerifyingKey.from_b64(statements[-1]["signatures"][0]["public_key"])
    verify(statements[-1], "keyring", signer)
    assert run("retire", signer.key_id).exit_code == 0


def test_nothing_is_changed_while_the_control_plane_serves(home: Home, run: Any) -> None:
    before = home.keyring.read_bytes()
    with only_one(home):
        refused = run("rotate")
    assert isinstance(refused.exception, HomeError)
    assert "stop it first" in refused.exception.message
    assert home.keyring.read_bytes() == before
