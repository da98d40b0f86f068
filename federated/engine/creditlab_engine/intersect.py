"""Private set intersection: which enterprises both parties hold, and nothing about the rest.

Owns the two protocols (RR22, ECDH on curve 25519), their private files and the wiping of them. Only ids go in;
features never touch a file. It never decides who may take part: the rows arrive filtered by consent.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Sequence

import spu.psi as psi

from .errors import EngineError
from .ports import PSI
from .session import Session, private_folder

_COLUMN = "id"
_BUCKET = 1 << 20  # ids held in memory at a time by the ECDH protocol


def intersect(session: Session, ids: Sequence[str]) -> list[str]:
    """The ids both parties hold, sorted; the same list on both sides. Both parties learn exactly this list.

    `ids` are this party's, unique. Raises EngineError(empty_intersection | peer_silent).
    """
    before = _present()
    folder = tempfile.mkdtemp(prefix="psi-", dir=private_folder())
    try:
        common = _run(session, ids, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        # The library also leaves join inputs and traces beside its working folder, in the clear.
        for leftover in _present() - before:
            _wipe(leftover)
    if not common:
        raise EngineError("empty_intersection")
    return common


def _present() -> set[str]:
    """What is in the private folder; traces go to /tmp whatever TMPDIR says."""
    return {*glob.glob(os.path.join(private_folder(), "*")), *glob.glob("/tmp/psi_*.trace")}


def _wipe(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _run(session: Session, ids: Sequence[str], folder: str) -> list[str]:
    source, target = os.path.join(folder, "in.csv"), os.path.join(folder, "out.csv")
    # Hexadecimal, so that no id can be mistaken for CSV syntax.
    with open(source, "w") as file:
        file.write(_COLUMN + "\n")
        file.writelines(value.encode().hex() + "\n" for value in ids)
    wire = session.link(PSI)
    protocol = session.ticket["protocol"]["psi"]
    config = psi.PsiExecuteConfig(
        protocol_conf=psi.PsiProtocolConfig(
            protocol=psi.parse_protocol(f"PROTOCOL_{protocol}"),
            receiver_rank=0,
            bucket_size=_BUCKET,
            broadcast_result=True,
            # The library's default curve, FourQ, costs three times as much.
            ecdh_params=psi.EcdhParams(curve=psi.parse_curve_type("CURVE_25519")),
        ),
        input_params=psi.InputParams(
            type=psi.SourceType.SOURCE_TYPE_FILE_CSV, path=source, selected_keys=[_COLUMN], keys_unique=True
        ),
        output_params=psi.OutputParams(type=psi.SourceType.SOURCE_TYPE_FILE_CSV, path=target, disable_alignment=False),
        join_conf=psi.ResultJoinConfig(type=psi.parse_join_type("JOIN_TYPE_INNER_JOIN"), left_side_rank=0),
    )
    try:
        report = psi.psi_execute(config, wire)
    except RuntimeError as error:
        raise EngineError("peer_silent", type(error).__name__) from error
    finally:
        wire.stop_link()
    if report.intersection_count <= 0:
        return []
    with open(target) as file:
        next(file)
        return sorted(bytes.fromhex(line.strip().strip('"')).decode() for line in file if line.strip())
