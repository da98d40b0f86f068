"""What the README says is so: its contract is accepted, its commands and files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from features.contract import parse_contract

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CREDITLAB = str(Path(sys.executable).with_name("creditlab"))


def test_the_contract_in_the_readme_is_accepted() -> None:
    [text] = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    contract = parse_contract(text)
    assert contract.bank.test == "oot"
    assert contract.lab.categorical == ("industry", "city")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize("folder", sorted(set(re.findall(r"^\| `(\w+)/`", README, re.MULTILINE))))
def test_every_folder_exists(folder: str) -> None:
    assert (ROOT / folder).is_dir()


def test_every_command_of_the_tour_exists() -> None:
    rows = re.findall(r"^\|[^|]*\|[^|]*\| (`creditlab [^|]*) \|$", README, re.MULTILINE)
    commands = {words.removeprefix("creditlab ") for row in rows for words in re.findall(r"`([^`]+)`", row)}
    assert len(commands) >= 10
    groups = {command.split()[0] for command in commands}
    help_of = {
        group: subprocess.run([CREDITLAB, group, "--help"], capture_output=True, text=True, check=True).stdout
        for group in groups
    }
    for command in commands:
        group, *rest = command.split()
        assert all(word in help_of[group] for word in rest), command


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"^make (\w+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
