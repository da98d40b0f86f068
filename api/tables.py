"""Every table of the control plane, imported once so that their metadata is complete."""

from __future__ import annotations

from api.admissions import repository as _admissions  # noqa: F401
from api.applications import profiles as _profiles  # noqa: F401
from api.applications import repository as _applications  # noqa: F401
from api.audit import repository as _audit  # noqa: F401
from api.clocks import repository as _clocks  # noqa: F401
from api.consent_events import repository as _consent_events  # noqa: F401
from api.consents import persons as _persons  # noqa: F401
from api.consents import repository as _consents  # noqa: F401
from api.consents import requests as _requests  # noqa: F401
from api.conversations import repository as _conversations  # noqa: F401
from api.credit import repository as _credit  # noqa: F401
from api.db import Base
from api.disputes import repository as _disputes  # noqa: F401
from api.enterprises import own as _own  # noqa: F401
from api.enterprises import repository as _enterprises  # noqa: F401
from api.flows import repository as _flows  # noqa: F401
from api.guarantees import repository as _guarantees  # noqa: F401
from api.incidents import repository as _incidents  # noqa: F401
from api.institutions import repository as _institutions  # noqa: F401
from api.jobs import repository as _jobs  # noqa: F401
from api.ledger import repository as _ledger  # noqa: F401
from api.nodes import questions as _questions  # noqa: F401
from api.nodes import repository as _nodes  # noqa: F401
from api.permits import repository as _permits  # noqa: F401
from api.products import repository as _products  # noqa: F401
from api.projects import repository as _projects  # noqa: F401
from api.publications import repository as _publications  # noqa: F401
from api.recalls import repository as _recalls  # noqa: F401
from api.releases import repository as _releases  # noqa: F401
from api.reports import repository as _reports  # noqa: F401
from api.staff import repository as _staff  # noqa: F401
from api.usage import repository as _usage  # noqa: F401
from api.web import idempotency as _idempotency  # noqa: F401

METADATA = Base.metadata
