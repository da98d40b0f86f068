"""Additively homomorphic encryption between the label holder and the peer.

Owns one key pair of the job (secret key at the bank), the encoding of two numbers into one plaintext, encryption,
sums by bin, and decryption. It never sees a column's meaning. Schemes: Okamoto-Uchiyama (`ou`) or Paillier
(`zpaillier`); keys of at least 2048 bits, checked by `protocol.check`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from heu import numpy as hnp
from heu import phe

from .devices import reveal
from .session import Session
from .trees import SCALE_BITS


class Cipher:
    """One key pair for the whole job: made at the bank, its public half told to the lab."""

    def __init__(self, session: Session) -> None:
        heu = session.ticket["protocol"]["heu"]
        schema, bits = str(heu["schema"]), int(heu["key_size"])
        self._kit: Any = hnp.setup(schema, bits) if session.party == "bank" else None
        public = reveal(session.bank(lambda: self._kit.public_key())())
        if session.party == "lab":
            self._kit = hnp.setup(public)
        # Two numbers share one plaintext: half the encryptions, additions and decryptions.
        self._encoder = phe.BatchFloatEncoderParams(scale=2**SCALE_BITS)

    def encrypt(self, pairs: np.ndarray) -> Any:
        """rows × 2 numbers → rows × 1 ciphertexts. Bank only."""
        return self._kit.encryptor().encrypt(self._kit.array(pairs, self._encoder))

    def sums(
        self,
        ciphertexts: Any,
        masks: list[np.ndarray],
        codes: np.ndarray,
        buckets: int,
        pick: list[int],
        cumulative: bool = True,
    ) -> list[Any]:
        """Sums by code for each mask over rows, columns × buckets of them, cut down to `pick`."""
        if not masks:
            return []
        found = self._kit.evaluator().batch_feature_wise_bucket_sum(
            ciphertexts, [mask.astype(np.int8).reshape(1, -1) for mask in masks], codes, buckets, cumulative
        )
        return [one[pick] for one in found]

    def decrypt(self, ciphertexts: Any) -> np.ndarray:
        """n × 1 ciphertexts → n × 2 numbers. Bank only."""
        plain = self._kit.decryptor().decrypt(ciphertexts)
        return np.asarray(plain.to_numpy(self._encoder.instance(self._kit.get_schema())), dtype=np.float64)
