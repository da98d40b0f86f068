"""Every table of the control plane, imported once so that their metadata is complete."""

from __future__ import annotations

from api.audit import repository as _audit  # noqa: F401
from api.consent_events import repository as _consent_events  # noqa: F401
from api.consents import repository as _consents  # noqa: F401
from api.consents import requests as _requests  # noqa: F401
from api.db import Base
from api.disputes import repository as _disputes  # noqa: F401
from api.enterprises import repository as _enterprises  # noqa: F401
from api.institutions import repository as _institutions  # noqa: F401
from api.jobs import repository as _jobs  # noqa: F401
from api.ledger import repository as _ledger  # noqa: F401
from api.nodes import repository as _nodes  # noqa: F401
from api.recalls import repository as _recalls  # noqa: F401
from api.releases import repository as _releases  # noqa: F401
from api.scores import repository as _scores  # noqa: F401
from api.usage import asking as _asking  # noqa: F401
from api.usage import repository as _usage  # noqa: F401

METADATA = Base.metadata
