"""Which cryptographic settings a ticket may ask for.

Owns the list and the refusal, by name, of everything else. It runs nothing.
"""

from __future__ import annotations

from typing import Any

from .errors import EngineError

MIN_HEU_BITS = 2048
HEU_SCHEMAS = ("ou", "zpaillier")
SPU_PROTOCOLS = ("SEMI2K", "CHEETAH")
PSI_PROTOCOLS = ("RR22", "ECDH")
FIELD = "FM128"  # on FM64 the true sigmoid silently loses all precision


def check(protocol: dict[str, Any]) -> None:
    """Refuse what is not secure, by name. Raises EngineError(protocol_refused)."""
    spu, heu = protocol["spu"], protocol["heu"]
    problems = [
        (spu not in SPU_PROTOCOLS, f"spu {spu}: choose {' or '.join(SPU_PROTOCOLS)} (REF2K hides nothing)"),
        (protocol["psi"] not in PSI_PROTOCOLS, f"psi {protocol['psi']}: choose {' or '.join(PSI_PROTOCOLS)}"),
        (protocol["field"] != FIELD, f"field {protocol['field']}: only {FIELD} is exact enough"),
        (heu["schema"] not in HEU_SCHEMAS, f"heu {heu['schema']}: choose {' or '.join(HEU_SCHEMAS)}"),
        (int(heu["key_size"]) < MIN_HEU_BITS, f"heu key of {heu['key_size']} bits: at least {MIN_HEU_BITS}"),
    ]
    for refused, detail in problems:
        if refused:
            raise EngineError("protocol_refused", detail)
