"""The ways in which public credit information about one enterprise is given to one recipient (R43, R60).

Owns what each way shows and what it keeps back. Never decides whether the recipient may have it: that is the gate's,
whose decision arrives as a `Permit`; without one nothing here answers.
"""

from features.sharing.permit import MODES, Permit, SharingRefused
from features.sharing.query import query
from features.sharing.report import credit_report
from features.sharing.verify import verify

__all__ = ["MODES", "Permit", "SharingRefused", "credit_report", "query", "verify"]
