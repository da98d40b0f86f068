"""Reading the ledger: proofs over the API, witnesses, the store's contract, export and audit of the database (R14)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from api.client import LabError
from api.db import Database
from api.ledger import offline, service
from api.ledger.store import PostgresStore
from api.ledger_cli import app as ledger_app
from api.platform_keys import founded
from consent.keyring import Keyring
from consent.keys import SigningKey
from consent.ledger import (
    FixedKeys,
    FolderStore,
    Ledger,
    MemoryStore,
    Witness,
    check_consistency,
    check_inclusion,
    export,
    fsck,
)
from consent.ledger.errors import AppendConflict, HashMixed
from consent.signed import Document, countersign
from consent.times import stamp
from tests.api.test_jobs import refused
from tests.api.test_ledger import EDIT, by_force, check, headed, subjects
from tests.api.world import Enterprise, World
from tests.consent.ledger.conftest import KEYS, LOG_KEY, at, made

# ---- proofs over the API


@pytest.fixture(scope="module")
def told(shared: World) -> World:
    """A log with several heads."""
    for part in (1, 6, 30, 33):
        names = [f"P{part}-{n}" for n in range(part)]
        shared.gateway.import_consents([Enterprise(n).consent(f"c-{n}") for n in names])
        service.sign_head(shared.control)
    return shared


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_proofs_of_any_entry_and_between_any_heads_verify(told: World, data: st.DataObject) -> None:
    heads = told.operator._get("/v1/ledger/heads")["items"]
    sizes = sorted({one["size"] for one in heads})
    index = data.draw(st.integers(0, sizes[-1] - 1))
    proof = told.operator._get(f"/v1/ledger/entries/{index}/proof")
    proven = check_inclusion(proof, told.keyring, log_id="creditlab")
    assert proven.recorded.sequence == index
    [shown] = told.operator._get("/v1/ledger/entries", start=index, limit=1)["entries"]
    assert shown == proof["entry"]
    old, new = sorted(data.draw(st.tuples(st.sampled_from(sizes), st.sampled_from(sizes))))
    found = told.operator._get("/v1/ledger/consistency", old=old, new=new)
    assert [head.size for head in check_consistency(found, told.keyring)] == [old, new]


def test_a_proof_is_there_at_once_even_before_the_next_head(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.HeadKeeper, "tick", lambda self: None)
    world.cohort(3)
    proof = world.operator._get("/v1/ledger/entries/2/proof")
    assert check_inclusion(proof, world.keyring).head.size == 3


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/ledger/entries/999999/proof", 404),
        ("/v1/ledger/entries/-1/proof", 422),
        ("/v1/ledger/consistency?old=2&new=7", 404),
        ("/v1/ledger/consistency?old=7&new=1", 422),
        ("/v1/ledger/heads/latest?size=999999", 409),
    ],
)
def test_what_cannot_be_proved_is_refused_by_name(told: World, path: str, status: int) -> None:
    denied = refused(told.operator.call, "GET", path)
    assert denied.status == status
    assert denied.message_zh


def test_everybody_with_an_account_reads_the_log_and_sees_no_salt(told: World) -> None:
    assert told.risk._get("/v1/ledger/entries", limit=5)["entries"][0].keys() == {
        "at", "hash", "kind", "sequence", "subject", "type", "version",
    }  # fmt: skip
    text = json.dumps(told.risk._get("/v1/ledger/entries", limit=10_000))
    assert not any(row.salt.hex() in text or row.object_id in text.split('"') for row in subjects(told)[:20])


def test_the_keyring_is_public_and_begins_with_the_platforms_first_key(told: World) -> None:
    raw = httpx.get(told.url + "/v1/keyring").content
    assert Keyring.read(raw, anchor=told.key.public) == told.keyring


# ---- witnesses


class Outside:
    """A witness with an account and a key of its own."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.key = world, name, SigningKey.generate()
        self.client = world.person(name, "court", "witness")
        self.witness = Witness(name, self.key, "creditlab", world.keyring, max_age_seconds=120)

    def register(self) -> Any:
        return self.client.call("PUT", "/v1/ledger/witness", json={"public_key": self.key.public.b64})

    def cosigned(self) -> Document:
        last = 0 if self.witness.last is None else self.witness.last["body"]["size"]
        found = self.client._get("/v1/ledger/heads/latest", size=last)
        path = [bytes.fromhex(one) for one in found["path"]]
        return self.witness.cosign(found["head"], path, now(self.world))

    def post(self, head: Document) -> Any:
        return self.client._post("/v1/ledger/cosigned", {"head": head})


def now(world: World) -> str:
    return stamp(world.clock())


@pytest.fixture
def outside(world: World) -> Outside:
    world.operator.add_institution("court", "Court", "witness")
    world.cohort(6)
    headed(world)
    one = Outside(world, "court.1")
    one.register()
    return one


def test_a_witness_cosigns_what_extends_its_last_head_and_proofs_then_carry_its_word(outside: Outside) -> None:
    world = outside.world
    first = outside.cosigned()
    assert outside.post(first)["size"] == 6
    outside.post(first)  # again is no news
    world.gateway.import_consents([Enterprise("late").consent("c-late")])
    headed(world)
    outside.post(outside.cosigned())
    proof = world.operator._get("/v1/ledger/entries/6/proof")
    check_inclusion(proof, world.keyring, witnesses={"court.1": outside.key.public}, quorum=1)
    [told] = world.operator._get("/v1/ledger")["witnesses"]
    assert (told["name"], told["size"], told["public_key"]) == ("court.1", 7, outside.key.public.b64)


def test_a_head_of_another_history_is_refused_and_reported(outside: Outside, caplog: pytest.LogCaptureFixture) -> None:
    """A fork: truly signed by the platform's key, over entries that this log never held."""
    other = Ledger(MemoryStore("creditlab"))
    other.append([made(n, second=0) for n in range(6)])
    forked = countersign(other.sign_head(outside.world.key, now(outside.world)), outside.key, "witness/court.1")
    denied = refused(outside.post, forked)
    assert (denied.status, denied.code) == (409, "log_forked")
    assert "another history" in caplog.text


def test_a_cosignature_by_another_key_or_name_is_refused(outside: Outside) -> None:
    head = headed(outside.world)
    stranger = SigningKey.generate()
    assert refused(outside.post, countersign(head, stranger, "witness/court.1")).code == "head_forged"
    assert refused(outside.post, countersign(head, outside.key, "witness/court.2")).code == "head_not_witnessed"
    assert refused(outside.post, head).code == "head_not_witnessed"
    tampered = json.loads(json.dumps(outside.cosigned()))
    tampered["body"]["size"] += 1
    assert refused(outside.post, tampered).code == "head_forged"
    other = {"public_key": stranger.public.b64}
    assert refused(outside.client.call, "PUT", "/v1/ledger/witness", json=other).code == "witness_key_differs"
    outside.register()  # the same again is no news


def test_only_a_witness_cosigns_and_the_platform_cannot_be_one(outside: Outside) -> None:
    assert refused(outside.world.risk._post, "/v1/ledger/cosigned", {"head": {}}).code == "role_missing"
    with pytest.raises(LabError, match="role_not_for_institution"):
        outside.world.operator.add_account("own", "platform", ["witness"])


# ---- the store's contract, and the export


@pytest.fixture
def store(db: Database) -> Iterator[Callable[[str], PostgresStore]]:
    with db.owner.connect() as connection:

        def make(name: str) -> PostgresStore:
            connection.execute(
                sa.text("INSERT INTO ledger_log (log_id, hash, opened_at) VALUES ('platform', :name, now())"),
                {"name": name},
            )
            return PostgresStore(connection, "platform", name)

        yield make


@pytest.mark.parametrize("name", ["sha256", "sm3"])
@pytest.mark.parametrize("batches", [[], [1], [3, 0, 4], [8, 1, 5000]])
def test_it_keeps_the_same_log_as_the_other_stores(
    store: Callable[[str], PostgresStore], batches: list[int], name: str, tmp_path: Path
) -> None:
    stores = [MemoryStore("platform", name), store(name)]
    for one in stores:
        log = Ledger(one)
        for count in batches:
            log.append([made(log.size + n, name, 10) for n in range(count)])
            log.sign_head(LOG_KEY, at(10))
    keys = [(level, position) for level in range(14) for position in range(12)]
    for read in (
        lambda one: one.size(),
        lambda one: list(one.entries()),
        lambda one: list(one.entries(2, 5)),
        lambda one: list(one.nodes(keys)),
    ):
        assert read(stores[0]) == read(stores[1])
    fsck(stores[1], KEYS)
    export(stores[1], tmp_path / "out")
    with FolderStore(tmp_path / "out") as exported:
        assert list(exported.entries()) == list(stores[0].entries())
        assert fsck(exported, KEYS).size == sum(batches)
    with pytest.raises(AppendConflict):
        stores[1].append(stores[1].size() + 1, [b"x"], [[bytes(32)]])
    with pytest.raises(HashMixed):
        Ledger(stores[1]).append([made(0, "sm3" if name == "sha256" else "sha256", 20)])


def test_the_command_checks_the_database_and_exports_it(world: World, tmp_path: Path) -> None:
    """R14: `fsck` over the database itself, read-only, and over what an auditor is handed."""
    world.cohort(12)
    headed(world)
    (tmp_path / "home").mkdir()
    (tmp_path / "keys.json").write_bytes(world.keyring.to_json() + b"\n")
    (tmp_path / "first.pub").write_text(world.key.public.b64 + "\n")
    environment = {"DATABASE_URL": world.db.conninfo}

    def run(*words: object) -> Any:
        return CliRunner().invoke(ledger_app, [str(word) for word in words], env=environment)

    keys = ("--keys", tmp_path / "keys.json", "--trust", tmp_path / "first.pub")
    whole = run("fsck", "--home", tmp_path / "home", *keys)
    assert whole.exit_code == 0, whole.output
    assert "the 12 documents are those that were entered" in whole.output
    assert run("export", tmp_path / "out", "--home", tmp_path / "home").exit_code == 0
    assert run("fsck", tmp_path / "out", *keys).exit_code == 0
    assert run("export", tmp_path / "out", "--home", tmp_path / "home").exit_code == 2
    text = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert not any(row.salt.hex().encode() in text or row.salt in text for row in subjects(world))

    by_force(world, EDIT)
    bad = run("fsck", "--home", tmp_path / "home", *keys, "--json")
    assert (bad.exit_code, json.loads(bad.output)["index"]) == (1, 7)
    by_force(world, EDIT.replace('"kind":"ticket"', "X").replace('"kind":"consent"', '"kind":"ticket"')
             .replace("X", '"kind":"consent"'))  # fmt: skip
    by_force(world, "UPDATE feed SET document = replace(document, '\"E3\"', '\"E9\"') WHERE seq = 4")
    changed = run("fsck", "--home", tmp_path / "home", *keys, "--json")
    found = json.loads(changed.output)
    assert (changed.exit_code, found["index"], found["object_id"]) == (1, 3, "4")
    assert run("fsck", "--home", tmp_path / "home", tmp_path / "out").exit_code == 2
    read_only = world.settings.model_copy(update={"database_url": world.db.url})
    with offline.connected(read_only) as connection, pytest.raises(sa.exc.DBAPIError, match="read-only"):
        connection.execute(sa.text("DELETE FROM ledger_subject"))


def test_one_log_for_each_database(world: World) -> None:
    service.open_log(world.control)  # another process starting at the same time
    with world.db.owner.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="ledger_log_one"):
        connection.execute(sa.text("INSERT INTO ledger_log VALUES ('other', 'sha256', now())"))


def test_a_log_of_the_other_suite_uses_its_hash(new_database: Callable[[], str]) -> None:
    world = World(new_database(), suite="sm2")
    world.key = SigningKey.generate("sm2")
    world.keyring = founded(world.key, "creditlab", world.clock(), 100)
    world.control.key, world.control.keyring = world.key, world.keyring
    world.start().populate()
    try:
        world.cohort(3)
        head = headed(world)
        assert (head["body"]["hash"], head["signatures"][0]["suite"]) == ("sm3", "sm2")
        assert check(world).hash_name == "sm3"
        proof = world.operator._get("/v1/ledger/entries/1/proof")
        assert check_inclusion(proof, FixedKeys(world.key.public)).head.hash == "sm3"
    finally:
        world.close()
