"""The generated parts of the documentation follow the code: diagrams, cause codes, report keys, settings."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from api.settings import PREFIX, Settings
from enclave.config import NodeConfig
from enclave.sandbox import Limits

DOCS = Path(__file__).parents[2] / "docs"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load()


@pytest.mark.parametrize("part", sorted(generate.PARTS))
def test_a_generated_part_is_what_the_generator_makes_now(part: str) -> None:
    path, text = generate.made(part)
    assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: run docs/generate.py"


def test_every_cause_code_of_the_code_has_a_remedy_and_no_other() -> None:
    told = {code for group in generate.remedies().values() for code in group["codes"]}
    found = set(generate.codes())
    assert found - told == set(), "add them to docs/causes.toml"
    assert told - found == set(), "no longer in the code: remove them from docs/causes.toml"


@pytest.mark.parametrize(
    "code", ["peer_lost", "own_certificate", "node_not_heard", "psi", "worker_failed", "engine_crashed"]
)
def test_the_search_for_codes_sees_each_place_where_they_arise(code: str) -> None:
    """One of each kind of place; a phase's name is none."""
    assert (code in generate.codes()) == (code != "psi")


def test_every_cause_is_explained_in_both_languages() -> None:
    for group in generate.remedies().values():
        for code, words in group["codes"].items():
            for key in ("means", "do"):
                assert words[key].isascii(), code
                assert not words[f"{key}_zh"].isascii() or "make setup" in words[f"{key}_zh"], code


def test_a_diagram_has_every_transition() -> None:
    text = generate.diagram({"a"}, {"a": {"b", "c"}, "b": {"c"}, "c": set()})
    assert set(re.findall(r"(\S+) --> (\S+)", text)) == {
        ("[*]", "a"),
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
        ("c", "[*]"),
    }


def test_every_key_of_node_toml_is_in_the_reference() -> None:
    page = (DOCS / "operators.md").read_text(encoding="utf-8")
    reference = set(re.findall(r"`([a-z_]+)`", page.split("## 3.")[1].split("## 4.")[0]))
    keys = {field.name for field in (*dataclasses.fields(NodeConfig), *dataclasses.fields(Limits))} - {"limits"}
    assert keys <= reference, keys - reference
    assert "[limits]" in page


def test_every_setting_of_the_control_plane_is_in_the_reference() -> None:
    page = (DOCS / "operators.md").read_text(encoding="utf-8")
    wanted = {"DATABASE_URL" if name == "database_url" else PREFIX + name.upper() for name in Settings.model_fields}
    assert wanted <= set(re.findall(r"`([A-Z_]+)`", page)), wanted - set(re.findall(r"`([A-Z_]+)`", page))
    for name in ("lease_seconds", "ticket_seconds", "release_order_seconds", "score_seconds", "settle_seconds"):
        default = Settings.model_fields[name].default
        assert f"`{PREFIX}{name.upper()}` | {default} |" in page, name
