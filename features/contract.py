"""The contract of one pair of tables: `dataset.toml`, parsed and checked.

Owns which keys exist, what they mean and which combinations make sense. Never opens a table: what the tables
must be is `validation`'s business.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from features.faults import DataRefused, Fault

FILE = "dataset.toml"
SideName = Literal["bank", "lab"]


@dataclass(frozen=True)
class BankTable:
    """The bank's table: outcome, evaluation split and owner. `split`, `train`, `test`: all or none."""

    table: str
    label: str
    split: str | None = None
    train: str | None = None
    test: str | None = None
    party: str | None = None
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabTable:
    """The lab's table of public credit information."""

    table: str
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contract:
    """A pair of tables about the same enterprises, joined only by the column `id`.

    `as_of` is the column, in both tables, with the date at which the row's features were known.
    """

    name: str
    title: str
    id: str
    bank: BankTable
    lab: LabTable
    as_of: str | None = None

    def side(self, side: SideName) -> BankTable | LabTable:
        return self.bank if side == "bank" else self.lab

    def excluded(self, side: SideName) -> frozenset[str]:
        """Columns of that side which are never a model input."""
        names = {self.id, *self.side(side).ignore}
        if self.as_of:
            names.add(self.as_of)
        if side == "bank":
            names.update(name for name in (self.bank.label, self.bank.split, self.bank.party) if name)
        return frozenset(names)


_EXAMPLES = {
    "name": 'name = "province_2024"',
    "title": 'title = "Loans of province X, 2022–2024"',
    "id": 'id = "ent_id"',
    "as_of": 'as_of = "as_of"',
    "bank": '[bank]\\ntable = "bank.parquet"\\nlabel = "charged_off"',
    "lab": '[lab]\\ntable = "lab.parquet"',
    "bank.table": 'table = "bank.parquet"',
    "lab.table": 'table = "lab.csv"',
    "bank.label": 'label = "charged_off"',
    "bank.split": 'split = "split"',
    "bank.train": 'train = "train"',
    "bank.test": 'test = "oot"',
    "bank.party": 'party = "bank_party"',
    "bank.ignore": 'ignore = ["loan_nr"]',
    "lab.ignore": 'ignore = ["zip3"]',
    "bank.categorical": 'categorical = ["industry"]',
    "lab.categorical": 'categorical = ["industry", "state"]',
}
_TOP = {"name": str, "title": str, "id": str, "as_of": str, "bank": dict, "lab": dict}
_BANK = {
    "table": str,
    "label": str,
    "split": str,
    "train": str,
    "test": str,
    "party": str,
    "ignore": list,
    "categorical": list,
}
_LAB = {"table": str, "ignore": list, "categorical": list}
_REQUIRED = ("name", "title", "id", "bank", "lab", "bank.table", "bank.label", "lab.table")
_EXPECTED = {str: ("a text", "文本"), list: ("a list of texts", "文本列表"), dict: ("a section", "一个小节")}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def read_contract(folder: Path | str) -> Contract:
    """The contract of a folder; raises DataRefused with every fault of the file."""
    path = Path(folder) / FILE
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise DataRefused([Fault("contract_missing", FILE)]) from None
    except IsADirectoryError:
        raise DataRefused([Fault("contract_missing", FILE)]) from None
    except UnicodeDecodeError:
        raise DataRefused([Fault("file_encoding", FILE)]) from None
    return parse_contract(text)


def parse_contract(text: str) -> Contract:
    """The contract written in `text` (TOML)."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataRefused([Fault("contract_syntax", FILE, params={"detail": str(error)})]) from None
    faults = _shape(document)
    if faults:
        raise DataRefused(faults)
    contract = _build(document)
    faults = _sense(contract)
    if faults:
        raise DataRefused(faults)
    return contract


def _shape(document: dict[str, Any]) -> list[Fault]:
    """Unknown and missing keys, wrong types."""
    faults: list[Fault] = []
    for prefix, section, known in (
        ("", document, _TOP),
        ("bank.", document.get("bank"), _BANK),
        ("lab.", document.get("lab"), _LAB),
    ):
        if not isinstance(section, dict):
            continue
        for key, value in section.items():
            field = prefix + key
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                faults.append(
                    Fault(
                        "contract_unknown_key",
                        FILE,
                        field,
                        params={
                            "hint": f" (did you mean `{close[0]}`?)" if close else "",
                            "hint_zh": f"（是否为 `{close[0]}`？）" if close else "",
                            "known": ", ".join(known),
                        },
                    )
                )
                continue
            kind = known[key]
            good = isinstance(value, kind)
            if good and kind is list:
                good = all(isinstance(item, str) and item for item in value)
            if not good:
                expected, expected_zh = _EXPECTED[kind]
                faults.append(
                    Fault(
                        "contract_wrong_type",
                        FILE,
                        field,
                        params={
                            "expected": expected,
                            "expected_zh": expected_zh,
                            "example": _EXAMPLES[field],
                        },
                    )
                )
            elif kind is str and not value.strip():
                faults.append(_bad_value(field, "is empty", "为空"))
            elif kind is list and len(set(value)) != len(value):
                faults.append(_bad_value(field, "names a column twice", "重复列出同一列"))
        for field in _REQUIRED:
            head, _, tail = field.rpartition(".")
            if (head + "." if head else "") == prefix and tail not in section:
                faults.append(Fault("contract_missing_key", FILE, field, params={"example": _EXAMPLES[field]}))
    return faults


def _build(document: dict[str, Any]) -> Contract:
    bank, lab = document["bank"], document["lab"]
    lists = {"ignore": (), "categorical": ()}
    return Contract(
        name=document["name"],
        title=document["title"],
        id=document["id"],
        as_of=document.get("as_of"),
        bank=BankTable(**{**bank, **{key: tuple(bank.get(key, ())) for key in lists}}),
        lab=LabTable(**{**lab, **{key: tuple(lab.get(key, ())) for key in lists}}),
    )


def _sense(contract: Contract) -> list[Fault]:
    """Values that are well-formed but do not make sense together."""
    faults: list[Fault] = []
    if not _NAME.fullmatch(contract.name):
        faults.append(_bad_value("name", "must be lower-case letters, digits, _ or -", "只能用小写字母、数字、_ 或 -"))
    for side in ("bank", "lab"):
        table = contract.side(side).table
        path = PurePosixPath(table)
        if path.is_absolute() or ".." in path.parts or "\\" in table:
            faults.append(_bad_value(f"{side}.table", "must be a file inside the folder", "必须是该文件夹内的文件"))
        elif path.suffix.lower() not in (".csv", ".parquet"):
            faults.append(_bad_value(f"{side}.table", "must end in .csv or .parquet", "扩展名须为 .csv 或 .parquet"))
    if contract.bank.table == contract.lab.table:
        faults.append(_bad_value("lab.table", "is the bank's table", "与银行的表相同"))
    bank = contract.bank
    if bank.split or bank.train or bank.test:
        for key in ("split", "train", "test"):
            if getattr(bank, key) is None:
                faults.append(
                    Fault(
                        "contract_missing_key",
                        FILE,
                        f"bank.{key}",
                        params={"example": _EXAMPLES[f"bank.{key}"]},
                    )
                )
        if bank.train is not None and bank.train == bank.test:
            faults.append(_bad_value("bank.test", "is the same as bank.train", "与 bank.train 相同"))
    faults += _clashes(contract, "bank") + _clashes(contract, "lab")
    return faults


def _clashes(contract: Contract, side: SideName) -> list[Fault]:
    table = contract.side(side)
    roles = [("id", contract.id), ("as_of", contract.as_of)]
    if side == "bank":
        bank = contract.bank
        roles += [("bank.label", bank.label), ("bank.split", bank.split), ("bank.party", bank.party)]
    roles += [(f"{side}.ignore", name) for name in table.ignore]
    roles += [(f"{side}.categorical", name) for name in table.categorical]
    faults: list[Fault] = []
    seen: dict[str, str] = {}
    for role, name in roles:
        if name is None:
            continue
        if name == contract.bank.label and role.endswith(".categorical"):
            faults.append(Fault("label_is_feature", FILE, name, params={"where": role}))
        elif name in seen:
            faults.append(Fault("contract_clash", FILE, name, params={"first": seen[name], "second": role}))
        seen.setdefault(name, role)
    return faults


def _bad_value(field: str, detail: str, detail_zh: str) -> Fault:
    return Fault(
        "contract_bad_value",
        FILE,
        field,
        params={"detail": detail, "detail_zh": detail_zh, "example": _EXAMPLES[field]},
    )
