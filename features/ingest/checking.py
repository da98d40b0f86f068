"""Checks every cell of a delivered table against the catalogue and the rules, a column at a time.

Owns what a cell may look like and what it means. The outcome for a row depends on that row alone (and on rows of the
same record in the batch), never on which other rows are bad. Never repairs a value beyond trimming blanks.
"""

from __future__ import annotations

import calendar
import datetime as dt
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.catalogue import forbidden
from features.catalogue.model import Category, Item
from features.ingest.delivery import Delivery
from features.ingest.reading import Raw
from features.ingest.refused import IngestRefused
from features.ingest.rules import Rules
from features.store.schema import OPS, columns

#: Ways to name an enterprise, best first.
IDENTIFIERS = ("uscc", "registration_number", "enterprise_name")
#: Headings that are no items, with the Chinese ones that are read as well.
HEADINGS: Mapping[str, str] = {
    "uscc": "统一社会信用代码",
    "registration_number": "注册号",
    "enterprise_name": "企业名称",
    "record_id": "记录编号",
    "event_date": "事件日期",
    "known_at": "知悉时间",
    "source": "来源",
    "op": "操作",
    "revision": "文号",
}
TEXT_LIMIT = 256
_EARLIEST = dt.date(1900, 1, 1)
_EPOCH = dt.date(1970, 1, 1)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "是": True, "否": False, "yes": True, "no": False}
_CONTROL = r"[\x00-\x1f\x7f]"
#: Largest amount that a float carries with two exact decimals.
_FLOAT_LIMIT = 2.0**53 / 100


@dataclass(frozen=True)
class Fault:
    """One kind of error in one column. `at`: positions in the table, not row numbers."""

    column: str
    code: str
    at: np.ndarray
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Checked:
    """The table in the store's types, all rows; a cell that cannot be read is null and its row is in a fault."""

    cells: dict[str, pa.Array]
    faults: list[Fault]
    rows: int

    def bad(self) -> np.ndarray:
        """Mask of the rows with a fault."""
        mask = np.zeros(self.rows, bool)
        for fault in self.faults:
            mask[fault.at] = True
        return mask

    def unfilled(self, column: str) -> np.ndarray:
        """Rows without a value in the column; a value that cannot be read is none of them: it was told already."""
        if column not in self.cells:
            return np.ones(self.rows, bool)
        mask = _empty(self.cells[column])
        for fault in self.faults:
            if fault.column == column:
                mask[fault.at] = False
        return mask

    def fault(self, column: str, code: str, mask: np.ndarray, **params: str) -> None:
        at = np.flatnonzero(mask)
        if len(at):
            self.faults.append(Fault(column, code, at, params))


def named(category: Category, delivery: Delivery, raw: Raw) -> pa.Table:
    """The table with the catalogue's names for its headings. Raises IngestRefused before a value is looked at."""
    items = {item.zh: item.name for item in category.items}
    known = {**items, **{zh: name for name, zh in HEADINGS.items()}}
    allowed = {*HEADINGS, *(item.name for item in category.items)}
    kept: dict[str, pa.ChunkedArray] = {}
    for heading in raw.table.column_names:
        concept = forbidden.found(heading)
        if concept:
            raise _refused("forbidden", f"{raw.name}: column `{heading}` names something that may never be collected "
                           f"({concept}); remove it at the source", f"{raw.name}：列“{heading}”涉及禁止采集的信息"
                           f"（{concept}），请在来源处删除")  # fmt: skip
        if heading in delivery.ignore:
            continue
        trimmed = heading.strip()
        name = delivery.columns.get(heading) or known.get(trimmed, trimmed)
        if name not in allowed:
            near = difflib.get_close_matches(name, [*allowed, *known], n=1)
            hint, hint_zh = (f" (`{near[0]}`?)", f"（是否为“{near[0]}”？）") if near else ("", "")
            raise _refused("unknown_column", f"{raw.name}: column `{heading}` is not in the catalogue{hint}; correct "
                           "its name, list it under `ignore`, or register the item", f"{raw.name}：列“{heading}”不在"
                           f"目录中{hint_zh}，请改正列名、列入 ignore，或先登记该数据项")  # fmt: skip
        if name in kept:
            raise _refused("column_twice", f"{raw.name}: two columns are both `{name}`; keep one",
                           f"{raw.name}：有两列都是 `{name}`，请只保留一列")  # fmt: skip
        kept[name] = raw.table.column(heading)
    return pa.table(kept) if kept else pa.table({"record_id": pa.array([], pa.string())})


def check(
    category: Category, rules: Rules, delivery: Delivery, name: str, table: pa.Table, received: dt.datetime
) -> Checked:
    """Every rule but those on the enterprise's identity. `table` is as `named` gives it. Raises IngestRefused."""
    checked = Checked({}, [], len(table))
    for column in ("record_id", "event_date"):
        if column not in table.column_names:
            raise _missing(name, column)
    if not set(IDENTIFIERS) & set(table.column_names):
        raise _missing(name, " / ".join(IDENTIFIERS))
    if "known_at" in table.column_names and not delivery.backfill:
        raise _refused("known_at", f"{name}: only a backfill may say when a record became known; leave `known_at` out, "
                       "or declare `backfill`", f"{name}：只有历史补录可自带知悉时间，请删除 "
                       "`known_at` 列或声明 backfill")  # fmt: skip
    items = {item.name: item for item in category.items}
    for column in table.column_names:
        values = table.column(column).combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        kind = _KINDS.get(column) or items[column].type
        cells, wrong = _read(name, column, kind, values)
        checked.cells[column] = cells
        code, params = _CODES[kind]
        checked.fault(column, code, wrong, **params)
    _check_events(checked, category, delivery)
    _check_items(checked, items, rules, name)
    _check_dates(checked, items, rules, received)
    _check_repeats(checked, category)
    return checked


# ---- cells -----------------------------------------------------------------------------------------------------------

_KINDS: Mapping[str, str] = {
    **dict.fromkeys(
        ("uscc", "registration_number", "enterprise_name", "record_id", "source", "op", "revision"), "text"
    ),
    "event_date": "date",
    "known_at": "time",
}
_CODES: Mapping[str, tuple[str, dict[str, str]]] = {
    "text": ("not_text", {"limit": str(TEXT_LIMIT)}),
    "code": ("not_text", {"limit": str(TEXT_LIMIT)}),
    "integer": ("not_integer", {}),
    "decimal": ("not_decimal", {}),
    "ratio": ("not_number", {}),
    "date": ("not_date", {}),
    "time": ("not_time", {}),
    "boolean": ("not_boolean", {}),
}


def _read(file: str, column: str, kind: str, values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The cells in their type, and which of them cannot be read (null there)."""
    given = values.type
    if pa.types.is_null(given):
        return pa.nulls(len(values), _TYPES[kind]), np.zeros(len(values), bool)
    if pa.types.is_large_string(given) or pa.types.is_string_view(given):
        values = values.cast(pa.string())
    if not pa.types.is_string(values.type):
        if kind == "decimal" and pa.types.is_floating(given):
            return _float_decimal(values)
        if _plain(kind, given):
            try:
                return _typed(kind, values), np.zeros(len(values), bool)
            except pa.ArrowInvalid:
                pass  # some cell does not fit: say which, by way of the text
        if not _readable(kind, given):
            raise _refused("column_type", f"{file}: column `{column}` has type {given} and cannot be read as {kind}; "
                           "export it in another type", f"{file}：列 `{column}` 的类型为 {given}，"
                           f"不能读作 {kind}，请换类型导出")  # fmt: skip
        values = values.cast(pa.string())
    trimmed = pc.utf8_trim_whitespace(values)
    trimmed = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
    return _READERS[kind](trimmed)


_TYPES: Mapping[str, pa.DataType] = {
    "text": pa.string(),
    "code": pa.string(),
    "integer": pa.int64(),
    "decimal": pa.decimal128(18, 2),
    "ratio": pa.float64(),
    "date": pa.date32(),
    "time": pa.timestamp("us"),
    "boolean": pa.bool_(),
}


def _plain(kind: str, given: pa.DataType) -> bool:
    """Whether Arrow's own cast says what the catalogue means."""
    types = pa.types
    match kind:
        case "integer":
            return types.is_integer(given) or types.is_floating(given) or types.is_decimal(given)
        case "decimal":
            return types.is_integer(given) or types.is_decimal(given)
        case "ratio":
            # not-a-number and infinity have to be found
            return types.is_integer(given) or types.is_decimal(given)
        case "date":
            return types.is_date(given) or (types.is_timestamp(given) and given.tz is None)
        case "time":
            return types.is_date(given) or (types.is_timestamp(given) and given.tz is None)
        case "boolean":
            return bool(types.is_boolean(given))
    return False


def _readable(kind: str, given: pa.DataType) -> bool:
    """Whether the column may be read by way of its text."""
    types = pa.types
    number = types.is_integer(given) or types.is_floating(given) or types.is_decimal(given)
    if kind in ("date", "boolean", "text", "code"):
        return bool(types.is_integer(given))
    return number and kind != "time"


def _typed(kind: str, values: pa.Array) -> pa.Array:
    if kind == "decimal" and pa.types.is_integer(values.type):
        values = values.cast(pa.decimal128(38, 2))
    return values.cast(_TYPES[kind])


def _float_decimal(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Floats are taken as the two decimals that they stand for; a third decimal is an error."""
    numbers = values.cast(pa.float64())
    array = numbers.fill_null(0).to_numpy()
    with np.errstate(invalid="ignore"):
        rounded = np.round(array, 2)
        good = np.isfinite(array) & (np.abs(array) < _FLOAT_LIMIT)
        good &= np.abs(array - rounded) <= 1e-6 + 1e-12 * np.abs(array)
    empty = pc.is_null(numbers).to_numpy(zero_copy_only=False)
    cents = np.round(np.where(good, rounded, 0) * 100).astype(np.int64)
    hundredths = pc.cast(pa.array(cents), pa.decimal128(38, 0))
    # a decimal is its digits and a scale: the same digits, read with two of them behind the point
    made = pa.Array.from_buffers(pa.decimal128(38, 2), len(cents), hundredths.buffers()).cast(pa.decimal128(18, 2))
    return pc.if_else(pa.array(good & ~empty), made, pa.scalar(None, made.type)), ~good & ~empty


def _matching(text: pa.Array, pattern: str) -> tuple[pa.Array, np.ndarray]:
    """The cells that match as a whole, null elsewhere, and the mask of those that do not."""
    fits = pc.match_substring_regex(text, f"^(?:{pattern})$")
    kept = pc.if_else(fits, text, pa.scalar(None, pa.string()))
    return kept, _mask(pc.invert(fits))


def _integer(text: pa.Array) -> tuple[pa.Array, np.ndarray]:
    kept, wrong = _matching(text, r"-?[0-9]{1,18}(\.0{0,9})?")
    return pc.replace_substring_regex(kept, r"\.0*$", "").cast(pa.int64()), wrong


def _decimal(text: pa.Array) -> tuple[pa.Array, np.ndarray]:
    kept, wrong = _matching(text, r"-?[0-9]{1,16}(\.[0-9]{0,2}0{0,12})?")
    return kept.cast(pa.decimal128(18, 2)), wrong


def _ratio(text: pa.Array) -> tuple[pa.Array, np.ndarray]:
    kept, wrong = _matching(text, r"-?[0-9]{1,12}(\.[0-9]{0,18})?([eE]-?[0-9]{1,2})?")
    return kept.cast(pa.float64()), wrong


def _words(text: pa.Array) -> tuple[pa.Array, np.ndarray]:
    wrong = _mask(pc.greater(pc.utf8_length(text), TEXT_LIMIT)) | _mask(pc.match_substring_regex(text, _CONTROL))
    return (_blanked(text, wrong) if wrong.any() else text), wrong


def _distinct(kind: str, parse: Callable[[str], object]) -> Callable[[pa.Array], tuple[pa.Array, np.ndarray]]:
    """A reader that parses every distinct text once; a text that `parse` refuses with ValueError is wrong."""

    def read(text: pa.Array) -> tuple[pa.Array, np.ndarray]:
        coded = text.dictionary_encode()
        parsed: list[object] = []
        refused: list[bool] = []
        for one in coded.dictionary.to_pylist():
            try:
                parsed.append(parse(one))
                refused.append(False)
            except ValueError:
                parsed.append(None)
                refused.append(True)
        cells = pa.array(parsed, _TYPES[kind]).take(coded.indices)
        return cells, _mask(pa.array(refused, pa.bool_()).take(coded.indices))

    return read


def _day(text: str) -> dt.date:
    for mark, form in (("-", "%Y-%m-%d"), ("/", "%Y/%m/%d"), ("年", "%Y年%m月%d日")):
        if mark in text:
            return dt.datetime.strptime(text, form).date()
    if len(text) != 8 or not text.isascii() or not text.isdigit():
        raise ValueError
    return dt.datetime.strptime(text, "%Y%m%d").date()


def _moment(text: str) -> dt.datetime:
    made = dt.datetime.fromisoformat(text)
    if made.tzinfo:
        raise ValueError
    return made


def _yes(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[text.lower()]


_READERS: Mapping[str, Callable[[pa.Array], tuple[pa.Array, np.ndarray]]] = {
    "text": _words,
    "code": _words,
    "integer": _integer,
    "decimal": _decimal,
    "ratio": _ratio,
    "date": _distinct("date", _day),
    "time": _distinct("time", _moment),
    "boolean": _distinct("boolean", _yes),
}


# ---- rules -----------------------------------------------------------------------------------------------------------


def _check_events(checked: Checked, category: Category, delivery: Delivery) -> None:
    cells = checked.cells
    for column in ("record_id", "event_date"):
        checked.fault(column, "required", checked.unfilled(column))
    if "source" in cells:
        other = pc.not_equal(cells["source"], delivery.source)
        checked.fault("source", "other_source", _mask(other))
        del cells["source"]
    if "op" in cells:
        cells["op"] = cells["op"].fill_null("assert")
        known = pc.is_in(cells["op"], value_set=pa.array(OPS))
        checked.fault("op", "op_unknown", ~_mask(known), ops=", ".join(OPS))
    else:
        cells["op"] = _constant("assert", checked.rows)
    cells["revision"] = cells["revision"].fill_null("") if "revision" in cells else _constant("", checked.rows)
    changes = _is(cells["op"], [op for op in OPS if op != "assert"])
    checked.fault("revision", "required", changes & _is(cells["revision"], ("",)))
    if category.repair == "none":
        checked.fault("op", "op_no_repair", _is(cells["op"], ("repair",)))


def _check_items(checked: Checked, items: Mapping[str, Item], rules: Rules, file: str) -> None:
    cells = checked.cells
    # an event that only names its record need not repeat what the record says
    whole = _is(cells["op"], ("assert", "correct"))
    for name in rules.required:
        if name not in cells and whole.any():
            raise _missing(file, name)
        checked.fault(name, "required", whole & checked.unfilled(name))
    for name, conditions in rules.required_when.items():
        for other, codes in conditions.items():
            if other in cells:
                concerned = whole & _is(cells[other], codes)
                if concerned.any():
                    told = {"other": other, "codes": ", ".join(codes)}
                    checked.fault(name, "required_when", concerned & checked.unfilled(name), **told)
    for name, item in items.items():
        if name not in cells:
            continue
        if item.type == "code":
            strange = _mask(pc.invert(pc.is_in(cells[name], value_set=pa.array(list(item.codes))))) & ~_empty(
                cells[name]
            )
            checked.fault(name, "not_code", strange, codes=", ".join(item.codes))
        elif item.type in ("integer", "decimal", "ratio"):
            _check_range(checked, name, rules)
        if name in rules.pattern:
            _, strange = _matching(cells[name], rules.pattern[name])
            checked.fault(name, "pattern", strange, pattern=rules.pattern[name])


def _check_range(checked: Checked, name: str, rules: Rules) -> None:
    low, high = rules.low.get(name), rules.high.get(name)
    cells = checked.cells[name]
    outside = np.zeros(checked.rows, bool)
    for limit, beyond in ((low, pc.less), (high, pc.greater)):
        if limit is not None:
            # decimals compare with whole limits exactly; the limits of ratios are floats
            bound = (
                pa.scalar(limit, pa.float64())
                if pa.types.is_floating(cells.type)
                else pa.scalar(int(limit), pa.int64())
            )
            outside |= _mask(beyond(cells, bound))
    told = {"low": "−∞" if low is None else f"{low:g}", "high": "∞" if high is None else f"{high:g}"}
    checked.fault(name, "out_of_range", outside, **told)


def _check_dates(checked: Checked, items: Mapping[str, Item], rules: Rules, received: dt.datetime) -> None:
    cells = checked.cells
    today = pa.scalar(received.date(), pa.date32())
    for name in ("event_date", *(item.name for item in items.values() if item.type == "date")):
        if name not in cells:
            continue
        checked.fault(name, "date_too_early", _mask(pc.less(cells[name], pa.scalar(_EARLIEST, pa.date32()))))
        if name not in rules.future:
            checked.fault(name, "date_future", _mask(pc.greater(cells[name], today)))
    if "known_at" in cells:
        known = cells["known_at"]
        odd = _mask(pc.greater(known, pa.scalar(received, pa.timestamp("us"))))
        odd |= _mask(pc.less(known.cast(pa.date32(), safe=False), cells["event_date"]))
        checked.fault("known_at", "known_too_late", odd)
        # a row that does not say is known from now on, like every other
        cells["known_at"] = known.fill_null(received)
    if rules.month_end:
        checked.fault("event_date", "month_end", ~_month_ends(cells["event_date"]) & ~_empty(cells["event_date"]))
    for first, second in rules.order:
        if first in cells and second in cells:
            wrong = _mask(pc.greater(cells[first], cells[second]))
            checked.fault(second, "date_order", wrong, first=first, second=second)


def _month_ends(days: pa.Array) -> np.ndarray:
    coded = days.dictionary_encode()
    last = [day.day == calendar.monthrange(day.year, day.month)[1] for day in coded.dictionary.to_pylist()]
    return _mask(pa.array(last, pa.bool_()).take(coded.indices))


def _check_repeats(checked: Checked, category: Category) -> None:
    """Two rows of one statement with different content: nothing says which of them holds."""
    cells = checked.cells
    if len(cells["record_id"].unique()) == checked.rows:
        return
    keys = pa.table({name: cells[name] for name in ("record_id", "op", "revision")}).append_column(
        "at", pa.array(np.arange(checked.rows))
    )
    counted = keys.group_by(["record_id", "op", "revision"]).aggregate([("at", "list"), ("at", "count")])
    repeated = counted.filter(
        pc.and_(pc.greater(counted.column("at_count"), 1), pc.is_valid(counted.column("record_id")))
    )
    content = pa.table({name: cells[name] for name in cells if name in columns(category) or name in IDENTIFIERS})
    wrong = np.zeros(checked.rows, bool)
    for group in repeated.column("at_list").to_pylist():
        rows = content.take(pa.array(group)).to_pylist()
        if any(row != rows[0] for row in rows):
            wrong[group] = True
    checked.fault("record_id", "twice_in_batch", wrong)


# ---- small parts -----------------------------------------------------------------------------------------------------


def _mask(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A writable mask; null counts as false."""
    return np.array(values.fill_null(False).to_numpy(zero_copy_only=False), bool)


def _empty(values: pa.Array) -> np.ndarray:
    return _mask(pc.is_null(values))


def _is(values: pa.Array, wanted: Sequence[str]) -> np.ndarray:
    return _mask(pc.is_in(values, value_set=pa.array(list(wanted), pa.string())))


def _blanked(values: pa.Array, mask: np.ndarray) -> pa.Array:
    return pc.if_else(pa.array(mask), pa.scalar(None, values.type), values)


def _constant(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), count)


def _missing(file: str, column: str) -> IngestRefused:
    return _refused(
        "missing_column", f"{file}: column `{column}` is missing; add it", f"{file}：缺少列 `{column}`，请补充"
    )


def _refused(code: str, message: str, message_zh: str) -> IngestRefused:
    return IngestRefused(f"ingest_{code}", message, message_zh)
