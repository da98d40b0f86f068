"""The SecretFlow session of one job: two devices, finite waits, checks both parties take together.

Owns `secretflow.init` and shutdown, and `agree`, by which a problem seen by
one party ends both with the same cause. It never runs a recipe.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

sys.modules["ray"] = None  # type: ignore[assignment]  # saving R, see boosting.py: else `import ray` fails per list element

import secretflow as sf  # noqa: E402
from secretflow.distributed.fed.global_context import get_global_context  # noqa: E402

from . import wire  # noqa: E402
from .errors import EngineError  # noqa: E402
from .ports import FED, PARTIES, PSI, SPU, address  # noqa: E402


class Session:
    """`bank` and `lab` are the two PYU devices; `party` is this process."""

    def __init__(self, party: str, ticket: dict[str, Any], offset: int) -> None:
        self.party, self.ticket, self._offset = party, ticket, offset
        deadlines = ticket["deadlines"]
        self._wait_ms = int(deadlines["phase"] * 1000)
        # Peers start at their own pace; a quarter of a second between attempts keeps the start quick.
        self._connect = {"connect_retry_times": int(deadlines["connect"] * 4), "connect_retry_interval_ms": 250}
        wire.install()
        sf.init(
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
        self.bank, self.lab = sf.PYU("bank"), sf.PYU("lab")
        self.own = self.bank if party == "bank" else self.lab

    def link_options(self) -> dict[str, Any]:
        """Finite waits for a link of its own (PSI, SPU)."""
        return {**self._connect, "recv_timeout_ms": self._wait_ms, "http_timeout_ms": 60_000}

    def psi_addresses(self) -> list[tuple[str, str]]:
        return [(name, address(name, PSI, self._offset)) for name in PARTIES]

    def spu_addresses(self) -> list[tuple[str, str]]:
        return [(name, address(name, SPU, self._offset)) for name in PARTIES]

    def both(self, value: Any) -> tuple[Any, Any]:
        """Each party's own small value, told to both: (bank's, lab's)."""
        bank, lab = sf.reveal([self.bank(_same)(value), self.lab(_same)(value)])
        return bank, lab

    def keep(self, device: Any, made: Any) -> Any:
        """Wait on both sides until `made` exists; its value at its owner, None at the peer, which hears only that."""
        sf.reveal(device(_done)(made))
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

    def close(self) -> None:
        sf.shutdown(barrier_on_shutdown=True)


def _same(value: Any) -> Any:
    return value


def _done(_value: Any) -> bool:
    return True


def _interrupted(_signal: int, _frame: Any) -> None:
    context = get_global_context(assert_none=False)
    error = context.get_last_exception() if context else None
    raise wire.cause(error) if error else EngineError("peer_failed")


def private_folder() -> str:
    """The job's own temporary folder (a private tmpfs in the sandbox)."""
    return os.environ.get("TMPDIR", "/tmp")
