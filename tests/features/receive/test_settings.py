"""The settings file: what it may say, and that what it does not grant is not granted."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from features import receive
from features.receive.refused import SettingsRefused
from features.receive.settings import Settings, load
from tests.features.events import CATALOGUE
from tests.features.receive.conftest import SETTINGS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("store", "pki/ca.crt", "pki/intake.crt", "pki/intake.key"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "receive.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_with_paths_beside_it(folder: Path) -> None:
    settings = load(write(folder, SETTINGS.format(more="max_rows = 7")), CATALOGUE)
    assert (settings.store, settings.max_rows, settings.max_body_mb) == (folder / "store", 7, 64)
    assert [one.categories for one in settings.by_unit["tax-1"]] == [frozenset({"tax"})]
    assert "stranger" not in settings.by_unit


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("port = 0", "port = 70000", "port"),
        ("port = 0", 'port = "1"', "port"),
        ("port = 0", "port = true", "port"),
        ("port = 0", "", "port"),
        ("port = 0", "port = 0\nprot = 1", "prot"),
        ("port = 0", "port = 0\nmax_rows = 0", "max_rows"),
        ('store = "store"', 'store = "nowhere"', "store"),
        ('host = "127.0.0.1"', "host = 1", "host"),
        ('categories = ["tax"]', "categories = []", "categories"),
        ('categories = ["tax"]', 'categories = ["taxes"]', "taxes"),
        ('categories = ["tax"]', 'categories = ["credit"]', "credit"),
        ('categories = ["tax"]', 'categories = ["tax"]\nbackfill = 1', "backfill"),
        ('categories = ["tax"]', 'categories = ["tax"]\nsources = "x"', "sources"),
        ('source = "tax_bureau"', 'source = "Tax"', "source"),
        ('unit = "tax-1"', 'unit = ""', "unit"),
        ("[[allow]]", "[[allow]", "TOML"),
    ],
)
def test_a_wrong_setting_is_named(folder: Path, old: str, new: str, names: str) -> None:
    text = SETTINGS.format(more="").replace(old, new)
    with pytest.raises(SettingsRefused) as refused:
        load(write(folder, text), CATALOGUE)
    assert names in refused.value.message
    assert refused.value.message_zh != refused.value.message


def test_the_manual_tells_every_setting_route_and_code(folder: Path) -> None:
    manual = (Path(__file__).parents[3] / "docs" / "ingestion.md").read_text(encoding="utf-8")
    page = manual[manual.index("## 接口推送") : manual.index("## 错误与更正")]
    source = Path(receive.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in source.glob("*.py"))
    told = {*re.findall(r'"(push_[a-z_]+)"', code), "internal_error"}
    told |= {one.name for one in fields(Settings) if one.init}
    told |= {f"{method.upper()} {path}" for method, path in re.findall(r'@app\.(get|post)\("([^"]+)"', code)}
    assert {one for one in told if f"`{one}" not in page} == set()
    example = re.findall(r"```toml\n(.*?)```", page, re.S)[0].replace("lab-intake", "intake")
    assert load(write(folder, example), CATALOGUE).by_unit["tax-bureau-1"][0].source == "tax_bureau"


def test_nothing_is_granted_by_default(folder: Path) -> None:
    text = SETTINGS.format(more="").split("[[allow]]")[0]
    with pytest.raises(SettingsRefused, match="allow"):
        load(write(folder, text), CATALOGUE)
