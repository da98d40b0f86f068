"""What a feature's expression may say, and its translation into plain SQL.

An expression is an aggregate over the records of one category. It may name the items, `event_date`, the windows
`w1` … `w60` (true of an event of the last N months), and three helpers: `latest(x)`, the last known value of an item;
`live(d)`, the date is open or still ahead; `ahead(d, n)`, it falls within the next n days. Owns that grammar. There is
no name in it for the time at which something became known, for the as-of date itself, for another table or for the
clock, so an expression cannot ask about the future.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb

from features.catalogue.model import WINDOWS, Category, Feature

_AGGREGATES = frozenset(
    ("count", "count_star", "sum", "min", "max", "avg", "stddev_samp", "bool_or", "bool_and", "latest")
)
_HELPERS = frozenset(("live", "ahead"))
_SCALARS = frozenset(("+", "-", "*", "/", "nullif", "coalesce", "greatest", "least", "abs", "round"))
_CLASSES = frozenset(("FUNCTION", "COLUMN_REF", "CONSTANT", "CONJUNCTION", "OPERATOR", "COMPARISON", "CASE", "BETWEEN"))
#: `live(d)` and `ahead(d, n)` as SQL over the view, whose column `as_of` no expression may name.
_LIVE = "({d} IS NULL OR {d} > as_of)"
_AHEAD = "({d} > as_of AND {d} <= as_of + {n})"


class ExpressionRefused(ValueError):
    """A feature's expression is outside the grammar."""

    code = "expression_refused"

    def __init__(self, feature: str, detail: str, detail_zh: str) -> None:
        self.message = f"feature `{feature}`, sql: {detail}. Remedy: use items, windows and the allowed functions only."
        self.message_zh = f"特征 `{feature}` 的 sql：{detail_zh}。处理：只使用数据项、窗口和允许的函数。"
        super().__init__(self.message)


@dataclass(frozen=True)
class Expression:
    """A checked expression. `sql` is over the view's columns.

    `windows`: months that it asks about. `live`: date items compared with the as-of date. `ahead`: date items with
    the days looked ahead. These are all the ways in which a value can change by the passing of time alone.
    """

    sql: str
    windows: frozenset[int]
    live: frozenset[str]
    ahead: frozenset[tuple[str, int]]


def compile_feature(category: Category, feature: Feature) -> Expression:
    """Raises ExpressionRefused."""
    dates = tuple(item.name for item in category.items if item.type == "date")
    return _compile(feature.name, feature.sql, tuple(item.name for item in category.items), dates)


def bearing(category: Category, feature: Feature) -> str:
    """A condition on the view's records, true of those from which the feature's value is taken.

    It has window functions, so it stands in a select list. Raises ExpressionRefused.
    """
    compile_feature(category, feature)
    found = _aggregates(_parse(feature.name, feature.sql))
    return " OR ".join(dict.fromkeys(f"({_bears_on(node)})" for node in found))


@cache
def _compile(name: str, sql: str, items: tuple[str, ...], dates: tuple[str, ...]) -> Expression:
    tree = _parsed(name, sql)
    windows: set[int] = set()
    live: set[str] = set()
    ahead: set[tuple[str, int]] = set()
    allowed = {*items, "event_date"}
    for node in _nodes(tree):
        kind = node["class"]
        if kind not in _CLASSES:
            raise ExpressionRefused(name, f"{kind.lower()} is not allowed", f"不允许 {kind.lower()}")
        if kind == "COLUMN_REF":
            column = ".".join(node["column_names"])
            if column in (f"w{months}" for months in WINDOWS):
                windows.add(int(column[1:]))
            elif column not in allowed:
                raise ExpressionRefused(name, f"`{column}` is no item of the category", f"`{column}` 不是该类数据项")
        elif kind == "FUNCTION":
            _check_function(name, node)
            if node["function_name"] == "live":
                live.add(_date_argument(name, node, dates))
            elif node["function_name"] == "ahead":
                ahead.add((_date_argument(name, node, dates), _days(name, node)))
    if not _aggregates(tree):
        raise ExpressionRefused(name, "it aggregates nothing", "没有聚合函数")
    plain = _plain(tree)
    return Expression(
        sql=_read[sql][2] if plain is tree and sql in _read else _text(plain),
        windows=frozenset(windows),
        live=frozenset(live),
        ahead=frozenset(ahead),
    )


def _aggregates(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in _nodes(tree) if node["class"] == "FUNCTION" and node["function_name"] in _AGGREGATES]


def _bears_on(aggregate: dict[str, Any]) -> str:
    """Which records an aggregate takes its value from, as a condition (with a window function for `latest`)."""
    given = _text(_plain(aggregate["filter"])) if aggregate["filter"] else "true"
    if aggregate["function_name"] == "count_star":
        return given
    value = _text(_plain(aggregate["arguments"][0]["expression"]))
    if aggregate["function_name"] == "bool_or":
        return f"{given} AND {value}"
    if aggregate["function_name"] == "latest":
        return f"stamp = max(stamp) FILTER (WHERE {given} AND {value} IS NOT NULL) OVER ()"
    return f"{given} AND {value} IS NOT NULL"


def _check_function(name: str, node: dict[str, Any]) -> None:
    function = node["function_name"]
    if function not in _AGGREGATES | _HELPERS | _SCALARS or node["schema"] or node["catalog"]:
        raise ExpressionRefused(name, f"the function `{function}` is not allowed", f"不允许函数 `{function}`")
    if node["order_bys"]["orders"] or node["export_state"]:
        raise ExpressionRefused(name, "an order inside an aggregate is not allowed", "聚合内不允许排序")
    if function == "latest" and len(node["arguments"]) != 1:
        raise ExpressionRefused(name, "`latest` takes one item", "`latest` 只接受一个数据项")


def _date_argument(name: str, node: dict[str, Any], dates: tuple[str, ...]) -> str:
    first = node["arguments"][0]["expression"]
    column = ".".join(first.get("column_names", ()))
    if column not in dates:
        function = node["function_name"]
        raise ExpressionRefused(name, f"`{function}` takes an item of type date", f"`{function}` 只接受日期型数据项")
    return column


def _days(name: str, node: dict[str, Any]) -> int:
    arguments = node["arguments"]
    literal = arguments[1]["expression"].get("literal", {}) if len(arguments) == 2 else {}
    if literal.get("kind") != "INTEGER":
        raise ExpressionRefused(name, "`ahead` takes a date and a number of days", "`ahead` 需要日期和天数")
    return int(literal["text"])


def _plain(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree with the helpers replaced by what they stand for."""
    if not any(node.get("function_name") in {"latest", *_HELPERS} for node in _nodes(tree)):
        return tree
    tree = copy.deepcopy(tree)
    for holder, key in list(_places({"root": tree})):
        node = holder[key]
        if node.get("class") != "FUNCTION":
            continue
        function, arguments = node["function_name"], node["arguments"]
        if function == "latest":
            # rows of one day are told apart by `stamp`, never by the order in which they are read
            stamp = _parse("latest", "stamp")
            node.update(function_name="arg_max", qualified_name={"path": ["arg_max"]})
            arguments.append({"name": "", "expression": stamp})
        elif function in _HELPERS:
            column = arguments[0]["expression"]["column_names"][0]
            text = _LIVE.format(d=column) if function == "live" else _AHEAD.format(d=column, n=_days("", node))
            holder[key] = _parse(function, text)
            if key == "root":
                return holder[key]
    return tree


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every node of an expression tree, from the root down."""
    if isinstance(value, dict):
        if "class" in value:
            yield value
        for child in value.values():
            yield from _nodes(child)
    elif isinstance(value, list):
        for child in value:
            yield from _nodes(child)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place, as container and key, that holds a node; leaves first."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(pairs):
        yield from _places(child)
        if isinstance(child, dict) and "class" in child:
            yield value, key


def _parse(name: str, sql: str) -> dict[str, Any]:
    """The tree of one expression."""
    return copy.deepcopy(_parsed(name, sql))


def read_ahead(features: Iterable[Feature]) -> None:
    """Has the parser read all these expressions in two questions instead of three for each; only saves time."""
    texts = [feature.sql for feature in features if feature.sql not in _read]
    serialised = _ask_all("SELECT json_serialize_sql(one)", [f"SELECT {text}" for text in texts])
    frames = [_framed(node) if (node := _first(answer)) else answer for answer in serialised]
    written = _ask_all("SELECT json_deserialize_sql(one)", [*serialised, *frames]) if _sound(serialised) else []
    for place, text in enumerate(texts if written else ()):
        whole, part = written[place], written[len(texts) + place]
        _read[text] = serialised[place], whole, part.removeprefix("SELECT ")


def _sound(serialised: Iterable[str]) -> bool:
    return all(_first(answer) for answer in serialised)


def _first(serialised: str) -> dict[str, Any] | None:
    """The first expression of a statement, if it is one that selects."""
    answer = json.loads(serialised)
    if answer["error"]:
        return None
    node: dict[str, Any] = answer["statements"][0]["node"].get("select_list", [{}])[0]
    return node if "class" in node else None


@cache
def _parsed(name: str, sql: str) -> dict[str, Any]:
    known = _read.get(sql)
    serialised = known[0] if known else _ask("SELECT json_serialize_sql(?)", f"SELECT {sql}")
    answer = json.loads(serialised)
    if answer["error"]:
        raise ExpressionRefused(name, answer["error_message"], "语法错误")
    node = _first(serialised)
    # anything beside the one expression (FROM, GROUP BY, HAVING, UNION, a second column) would show in the text
    whole = known[1] if known else _ask("SELECT json_deserialize_sql(?)", serialised)
    if len(answer["statements"]) != 1 or node is None or node["alias"]:
        raise ExpressionRefused(name, "it must be one expression and no query", "必须是单个表达式，不能是查询")
    if whole != f"SELECT {known[2] if known else _text(node)}":
        raise ExpressionRefused(name, "it must be one expression and no query", "必须是单个表达式，不能是查询")
    return node


def _text(tree: dict[str, Any]) -> str:
    """A tree as SQL again."""
    return _ask("SELECT json_deserialize_sql(?)", _framed(tree)).removeprefix("SELECT ")


def _framed(tree: dict[str, Any]) -> str:
    """A statement of this one expression."""
    frame = json.loads(_frame())
    frame["statements"][0]["node"]["select_list"] = [tree]
    return json.dumps(frame)


@cache
def _frame() -> str:
    """A statement of one expression, to put another into."""
    return _ask("SELECT json_serialize_sql(?)", "SELECT 1")


def _ask(sql: str, argument: str) -> str:
    row = _database().cursor().execute(sql, [argument]).fetchone()
    assert row is not None
    return str(row[0])


def _ask_all(sql: str, arguments: list[str]) -> list[str]:
    """The same question about each of many texts, in their order."""
    numbered = "SELECT unnest(?::VARCHAR[]) AS one, unnest(range(len(?::VARCHAR[]))) AS place"
    rows = _database().cursor().execute(f"{sql} FROM ({numbered}) ORDER BY place", [arguments, arguments]).fetchall()
    return [str(answer) for (answer,) in rows]


#: Expression → its tree as JSON, the statement it was read from, and its own text; filled by `read_ahead`.
_read: dict[str, tuple[str, str, str]] = {}


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """An empty database, used as a parser only."""
    return duckdb.connect(":memory:", config={"threads": 1, "autoload_known_extensions": False})
