"""Scores one enterprise across two owners: each evaluates its own part of the model on its own row, no row moves.

The bank's node asks, the lab's node answers a part through the relay; both check the permit's signature and the
live consent themselves, and both put the use on record before they read the row.
"""

from __future__ import annotations

import json

from consent import errors
from consent.policy import SCORE, Denied
from consent.purposes import Mode
from consent.ticket import check_permit
from enclave.airlock import Airlock
from enclave.config import NodeConfig
from enclave.endings import JobEnded, cause_of
from enclave.permitted import Permitted, refused
from features.tables import Side
from federated.relay.client import RelayClient
from federated.relay.link import Cause
from federated.relay.server import Refused
from models.scoring import finish, partial

PART_SECONDS = 8.0


class ScoreDesk:
    """One node's part in scoring; `score` at a bank, `answer_part` at the lab."""

    def __init__(self, config: NodeConfig, permitted: Permitted, side: Side, airlock: Airlock) -> None:
        self._config = config
        self._permitted = permitted
        self._side = side
        self._airlock = airlock

    async def _permit(self, document: dict) -> dict:
        """The permit's body once signature, time and live consent hold. Raises JobEnded or Denied."""
        permit = await self._permitted.read(document, check_permit)
        if permit["parties"].get(self._config.role, {}).get("node") != self._config.name:
            raise refused("the permit names another node", "许可指定了另一个节点")
        await self._permitted.use(
            permit,
            SCORE,
            provider=permit["parties"]["lab"].get("institution"),
            use=Mode.SCORING,
            content=f"score with model {permit['release_sha256']}",
        )
        return permit

    def _own_part(self, permit: dict) -> tuple[dict, dict]:
        model = self._airlock.released(permit["release_sha256"])
        row = self._side.row(permit["enterprise"])
        if row is None:
            raise JobEnded(
                Cause(
                    "enterprise_not_held",
                    f"the {self._config.role} holds no row of this enterprise",
                    "本方没有该企业的数据",
                )
            )
        return model, partial(model, self._config.role, row)

    async def score(self, document: dict) -> dict:
        """{score, pd, margin, reasons}. Raises what `endings.cause_of` explains."""
        permit = await self._permit(document)
        model, own = self._own_part(permit)
        lab = permit["parties"]["lab"]
        client = RelayClient(self._config.identity, lab["relay"], lab["node"])
        try:
            theirs = await client.score_part({"permit": document}, PART_SECONDS)
        except Refused as error:
            raise JobEnded(error.cause) from error
        return finish(model, {"bank": own, "lab": theirs})

    async def answer_part(self, caller: str, request: dict) -> bytes:
        """The lab's part, for the bank node that the permit names. Raises Refused."""
        try:
            document = request["permit"]
            permit = await self._permit(document)
            if permit["parties"].get("bank", {}).get("node") != caller:
                raise refused("the permit names another bank node", "许可指定了另一银行")
            _, own = self._own_part(permit)
        except (JobEnded, Denied, errors.Refused) as error:
            raise Refused(cause_of(error)) from error
        except (KeyError, TypeError) as error:
            raise Refused(Cause("permit_refused", "not a score request", "评分请求格式错误")) from error
        return json.dumps(own).encode()
