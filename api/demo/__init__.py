"""`creditlab demo`: the whole spine on one machine, from two tables to a released model and its scores.

Owns the tour and the files it leaves. Starts every part as its own process through the `creditlab` command line and
acts through the API with the account whose act it is; imports nothing of the data plane.
"""

from api.demo.cli import app

__all__ = ["app"]
