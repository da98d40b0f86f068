"""Where the demo writes, and what it never touches."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.demo.narrate import DemoFailed
from api.demo.options import Folders, Mode, Recipe, institution_of


def test_an_earlier_demos_state_is_replaced(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "out")
    folders.prepare()
    (folders.state / "old.key").write_text("secret")
    (folders.releases / "kept.json").write_text("{}")
    folders.prepare()
    assert not (folders.state / "old.key").exists()
    assert (folders.releases / "kept.json").exists()
    folders.discard_state()
    assert not folders.state.exists()


@pytest.mark.parametrize("name", ["state", "logs"])
def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, name: str) -> None:
    theirs = tmp_path / name / "thesis.txt"
    theirs.parent.mkdir()
    theirs.write_text("years of work")
    with pytest.raises(DemoFailed, match="not made by the demo"):
        Folders(tmp_path).prepare()
    assert theirs.read_text() == "years of work"


def test_reports_of_several_banks_lie_apart(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    assert folders.result(None, "zone", "boosting") == tmp_path / "zone-boosting"
    assert folders.result("bank_a", "zone", "boosting") == tmp_path / "bank_a" / "zone-boosting"


@pytest.mark.parametrize(
    ("party", "institution"),
    [("bank_a", "bank_a"), ("工商银行", "bank-3"), ("../etc", "bank-3"), ("lab", "bank-3"), ("a b", "bank-3")],
)
def test_a_party_becomes_an_institution_that_is_safe_as_a_name(party: str, institution: str) -> None:
    assert institution_of(party, 3) == institution


def test_both_means_each() -> None:
    assert Mode.BOTH.each == ["federated", "zone"]
    assert Mode.ZONE.each == ["zone"]
    assert Recipe.BOTH.each == ["boosting", "logistic"]
