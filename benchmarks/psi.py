"""Set intersection at two sizes beside openmined-psi, by `engine_psi`: half of each side's ids are common."""

from __future__ import annotations

from benchmarks import engine
from benchmarks.results import Section, say

BASE = "openmined-psi 100,000"


def run() -> Section:
    tell = say("psi")
    section = Section("psi", "Private set intersection, 50 % common", "CPU of both parties over openmined-psi at 1e5")
    section.note = (
        "RR22 is the default, ECDH (curve 25519) can be chosen. The ratio of 1,000,000 ids is to 100,000 of theirs."
    )
    section.rows = engine.rows("psi", tell=tell)
    for row in list(section.rows):
        if row.case != BASE:
            section.compare(row.case, BASE)
    return section
