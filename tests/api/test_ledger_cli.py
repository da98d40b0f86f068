"""`creditlab ledger fsck DIR` as an auditor uses it: words in both languages, an exit code, JSON for a machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from api.ledger_cli import app
from consent.canonical import canonical
from consent.keyring import Keyring
from consent.keys import SigningKey
from consent.ledger import Entry, Ledger, MemoryStore, Witness, export
from consent.ledger.heads import FixedKeys

KEY, OTHER, COURT = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()


def at(second: int) -> str:
    return f"2026-03-01T08:00:{second:02d}Z"


class Files:
    """An exported log of nine entries, with keys and a witness's head beside it."""

    def __init__(self, folder: Path) -> None:
        self.log, self.public, self.other = folder / "log", folder / "log.pub", folder / "other.pub"
        self.keyring, self.head, self.court = folder / "keys.json", folder / "head.json", folder / "court.pub"
        ledger = Ledger(MemoryStore("platform"))
        ledger.append([Entry("score", at(n), "sha256", f"{n:064x}") for n in range(8)])
        head = ledger.sign_head(KEY, at(10))
        ledger.append([Entry("score", at(11), "sha256", "a" * 64)])
        export(ledger.store, self.log)
        witness = Witness("court", COURT, "platform", FixedKeys(KEY.public), max_age_seconds=60)
        self.head.write_bytes(canonical(witness.cosign(head, [], at(11))) + b"\n")
        self.public.write_text(KEY.public.b64 + "\n")
        self.other.write_text(OTHER.public.b64)
        self.court.write_text(COURT.public.b64)
        keyring = Keyring.found(KEY, platform="p", at=at(0), valid_until="2027-01-01T00:00:00Z")
        self.keyring.write_bytes(keyring.to_json() + b"\n")

    def fsck(self, *words: object) -> Result:
        return CliRunner().invoke(app, ["fsck", str(self.log), *map(str, words)])

    def edit(self, name: str, old: bytes, new: bytes) -> None:
        path = self.log / name
        raw = path.read_bytes()
        assert old in raw
        path.write_bytes(raw.replace(old, new, 1))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_whole_log_says_what_is_proved_and_what_is_not(files: Files) -> None:
    result = files.fsck("--keys", files.public)
    assert result.exit_code == 0, result.output
    for words in (
        "日志完好 · the log is whole", "9 条记录", "cover the first 8", "the 1 entries from 8 on",
        "pass --witnessed", "compare them with the published ones",
    ):  # fmt: skip
        assert words in result.output


def test_with_a_trusted_keyring_and_a_witness_less_is_left_unproved(files: Files) -> None:
    words = ("--keys", files.keyring, "--trust", files.public, "--witnessed", files.head)
    result = files.fsck(*words, "--witness", f"court={files.court}")
    assert result.exit_code == 0, result.output
    assert "it extends the 1 heads that witnesses kept" in result.output
    assert "--witnessed" not in result.output
    assert "--trust" not in result.output


def test_without_keys_it_says_that_nobody_knows_who_signed(files: Files) -> None:
    result = files.fsck()
    assert result.exit_code == 0
    assert "who signed the heads" in result.output


def test_the_first_bad_entry_is_named_with_a_remedy(files: Files) -> None:
    files.edit("entries.jsonl", b'"sequence":3,"subject":"00', b'"sequence":3,"subject":"0f')
    result = files.fsck("--keys", files.public)
    assert result.exit_code == 1
    for words in ("日志已损坏 · the log is damaged", "第 3 条记录被改动", "entry 3 was edited", "remedy", "restore"):
        assert words in result.output


def test_json_names_the_same(files: Files) -> None:
    whole = json.loads(files.fsck("--keys", files.public, "--json").output)
    assert (whole["whole"], whole["size"], whole["covered"], whole["hash"]) == (True, 9, 8, "sha256")
    files.edit("entries.jsonl", b'"sequence":3,"subject":"00', b'"sequence":3,"subject":"0f')
    result = files.fsck("--keys", files.public, "--json")
    found = json.loads(result.output)
    assert result.exit_code == 1
    assert (found["whole"], found["fault"], found["place"], found["index"]) == (False, "entry_edited", "entry", 3)
    assert found["message_zh"] and found["remedy_zh"]


def test_a_stranger_who_signed_the_heads_is_found(files: Files) -> None:
    result = files.fsck("--keys", files.other)
    assert result.exit_code == 1
    assert "head 0 is forged" in result.output


def test_a_tail_that_was_cut_off_is_found_by_the_witnessed_head(files: Files) -> None:
    lines = (files.log / "entries.jsonl").read_bytes().splitlines(keepends=True)
    (files.log / "entries.jsonl").write_bytes(b"".join(lines[:4]))
    (files.log / "heads.jsonl").write_bytes(b"")
    for level, count in enumerate((4, 2, 1)):
        path = files.log / f"nodes/level-0{level}.bin"
        path.write_bytes(path.read_bytes()[: 32 * count])
    (files.log / "nodes/level-03.bin").unlink()
    assert files.fsck("--keys", files.public).exit_code == 0
    result = files.fsck("--keys", files.public, "--witnessed", files.head)
    assert result.exit_code == 1
    assert "tail was cut off" in result.output


def test_what_cannot_be_checked_is_told_apart_from_damage(files: Files) -> None:
    bad_head = files.head.with_name("bad.json")
    bad_head.write_bytes(files.head.read_bytes().replace(b'"size":8', b'"size":7'))
    for words in (
        ("--keys", files.keyring, "--trust", files.other),
        ("--keys", files.head),
        ("--keys", files.public, "--witnessed", bad_head),
        ("--keys", files.public, "--witness", "court"),
        ("--keys", files.log / "nothing"),
    ):
        assert files.fsck(*words).exit_code == 2, words
    (files.log / "log.json").unlink()
    result = files.fsck("--keys", files.public)
    assert result.exit_code == 2
    assert "could not be checked" in result.output
    assert json.loads(files.fsck("--json").output)["code"] == "ledger_store_malformed"
