"""A peer whose engine was tampered with: it answers with a pickle that runs a command where it is loaded.

Loaded by the interpreter of one engine in `test_endings.py` because this folder is on its PYTHONPATH.
"""

import os
import pickle
import sys


class _Bomb:
    def __reduce__(self):
        return (eval, (f"open({os.environ['EVIL_TARGET']!r}, 'w').write('owned')",))


class _Finder:
    """Replaces what the transport sends, once the engine's own module has been loaded."""

    def find_spec(self, name, path, target=None):
        wire = sys.modules.get("creditlab_engine.wire")
        if wire is not None and hasattr(wire, "Proxy") and not hasattr(wire, "_evil"):
            wire._evil = True

            def send(self, dest_party, data, seq_id):
                message = {"seq_id": seq_id, "payload": _Bomb(), "job": self._job_name}
                self._linker.send_async(self._parties_rank[dest_party], pickle.dumps(message))
                return True

            wire.Proxy.send = send
        return None


sys.meta_path.insert(0, _Finder())
