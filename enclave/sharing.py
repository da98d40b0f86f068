"""Tells a bank data of one enterprise out of the lab's store: records, one word, or a report, as a permit says.

The node checks the permit, the live consent and what is asked beside it by itself, and has the use on record before it
reads. What may be told at all is `features.sharing`'s to say. Nothing that was told is kept.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from consent.canonical import digest
from consent.policy import QUERY
from consent.purposes import Mode
from consent.ticket import check_data_permit
from enclave.config import NodeConfig
from enclave.endings import JobEnded
from enclave.permitted import Permitted, refused
from features.catalogue import load
from features.catalogue.model import Catalogue, UnknownName
from features.sharing import Permit, SharingRefused, credit_report, query, verify
from features.sharing.evaluation import EvaluationRefused
from features.store import EventStore
from features.store.manifest import Snapshot
from features.store.schema import StoreRefused
from federated.relay.link import Cause

BEIJING = dt.timezone(dt.timedelta(hours=8))  # the store's days are those of its sources
_MODES: Mapping[str, str] = {Mode.RAW_DETAIL: "query", Mode.VERIFICATION: "verify", Mode.REPORT_QUERY: "report"}


def today() -> dt.date:
    return dt.datetime.now(BEIJING).date()


class DataDesk:
    """A lab node's answers about one enterprise; a bank's node and a lab without a store answer none."""

    def __init__(self, config: NodeConfig, permitted: Permitted, day: Callable[[], dt.date] = today) -> None:
        self._config = config
        self._permitted = permitted
        self._day = day
        self._catalogue: Catalogue | None = None

    async def tell(self, document: dict, request: dict | None) -> dict:
        """One of {records}, {answer}, {report} and {pdf}. Raises what `endings.cause_of` explains."""
        permit = await self._permitted.read(document, check_data_permit)
        if (permit["node"], permit["provider"]) != (self._config.name, self._config.institution):
            raise refused("the permit names another node", "许可指定了另一个节点")
        if permit["request_sha256"] != ("" if request is None else digest(request)):
            raise refused("what is asked is not what the permit was signed for", "请求内容与许可不符")
        store = self._config.store
        if store is None:
            raise JobEnded(
                Cause(
                    "store_missing",
                    "this node has no event store: its owner names one as `store` in node.toml",
                    "本节点未配置特征库：请数据方在 node.toml 中填写 store",
                )
            )
        await self._permitted.use(
            permit,
            QUERY,
            provider=permit["provider"],
            use=permit["use"],
            data=permit["data"],
            window_months=permit["window_months"],
            content=f"{permit['use']}: {', '.join(permit['data'])}",
        )
        try:
            return await asyncio.to_thread(self._told, EventStore(store, self._known()), permit, request or {})
        except (SharingRefused, UnknownName, StoreRefused, EvaluationRefused) as error:
            raise JobEnded(Cause(error.code, error.message, error.message_zh)) from error

    def _known(self) -> Catalogue:
        if self._catalogue is None:
            self._catalogue = load()
        return self._catalogue

    def _told(self, store: EventStore, permit: dict, request: dict) -> dict:
        day, mode, uscc = self._day(), _MODES[permit["use"]], permit["enterprise"]
        snapshot: Snapshot = store.snapshot()
        allowed = Permit(
            uscc,
            permit["recipient"],
            permit["purpose"],
            frozenset(permit["data"]),
            frozenset({mode}),
            day,
            permit["usage_id"],
            {name: frozenset(items) for name, items in permit["data"].items() if items != "*"},
            permit["window_months"],
        )
        if mode == "report":
            report = credit_report(snapshot, store.catalogue, allowed, uscc, day, day)
            if permit["form"] == "json":
                return {"report": report}
            from features.sharing import pdf  # its fonts' library takes a second to load, half of a node's start

            return {"pdf": _text(pdf.render(report))}
        [category] = permit["data"]
        if mode == "query":
            found = query(snapshot, store.catalogue, allowed, uscc, category, day, day)
            return {"records": [{name: _plain(value) for name, value in row.items()} for row in found]}
        stated, least = request.get("stated", {}), request.get("at_least", {})
        return {"answer": verify(snapshot, store.catalogue, allowed, uscc, category, stated, day, day, at_least=least)}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _plain(value: Any) -> Any:
    """A value as JSON has it: amounts and dates as text, so that nothing is lost."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
