"""The bitemporal store: every event about a record, with when it happened and when it became known.

Owns the Parquet files, the manifest that says which of them count, and the rules of writing. Never computes a feature
and never judges a value beyond its type.
"""

from features.store.manifest import File, Snapshot
from features.store.schema import OPS, StoreRefused
from features.store.store import EventStore, Receipt

__all__ = ["OPS", "EventStore", "File", "Receipt", "Snapshot", "StoreRefused"]
