"""Whether a table, or a pair of tables, can be modelled: every rule that must hold before anything runs.

Owns the rules on ids, labels, windows, dates, sizes and overlap. A node checks its own side alone
(`check_side`); where both tables are at hand, in the demo and the tests, `check_pair` also compares them.
Never changes data and never lets a doubtful table pass with a warning.

The rule on dates: `as_of` is the date at which a row's features were known, so an enterprise that stands in
both tables must carry the same date in both. A later date at the lab would let its features see the future of
the bank's decision; an earlier one would describe another moment.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.contract import BankTable, Contract, SideName, read_contract
from features.faults import DataRefused, Fault
from features.reading import ID_LIMIT, Reading, read_table

#: Fewer enterprises than this on one side, or common to both, are refused.
MIN_ROWS = 100
#: Fewer good or bad enterprises than this in a window are refused: an AUC needs some of both.
MIN_CLASS = 5

_WINDOWS = {"train": "训练", "test": "测试"}
_KINDS = {"bad": "违约样本", "good": "正常样本"}


def check_side(
    folder: Path | str, side: SideName, party: str | None = None, *, today: dt.date | None = None
) -> list[Fault]:
    """The faults that one owner can find alone; empty when the side may be used.

    `party` restricts the bank's table to the rows of that bank; `today` is the day after which no as-of date
    may lie (default: the current day).
    """
    try:
        contract = read_contract(folder)
    except DataRefused as refused:
        return list(refused.faults)
    return examine(read_table(folder, contract, side, party), today=today).faults


def check_pair(folder: Path | str, party: str | None = None, *, today: dt.date | None = None) -> list[Fault]:
    """The faults of both tables and of the pair; empty when the folder may be used."""
    try:
        contract = read_contract(folder)
    except DataRefused as refused:
        return list(refused.faults)
    bank = examine(read_table(folder, contract, "bank", party), today=today)
    lab = examine(read_table(folder, contract, "lab"), today=today)
    return bank.faults + lab.faults + compare(bank, lab)


def examine(reading: Reading, *, today: dt.date | None = None) -> Reading:
    """Add to `reading.faults` what is wrong with this side as a sample; returns the same reading."""
    if reading.data is None:
        return reading
    _check_ids(reading)
    _check_dates(reading, today or dt.date.today())
    if isinstance(reading.contract.side(reading.side), BankTable):
        _check_outcome(reading)
    count = reading.data.num_rows
    if count < MIN_ROWS:
        reading.fault("too_few_rows", count=count, minimum=MIN_ROWS)
    return reading


def compare(bank: Reading, lab: Reading) -> list[Fault]:
    """The faults that only show with both tables at hand; none when a side has no readable id."""
    contract = bank.contract
    if bank.data is None or lab.data is None:
        return []
    if contract.id not in bank.data.column_names or contract.id not in lab.data.column_names:
        return []
    at_bank, at_lab = _common(bank.data.column(contract.id), lab.data.column(contract.id))
    before = len(bank.faults)
    if len(at_bank) == 0:
        bank.fault("no_overlap", contract.id, other=lab.file)
    elif len(at_bank) < MIN_ROWS:
        bank.fault("overlap_small", contract.id, count=len(at_bank), minimum=MIN_ROWS)
    found = bank.faults[before:]
    del bank.faults[before:]
    return found + _compare_dates(bank, lab, at_bank, at_lab, contract)


def _compare_dates(
    bank: Reading, lab: Reading, at_bank: np.ndarray, at_lab: np.ndarray, contract: Contract
) -> list[Fault]:
    assert bank.data is not None
    assert lab.data is not None
    name = contract.as_of
    if name is None or name not in bank.data.column_names or name not in lab.data.column_names:
        return []
    bank_day = bank.data.column(name).take(pa.array(at_bank)).combine_chunks()
    lab_day = lab.data.column(name).take(pa.array(at_lab)).combine_chunks()
    before = len(lab.faults)
    for code, test in (("as_of_later", pc.greater), ("as_of_earlier", pc.less)):
        wrong = np.flatnonzero(pc.fill_null(test(lab_day, bank_day), False).to_numpy(zero_copy_only=False))
        if len(wrong):
            lab.fault(code, name, np.sort(at_lab[wrong]), own=name, other=lab.file)
    found = lab.faults[before:]
    del lab.faults[before:]
    return found


def _common(bank_ids: pa.ChunkedArray, lab_ids: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Positions, in both tables, of the ids that stand in both (the first occurrence at the lab)."""
    at_lab = pc.index_in(bank_ids, value_set=lab_ids.combine_chunks(), skip_nulls=True)
    found = pc.is_valid(at_lab).to_numpy()
    return np.flatnonzero(found), at_lab.drop_null().to_numpy()


def _check_ids(reading: Reading) -> None:
    assert reading.data is not None
    name = reading.contract.id
    if name not in reading.data.column_names:
        return
    ids = reading.data.column(name).combine_chunks()
    blank = pc.or_kleene(pc.is_null(ids), pc.fill_null(pc.equal(pc.utf8_trim_whitespace(ids), ""), True))
    empty = _positions(blank)
    if len(empty):
        reading.fault("id_empty", name, empty)
    # PostgreSQL, CSV and logs all carry ids: no separator, quote or control character
    strange = pc.match_substring_regex(ids, r'^\s|\s$|[\x00-\x1f\x7f,"]')
    strange = pc.or_kleene(strange, pc.greater(pc.utf8_length(ids), ID_LIMIT))
    malformed = _positions(pc.and_not(pc.fill_null(strange, False), blank))
    if len(malformed):
        reading.fault("id_malformed", name, malformed, limit=ID_LIMIT)
    codes = ids.dictionary_encode().indices
    filled = codes.fill_null(-1).to_numpy()
    order = np.argsort(filled, kind="stable")
    repeated = np.zeros(len(filled), dtype=bool)
    repeated[order[1:]] = filled[order][1:] == filled[order][:-1]
    repeated &= ~blank.to_numpy(zero_copy_only=False)
    if repeated.any():
        reading.fault("id_duplicate", name, np.flatnonzero(repeated))


def _check_dates(reading: Reading, today: dt.date) -> None:
    assert reading.data is not None
    name = reading.contract.as_of
    if name is None or name not in reading.data.column_names:
        return
    days = reading.data.column(name).combine_chunks()
    missing = _positions(pc.is_null(days))
    if len(missing):
        reading.fault("as_of_missing", name, missing)
    future = _positions(pc.greater(days, pa.scalar(today, pa.date32())))
    if len(future):
        reading.fault("as_of_future", name, future, today=today.isoformat())


def _check_outcome(reading: Reading) -> None:
    assert reading.data is not None
    spec = reading.contract.bank
    names = reading.data.column_names
    label: np.ndarray | None = None
    if spec.label in names:
        cells = reading.data.column(spec.label).combine_chunks()
        missing = _positions(pc.is_null(cells))
        if len(missing):
            reading.fault("label_missing", spec.label, missing)
        other = _positions(pc.and_(pc.not_equal(cells, 0.0), pc.not_equal(cells, 1.0)))
        if len(other):
            reading.fault("label_not_binary", spec.label, other)
        if not len(missing) and not len(other):
            label = cells.to_numpy(zero_copy_only=False)
            if label.min() == label.max():
                reading.fault("label_constant", spec.label, value=int(label[0]))
                label = None
    if spec.party and spec.party in names:
        nobody = _positions(pc.is_null(reading.data.column(spec.party)))
        if len(nobody):
            reading.fault("party_empty", spec.party, nobody)
    if spec.split and spec.split in names:
        _check_windows(reading, label)


def _check_windows(reading: Reading, label: np.ndarray | None) -> None:
    assert reading.data is not None
    spec = reading.contract.bank
    assert spec.split is not None
    split = reading.data.column(spec.split).combine_chunks()
    known = np.zeros(len(split), dtype=bool)
    for window, value in (("train", spec.train), ("test", spec.test)):
        inside = pc.fill_null(pc.equal(split, value), False).to_numpy(zero_copy_only=False)
        known |= inside
        if not inside.any():
            reading.fault("window_absent", spec.split, window=window, window_zh=_WINDOWS[window], value=value)
        elif label is not None:
            _check_window(reading, label[inside], np.flatnonzero(inside), window, value)
    unknown = np.flatnonzero(~known)
    if len(unknown) and known.any():
        reading.fault("split_unknown", spec.split, unknown)


def _check_window(reading: Reading, label: np.ndarray, positions: np.ndarray, window: str, value: str | None) -> None:
    spec = reading.contract.bank
    if label.min() == label.max():
        reading.fault(
            "window_constant",
            spec.label,
            positions,
            window=window,
            window_zh=_WINDOWS[window],
            value=value,
            split=spec.split,
        )
        return
    for kind, outcome in (("bad", 1.0), ("good", 0.0)):
        count = int((label == outcome).sum())
        if count < MIN_CLASS:
            reading.fault(
                "window_small",
                spec.label,
                kind=kind,
                kind_zh=_KINDS[kind],
                count=count,
                minimum=MIN_CLASS,
                window=window,
                window_zh=_WINDOWS[window],
            )


def _positions(mask: pa.Array | pa.ChunkedArray) -> np.ndarray:
    if isinstance(mask, pa.ChunkedArray):
        mask = mask.combine_chunks()
    return np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False))
