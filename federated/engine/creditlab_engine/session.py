"""The SecretFlow session of one job: two devices, finite waits, checks both parties take together.

Owns `secretflow.init` and shutdown, and `agree`, by which a problem seen by
one party ends both with the same cause. It never runs a recipe.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from collections.abc import Sequence
from typing import Any

import spu.libspu.link as link

from . import devices, wire
from .errors import EngineError, from_peer
from .ports import FED, PARTIES, address
from .rendezvous import meet


class Session:
    """`bank` and `lab` are the two PYU devices; `party` is this process."""

    def __init__(self, party: str, ticket: dict[str, Any], offset: int) -> None:
        self.party, self.ticket, self._offset = party, ticket, offset
        deadlines = ticket["deadlines"]
        self._wait_ms = int(deadlines["phase"] * 1000)
        # Peers start at their own pace; a quarter of a second between attempts keeps the start quick.
        self._connect = {"connect_retry_times": int(deadlines["connect"] * 4), "connect_retry_interval_ms": 250}
        meet(party, offset, deadlines["connect"])
        wire.install()
        devices.init(
            cluster_config={
                "parties": {
                    name: {"address": address(name, FED, offset), "listen_addr": address(name, FED, offset)}
                    for name in PARTIES
                },
                "self_party": party,
            },
            ray_mode=False,
            cross_silo_comm_backend="brpc_link",
            cross_silo_comm_options={**self._connect, "recv_timeout_ms": self._wait_ms, "timeout_in_ms": 60_000},
            logging_level="error",
            job_name=ticket["job_id"],
        )
        # The fed layer raises SIGINT in its own process on a failed send and exits without a word; say why instead.
        signal.signal(signal.SIGINT, _interrupted)
        self.bank, self.lab = devices.PYU("bank"), devices.PYU("lab")
        self.own = self.bank if party == "bank" else self.lab

    def _link_options(self) -> dict[str, Any]:
        """Finite waits for a link of its own (PSI, SPU)."""
        return {**self._connect, "recv_timeout_ms": self._wait_ms, "http_timeout_ms": 60_000}

    def link(self, use: str) -> Any:
        """A further link to the peer (PSI, SPU), with finite waits. Both parties make it at the same moment."""
        description = link.Desc()
        for name in PARTIES:
            description.add_party(name, address(name, use, self._offset))
        for name, value in self._link_options().items():
            setattr(description, name, value)
        self.both(None)
        made = wire.connect(description, PARTIES.index(self.party))
        # Users of the link repeat its handshake; a second "connect" that overtakes the first is lost, and they hang.
        self.both(None)
        return made

    def both(self, value: Any) -> tuple[Any, Any]:
        """Each party's own small value, told to both: (bank's, lab's)."""
        bank, lab = devices.reveal([self.bank(_same)(value), self.lab(_same)(value)])
        return bank, lab

    def keep(self, device: Any, made: Any) -> Any:
        """Wait on both sides until `made` exists; its value at its owner, None at the peer, which hears only that."""
        devices.reveal(device(_done)(made))
        return made.data.get_object() if device == self.own else None

    def agree(self, problem: EngineError | None) -> None:
        """End both parties when either sees a problem: own detail here, the bare code at the peer."""
        codes = self.both(problem.code if problem else "")
        if any(codes):
            # Whoever raises leaves at once: first make sure that the other has the reason.
            with contextlib.suppress(Exception):
                self.both("")
        if problem:
            raise problem
        for code in codes:
            if code:
                raise from_peer(code)

    def same_cohort(self, ids: Sequence[str]) -> None:
        """Both parties must hold the same enterprises in the same order before a phase."""
        digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
        bank, lab = self.both(digest)
        if bank != lab:
            raise EngineError("cohort_mismatch")

    def same_dates(self, as_of: Sequence[str]) -> None:
        """Aligned rows must carry the same date at both parties; a digest tells that they do, and no date."""
        digest = hashlib.sha256("\n".join(as_of).encode()).hexdigest()
        bank, lab = self.both(digest)
        if bank != lab:
            raise EngineError("as_of_differs")

    def close(self) -> None:
        devices.shutdown(barrier_on_shutdown=True)


def _same(value: Any) -> Any:
    return value


def _done(_value: Any) -> bool:
    return True


def _interrupted(_signal: int, _frame: Any) -> None:
    context = devices.get_global_context(assert_none=False)
    error = context.get_last_exception() if context else None
    raise wire.cause(error) if error else EngineError("peer_failed")


def private_folder() -> str:
    """The job's own temporary folder (a private tmpfs in the sandbox)."""
    return os.environ.get("TMPDIR", "/tmp")
