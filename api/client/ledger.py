"""The transparency ledger and the platform's keyring, as they are read. Checks nothing: `creditlab verify` does."""

from __future__ import annotations

from typing import Any

from api.client.connection import Connection


class Ledger(Connection):
    def keyring(self) -> list[dict[str, Any]]:
        """The platform's keyring: documents, each key introduced by the one before."""
        return self._get("/v1/keyring")

    def log(self) -> dict[str, Any]:
        """The log, its newest head, its witnesses."""
        return self._get("/v1/ledger")

    def newest_head(self, size: int = 0) -> dict[str, Any]:
        """The newest signed head, and the proof that it extends the log of `size` entries."""
        return self._get("/v1/ledger/heads/latest", size=size)

    def heads(self, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        return self._get("/v1/ledger/heads", after=after, limit=limit)["items"]

    def ledger_entries(self, start: int = 0, limit: int = 500) -> dict[str, Any]:
        """Salted hashes, from one index on."""
        return self._get("/v1/ledger/entries", start=start, limit=limit)

    def ledger_proof(self, index: int) -> dict[str, Any]:
        return self._get(f"/v1/ledger/entries/{index}/proof")

    def consistency(self, old: int, new: int) -> dict[str, Any]:
        return self._get("/v1/ledger/consistency", old=old, new=new)
