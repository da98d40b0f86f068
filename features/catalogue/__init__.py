"""The catalogue of public-credit information: categories, their items and the features derived from them, as data.

Owns the files in `data/`, what they may say and how they are read, compared and printed. Never opens a record and
never runs SQL: what an expression computes is `features.derive`'s business.
"""

from features.catalogue.diff import Changes, diff
from features.catalogue.load import CatalogueRefused, Problem, load, parse
from features.catalogue.model import Catalogue, Category, Feature, Item

__all__ = [
    "Catalogue",
    "CatalogueRefused",
    "Category",
    "Changes",
    "Feature",
    "Item",
    "Problem",
    "diff",
    "load",
    "parse",
]
