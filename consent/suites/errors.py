"""What may go wrong with keys, signatures and sealed boxes, each by name, in English and Chinese with a stable code.

Owns the names. It never decides: the modules that check raise them, and nothing here returns a bool.
"""

from __future__ import annotations

from consent.errors import Refused


class CryptoRefused(Refused):
    """The base of this module. `text_zh` stands where a caller gives no Chinese message of its own."""

    text_zh = "被拒绝"

    def __init__(self, message: str, message_zh: str | None = None) -> None:
        super().__init__(message, message_zh or self.text_zh)


class BadSignature(CryptoRefused):
    """A signature is missing, malformed, by the wrong key or over other bytes."""

    code = "bad_signature"
    text_zh = "签名无效"


class BadKey(BadSignature):
    """Bytes that are not a key of the suite, or a key that the suite may not use."""

    code = "bad_key"
    text_zh = "密钥无效"


class UnknownSuite(BadSignature):
    """A suite that this version does not have."""

    code = "unknown_suite"
    text_zh = "未知的密码套件"


class SuiteMismatch(BadSignature):
    """A document names one suite and its key belongs to another."""

    code = "suite_mismatch"
    text_zh = "密码套件与密钥不符"


class SuiteNotAllowed(BadSignature):
    """A known suite that this verifier does not accept."""

    code = "suite_not_allowed"
    text_zh = "此处不接受该密码套件"


class CannotOpen(CryptoRefused):
    """A sealed box was changed, belongs to another key or context, or is not a sealed box."""

    code = "cannot_open"
    text_zh = "密封数据无法打开"


class SuiteUnavailable(BadSignature):
    """This machine's cryptographic library lacks an algorithm of the suite: what cannot be checked does not hold."""

    code = "suite_unavailable"
    text_zh = "本机的密码库不支持该套件"
