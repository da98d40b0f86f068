"""`LabClient`: the control plane's API for programs of banks, labs and operators.

Synchronous, with the CA pinned. It sends one bearer token and keeps no state; errors of the API arrive as `LabError`
with the code and both texts. Amounts and rates are texts both ways, so that no float rounds them.
"""

from __future__ import annotations

from api.client.connection import BadProfile, LabError, Language
from api.client.consents import Consents
from api.client.data import Data
from api.client.enterprises import Enterprises
from api.client.financing import Financing
from api.client.incidents import Incidents
from api.client.institutions import Institutions
from api.client.ledger import Ledger
from api.client.modelling import JOB_ENDS, Modelling
from api.client.operations import Operations
from api.client.referrals import Referrals

__all__ = ["JOB_ENDS", "BadProfile", "LabClient", "LabError", "Language"]


class LabClient(
    Modelling, Consents, Data, Enterprises, Financing, Referrals, Institutions, Operations, Incidents, Ledger
):
    """One account's connection; what it may call is decided by the account's roles."""
