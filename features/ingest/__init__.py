"""Ingestion: from what a source unit delivers to events in the store, with a record of every act.

Owns the reading of deliveries, their checks, the quarantine, the matching of enterprises, cross-checks and
reconciliation. Never changes a stored record, never guesses whose a row is, never computes a feature.
"""

from features.ingest.delivery import Delivery, read_folder
from features.ingest.intake import Intake, Match
from features.ingest.log import Entry, Log
from features.ingest.quarantine import Held
from features.ingest.reading import Raw, read_file, read_query, read_rows
from features.ingest.refused import IngestRefused

__all__ = [
    "Delivery",
    "Entry",
    "Held",
    "IngestRefused",
    "Intake",
    "Log",
    "Match",
    "Raw",
    "read_file",
    "read_folder",
    "read_query",
    "read_rows",
]
