"""`creditlab enterprise`: what the operator does for enterprises. A code is printed once and kept nowhere."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Annotated, Any

import typer

from api.client import LabClient

app = typer.Typer(help="企业 · enterprises", no_args_is_help=True)
Uscc = Annotated[str, typer.Argument(help="统一社会信用代码 · unified social credit code")]
Reason = Annotated[str, typer.Option(help="原因，记入审计 · why, for the audit")]


def _client(ctx: typer.Context) -> LabClient:
    return LabClient.from_settings(os.environ, ctx.find_root().obj)


def _code(found: dict[str, Any]) -> None:
    until = datetime.fromisoformat(found["expires_at"]).astimezone().strftime("%Y-%m-%d %H:%M")
    typer.echo("一次性验证码，仅显示这一次 · one-time code, shown this once:")
    typer.echo(f"  {found['code']}    （有效期至 · good until {until}）")


@app.command()
def add(
    ctx: typer.Context,
    uscc: Uscc,
    name: Annotated[str, typer.Option(help="企业名称 · its name")],
    contact_name: Annotated[str, typer.Option(help="经办人姓名 · the person who acts for it")],
    contact: Annotated[str, typer.Option(help="联系方式 · telephone or mail")],
    sole_trader: Annotated[bool, typer.Option("--sole-trader", help="个体工商户")] = False,
) -> None:
    """登记企业，取得首个验证码 · put an enterprise on record and print its first code."""
    body = {
        "uscc": uscc,
        "name": name,
        "subject": "sole_trader" if sole_trader else "company",
        "contact_name": contact_name,
        "contact": contact,
    }
    with _client(ctx) as client:
        found = client.call("POST", "/v1/enterprises", json=body)
    typer.echo(f"{uscc} {name} · {found['person']['name']} ({found['person']['id']})")
    _code(found)


@app.command("list")
def list_all(ctx: typer.Context) -> None:
    """列出企业 · list enterprises."""
    after = ""
    with _client(ctx) as client:
        while items := client.call("GET", "/v1/enterprises", params={"after": after, "limit": 500})["items"]:
            for one in items:
                typer.echo(f"{one['uscc']}  {one['state']:<10} {one['name']}")
            after = items[-1]["uscc"]


@app.command()
def show(ctx: typer.Context, uscc: Uscc) -> None:
    """一家企业及其人员 · one enterprise and its people."""
    with _client(ctx) as client:
        found = client.call("GET", f"/v1/enterprises/{uscc}")
    typer.echo(f"{uscc}  {found['state']}  {found['name']}  {found['contact_name']}  {found['contact']}")
    for one in found["people"]:
        typer.echo(f"  {one['id']}  {one['state']:<8} {one['name']}  {', '.join(one['rights'])}")


@app.command()
def code(
    ctx: typer.Context,
    uscc: Uscc,
    person: Annotated[str, typer.Option(help="ep-…")],
    use: Annotated[str, typer.Option(help="enrol, recover, login 或 or confirm")],
    reason: Reason,
) -> None:
    """签发一次性验证码；recover 立即移除其全部密钥 · a one-time code; recover removes the person's keys."""
    with _client(ctx) as client:
        body = {"person": person, "use": use, "reason": reason}
        _code(client.call("POST", f"/v1/enterprises/{uscc}/codes", json=body))


@app.command()
def state(
    ctx: typer.Context,
    uscc: Uscc,
    to: Annotated[str, typer.Argument(help="active, suspended 或 or closed")],
    reason: Reason,
) -> None:
    """暂停、恢复或注销账户 · suspend, reinstate or close the account."""
    with _client(ctx) as client:
        found = client.call("POST", f"/v1/enterprises/{uscc}/state", json={"state": to, "reason": reason})
    typer.echo(f"{uscc} → {found['state']}")
