"""A simulated province: enterprises that do not exist, the records public units would hold of them, and their banks.

Owns the story that the numbers tell: a hidden health of which banks see one face and public records another. Never
touches real data; every file and folder it makes says that it is simulated.
"""

from features.province.enterprises import Enterprises, settle
from features.province.write import Order, write

__all__ = ["Enterprises", "Order", "settle", "write"]
