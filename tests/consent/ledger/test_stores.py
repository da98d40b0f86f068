"""Both stores keep the same log; the folder refuses a half-written end and says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.ledger import FolderStore, Ledger, MemoryStore, Store, copy, export, fsck
from consent.ledger.errors import AppendConflict, LedgerError, MalformedHead, MalformedStore, UnknownHash
from tests.consent.ledger.conftest import KEYS, LOG_KEY, Log, at, made

ALL = [(level, position) for level in range(5) for position in range(12)]


def contents(store: Store) -> tuple:
    return (
        store.log_id, store.hash_name, store.size(), list(store.entries()), list(store.nodes(ALL)), list(store.heads()),
        store.last_head(),
    )  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=4), st.sampled_from(["sha256", "sm3"]))
def test_both_stores_hold_the_same(tmp_path_factory: pytest.TempPathFactory, batches: list[int], name: str) -> None:
    folder = tmp_path_factory.mktemp("log") / "log"
    stores = [MemoryStore("platform", name), FolderStore.create(folder, "platform", name)]
    for store in stores:
        log = Ledger(store)
        for count in batches:
            log.append([made(log.size + n, name) for n in range(count)])
            log.sign_head(LOG_KEY, at(10 * log.size))
    assert contents(stores[0])[:5] == contents(stores[1])[:5]
    with FolderStore(folder) as again:
        assert contents(again) == contents(stores[1])
        for start in range(again.size()):
            for stop in range(start, again.size() + 1):
                assert list(again.entries(start, stop)) == list(stores[0].entries(start, stop))
        fsck(again, KEYS)


def test_an_export_is_a_whole_log(tmp_path: Path) -> None:
    log = Log(11, heads=[4, 11])
    export(log.store, tmp_path / "out")
    with FolderStore(tmp_path / "out") as store:
        assert contents(store) == contents(log.store)
        assert fsck(store, KEYS).covered == 11
        Ledger(store).append([made(11)])
    with pytest.raises(AppendConflict):
        export(log.store, tmp_path / "out")


def test_a_copy_goes_into_an_empty_store_only() -> None:
    log = Log(3)
    target = MemoryStore("platform")
    copy(log.store, target)
    assert contents(target) == contents(log.store)
    for source in (log.store, Log(0).store):
        with pytest.raises(AppendConflict):
            copy(source, target)


def test_an_auditor_reads_the_folder_with_standard_tools(tmp_path: Path) -> None:
    export(Log(3, heads=[3]).store, tmp_path / "out")
    assert json.loads((tmp_path / "out/log.json").read_text()) == {
        "format": "creditlab.ledger/1", "hash": "sha256", "log_id": "platform",
    }  # fmt: skip
    lines = (tmp_path / "out/entries.jsonl").read_text().splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [0, 1, 2]
    assert (tmp_path / "out/nodes/level-01.bin").stat().st_size == 32


@pytest.mark.parametrize(
    "about",
    [b"", b"[]", b"{}", b'{"format":"creditlab.ledger/2","hash":"sha256","log_id":"p"}',
     b'{"format":"creditlab.ledger/1","hash":"md5","log_id":"p"}',
     b'{"format":"creditlab.ledger/1","hash":"sha256","log_id":"P"}'],
)  # fmt: skip
def test_a_folder_that_is_no_ledger_is_refused(tmp_path: Path, about: bytes) -> None:
    export(Log(1).store, tmp_path / "out")
    (tmp_path / "out/log.json").write_bytes(about)
    with pytest.raises(MalformedStore, match=r"log\.json"):
        FolderStore(tmp_path / "out")


@pytest.mark.parametrize("name", ["log.json", "entries.jsonl", "heads.jsonl"])
def test_a_folder_with_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    export(Log(1).store, tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    with pytest.raises(MalformedStore, match=name):
        FolderStore(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "cut"),
    [("entries.jsonl", 1), ("entries.jsonl", 30), ("nodes/level-00.bin", 5), ("nodes/level-01.bin", 32)],
)
def test_nothing_is_written_after_a_half_written_end(tmp_path: Path, name: str, cut: int) -> None:
    export(Log(5).store, tmp_path / "out")
    store = FolderStore(tmp_path / "out")
    log = Ledger(store)
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes()[:-cut])
    before = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    with pytest.raises(LedgerError):
        log.append([made(5)])
    with pytest.raises(LedgerError):
        Ledger(FolderStore(tmp_path / "out")).append([made(5)])
    assert before == {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}


def test_no_head_is_written_after_a_half_written_one(tmp_path: Path) -> None:
    export(Log(5, heads=[5]).store, tmp_path / "out")
    path = tmp_path / "out/heads.jsonl"
    log = Ledger(FolderStore(tmp_path / "out"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MalformedStore):
        log.sign_head(LOG_KEY, at(100))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MalformedHead):
        Ledger(FolderStore(tmp_path / "out"))


def test_a_store_is_made_with_a_known_hash_and_a_plain_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownHash):
        MemoryStore("platform", "md5")
    with pytest.raises(MalformedHead):
        MemoryStore("Platform")
    with pytest.raises(UnknownHash):
        FolderStore.create(tmp_path / "a", "platform", "md5")
    assert not (tmp_path / "a").exists()
