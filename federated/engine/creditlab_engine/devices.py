"""SecretFlow's device layer, loaded without the rest of SecretFlow.

Owns how `secretflow` gets into the process. Its package initialiser imports components, statistics, cloud storage and
scipy, which an engine never calls: 2 CPU seconds and 150 MB a process. The package is entered here without its
initialiser; only `secretflow.device` and `secretflow.distributed` are loaded.

`ray` is marked as absent first (saving R in `boosting.py`): the device layer retries `import ray`, which fails, once
for every element of every list it moves.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types

sys.modules["ray"] = None  # type: ignore[assignment]
if "secretflow" not in sys.modules:
    _spec = importlib.util.find_spec("secretflow")
    assert _spec is not None, "secretflow is not installed"
    assert _spec.submodule_search_locations, "secretflow is not a package"
    _package = types.ModuleType("secretflow")
    _package.__path__ = list(_spec.submodule_search_locations)
    _package.__spec__ = importlib.machinery.ModuleSpec("secretflow", None, is_package=True)
    sys.modules["secretflow"] = _package

from secretflow.device import PYU  # noqa: E402
from secretflow.device.driver import init, reveal, shutdown  # noqa: E402
from secretflow.distributed.fed import api as fed_api  # noqa: E402
from secretflow.distributed.fed.exception import FedLocalError, FedRemoteError  # noqa: E402
from secretflow.distributed.fed.global_context import get_global_context  # noqa: E402
from secretflow.distributed.fed.proxy.brpc_link.brpc_link import BrpcLinkProxy  # noqa: E402

__all__ = [
    "PYU",
    "BrpcLinkProxy",
    "FedLocalError",
    "FedRemoteError",
    "fed_api",
    "get_global_context",
    "init",
    "reveal",
    "shutdown",
]
