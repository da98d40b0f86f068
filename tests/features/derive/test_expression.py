"""What an expression may say; above all, that it cannot ask about what was not yet known."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from features.catalogue import load
from features.derive import ExpressionRefused
from features.derive.compiler import plans
from features.derive.expression import compile_feature
from features.derive.view import Moment, Spine
from features.store import Snapshot
from features.store.engine import connect

CATALOGUE = load()
EMPTY = Snapshot(Path("nowhere"), 0, ())


def compiled(sql: str) -> object:
    category = CATALOGUE.category("administrative")
    return compile_feature(category, replace(CATALOGUE.feature("penalty_cnt_24m"), sql=sql))


@pytest.mark.parametrize(
    "sql",
    [
        "count(*) filter (known_at > event_date)",
        "max(known_at)",
        "count(*) filter (event_date > as_of)",
        "count(*) filter (op = 'repair')",
        "count(distinct batch)",
        "count(*) filter (b.known_at is null)",
        "max(stamp)",
        "count(*) filter (event_date > current_date)",
        "count(*) filter (event_date > now())",
        "count(*) filter (event_date < today())",
        "(select count(*) from read_parquet('x'))",
        "count(*) filter (fine_amount in (select fine_amount from amended))",
        "count(*) filter (exists (select 1))",
        "count(*) from read_parquet('events/**')",
        "count(*), max(fine_amount)",
        "count(*) having true",
        "count(*) union select 1",
        "count(*); drop table x",
        "count(*) as penalty",
        "count(*) over ()",
        "sum(fine_amount) over (order by event_date)",
        "max(fine_amount order by event_date)",
        "getenv('HOME')",
        "count(*) filter (random() > 0.5)",
        "query('select 1')",
        "list(fine_amount)",
        "latest(fine_amount, event_date)",
        "count(*) filter (live(fine_amount))",
        "count(*) filter (live(as_of))",
        "count(*) filter (ahead(valid_to, fine_amount))",
        "count(*) filter (ahead(valid_to))",
        "count(*) filter (main.live(valid_to))",
        "fine_amount",
        "1",
        "count(*) filter (w7)",
        "count(*) filter (sales > 0)",
        "max(fine_amount::date)",
        "count(*) filter (",
        "",
    ],
)
def test_an_expression_outside_the_grammar_is_refused(sql: str) -> None:
    """No way to the future, to another table, to the clock, to chance or to the machine."""
    with pytest.raises(ExpressionRefused) as refused:
        compiled(sql)
    assert "penalty_cnt_24m" in refused.value.message
    assert not refused.value.message_zh.isascii()


def test_every_clock_of_an_expression_is_known() -> None:
    found = compiled("count(*) filter (w12 and not w3 and live(valid_to)) + count(*) filter (ahead(valid_to, 90))")
    assert (found.windows, found.live, found.ahead) == ({3, 12}, {"valid_to"}, {("valid_to", 90)})


def test_helpers_become_plain_sql() -> None:
    found = compiled("latest(fine_amount)")
    assert found.sql == "arg_max(fine_amount, stamp)"
    assert "as_of" in compiled("bool_or(live(valid_to))").sql


@pytest.mark.parametrize("at", [Moment(dt.date(2024, 1, 31)), Moment(dt.date(2024, 1, 31), "spine"), Spine("spine")])
@pytest.mark.parametrize("plan", plans(CATALOGUE), ids=lambda plan: plan.category.id)
def test_every_feature_of_the_catalogue_runs_over_the_view(plan: object, at: Moment | Spine) -> None:
    with connect(threads=1) as db:
        db.execute("CREATE TABLE spine (uscc VARCHAR, as_of DATE)")
        made = db.sql(plan.state(EMPTY, at))
        db.sql(f"SELECT {plan.values('as_of')} FROM ({plan.nothing()}), spine").fetchall()
        kinds = dict(zip(made.columns, map(str, made.types), strict=True))
    for feature in plan.features:
        wanted = {"text": "VARCHAR", "months_since": "DATE"}.get(feature.kind, "DOUBLE")
        assert kinds[feature.name] == wanted, feature.name


@pytest.mark.parametrize("category", list(CATALOGUE), ids=lambda category: category.id)
def test_the_items_that_a_feature_is_said_to_read_are_those_in_its_expression(category: object) -> None:
    """R51: sharing follows from what is read, so nothing may be read unseen."""
    import json

    from features.derive.expression import _ask, _nodes

    names = {item.name for item in category.items}
    for feature in category.features:
        tree = json.loads(_ask("SELECT json_serialize_sql(?)", f"SELECT {feature.sql}"))
        columns = {node["column_names"][0] for node in _nodes(tree) if node["class"] == "COLUMN_REF"}
        assert set(feature.reads) == columns & names
