"""The command as a process of its own: `python -m tests.features.receive.serve receive.toml`."""

import sys

from features.derive.cli import app

app(["receive", "--config", sys.argv[1]])
