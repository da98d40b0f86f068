"""The command line `creditlab`: serving, and everything a person does through the API.

Other packages plug their commands in through the entry point group `creditlab.commands`, loaded when they are
asked for; this module imports none of them. An error is one line in Chinese and English and exit code 1;
CREDITLAB_DEBUG=1 shows the traceback.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from api import show
from api.client import JOB_ENDS, LabClient, LabError

PLUGINS = "creditlab.commands"


class PluginGroup(TyperGroup):
    """Our own commands, and those that installed packages registered."""

    @staticmethod
    def _plugins() -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=PLUGINS)}

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *sorted(self._plugins())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        point = self._plugins().get(cmd_name)
        if point is None:
            return None
        try:
            command = typer.main.get_command(point.load())
            command.name = cmd_name
            return command
        except (ImportError, AttributeError) as error:
            if cmd_name in sys.argv[1:2]:
                raise LabError(
                    "command_unavailable",
                    f"the command {cmd_name} cannot be loaded: {error}",
                    f"无法加载命令 {cmd_name}：{error}",
                ) from error
            return None  # left out of the help


app = typer.Typer(
    cls=PluginGroup,
    help="creditlab · 联合建模实验室 · joint-modelling lab",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
consent_app = typer.Typer(help="授权 · consents", no_args_is_help=True)
project_app = typer.Typer(help="联合建模项目 · projects", no_args_is_help=True)
job_app = typer.Typer(help="联合建模作业 · jobs", no_args_is_help=True)
release_app = typer.Typer(help="模型放行 · releases", no_args_is_help=True)
account_app = typer.Typer(help="账户 · accounts", no_args_is_help=True)
institution_app = typer.Typer(help="机构 · institutions", no_args_is_help=True)
app.add_typer(consent_app, name="consent")
app.add_typer(project_app, name="project")
app.add_typer(job_app, name="job")
app.add_typer(release_app, name="release")
app.add_typer(account_app, name="account")
app.add_typer(institution_app, name="institution")

Reason = Annotated[str, typer.Option(help="原因，记入审计 · why, for the audit")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
JobId = Annotated[str, typer.Argument(help="j-…")]
ReleaseId = Annotated[str, typer.Argument(help="r-…")]


@app.callback()
def root(
    ctx: typer.Context,
    profile: Annotated[
        Path | None, typer.Option(help="TOML with url, ca, token_file; else CREDITLAB_URL, _CA and _TOKEN")
    ] = None,
) -> None:
    ctx.obj = profile


def _client(ctx: typer.Context) -> LabClient:
    return LabClient.from_settings(os.environ, ctx.find_root().obj)


def _json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


# ---- serving


@app.command()
def serve(
    home: Annotated[Path, typer.Option(help="folder with pki/, keys/ and the database")],
    host: Annotated[str | None, typer.Option(help="default 127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="default 8443")] = None,
) -> None:
    """启动控制平面 · serve the control plane over HTTPS."""
    from api.settings import Settings
    from api.web import logs

    settings = Settings.read(os.environ, home=home, host=host, port=port)
    logs.configure(settings.log_format)
    from api.server import serve as run  # takes a while, a wrong setting is told at once

    raise typer.Exit(run(settings))


# ---- institutions and accounts


@app.command("authority")
def show_authority(
    format: Annotated[str, typer.Option(help="json, csv 或 or markdown")] = "markdown",
) -> None:
    """权限矩阵：谁可以做什么 · who may do what. Reads the program's own table, no server is asked."""
    from api import authority  # loads the whole service, which no other command needs

    made = {"json": authority.as_json, "csv": authority.as_csv, "markdown": authority.as_markdown}
    if format not in made:
        raise typer.BadParameter(f"one of {', '.join(made)}", param_hint="--format")
    typer.echo(made[format](), nl=False)


@institution_app.command("add")
def institution_add(
    ctx: typer.Context,
    id: str,
    name: Annotated[str, typer.Option()],
    kind: Annotated[str, typer.Option(help="bank, lab, guarantor or witness")],
    agreement: Annotated[str | None, typer.Option(help="协议编号 · the signed agreement's reference")] = None,
    signed_on: Annotated[str | None, typer.Option(help="YYYY-MM-DD")] = None,
    assessment: Annotated[str | None, typer.Option(help="安全评估编号 · the security assessment's reference")] = None,
    assessor: Annotated[str | None, typer.Option(help="评估机构 · who assessed")] = None,
    assessed_on: Annotated[str | None, typer.Option(help="YYYY-MM-DD")] = None,
) -> None:
    """开立机构；协议与安全评估齐备后生效 · open an institution: active once both papers are on record."""
    given = (agreement, signed_on, assessment, assessor, assessed_on)
    if any(given) and not all(given):
        raise typer.BadParameter("give all five of the papers' options, or none and record them later")
    papers = {
        "agreement": {"reference": agreement, "signed_on": signed_on},
        "assessment": {"reference": assessment, "assessor": assessor, "assessed_on": assessed_on},
    }
    with _client(ctx) as client:
        row = client.add_institution(id, name, kind, papers if all(given) else None)
    typer.echo(f"{row['id']} ({row['kind']})")


@account_app.command("add")
def account_add(
    ctx: typer.Context,
    name: str,
    institution: Annotated[str, typer.Option()],
    role: Annotated[list[str], typer.Option(help="operator, risk, data_owner, reviewer, gateway or node")],
    token_file: Annotated[
        Path | None, typer.Option(help="write the token there (mode 0600) instead of printing it")
    ] = None,
) -> None:
    """新建账户，令牌仅显示一次 · make an account; its token is shown once."""
    from api.home import write_private

    with _client(ctx) as client:
        row = client.add_account(name, institution, role)
    if token_file is not None:
        write_private(token_file, row["token"].encode() + b"\n")
        typer.echo(f"{row['account_id']} → {token_file}")
    else:
        typer.echo(row["token"])


# ---- consents


@consent_app.command("import")
def consent_import(ctx: typer.Context, file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """导入企业签名的授权文件（每行一份）· import enterprise-signed documents, one a line."""
    with _client(ctx) as client:
        result = client.import_consents(file)
    for error in result["errors"]:
        typer.echo(f"{file}:{error['line']}: {error['message_zh']} · {error['message']} ({error['code']})", err=True)
    typer.echo(
        f"授权 {result['accepted']} 拒绝 {result['refused']} 撤回 {result['withdrawn']} 已有 {result['unchanged']} "
        f"错误 {result['failed']} · accepted {result['accepted']}, refused {result['refused']}, withdrawn "
        f"{result['withdrawn']}, unchanged {result['unchanged']}, failed {result['failed']}"
    )
    if result["failed"]:
        raise typer.Exit(1)


@consent_app.command("withdraw")
def consent_withdraw(
    ctx: typer.Context,
    consent_id: str,
    enterprise: Annotated[str, typer.Option()],
    key: Annotated[Path, typer.Option(help="the enterprise's private key (PEM)", exists=True, dir_okay=False)],
) -> None:
    """撤回授权，立即生效 · withdraw a consent; it holds at once."""
    from consent import artefact
    from consent.keys import SigningKey
    from consent.signed import sign
    from consent.times import stamp

    body = artefact.withdrawal(consent_id=consent_id, enterprise=enterprise, at=stamp(datetime.now(UTC)))
    document = sign(body, SigningKey.from_pem(key.read_bytes()), "enterprise")
    with _client(ctx) as client:
        result = client.import_consents([json.dumps(document).encode()])
    for error in result["errors"]:
        raise LabError(error["code"], error["message"], error["message_zh"])
    typer.echo(f"{consent_id} 已撤回 · withdrawn (feed {result['head']})")


@consent_app.command("counts")
def consent_counts(ctx: typer.Context, as_json: AsJson = False) -> None:
    """授权数量 · how many consents stand how."""
    with _client(ctx) as client:
        counts = client.consent_counts()
    if as_json:
        _json(counts)
    else:
        show.counts(counts)


# ---- jobs


def _parameters(given: list[str]) -> dict[str, Any]:
    """`name=value` pairs; a value that is JSON is taken as such."""
    out: dict[str, Any] = {}
    for item in given:
        name, separator, text = item.partition("=")
        if not separator or not name:
            raise LabError("bad_parameter", f"--param {item}: name=value is needed", f"--param {item}：格式为 名=值")
        try:
            out[name] = json.loads(text)
        except ValueError:
            out[name] = text
    return out


@project_app.command("propose")
def project_propose(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON: id, title, lab, label, agreement, valid_until …")],
) -> None:
    """提出项目 · propose a project."""
    try:
        project = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise LabError("bad_file", f"{file}: {error}", f"{file}：{error}") from error
    with _client(ctx) as client:
        typer.echo(client.propose_project(project)["id"])


@project_app.command("decide")
def project_decide(ctx: typer.Context, project_id: str, reason: Reason, reject: bool = False) -> None:
    """审批项目（实验室数据负责人与运营方各一次）· approve or reject a project; data owner and operator each once."""
    with _client(ctx) as client:
        typer.echo(client.decide_project(project_id, reason, "reject" if reject else "approve")["state"])


@project_app.command("list")
def project_list(ctx: typer.Context) -> None:
    """项目清单 · projects, newest first."""
    with _client(ctx) as client:
        for one in client.projects():
            typer.echo(f"{one['id']}  {one['state']:9}  {one['bank']} × {one['lab']}  {one['title']}")


@job_app.command("compare")
def job_compare(ctx: typer.Context, job_ids: list[str]) -> None:
    """并列比较作业 · jobs side by side: measures, gain, and wherein they differ (JSON)."""
    with _client(ctx) as client:
        _json(client.compare_jobs(*job_ids))


@job_app.command("propose")
def job_propose(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Option(help="JSON proposal; the other options override it")] = None,
    project: str | None = None,
    dataset: str | None = None,
    bank: Annotated[str | None, typer.Option(help="institution, or one of its nodes")] = None,
    lab: Annotated[str | None, typer.Option(help="institution, or one of its nodes")] = None,
    mode: Annotated[str | None, typer.Option(help="federated or zone")] = None,
    recipe: Annotated[str | None, typer.Option(help="boosting or logistic")] = None,
    param: Annotated[list[str] | None, typer.Option(help="recipe parameter, name=value")] = None,
    leaks: Annotated[str | None, typer.Option(help="exclude or keep")] = None,
    reason: str | None = None,
) -> None:
    """提出作业 · propose a job; prints its number."""
    proposal: dict[str, Any] = {}
    if file is not None:
        try:
            proposal = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise LabError("bad_file", f"{file}: {error}", f"{file}：{error}") from error
    given = {
        "project": project, "dataset": dataset, "bank": bank, "lab": lab, "mode": mode, "leaks": leaks,
        "reason": reason,
    }  # fmt: skip
    proposal |= {name: value for name, value in given.items() if value is not None}
    if recipe is not None or param:
        before = proposal.get("recipe", {})
        proposal["recipe"] = {
            "name": recipe or before.get("name"),
            "params": {**before.get("params", {}), **_parameters(param or [])},
        }
    with _client(ctx) as client:
        typer.echo(client.propose_job(proposal)["id"])


@job_app.command("approve")
def job_approve(ctx: typer.Context, job_id: JobId, reason: Reason, reject: bool = False) -> None:
    """审批作业（数据所有方与运营方各一次）· approve or reject; the data owner and the operator each once."""
    with _client(ctx) as client:
        job = client.approve_job(job_id, reason, "reject" if reject else "approve")
    typer.echo(f"{job_id} {job['state']}")


@job_app.command("list")
def job_list(ctx: typer.Context, state: str | None = None, as_json: AsJson = False) -> None:
    """作业列表 · jobs, newest first."""
    with _client(ctx) as client:
        jobs = client.jobs(state)
    if as_json:
        _json(jobs)
    else:
        show.jobs(jobs)


@job_app.command("show")
def job_show(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """作业详情 · one job."""
    with _client(ctx) as client:
        job = client.job(job_id)
    if as_json:
        _json(job)
    else:
        show.job(job)


@job_app.command("watch")
def job_watch(ctx: typer.Context, job_id: JobId) -> None:
    """实时进度 · live progress until the job ends; exit code 1 unless it succeeds."""
    with _client(ctx) as client, show.Watch() as watch:
        after = 0
        while True:
            page = client.job_events(job_id, after, wait=20)
            after = page["last_seq"]
            job = client.job(job_id)
            watch.update(job, page["events"])
            if page["state"] in JOB_ENDS:
                break
    show.ending(job)
    if job["state"] != "succeeded":
        raise typer.Exit(1)


@job_app.command("cancel")
def job_cancel(ctx: typer.Context, job_id: JobId, reason: Reason) -> None:
    """取消作业 · cancel a job."""
    with _client(ctx) as client:
        typer.echo(f"{job_id} {client.cancel_job(job_id, reason)['state']}")


@job_app.command("retry")
def job_retry(ctx: typer.Context, job_id: JobId, reason: Reason) -> None:
    """重新运行失败的作业 · propose a job that failed again; prints the new number."""
    with _client(ctx) as client:
        typer.echo(client.retry_job(job_id, reason)["id"])


@job_app.command("report")
def job_report(
    ctx: typer.Context, job_id: JobId, out: Annotated[Path | None, typer.Option(help="write to a file")] = None
) -> None:
    """汇总报告 · the aggregate report (JSON)."""
    with _client(ctx) as client:
        report = client.report(job_id)
    if out is None:
        _json(report)
    else:
        out.write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n")
        typer.echo(str(out))


# ---- releases


@release_app.command("request")
def release_request(ctx: typer.Context, job_id: JobId, reason: Reason) -> None:
    """申请放行模型 · ask for the release of a job's model; prints the request's number."""
    with _client(ctx) as client:
        typer.echo(client.request_release(job_id, reason)["id"])


@release_app.command("review")
def release_review(
    ctx: typer.Context,
    release_id: ReleaseId,
    comment: Annotated[str, typer.Option(help="审核意见 · the review's text")],
    reject: bool = False,
) -> None:
    """提交审核意见（两人互不可见）· give a review, blind to the other one."""
    with _client(ctx) as client:
        row = client.review_release(release_id, "reject" if reject else "approve", comment)
    typer.echo(f"{release_id} {row['state']}")


@release_app.command("approve")
def release_approve(ctx: typer.Context, release_id: ReleaseId, reason: Reason) -> None:
    """批准放行 · approve a reviewed release."""
    with _client(ctx) as client:
        typer.echo(f"{release_id} {client.approve_release(release_id, reason)['state']}")


@release_app.command("veto")
def release_veto(ctx: typer.Context, release_id: ReleaseId, reason: Reason) -> None:
    """数据所有方否决 · the data owner's veto."""
    with _client(ctx) as client:
        typer.echo(f"{release_id} {client.veto_release(release_id, reason)['state']}")


@release_app.command("show")
def release_show(ctx: typer.Context, release_id: ReleaseId, as_json: AsJson = False) -> None:
    """放行申请详情 · one release."""
    with _client(ctx) as client:
        row = client.release(release_id)
    if as_json:
        _json(row)
    else:
        show.release(row)


# ---- scores


@app.command()
def score(
    ctx: typer.Context,
    enterprise: str,
    reason: Reason,
    job: Annotated[str | None, typer.Option(help="the released model of this job")] = None,
    model: Annotated[str | None, typer.Option(help="or the released model with this SHA-256")] = None,
    as_json: AsJson = False,
) -> None:
    """对一家企业评分 · score one enterprise, while its consent is live."""
    with _client(ctx) as client:
        result = client.score(enterprise, reason, job_id=job, release_sha256=model)
    if as_json:
        _json(result)
    else:
        show.score(enterprise, result)


def _one_line(error: BaseException) -> str:
    message = getattr(error, "message", None) or str(error) or type(error).__name__
    message_zh = getattr(error, "message_zh", None)
    code = getattr(error, "code", None)
    text = f"{message_zh} · {message}" if message_zh and message_zh != message else str(message)
    return " ".join(text.split()) + (f" ({code})" if isinstance(code, str) else "")


def main() -> None:
    """The entry point of the console script."""
    try:
        app(prog_name="creditlab")
    except Exception as error:
        if os.environ.get("CREDITLAB_DEBUG"):
            raise
        typer.echo(f"错误 · error: {_one_line(error)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
