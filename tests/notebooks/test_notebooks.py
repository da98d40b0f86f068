"""The worked examples run from top to bottom, as a bank or an operator would run them, against the real API."""

from __future__ import annotations

import ast
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from api.reports import service as reports
from tests.api.financing import firm, officer, product_body
from tests.api.world import World, any_ca

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def cells(name: str) -> list[dict[str, Any]]:
    document = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    assert (document["nbformat"], document["metadata"]["kernelspec"]["language"]) == (4, "python")
    return document["cells"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def run(name: str) -> dict[str, Any]:
    """The code cells in their order, in one namespace."""
    space: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells(name):
        if cell["cell_type"] == "code":
            exec(compile(source(cell), f"{name}:{cell['id']}", "exec"), space)
    return space


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[World, str], Path]:
    """Whoever sits at the notebook: an account, and a folder of their own."""

    def sit(world: World, account: str) -> Path:
        monkeypatch.setenv("CREDITLAB_URL", world.url)
        monkeypatch.setenv("CREDITLAB_CA", str(any_ca()))
        monkeypatch.setenv("CREDITLAB_TOKEN", world.tokens[account])
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return sit


# ---- what is in them


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_uses_the_client_alone_and_carries_no_output(name: str) -> None:
    for cell in cells(name):
        if cell["cell_type"] != "code":
            continue
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
        for node in ast.walk(ast.parse(source(cell))):
            if isinstance(node, ast.Import):
                assert {each.name.split(".")[0] for each in node.names} <= sys.stdlib_module_names
            if isinstance(node, ast.ImportFrom):
                assert node.module == "api.client" or str(node.module).split(".")[0] in sys.stdlib_module_names
        assert "._" not in source(cell)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_speaks_chinese_first_and_english_beside(name: str) -> None:
    for cell in cells(name):
        if cell["cell_type"] == "markdown":
            text = source(cell).lstrip("# 0123456789.")
            assert "\u4e00" <= text[0] <= "\u9fff", text
            assert sum(c.isascii() and c.isalpha() for c in text) > 20, text


def test_every_notebook_is_in_the_readme() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert NAMES
    for name in NAMES:
        assert f"({name})" in text


# ---- a bank's first job


def report(auc: float) -> dict[str, Any]:
    """As a lab's node reports, in what a reader looks at."""
    window = {"ks": 0.21, "gini": 2 * auc - 1, "brier": 0.11}
    models = {"bank_only": 0.58, "lab_only": 0.55, "stacked": 0.60, "joint": auc}
    gained = {"auc": auc - 0.58, "verdict": "better", "statement": "joining helps", "statement_zh": "联合有增益"}
    return {"models": {name: {"auc": value, **window} for name, value in models.items()}, "uplift": gained}


@contextmanager
def others_at_work(world: World) -> Iterator[None]:
    """The lab's data owner, the operator and both nodes, who do their part as it comes up."""
    done = threading.Event()
    faults: list[Exception] = []
    scores = iter((0.62, 0.64))

    def work() -> None:
        try:
            while not done.wait(0.1):
                for project in list(world.operator.projects("proposed")):
                    world.owner.decide_project(project["id"], "数据与用途相符")
                    world.operator.decide_project(project["id"], "手续齐全")
                for job in world.operator.jobs("proposed"):
                    world.owner.approve_job(job["id"], "符合协议")
                    world.operator.approve_job(job["id"], "齐全")
                    for node in (world.bank, world.lab):
                        node.tell(job["id"], {"kind": "phase", "phase": "train", "state": "started"})
                        node.state(job["id"], "running")
                    number = next(scores)
                    sha256 = f"{int(number * 100):064x}"
                    world.lab.report(job["id"], sha256, report(number)).raise_for_status()
                    for node in (world.bank, world.lab):
                        node.state(job["id"], "succeeded")
        except Exception as error:
            faults.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(10)
        for fault in faults:
            raise fault


@pytest.mark.timeout(60)
def test_a_banks_first_job(
    world: World,
    home: Callable[[World, str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """R43, R61: from the catalogue to the report by the client alone."""
    home(world, "risk")
    world.cohort()
    with others_at_work(world):
        told = run("01_bank_first_job.ipynb")
    text = capsys.readouterr().out
    assert told["project"]["state"] == "active"
    assert told["comparison"]["differences"] == {"/recipe/params/rounds": [30, 60]}
    assert told["best"] == told["second"]["id"]
    assert "联合有增益" in text
    assert told["release"]["state"] == "submitted"
    assert world.risk.release(told["release"]["id"])["job_id"] == told["best"]


# ---- an operator's day


def test_an_operators_day(
    world: World,
    home: Callable[[World, str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """R8, R10, R24, R57: what waits is reviewed, what is late is seen, and the trail shows it."""
    folder = home(world, "operator")
    bank, who = officer(world), firm(world)
    late = bank.add_product(product_body())["id"]
    bank.product_step(late, "submit", "请审核")
    world.operator.review_product(late, "合规")
    bank.product_step(late, "list", "上架")
    waiting = who.submitted(late)
    world.operator.review_application(waiting, "材料齐全")
    world.clock.advance(20 * 86400)
    reports.make_part(world.control, world.clock(), "platform")

    who = firm(world)
    new = who.submitted(late)
    question = who.call("POST", "/questions", json={"title": "贴息", "text": "如何申请？"})["id"]
    product = bank.add_product(product_body(name="票据流贷"))["id"]
    bank.product_step(product, "submit", "请审核")
    notice = bank.publish({"kind": "notice", "title": "服务时间", "text": "工作日九点至五点"})["id"]
    bank.submit_publication(notice, "请审核")

    told = run("02_operator_day.ipynb")
    text = capsys.readouterr().out
    assert "bank-a accept 1" in text
    assert world.operator.application(new)["state"] == "pushed"
    assert world.operator.product(product)["state"] == "approved"
    assert [p["state"] for p in world.operator.publications() if p["id"] == notice] == ["published"]
    assert [q["assigned_to"] for q in world.operator.questions() if q["id"] == question] == ["bank-a"]
    (table,) = folder.glob("report-*.csv")
    assert table.read_text(encoding="utf-8").startswith("\ufeffsection,subject")
    acts = {(entry["object_kind"], entry["object_id"]) for entry in told["today"]}
    assert {("application", new), ("product", product)} <= acts
