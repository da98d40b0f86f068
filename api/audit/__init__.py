"""The audit trail: reading what every write left behind. It is written by `api.db.Unit` alone."""
