"""Which files of the store count: a numbered log of commits, each added whole or not at all.

Owns the commit files and the snapshot that they add up to. A file that no commit names does not exist for a reader.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from features.store.engine import parquet
from features.store.schema import StoreRefused

FORMAT = "creditlab.events/2"


@dataclass(frozen=True)
class File:
    """One Parquet file. `kind`: `base` holds records of one single version, `amended` every version of the others.

    `path` is relative to the store. `known` and `event` are the first and last `known_at` and `event_date` in it;
    `seq` the commit that added it. `news`: of a file merged from others, the last commit whose events it holds.
    """

    category: str
    month: str
    kind: str
    path: str
    rows: int
    sha256: str
    known: tuple[str, str]
    event: tuple[str, str]
    columns: tuple[str, ...]
    seq: int = 0
    news: int | None = None

    @property
    def told(self) -> int:
        """The last commit that made something known that the file holds; merging files makes nothing known."""
        return self.seq if self.news is None else self.news

    def knows(self, first: dt.datetime, last: dt.datetime) -> bool:
        """Whether an event of the file can have become known in [first, last)."""
        return dt.datetime.fromisoformat(self.known[0]) < last and dt.datetime.fromisoformat(self.known[1]) >= first

    def happened(self, first: dt.date, last: dt.date) -> bool:
        """Whether an event of the file can have happened in (first, last]."""
        return dt.date.fromisoformat(self.event[0]) <= last and dt.date.fromisoformat(self.event[1]) > first


@dataclass(frozen=True)
class Snapshot:
    """The files that count after commit `seq`. `expired`: category → the last commit that dropped expired records."""

    root: Path
    seq: int
    files: tuple[File, ...]
    expired: Mapping[str, int] = field(default_factory=dict)

    def of(self, category: str, kind: str | None = None) -> list[File]:
        return [one for one in self._by_category.get(category, ()) if kind in (None, one.kind)]

    def table(self, files: Collection[File]) -> str:
        """The SQL table function that reads these files as one table."""
        paths = [self.root / one.path for one in files]
        return parquet(paths, union=len({one.columns for one in files}) > 1)

    @cached_property
    def _by_category(self) -> dict[str, list[File]]:
        found: dict[str, list[File]] = {}
        for one in self.files:
            found.setdefault(one.category, []).append(one)
        return found


def read(root: Path) -> Snapshot:
    """The snapshot after the last commit. Raises StoreRefused on a gap or a strange format."""
    files: dict[str, File] = {}
    expired: dict[str, int] = {}
    seq = 0
    for path in sorted((root / "manifest").glob("[0-9]*.json")):
        commit = json.loads(path.read_text(encoding="utf-8"))
        seq += 1
        if commit.get("format") != FORMAT or commit.get("seq") != seq:
            raise StoreRefused(
                "store_manifest",
                f"manifest/{path.name}: not commit {seq} of {FORMAT}; restore the manifest folder from its backup",
                f"manifest/{path.name}：不是 {FORMAT} 的第 {seq} 次提交，请从备份恢复 manifest 文件夹",
            )
        for gone in commit["remove"]:
            files.pop(gone)
        for entry in commit["add"]:
            files[entry["path"]] = _file(entry, seq)
        expired |= dict.fromkeys(commit.get("expired", ()), seq)
    return Snapshot(root, seq, tuple(files.values()), expired)


def latest(root: Path) -> int:
    """The number of the last commit, by the names alone."""
    # asked before every single read, and Path objects cost ten times as much
    listed = os.listdir(root / "manifest")  # noqa: PTH208
    names = (name for name in listed if name[0].isdigit() and name.endswith(".json"))
    return max((int(name.removesuffix(".json")) for name in names), default=0)


def append(
    before: Snapshot,
    batch: str | None,
    catalogue: str,
    add: list[File],
    remove: list[str],
    expired: tuple[str, ...] = (),
) -> Snapshot:
    """Adds one commit after `before`: from this moment its files count. Raises FileExistsError if another was first.

    `expired`: categories of which it drops records for good.
    """
    folder = before.root / "manifest"
    seq = before.seq + 1
    commit = {
        "format": FORMAT,
        "seq": seq,
        "batch": batch,
        "catalogue": catalogue,
        "add": [{key: value for key, value in asdict(one).items() if key != "seq"} for one in add],
        "remove": remove,
        **({"expired": list(expired)} if expired else {}),
    }
    text = json.dumps(commit, ensure_ascii=False, indent=1) + "\n"
    draft = folder / f".{seq:010d}.draft"
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.link(draft, folder / f"{seq:010d}.json")  # fails where a rename would overwrite
    draft.unlink()
    settle(folder)
    kept = [one for one in before.files if one.path not in set(remove)]
    added = [_file(entry, seq) for entry in commit["add"]]
    return Snapshot(before.root, seq, (*kept, *added), {**before.expired, **dict.fromkeys(expired, seq)})


def settle(folder: Path) -> None:
    """Makes the names in a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _file(entry: dict[str, Any], seq: int) -> File:
    known, event = tuple(entry["known"]), tuple(entry["event"])
    return File(**{**entry, "known": known, "event": event, "columns": tuple(entry["columns"]), "seq": seq})
