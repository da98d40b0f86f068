"""Features as of a date: the one path from the store to a value.

Owns the view of what was known at a date, the compiler of the catalogue's expressions, builds, the serving view and
the lineage of a value. Never lets an expression see anything but that view.
"""

from features.derive.build import build
from features.derive.compiler import Plan
from features.derive.expression import ExpressionRefused
from features.derive.lineage import Lineage, explain
from features.derive.serving import ServingView, ViewRefused

__all__ = ["ExpressionRefused", "Lineage", "Plan", "ServingView", "ViewRefused", "build", "explain"]
