"""The loopback ports of the two engines, under the names both sides use on the channel.

Owns the numbering. A port here is canonical: it is what an OPEN frame carries. Inside a sandbox, which has its own
loopback, the local port is the same; two engines that share one loopback (tests, benchmarks) add different offsets.
"""

from __future__ import annotations

MEET, FED, PSI, SPU = "meet", "fed", "psi", "spu"
PARTIES = ("bank", "lab")
HEARTBEAT = 21000  # no TCP port: the two bridges tell each other on it that they are alive
_PORTS = {
    ("bank", FED): 21001,
    ("lab", FED): 21002,
    ("bank", PSI): 21003,
    ("lab", PSI): 21004,
    ("bank", SPU): 21005,
    ("lab", SPU): 21006,
    ("bank", MEET): 21007,
    ("lab", MEET): 21008,
}


def other(party: str) -> str:
    return "lab" if party == "bank" else "bank"


def ports_of(party: str) -> list[int]:
    """Canonical ports on which `party`'s engine listens."""
    return [port for (owner, _), port in _PORTS.items() if owner == party]


def address(party: str, use: str, offset: int) -> str:
    """Where this engine reaches `party`: itself, or the bridge standing in for the peer."""
    return f"127.0.0.1:{_PORTS[party, use] + offset}"
