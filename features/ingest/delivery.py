"""What a source unit says about a batch that it delivers (R37): of what, how, by whom.

Owns the header, its checks and `batch.toml`. Never opens the data.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from features.catalogue.model import Catalogue
from features.ingest.refused import IngestRefused

#: How the records came, for the collection record.
METHODS: Mapping[str, tuple[str, str]] = {
    "file": ("文件交换", "exchange of files"),
    "database": ("数据库抽取", "query of a database"),
    "push": ("接口推送", "push over an interface"),
    "form": ("报表填报", "form filled in"),
    "entry": ("人工录入", "entered by a person"),
}
HEADER = "batch.toml"
_SOURCE = re.compile(r"[a-z][a-z0-9_]{0,47}")
_LONGEST = 200
_ENCODINGS = ("utf-8", "gb18030")
_KEYS: Mapping[str, type] = {
    **dict.fromkeys(("file", "source", "category", "object", "method", "submitter", "encoding"), str),
    "collected_at": dt.datetime,
    "backfill": bool,
    "columns": dict,
    "ignore": list,
}


@dataclass(frozen=True)
class Delivery:
    """The header of one batch.

    `object`: what was collected, in words. `collected_at`: when the source drew the records, civil time; it is
    recorded, while a record counts as known from the moment it is received. Only with `backfill` may rows carry a
    `known_at` of their own (history from before the store began). `columns`: heading → name; `ignore`: headings that
    are not read. `lender`: this store is a lender's own, so categories that stay with the lender may enter it.
    """

    source: str
    category: str
    object: str
    method: str
    submitter: str
    collected_at: dt.datetime | None = None
    backfill: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    encoding: str = "utf-8"
    lender: bool = False

    def check(self, catalogue: Catalogue, received: dt.datetime) -> None:
        """Raises IngestRefused, UnknownName."""
        category = catalogue.category(self.category)
        if not _SOURCE.fullmatch(self.source):
            raise _wrong("source", "lower case letters, digits and _", "小写字母、数字和下划线")
        if self.method not in METHODS:
            known = ", ".join(METHODS)
            raise _wrong("method", f"one of {known}", f"{known} 之一")
        for name in ("object", "submitter"):
            text = getattr(self, name)
            if not text.strip() or len(text) > _LONGEST or any(ord(sign) < 32 for sign in text):
                raise _wrong(name, f"1 to {_LONGEST} characters in one line", f"1 至 {_LONGEST} 个字符，不换行")
        if self.encoding not in _ENCODINGS:
            known = ", ".join(_ENCODINGS)
            raise _wrong("encoding", f"one of {known}", f"{known} 之一")
        if self.collected_at is not None and (self.collected_at.tzinfo or self.collected_at > received):
            raise _wrong(
                "collected_at", "civil time without zone, not in the future", "当地时间（不带时区），且不晚于现在"
            )
        if category.sharing == "lender" and not self.lender:
            raise IngestRefused(
                "ingest_lender_only",
                f"category `{category.id}` stays with the lender and never enters the zone's store; "
                "if this is the lender's own store, say so with --lender",
                f"类别“{category.zh}”留存于贷款机构，不得进入专区事件库；如为贷款机构自有事件库，请使用 --lender",
            )


def read_folder(folder: Path) -> tuple[Delivery, Path]:
    """The header of a batch folder and the data file that it names. Raises IngestRefused."""
    path = folder / HEADER
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise IngestRefused(
            "ingest_no_header",
            f"{folder.name}: no {HEADER}; write one, or give the data file and the flags",
            f"{folder.name}：缺少 {HEADER}，请编写，或直接给出数据文件和参数",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise IngestRefused(
            "ingest_header_syntax",
            f"{HEADER}: not valid TOML in UTF-8 ({error}); correct it",
            f"{HEADER}：不是 UTF-8 编码的合法 TOML（{error}），请改正",
        ) from None
    for key, value in said.items():
        if key not in _KEYS:
            raise _wrong(key, f"a known key ({', '.join(_KEYS)})", f"已知的键（{', '.join(_KEYS)}）")
        if not isinstance(value, _KEYS[key]):
            raise _wrong(key, f"of type {_KEYS[key].__name__}", f"{_KEYS[key].__name__} 类型")
    for key in ("file", "source", "category", "object", "method", "submitter"):
        if key not in said:
            raise _wrong(key, "given", "已填写")
    for key, texts in (("columns", said.get("columns", {}).values()), ("ignore", said.get("ignore", ()))):
        if not all(isinstance(text, str) for text in texts):
            raise _wrong(key, "texts only", "文本")
    file = folder / str(said["file"])
    if file.resolve().parent != folder.resolve():
        raise _wrong("file", f"a file beside {HEADER}", f"与 {HEADER} 同一文件夹中的文件")
    header: dict[str, Any] = {key: value for key, value in said.items() if key != "file"}
    return Delivery(**{**header, "ignore": tuple(said.get("ignore", ()))}), file


def _wrong(key: str, expected: str, expected_zh: str) -> IngestRefused:
    return IngestRefused(
        "ingest_header",
        f"header of the batch, `{key}`: must be {expected}; correct it",
        f"批次说明 `{key}`：应为{expected_zh}，请改正",
    )
