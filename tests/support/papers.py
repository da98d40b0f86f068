"""What lets an institution of a test in: an agreement and a security assessment, both on record."""

from __future__ import annotations

PAPERS = {
    "agreement": {"reference": "AG-1", "signed_on": "2026-01-05"},
    "assessment": {"reference": "SA-1", "assessor": "Test assessors", "assessed_on": "2026-01-06"},
}
