"""What can be wrong with a ledger, a proof or a head, each by its own name. Owns names, no checks."""

from __future__ import annotations

from consent.errors import Refused


class LedgerError(Refused):
    """The base of this package's errors: the messages say what, where and what to do."""

    code = "ledger_error"


class MalformedEntry(LedgerError):
    """The bytes are not a ledger entry in its one accepted form."""

    code = "ledger_entry_malformed"


class EntryMismatch(LedgerError):
    """The entry does not speak of this document, or not with this salt."""

    code = "ledger_entry_mismatch"


class MalformedStore(LedgerError):
    """A folder or a store is not a ledger, or was left half written."""

    code = "ledger_store_malformed"


class NodeMissing(LedgerError):
    """A stored hash that a root or a proof needs is not there."""

    code = "ledger_node_missing"


class AppendConflict(LedgerError):
    """Somebody appended in between, or the log is there already: nothing was written."""

    code = "ledger_append_conflict"


class ProofRefused(LedgerError):
    """A proof or a head does not prove what it is shown for. Each reason is a subclass."""

    code = "proof_refused"


class UnknownHash(ProofRefused):
    code = "proof_hash_unknown"


class HashMixed(ProofRefused):
    """Two parts of one proof, or two heads of one log, name different hash functions."""

    code = "proof_hash_mixed"


class UnknownVersion(ProofRefused):
    code = "proof_version_unknown"


class MalformedProof(ProofRefused):
    code = "proof_malformed"


class MalformedHead(ProofRefused):
    code = "head_malformed"


class BeyondTree(ProofRefused):
    """The position or the size asked for is outside the tree."""

    code = "proof_beyond_tree"


class RootMismatch(ProofRefused):
    """The path leads to another root than the head's."""

    code = "proof_root_mismatch"


class WrongLog(ProofRefused):
    code = "head_of_another_log"


class ForgedHead(ProofRefused):
    """A signature of the head does not verify, or is not by a key that may sign heads."""

    code = "head_forged"


class NotWitnessed(ProofRefused):
    """Fewer of the named witnesses than asked for have cosigned the head."""

    code = "head_not_witnessed"


class LogForked(ProofRefused):
    """Two heads of one log do not extend each other: it showed different histories."""

    code = "log_forked"


class LogShrunk(ProofRefused):
    """A later head holds fewer entries than an earlier one."""

    code = "log_shrunk"


class StaleHead(ProofRefused):
    """The head is older than the reader accepts: something newer may be withheld."""

    code = "head_stale"


class ClockMovedBack(ProofRefused):
    """A time lies before one that the log, the witness or the reader already saw."""

    code = "ledger_clock_moved_back"
