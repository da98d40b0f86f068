"""A log in a plain folder: what an auditor is given, readable with nothing but standard tools.

    log.json               {"format", "hash", "log_id"}
    entries.jsonl          one entry a line, canonical JSON; line n holds entry n-1
    nodes/level-KK.bin     hashes of the complete subtrees of 2^KK entries, 32 bytes each
    heads.jsonl            one signed head a line, canonical JSON

Owns these files' form. One writer at a time; it never rewrites a byte, and refuses to write after a half-written end.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from consent.canonical import canonical
from consent.ledger.errors import AppendConflict, LedgerError, MalformedStore
from consent.ledger.heads import check_log_id
from consent.ledger.merkle import HASH_BYTES, Key, hash_function
from consent.ledger.store import Store, conflict, copy

FORMAT = "creditlab.ledger/1"
_LINES = ("entries.jsonl", "heads.jsonl")


class FolderStore:
    """Opens a log that is there already. Raises MalformedStore. Close it, or use it in a `with` block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            about = json.loads((folder / "log.json").read_bytes())
            if about.keys() != {"format", "hash", "log_id"} or about["format"] != FORMAT:
                raise ValueError("not of this format")
            self.log_id, self.hash_name = check_log_id(about["log_id"]), str(about["hash"])
            hash_function(self.hash_name)
        except (OSError, ValueError, AttributeError, LedgerError) as error:
            raise MalformedStore(
                f"{folder}: not a ledger, log.json of format {FORMAT} is needed ({error})",
                f"{folder} 不是日志文件夹：需要格式为 {FORMAT} 的 log.json",
            ) from error
        for name in _LINES:
            if not (folder / name).is_file():
                raise MalformedStore(
                    f"{folder}: {name} is missing; ask for the whole export", f"{folder} 缺少 {name}；请索取完整的导出"
                )
        self._levels: dict[int, BinaryIO] = {}
        self._offsets: array[int] | None = None  # where each line of entries.jsonl starts, and the end

    @classmethod
    def create(cls, folder: Path, log_id: str, hash_name: str = "sha256") -> FolderStore:
        """An empty log. Raises AppendConflict when there is one in the folder."""
        hash_function(hash_name)
        about = canonical({"format": FORMAT, "hash": hash_name, "log_id": check_log_id(log_id)})
        (folder / "nodes").mkdir(parents=True, exist_ok=True)
        try:
            with (folder / "log.json").open("xb") as file:
                file.write(about + b"\n")
        except FileExistsError as error:
            raise AppendConflict(f"{folder}: there is a ledger already", f"{folder} 中已有日志") from error
        for name in _LINES:
            (folder / name).touch()
        return cls(folder)

    def __enter__(self) -> FolderStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for file in self._levels.values():
            file.close()
        self._levels.clear()

    def size(self) -> int:
        return len(self._index()) - 1

    def append(self, start: int, entries: Sequence[bytes], completed: Sequence[Sequence[bytes]]) -> None:
        offsets = self._index()
        if start != len(offsets) - 1:
            raise conflict(start, len(offsets) - 1)
        path = self._folder / "entries.jsonl"
        self._whole(path, offsets[-1])
        for level in range(len(completed)):
            self._whole(self._level(level), (start >> level) * HASH_BYTES)
        _extend(path, b"".join(raw + b"\n" for raw in entries))
        for raw in entries:
            offsets.append(offsets[-1] + len(raw) + 1)
        for level, hashes in enumerate(completed):
            _extend(self._level(level), b"".join(hashes))

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        with (self._folder / "entries.jsonl").open("rb") as file:
            if start:
                file.seek(self._index()[min(start, self.size())])
            for line in islice(file, None if stop is None else max(0, stop - start)):
                yield line.removesuffix(b"\n")

    def nodes(self, keys: Sequence[Key]) -> Sequence[bytes | None]:
        return [self._node(level, position) for level, position in keys]

    def append_head(self, head: bytes) -> None:
        path = self._folder / "heads.jsonl"
        if path.stat().st_size and _last_byte(path) != b"\n":
            raise _torn(path)
        _extend(path, head + b"\n")

    def heads(self) -> Iterator[bytes]:
        with (self._folder / "heads.jsonl").open("rb") as file:
            for line in file:
                yield line.removesuffix(b"\n")

    def last_head(self) -> bytes | None:
        last = None
        for head in self.heads():
            last = head
        return last

    def _level(self, level: int) -> Path:
        return self._folder / "nodes" / f"level-{level:02d}.bin"

    def _node(self, level: int, position: int) -> bytes | None:
        file = self._levels.get(level)
        if file is None:
            try:
                file = self._levels[level] = self._level(level).open("rb", buffering=0)
            except FileNotFoundError:
                return None
        # a hash cut short is returned as it is: no complete one equals it
        return os.pread(file.fileno(), HASH_BYTES, position * HASH_BYTES) or None

    def _index(self) -> array[int]:
        if self._offsets is None:
            self._offsets = array("Q", [0])
            with (self._folder / "entries.jsonl").open("rb") as file:
                for line in file:
                    self._offsets.append(self._offsets[-1] + len(line))
        return self._offsets

    def _whole(self, path: Path, expected: int) -> None:
        """Refuses to write after an end that is not where it should be (a killed writer, another writer)."""
        length = path.stat().st_size if path.exists() else 0
        torn = length and path.suffix == ".jsonl" and _last_byte(path) != b"\n"
        if length != expected or torn:
            raise _torn(path)


def export(source: Store, folder: Path) -> None:
    """A copy of any log as a folder, to hand to an auditor. Raises AppendConflict when there is one already."""
    with FolderStore.create(folder, source.log_id, source.hash_name) as target:
        copy(source, target)


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def _extend(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _torn(path: Path) -> MalformedStore:
    return MalformedStore(
        f"{path}: its end is half written or not the expected one; run `creditlab ledger fsck`, restore a good copy",
        f"{path} 的末尾写入不完整或与预期不符；请运行 creditlab ledger fsck 并恢复完好的副本",
    )
