"""The control plane that the notebooks talk to."""

from tests.api.conftest import make_world, new_database, postgres, world

__all__ = ["make_world", "new_database", "postgres", "world"]
