"""Which enterprise a row is about: by its USCC, by its old registration number, and by its name only with a person.

Owns the register of numbers and names, kept from what the registry itself delivers, and the rules of matching. A name
alone never decides: with exactly one candidate it is a proposal that a person confirms.
"""

# ruff: noqa: S608 - the SQL names files and columns of our own, never what a user types

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import uscc
from features.ingest.checking import Checked, Fault
from features.store.engine import connect, parquet
from features.store.schema import OPS

#: How a row was matched, in the order in which it is tried.
BY = ("uscc", "registration_number", "confirmed_name")
REGISTER = pa.schema(
    [
        ("source", pa.string()),
        ("record_id", pa.string()),
        ("known_at", pa.timestamp("us")),
        ("op", pa.string()),
        ("revision", pa.string()),
        ("uscc", pa.string()),
        ("registration_number", pa.string()),
        ("name", pa.string()),
    ]
)
_BLANK = re.compile(r"\s+")
_VALUES = np.full(256, 255, np.uint8)
_VALUES[[ord(character) for character in uscc.ALPHABET]] = np.arange(31)
_WEIGHTS = np.array([pow(3, position, 31) for position in range(17)])


def normal_name(name: str) -> str:
    """A name as it is compared: compatibility forms (NFKC) made one, upper case, without blanks."""
    return _BLANK.sub("", unicodedata.normalize("NFKC", name)).upper()


def registration_check(first: str) -> str:
    """The 15th digit of a registration number for its first 14: ISO/IEC 7064, MOD 11,10 (GS 15-2006)."""
    product = 10
    for digit in first:
        total = (product + int(digit)) % 10 or 10
        product = total * 2 % 11
    return str((11 - product) % 10)


def is_registration_number(text: str) -> bool:
    return len(text) == 15 and text.isascii() and text.isdigit() and registration_check(text[:14]) == text[14]


def valid_codes(texts: pa.Array) -> np.ndarray:
    """Mask of the texts that are unified social credit codes with the right check character (GB 32100-2015 §5)."""
    codes = [text.encode() if text else b"" for text in texts.to_pylist()]
    whole = np.array([len(code) == 18 for code in codes], bool)
    if not whole.any():
        return whole
    signs = np.frombuffer(b"".join(code for code in codes if len(code) == 18), np.uint8).reshape(-1, 18)
    values = _VALUES[signs].astype(np.int64)
    good = (values < 31).all(axis=1) & ((31 - values[:, :17] @ _WEIGHTS % 31) % 31 == values[:, 17])
    whole[whole] = good
    return whole


@dataclass(frozen=True)
class Register:
    """What the registry has told of numbers and names: every one that an enterprise bears or bore."""

    files: Sequence[Path] = ()

    def holders(self, column: str, wanted: Collection[str]) -> Mapping[str, frozenset[str]]:
        """The enterprises of each `registration_number` or `name`."""
        return self._pairs(column, "uscc", column, wanted)

    def numbers(self, enterprises: Collection[str]) -> Mapping[str, frozenset[str]]:
        """The registration numbers of each enterprise."""
        return self._pairs("uscc", "registration_number", "uscc", enterprises)

    def _pairs(self, key: str, value: str, column: str, wanted: Collection[str]) -> Mapping[str, frozenset[str]]:
        if not self.files or not wanted:
            return {}
        rank = "CASE op " + " ".join(f"WHEN '{op}' THEN {place}" for place, op in enumerate(OPS)) + " END"
        with connect() as db:
            db.register("wanted", pa.table({"one": pa.array(sorted(set(wanted)), pa.string())}))
            # a statement delivered again counts from the first time; of several about a record, the latest
            found = db.sql(f"""
                WITH said AS (
                    SELECT * EXCLUDE (known_at), min(known_at) AS known_at FROM {parquet(self.files)} GROUP BY ALL
                ), standing AS (
                    SELECT * FROM said WHERE op IN ('assert', 'correct', 'delete')
                    QUALIFY row_number() OVER (
                        PARTITION BY source, record_id ORDER BY known_at DESC, {rank} DESC, revision DESC, uscc DESC
                    ) = 1
                )
                SELECT DISTINCT {key}, {value} FROM standing SEMI JOIN wanted ON {column} = one
                WHERE op <> 'delete' AND {value} IS NOT NULL
            """).fetchall()
        holders: dict[str, set[str]] = {}
        for one, other in found:
            holders.setdefault(one, set()).add(other)
        return {one: frozenset(others) for one, others in holders.items()}


@dataclass(frozen=True)
class Matched:
    """The enterprise of each row, null where it is not settled.

    `by`: place in `BY`, −1 where not settled. `given`: the identifier that decided. `names`: the normal name of each
    row that was looked up by name. `candidates`: position → enterprise proposed.
    """

    uscc: pa.Array
    by: np.ndarray
    given: Mapping[str, pa.Array]
    names: Mapping[int, str]
    candidates: Mapping[int, str]


def match(checked: Checked, register: Register, decisions: Mapping[tuple[str, str], str], *, registry: bool) -> Matched:
    """Matches the rows and adds to `checked.faults` for those that are not settled.

    `decisions`: (normal name, enterprise) → `confirmed` or `rejected`, as persons decided for this source. `registry`:
    the delivery is the registry's own, which may say anew whose a number is.
    """
    count = checked.rows
    already = np.zeros(count, bool)
    for fault in checked.faults:
        if fault.column in ("uscc", "registration_number", "enterprise_name"):
            already[fault.at] = True
    code, number = _codes(checked, already)
    by = np.where(np.array(code.is_valid()), 0, -1).astype(np.int8)
    given = {"registration_number": number}
    if number.null_count < count:
        code, by = _numbers(checked, register, code, number, by, registry=registry)
    names: dict[int, str] = {}
    candidates: dict[int, str] = {}
    open_rows = (by < 0) & ~already & ~_faulty(checked, ("uscc", "registration_number"))
    if open_rows.any():
        code, by = _names(checked, register, decisions, code, number, by, open_rows, names, candidates)
    return Matched(code, by, given, names, candidates)


def _codes(checked: Checked, already: np.ndarray) -> tuple[pa.Array, pa.Array]:
    """Valid codes and registration numbers; what is neither becomes a fault."""
    nothing = pa.nulls(checked.rows, pa.string())
    coded = checked.cells.get("uscc", nothing).dictionary_encode()
    texts = pa.array([text.upper() for text in coded.dictionary.to_pylist()], pa.string())
    valid = valid_codes(texts)
    # fifteen digits cannot be a USCC: a source has put the old number into the new column
    old = np.array([len(text) == 15 and text.isascii() and text.isdigit() for text in texts.to_pylist()], bool)
    formed = np.array([len(text) == 18 for text in texts.to_pylist()], bool)
    blank = pa.scalar(None, pa.string())

    def spread(mask: np.ndarray) -> np.ndarray:
        if not len(mask):
            return np.zeros(checked.rows, bool)
        return np.array(pa.array(mask).take(coded.indices).fill_null(False).to_numpy(zero_copy_only=False), bool)

    def chosen(mask: np.ndarray) -> pa.Array:
        kept = pc.if_else(pa.array(mask, pa.bool_()), texts, blank)
        return kept.take(coded.indices)

    checked.fault("uscc", "uscc_form", spread(~valid & ~old & ~formed) & ~already)
    checked.fault("uscc", "uscc_check", spread(~valid & ~old & formed) & ~already)
    number = chosen(old)
    if "registration_number" in checked.cells:
        number = pc.coalesce(checked.cells["registration_number"], number)
    if number.null_count < len(number):
        listed = number.dictionary_encode()
        good = pa.array([is_registration_number(text) for text in listed.dictionary.to_pylist()], pa.bool_())
        fits = good.take(listed.indices)
        wrong = np.array(pc.invert(fits).fill_null(False).to_numpy(zero_copy_only=False), bool)
        checked.fault("registration_number", "registration_number_check", wrong & ~already)
        number = pc.if_else(fits, number, blank)
    return chosen(valid), number


def _numbers(
    checked: Checked, register: Register, code: pa.Array, number: pa.Array, by: np.ndarray, *, registry: bool
) -> tuple[pa.Array, np.ndarray]:
    listed = number.dictionary_encode()
    texts = listed.dictionary.to_pylist()
    holders = register.holders("registration_number", texts)
    found = [holders.get(text, frozenset()) for text in texts]
    single = pa.array([next(iter(one)) if len(one) == 1 else None for one in found], pa.string()).take(listed.indices)
    several = _spread([len(one) > 1 for one in found], listed.indices)
    known = _spread([bool(one) for one in found], listed.indices)
    unsettled = by < 0
    checked.fault("registration_number", "match_several", several & unsettled)
    if not registry:
        # a code and a number of which neither belongs to the other's enterprise
        suspects = np.flatnonzero(known & ~unsettled)
        codes, indices = code.take(pa.array(suspects)).to_pylist(), listed.indices.take(pa.array(suspects)).to_pylist()
        apart = [one not in found[place] for one, place in zip(codes, indices, strict=True)]
        wrong = np.zeros(checked.rows, bool)
        wrong[suspects[np.array(apart, bool)]] = True
        checked.fault("registration_number", "identifier_conflict", wrong)
    settled = unsettled & np.array(single.is_valid())
    code = pc.if_else(pa.array(settled), single, code)
    return code, np.where(settled, np.int8(1), by)


def _names(
    checked: Checked,
    register: Register,
    decisions: Mapping[tuple[str, str], str],
    code: pa.Array,
    number: pa.Array,
    by: np.ndarray,
    open_rows: np.ndarray,
    names: dict[int, str],
    candidates: dict[int, str],
) -> tuple[pa.Array, np.ndarray]:
    rows = np.flatnonzero(open_rows)
    nothing = pa.nulls(checked.rows, pa.string())
    told = checked.cells.get("enterprise_name", nothing).take(pa.array(rows)).to_pylist()
    numbers = number.take(pa.array(rows)).to_pylist()
    normal = [normal_name(name) if name else "" for name in told]
    holders = register.holders("name", {name for name in normal if name})
    bears = register.numbers({one for found in holders.values() for one in found})
    marks: dict[tuple[str, str], list[int]] = {}
    confirmed: dict[int, str] = {}
    for row, name, old in zip(rows.tolist(), normal, numbers, strict=True):
        found = holders.get(name, frozenset())
        column = "enterprise_name" if name else "registration_number" if old else "uscc"
        if not name and not old:
            marks.setdefault((column, "identifier_missing"), []).append(row)
            continue
        if name:
            names[row] = name
        if len(found) != 1:
            marks.setdefault((column, "match_several" if found else "match_none"), []).append(row)
            continue
        [candidate] = found
        decision = decisions.get((name, candidate))
        if old and bears.get(candidate) and old not in bears[candidate]:
            marks.setdefault((column, "identifier_conflict"), []).append(row)
        elif decision == "confirmed":
            confirmed[row] = candidate
        elif decision == "rejected":
            marks.setdefault((column, "match_none"), []).append(row)
        else:
            candidates[row] = candidate
            marks.setdefault((column, "match_proposed"), []).append(row)
    for (column, mark), at in marks.items():
        checked.faults.append(Fault(column, mark, np.array(at, np.int64)))
    if confirmed:
        settled = np.zeros(checked.rows, bool)
        settled[list(confirmed)] = True
        filled = pa.array([confirmed.get(row) for row in range(checked.rows)], pa.string())
        code = pc.if_else(pa.array(settled), filled, code)
        by = np.where(settled, np.int8(2), by)
    return code, by


def _spread(mask: Sequence[bool], indices: pa.Array) -> np.ndarray:
    spread = pa.array(mask, pa.bool_()).take(indices).fill_null(False)
    return np.array(spread.to_numpy(zero_copy_only=False), bool)


def _faulty(checked: Checked, columns: Sequence[str]) -> np.ndarray:
    mask = np.zeros(checked.rows, bool)
    for fault in checked.faults:
        if fault.column in columns:
            mask[fault.at] = True
    return mask
