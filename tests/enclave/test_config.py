"""A node's configuration says which proofs of a consent its owner takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from consent.keys import SigningKey
from enclave.config import BadConfig, load


def written(folder: Path, line: str) -> Path:
    for name in ("ca.crt", "node.crt", "node.key", "token"):
        (folder / name).write_text("x")
    (folder / "data").mkdir()
    (folder / "platform.pub").write_text(SigningKey.generate().public.b64)
    path = folder / "node.toml"
    path.write_text(
        'name = "n"\ninstitution = "bank"\nrole = "bank"\ndata = "data"\ncontrol_url = "https://c"\nca = "ca.crt"\n'
        'cert = "node.crt"\nkey = "node.key"\ntoken_file = "token"\nplatform_key = "platform.pub"\n'
        f'state_dir = "state"\n{line}\n'
    )
    return path


def test_kinds_of_evidence_may_be_refused(tmp_path: Path) -> None:
    assert load(written(tmp_path, 'refuse_evidence = ["session_code"]')).refuse_evidence == {"session_code"}


def test_every_kind_is_taken_unless_said(tmp_path: Path) -> None:
    assert load(written(tmp_path, "")).refuse_evidence == frozenset()


@pytest.mark.parametrize("line", ['refuse_evidence = ["telephone"]', 'refuse_evidence = "session_code"'])
def test_an_unknown_kind_is_refused(tmp_path: Path, line: str) -> None:
    """A misspelt kind would be taken silently."""
    with pytest.raises(BadConfig, match="refuse_evidence"):
        load(written(tmp_path, line))


def test_the_share_that_may_have_withdrawn_is_a_share(tmp_path: Path) -> None:
    assert load(written(tmp_path, "recall_share = 0.2")).recall_share == 0.2


@pytest.mark.parametrize("value", ["1", "-0.1", '"0.1"', "true"])
def test_what_is_no_share_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(BadConfig, match="recall_share"):
        load(written(tmp_path, f"recall_share = {value}"))


def test_the_owner_says_how_many_questions_by_the_platforms_word_are_answered_a_day(tmp_path: Path) -> None:
    assert load(written(tmp_path, "session_questions_per_day = 0")).session_questions_per_day == 0


def test_without_a_word_of_the_owner_it_is_twenty(tmp_path: Path) -> None:
    assert load(written(tmp_path, "")).session_questions_per_day == 20


@pytest.mark.parametrize("value", ["-1", "1.5", '"20"', "true", "1000001"])
def test_what_is_no_number_of_questions_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(BadConfig, match="session_questions_per_day"):
        load(written(tmp_path, f"session_questions_per_day = {value}"))
