"""`dataset.toml`: what it may say, and how it is refused."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.contract import BankTable, Contract, LabTable, parse_contract, read_contract
from features.faults import DataRefused, Fault
from tests.features.conftest import CONTRACT


def refusal(text: str) -> list[Fault]:
    with pytest.raises(DataRefused) as refused:
        parse_contract(text)
    assert all(fault.file == "dataset.toml" for fault in refused.value.faults)
    return list(refused.value.faults)


def test_a_contract_is_read_whole() -> None:
    assert parse_contract(CONTRACT) == Contract(
        name="pair",
        title="A pair of tables",
        id="ent_id",
        as_of="as_of",
        bank=BankTable("bank.csv", "bad", "window", "train", "oot", "owner", ("loan_nr",), ("product",)),
        lab=LabTable("lab.csv", (), ("industry",)),
    )


def test_optional_keys_may_be_left_out() -> None:
    contract = parse_contract('name="a"\ntitle="b"\nid="i"\n[bank]\ntable="b.parquet"\nlabel="y"\n[lab]\ntable="l.csv"')
    assert contract.as_of is None
    assert contract.bank.split is None
    assert contract.lab.ignore == ()


def test_no_model_input_among_the_excluded_columns() -> None:
    contract = parse_contract(CONTRACT)
    assert contract.excluded("bank") == {"ent_id", "as_of", "bad", "window", "owner", "loan_nr"}
    assert contract.excluded("lab") == {"ent_id", "as_of"}


@pytest.mark.parametrize("key", ["name", "title", "id", "bank.table", "bank.label", "lab.table"])
def test_missing_key_names_field_and_example(key: str) -> None:
    head, _, tail = key.rpartition(".")
    lines = CONTRACT.splitlines()
    section = ""
    kept = []
    for line in lines:
        if line.startswith("["):
            section = line.strip("[]")
        if section == head and line.startswith(f"{tail} ="):
            continue
        kept.append(line)
    [fault] = refusal("\n".join(kept))
    assert (fault.code, fault.column) == ("contract_missing_key", key)
    assert f"{tail} = " in fault.remedy()
    assert f"field `{key}`" in fault.text()


@pytest.mark.parametrize("section", ["bank", "lab"])
def test_missing_section_is_named(section: str) -> None:
    other = {"bank": "lab", "lab": "bank"}[section]
    [fault] = refusal(
        f'name="a"\ntitle="b"\nid="i"\n[{other}]\ntable="b.csv"\n' + ('label="y"\n' if other == "bank" else "")
    )
    assert (fault.code, fault.column) == ("contract_missing_key", section)


def test_unknown_key_gets_a_suggestion() -> None:
    [fault] = refusal(CONTRACT.replace("party =", "partie ="))
    assert (fault.code, fault.column) == ("contract_unknown_key", "bank.partie")
    assert "did you mean `party`?" in fault.text()


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('id = "ent_id"', "id = 3", "id"),
        ('ignore = ["loan_nr"]', 'ignore = "loan_nr"', "bank.ignore"),
        ('categorical = ["industry"]', "categorical = [1]", "lab.categorical"),
    ],
)
def test_wrong_type_is_refused(old: str, new: str, field: str) -> None:
    [fault] = refusal(CONTRACT.replace(old, new))
    assert (fault.code, fault.column) == ("contract_wrong_type", field)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('name = "pair"', 'name = "A pair"', "name"),
        ('table = "bank.csv"', 'table = "../bank.csv"', "bank.table"),
        ('table = "bank.csv"', 'table = "/etc/bank.csv"', "bank.table"),
        ('table = "lab.csv"', 'table = "lab.xlsx"', "lab.table"),
        ('table = "lab.csv"', 'table = "bank.csv"', "lab.table"),
        ('test = "oot"', 'test = "train"', "bank.test"),
        ('id = "ent_id"', 'id = " "', "id"),
        ('ignore = ["loan_nr"]', 'ignore = ["loan_nr", "loan_nr"]', "bank.ignore"),
    ],
)
def test_value_that_makes_no_sense_is_refused(old: str, new: str, field: str) -> None:
    [fault] = refusal(CONTRACT.replace(old, new))
    assert (fault.code, fault.column) == ("contract_bad_value", field)


def test_split_needs_both_windows() -> None:
    faults = refusal(CONTRACT.replace('train = "train"\n', "").replace('test = "oot"\n', ""))
    assert {(fault.code, fault.column) for fault in faults} == {
        ("contract_missing_key", "bank.train"),
        ("contract_missing_key", "bank.test"),
    }


@pytest.mark.parametrize(
    ("old", "new", "column"),
    [
        ('ignore = ["loan_nr"]', 'ignore = ["ent_id"]', "ent_id"),
        ('party = "owner"', 'party = "window"', "window"),
        ('label = "bad"', 'label = "ent_id"', "ent_id"),
        ("ignore = []", 'ignore = ["industry"]', "industry"),
    ],
)
def test_column_with_two_roles_is_refused(old: str, new: str, column: str) -> None:
    [fault] = refusal(CONTRACT.replace(old, new))
    assert (fault.code, fault.column) == ("contract_clash", column)


def test_syntax_error_says_where() -> None:
    [fault] = refusal('name = "a"\nid = ent_id')
    assert fault.code == "contract_syntax"
    assert "line 2" in fault.text()


def test_contract_that_is_not_utf8_is_refused(tmp_path) -> None:
    (tmp_path / "dataset.toml").write_bytes('title = "模拟"'.encode("gbk"))
    with pytest.raises(DataRefused) as refused:
        read_contract(tmp_path)
    assert refused.value.faults[0].code == "file_encoding"


_TEXT = st.text(st.characters(max_codepoint=0x9FFF, exclude_categories=["Cs"]), max_size=8)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["name", "title", "id", "as_of", "bank", "lab", "more"]),
        st.one_of(_TEXT, st.integers(), st.lists(_TEXT, max_size=3), st.booleans()),
    )
)
def test_any_flat_document_is_refused_never_crashes(document: dict) -> None:
    lines = [f"{key} = {_toml(value)}" for key, value in document.items()]
    with pytest.raises(DataRefused):
        parse_contract("\n".join(lines))


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(sign):08X}" for sign in value) + '"'
    return str(value)
