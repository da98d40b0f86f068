"""Every table of the control plane, imported once so that their metadata is complete."""

from __future__ import annotations

from api.audit import repository as _audit  # noqa: F401
from api.consents import repository as _consents  # noqa: F401
from api.db import Base
from api.institutions import repository as _institutions  # noqa: F401
from api.jobs import repository as _jobs  # noqa: F401
from api.nodes import repository as _nodes  # noqa: F401
from api.releases import repository as _releases  # noqa: F401
from api.scores import repository as _scores  # noqa: F401
from api.usage import repository as _usage  # noqa: F401

METADATA = Base.metadata
