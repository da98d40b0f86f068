"""The commands `creditlab demo run` and `creditlab demo up`."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import httpx
import typer

from api.client import LabError
from api.demo.enterprises import Choices
from api.demo.narrate import DemoFailed, Narrator
from api.demo.options import LAB, Banks, Folders, Mode, Options, Recipe
from api.demo.processes import Processes
from api.demo.story import Outcome, Story
from api.demo.world import World
from consent.purposes import Purpose

app = typer.Typer(
    help="演示：从两张表到放行的模型与评分 · the whole spine on one machine", no_args_is_help=True, add_completion=False
)

Data = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="数据文件夹 · folder with dataset.toml and two tables")
]
Out = Annotated[Path, typer.Option(help="输出文件夹 · where reports and releases go")]
Refuse = Annotated[float, typer.Option(min=0, max=0.9, help="拒绝授权的企业占比 · share of refusals")]
Keep = Annotated[bool, typer.Option(help="保留状态文件夹 · keep the state folder (keys, databases, node folders)")]


class Stopped(BaseException):
    """The demo was asked to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@app.command()
def run(
    data: Data = None,
    mode: Annotated[Mode, typer.Option(help="计算方式 · how to compute")] = Mode.BOTH,
    recipe: Annotated[Recipe, typer.Option(help="建模方案 · the learner")] = Recipe.BOOSTING,
    banks: Annotated[Banks, typer.Option(help="split：每家银行一个节点 · one node per bank")] = Banks.ONE,
    out: Out = Path("demo-out"),
    refuse: Refuse = 0.04,
    withdraw: Annotated[int, typer.Option(min=0, help="每个作业训练中撤回的企业数 · withdrawals during each job")] = 20,
    keep: Keep = False,
) -> None:
    """跑完整个流程 · the whole tour, then stop everything it started."""
    options = Options(out.resolve(), data and data.resolve(), mode, recipe, banks, Choices(refuse), withdraw, keep)
    with _staged(options) as world:
        world.build()
        outcomes = [
            Story(world, bank).run(each_mode, each_recipe)
            for bank in world.banks
            for each_mode in options.mode.each
            for each_recipe in options.recipe.each
        ]
        _summarise(world, outcomes)


@app.command()
def up(
    data: Data = None,
    banks: Annotated[Banks, typer.Option(help="split：每家银行一个节点 · one node per bank")] = Banks.ONE,
    out: Out = Path("demo-out"),
    refuse: Refuse = 0.04,
    keep: Keep = False,
) -> None:
    """启动并保持运行，直到 Ctrl-C · start everything and stay until Ctrl-C."""
    options = Options(out.resolve(), data and data.resolve(), banks=banks, choices=Choices(refuse), keep=keep)
    with _staged(options) as world:
        world.build()
        _invite(world)
        while True:
            world.processes.check()
            time.sleep(1)


@contextmanager
def _staged(options: Options) -> Iterator[World]:
    """A world to build in; leaving ends all its processes and turns failures into words and an exit code."""
    narrator, folders = Narrator(), Folders(options.out)
    previous = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    code = 0
    try:
        folders.prepare()
        with Processes(folders.logs) as processes:
            world = World(options, processes, narrator)
            try:
                yield world
            finally:
                # whoever stops us twice must not interrupt the cleaning up
                for number in previous:
                    signal.signal(number, signal.SIG_IGN)
                world.close()
    except Stopped as stopped:
        typer.echo("\n已停止 · stopped", err=True)
        code = 128 + stopped.number
    except DemoFailed as failure:
        narrator.failed(failure)
        code = 1
    except LabError as error:
        narrator.failed(DemoFailed(f"{error.message} ({error.code})", error.message_zh))
        code = 1
    except (OSError, httpx.HTTPError) as error:
        narrator.failed(DemoFailed(f"{type(error).__name__}: {error}"))
        code = 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if not options.keep:
            folders.discard_state()
    if code:
        typer.echo(f"日志 · logs: {folders.logs}", err=True)
        raise typer.Exit(code)


def _invite(world: World) -> None:
    """What a person can do now, as commands to copy; one enterprise's key is at hand for playing it."""
    bank, folder = world.banks[0], world.folders.profiles
    enterprise = min(world.register.live(bank.institution, Purpose.UNDERWRITING_SCORE))
    consent_id = world.register.consent_id(enterprise, bank.institution, Purpose.UNDERWRITING_SCORE)
    key = world.folders.state / "enterprise.pem"
    key.touch(mode=0o600)
    key.write_bytes(world.register.key_pem(enterprise))

    def command(account: str, words: str) -> None:
        typer.echo(f"  creditlab --profile {folder / account}.toml {words}")

    typer.echo(f"\n运行中 · running: {world.url} (API: {world.url}/openapi.json)")
    typer.echo("\n银行提出作业，专区与运营方批准 · a bank proposes, the zone and the operator approve")
    command(
        bank.risk,
        f"job propose --project try --dataset {world.dataset} --bank {bank.institution} --lab {LAB} --mode zone"
        " --recipe boosting",
    )
    command("lab-owner", "job approve JOB --reason ok")
    command("operator", "job approve JOB --reason ok")
    command(bank.risk, "job watch JOB")
    typer.echo("\n放行与评分 · release and score")
    command(bank.risk, "release request JOB --reason underwriting")
    command("reviewer-platform", "release review RELEASE --comment checked")
    command("reviewer-lab", "release review RELEASE --comment checked")
    command("operator", "release approve RELEASE --reason agreed")
    command(bank.risk, f"score {enterprise} --job JOB --reason underwriting")
    typer.echo("\n企业撤回授权，评分随即被拒绝 · the enterprise withdraws, scores of it are refused at once")
    command("gateway", f"consent withdraw {consent_id} --enterprise {enterprise} --key {key}")
    typer.echo("\n按 Ctrl-C 停止 · Ctrl-C stops everything")


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def _summarise(world: World, outcomes: list[Outcome]) -> None:
    typer.echo(f"\n{'═' * 100}\n结果 · results — {world.title}\n")
    for outcome in outcomes:
        text = world.processes.run(
            "report summary", "report", "summary", str(outcome.folder / "report.json"), seconds=60
        )
        if outcome.bank.party:
            typer.echo(f"{outcome.bank.institution}:")
        typer.echo(text.rstrip() + "\n")
    typer.echo(f"文件 · files in {world.folders.out}:")
    for outcome in outcomes:
        folder = outcome.folder.relative_to(world.folders.out)
        typer.echo(f"  {folder}/report.html, report.json, scores.json")
    for released in sorted({str(outcome.report["release"]["sha256"]) for outcome in outcomes}):
        typer.echo(f"  releases/{released}.json")
    typer.echo(f"用时 · took {world.narrator.seconds:.0f} s")
