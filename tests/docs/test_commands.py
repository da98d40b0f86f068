"""What a reader may copy from the documentation is right: commands, options, routes, client calls, links."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main

from api.cli import app
from api.client import LabClient
from enclave import config

DOCS = Path(__file__).parents[2] / "docs"
PROJECT = DOCS.parent
PAGES = sorted(path for path in DOCS.rglob("*.md"))


def blocks(page: str, *languages: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [body for language, body in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL) if language in languages]


def commands() -> list[tuple[str, list[str]]]:
    """(page, words) of every `creditlab …` line in a shell block."""
    found = []
    for path in PAGES:
        for block in blocks(str(path.relative_to(DOCS)), "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.split("     #")[0], comments=True)
                if words and Path(words[0]).name == "creditlab":
                    found.append((path.name, words[1:]))
    return found


def test_the_pages_have_commands_to_check() -> None:
    assert len(commands()) > 25


@pytest.mark.parametrize(
    ("page", "words"), commands(), ids=lambda value: value if isinstance(value, str) else " ".join(value)[:60]
)
def test_a_command_parses(page: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every word is understood: subcommands, options, and the number of arguments. Nothing is run."""
    monkeypatch.chdir(tmp_path)
    for word in words:  # options and arguments that must exist on the disk
        if "/" in word or word.endswith((".json", ".toml", ".jsonl", ".pem")):
            target = tmp_path / word
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    rest = list(words)
    if rest == ["--help"]:
        return
    command: Any = typer.main.get_command(app)
    while hasattr(command, "get_command"):
        context = command.make_context(command.name, rest)
        rest = [*context._protected_args, *context.args]
        found = command.get_command(context, rest.pop(0))
        assert found is not None, f"{page}: no such command"
        command = found
    command.make_context(command.name, rest)


def routes() -> set[tuple[str, str]]:
    from datetime import UTC, datetime
    from types import SimpleNamespace

    from api.app import create_app
    from api.settings import Settings

    control: Any = SimpleNamespace(
        settings=Settings(home=Path("unused")), started_at=datetime.now(UTC), db=SimpleNamespace(before_commit=None)
    )
    paths = create_app(control).openapi()["paths"]
    return {(method.upper(), path) for path, item in paths.items() for method in item}


def test_the_api_page_lists_exactly_the_routes_there_are() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| (GET|POST|PUT|DELETE|PATCH) (\S+) \|", page, re.MULTILINE))
    assert listed == routes()


def test_every_address_in_an_example_is_a_route() -> None:
    known = {path for _, path in routes()}
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for address in re.findall(r"(?:https://[\w.:]+|GET |POST |PUT )(/v1/[\w/{}-]+)", text):
            assert address in known, f"{path.name}: {address}"


def test_the_python_examples_call_the_client_as_it_is() -> None:
    (example,) = blocks("api.md", "python")
    called = 0
    for node in ast.walk(ast.parse(example)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id in ("risk", "owner", "operator", "reviewer"):
            signature = inspect.signature(getattr(LabClient, node.func.attr))
            signature.bind(None, *node.args, **{word.arg: word.value for word in node.keywords if word.arg})
            called += 1
    assert called >= 9


def test_the_proposal_of_the_examples_is_accepted() -> None:
    from api.jobs.schemas import JobIn

    (example,) = blocks("api.md", "python")
    (proposal,) = (
        ast.literal_eval(node.args[0])
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "propose_job"
    )
    assert JobIn.model_validate(proposal).mode == "federated"
    (data,) = re.findall(r"-d '(\{.*\})'", (DOCS / "api.md").read_text(encoding="utf-8"))
    assert JobIn.model_validate_json(data).recipe.params == {"rounds": 30}


def test_the_example_node_toml_loads(tmp_path: Path) -> None:
    from consent.keys import SigningKey

    (example,) = blocks("operators.md", "toml")
    for value in (tomllib.loads(example)[key] for key in ("data", "ca", "cert", "key", "token_file")):
        (tmp_path / value).parent.mkdir(exist_ok=True)
        (tmp_path / value).touch()
    (tmp_path / "platform.pub").write_text(SigningKey.generate().public.b64)
    (tmp_path / "node.toml").write_text(example)
    loaded = config.load(tmp_path / "node.toml")
    assert loaded.limits.memory_mb == 6144


def test_every_link_between_pages_leads_somewhere() -> None:
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).resolve().exists(), f"{path.name}: {target}"


def test_every_make_target_in_the_pages_exists() -> None:
    known = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for path in PAGES:
        for block in blocks(str(path.relative_to(DOCS)), "sh"):
            for target in re.findall(r"(?:^|&& )make ([a-z]+)", block, re.MULTILINE):
                assert target in known, f"{path.name}: make {target}"
        for target in re.findall(r"`make ([a-z]+)", path.read_text(encoding="utf-8")):
            assert target in known, f"{path.name}: make {target}"


def test_every_decision_is_dated_and_listed() -> None:
    index = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    for path in (DOCS / "decisions").glob("0*.md"):
        text = path.read_text(encoding="utf-8")
        assert f"({path.name})" in index
        assert re.search(r"^\d{4}-\d\d-\d\d\b", text, re.MULTILINE), path.name
        for heading in ("Context", "Decision", "Consequence"):
            assert re.search(rf"^(## {heading}$|\*\*{heading}\.\*\*)", text, re.MULTILINE), path.name
        for source in re.findall(r"`((?:enclave|models|federated|api|consent)/[\w/.]+\.py)", text):
            assert (PROJECT / source).exists(), f"{path.name}: {source}"
