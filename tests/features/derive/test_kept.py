"""Compiled expressions beside a view: the same as compiling gives, and good for nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from features.catalogue import load, parse
from features.catalogue.load import FOLDER
from features.derive import ServingView, compiler, expression, kept
from features.derive.compiler import plans
from features.derive.expression import Expression
from tests.features.derive.test_as_of import day
from tests.features.events import Store, penalty


@pytest.fixture
def compiled() -> dict[str, Expression]:
    return {name: one for plan in plans(load()) for name, one in plan.expressions.items()}


def test_what_is_kept_is_what_was_compiled(compiled: dict[str, Expression], tmp_path: Path) -> None:
    kept.keep(tmp_path, load(), compiled)
    assert kept.load(tmp_path, load()) == compiled
    assert [path.name for path in tmp_path.iterdir()] == ["expressions.json"]


def test_another_catalogue_grammar_or_parser_has_its_own(
    compiled: dict[str, Expression], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.keep(tmp_path, load(), compiled)
    texts = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.toml")}
    name, text = next((name, text) for name, text in texts.items() if "w12" in text)
    assert kept.load(tmp_path, parse(texts | {name: text.replace("w12", "w24", 1)})) is None
    with monkeypatch.context() as patch:
        patch.setattr(duckdb, "__version__", "0.0.1")
        assert kept.load(tmp_path, load()) is None
    grammar = tmp_path / "grammar.py"
    grammar.write_text("# another\n")
    monkeypatch.setattr(expression, "__file__", str(grammar))
    assert kept.load(tmp_path, load()) is None


def test_a_file_that_was_cut_off_is_not_used(compiled: dict[str, Expression], tmp_path: Path) -> None:
    kept.keep(tmp_path, load(), compiled)
    file = tmp_path / "expressions.json"
    file.write_text(file.read_text(encoding="utf-8")[:-1], encoding="utf-8")
    assert kept.load(tmp_path, load()) is None


def test_a_refresh_compiles_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    store.write([penalty("A", "1", day(10), day(10))])
    first = ServingView(tmp_path / "view", store.events)
    first.rebuild(day(30))

    def parsed(*_: object) -> Expression:
        raise AssertionError("compiled once more")

    monkeypatch.setattr(compiler, "compile_feature", parsed)
    monkeypatch.setattr(compiler, "read_ahead", parsed)
    later = ServingView(tmp_path / "view", store.events)
    assert sum(later.refresh(day(400)).values()) == 1
    with pytest.raises(AssertionError, match="once more"):
        ServingView(tmp_path / "other", store.events).rebuild(day(30))
