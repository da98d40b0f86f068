"""SM2 through the system's libcrypto (OpenSSL 3 or later), which `cryptography` does not offer.

Owns the few C calls and the life of the objects behind them. It never does arithmetic of its own and never falls back
to another implementation: a machine whose libcrypto lacks SM2 raises SuiteUnavailable.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_long, c_size_t, c_ulong, c_void_p
from functools import lru_cache
from typing import Any

from consent.suites.errors import BadKey, BadSignature, SuiteUnavailable

USER_ID = b"1234567812345678"  # GM/T 0009-2012, section 10: the identity where the parties agreed on none
_MAX_DER_SIGNATURE = 80
_NAMES = ("libcrypto.so.4", "libcrypto.so.3", "libcrypto.4.dylib", "libcrypto.3.dylib")
_CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "OpenSSL_version_num": (c_ulong, ()),
    "ERR_clear_error": (None, ()),
    "EVP_PKEY_CTX_new_from_name": (c_void_p, (c_void_p, c_char_p, c_char_p)),
    "EVP_PKEY_CTX_new_from_pkey": (c_void_p, (c_void_p, c_void_p, c_char_p)),
    "EVP_PKEY_CTX_free": (None, (c_void_p,)),
    "EVP_PKEY_CTX_set1_id": (c_int, (c_void_p, c_char_p, c_size_t)),
    "EVP_PKEY_keygen_init": (c_int, (c_void_p,)),
    "EVP_PKEY_generate": (c_int, (c_void_p, POINTER(c_void_p))),
    "EVP_PKEY_check": (c_int, (c_void_p,)),
    "EVP_PKEY_is_a": (c_int, (c_void_p, c_char_p)),
    "EVP_PKEY_free": (None, (c_void_p,)),
    "d2i_PUBKEY": (c_void_p, (c_void_p, POINTER(c_void_p), c_long)),
    "i2d_PUBKEY": (c_int, (c_void_p, c_void_p)),
    "d2i_AutoPrivateKey": (c_void_p, (c_void_p, POINTER(c_void_p), c_long)),
    "EVP_PKEY2PKCS8": (c_void_p, (c_void_p,)),
    "i2d_PKCS8_PRIV_KEY_INFO": (c_int, (c_void_p, c_void_p)),
    "PKCS8_PRIV_KEY_INFO_free": (None, (c_void_p,)),
    "EVP_MD_CTX_new": (c_void_p, ()),
    "EVP_MD_CTX_free": (None, (c_void_p,)),
    "EVP_MD_CTX_set_pkey_ctx": (None, (c_void_p, c_void_p)),
    "EVP_DigestSignInit_ex": (c_int, (c_void_p, c_void_p, c_char_p, c_void_p, c_char_p, c_void_p, c_void_p)),
    "EVP_DigestSign": (c_int, (c_void_p, c_char_p, POINTER(c_size_t), c_char_p, c_size_t)),
    "EVP_DigestVerifyInit_ex": (c_int, (c_void_p, c_void_p, c_char_p, c_void_p, c_char_p, c_void_p, c_void_p)),
    "EVP_DigestVerify": (c_int, (c_void_p, c_char_p, c_size_t, c_char_p, c_size_t)),
}


def _unavailable(why: str) -> SuiteUnavailable:
    return SuiteUnavailable(
        f"SM2 needs the system's OpenSSL 3 or later built with SM2: {why}; install libssl3 or choose suite ed25519",
        "SM2 需要系统自带且启用 SM2 的 OpenSSL 3 及以上版本：请安装 libssl3，或改用 ed25519 套件",
    )


def _load() -> ctypes.CDLL:
    for name in _NAMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    # searches by running ldconfig, so only where no usual name is there
    if found := ctypes.util.find_library("crypto"):
        return ctypes.CDLL(found)
    raise _unavailable("no libcrypto was found")


@lru_cache(maxsize=1)
def library() -> Any:
    """libcrypto with its calls declared. Raises SuiteUnavailable."""
    loaded = _load()
    try:
        for call, (result, arguments) in _CALLS.items():
            function = getattr(loaded, call)
            function.restype, function.argtypes = result, list(arguments)
    except AttributeError as error:
        raise _unavailable(f"libcrypto has no {error}") from error
    context = loaded.EVP_PKEY_CTX_new_from_name(None, b"SM2", None)
    if loaded.OpenSSL_version_num() < 0x30000000 or not context:
        raise _unavailable("this libcrypto has no SM2")
    loaded.EVP_PKEY_CTX_free(context)
    return loaded


class Key:
    """An SM2 key held by libcrypto, freed with this object."""

    def __init__(self, pointer: int) -> None:
        self._pointer = pointer
        weakref.finalize(self, library().EVP_PKEY_free, pointer)

    @classmethod
    def generate(cls) -> Key:
        lib = library()
        context = lib.EVP_PKEY_CTX_new_from_name(None, b"SM2", None)
        pointer = c_void_p()
        try:
            if lib.EVP_PKEY_keygen_init(context) != 1 or lib.EVP_PKEY_generate(context, byref(pointer)) != 1:
                raise _unavailable("key generation failed")
        finally:
            lib.EVP_PKEY_CTX_free(context)
        assert pointer.value is not None
        return cls(pointer.value)

    @classmethod
    def private(cls, der: bytes) -> Key:
        """From PKCS #8 or SEC 1 DER. Raises BadKey, also when private and public half do not belong together."""
        key = cls._parse("d2i_AutoPrivateKey", der)
        lib = library()
        context = lib.EVP_PKEY_CTX_new_from_pkey(None, key._pointer, None)
        try:
            if lib.EVP_PKEY_check(context) != 1:
                raise BadKey("the SM2 private key is out of range or not its public key's", "SM2 私钥无效或与公钥不符")
        finally:
            lib.EVP_PKEY_CTX_free(context)
            lib.ERR_clear_error()
        return key

    @classmethod
    def public(cls, der: bytes) -> Key:
        """From SubjectPublicKeyInfo DER. Raises BadKey, also for a point that is not on the curve."""
        return cls._parse("d2i_PUBKEY", der)

    @classmethod
    def _parse(cls, call: str, der: bytes) -> Key:
        lib = library()
        buffer = ctypes.create_string_buffer(der, len(der))
        cursor = c_void_p(ctypes.addressof(buffer))
        pointer = getattr(lib, call)(None, byref(cursor), len(der))
        lib.ERR_clear_error()
        if not pointer:
            raise BadKey("not an SM2 key", "不是 SM2 密钥")
        key = cls(pointer)
        if cursor.value != ctypes.addressof(buffer) + len(der) or lib.EVP_PKEY_is_a(pointer, b"SM2") != 1:
            raise BadKey("not an SM2 key", "不是 SM2 密钥")
        return key

    def public_der(self) -> bytes:
        """SubjectPublicKeyInfo."""
        return _encoded(library().i2d_PUBKEY, self._pointer)

    def private_der(self) -> bytes:
        """PKCS #8, not encrypted."""
        lib = library()
        info = lib.EVP_PKEY2PKCS8(self._pointer)
        try:
            return _encoded(lib.i2d_PKCS8_PRIV_KEY_INFO, info)
        finally:
            lib.PKCS8_PRIV_KEY_INFO_free(info)

    def sign(self, payload: bytes) -> bytes:
        """DER signature over SM3(Z ‖ payload), Z of `USER_ID` (GB/T 32918.2-2016, section 6)."""
        with _digest(self._pointer, "EVP_DigestSignInit_ex") as context:
            length = c_size_t(_MAX_DER_SIGNATURE)
            out = ctypes.create_string_buffer(_MAX_DER_SIGNATURE)
            if library().EVP_DigestSign(context, out, byref(length), payload, len(payload)) != 1:
                raise BadKey("this SM2 key cannot sign", "该 SM2 密钥不能签名")
            return out.raw[: length.value]

    def verify(self, signature: bytes, payload: bytes) -> None:
        """Raises BadSignature unless the DER `signature` verifies (GB/T 32918.2-2016, section 7)."""
        with _digest(self._pointer, "EVP_DigestVerifyInit_ex") as context:
            if library().EVP_DigestVerify(context, signature, len(signature), payload, len(payload)) != 1:
                raise BadSignature("the SM2 signature does not verify", "SM2 签名不符")


@contextmanager
def _digest(key: int, init: str) -> Iterator[int]:
    """The context of one signature or verification, freed at the end."""
    lib = library()
    context: int = lib.EVP_MD_CTX_new()
    options: int = lib.EVP_PKEY_CTX_new_from_pkey(None, key, None)
    try:
        # the identity has to be known before the digest starts: Z is hashed first
        known = lib.EVP_PKEY_CTX_set1_id(options, USER_ID, len(USER_ID)) == 1
        lib.EVP_MD_CTX_set_pkey_ctx(context, options)
        if not known or getattr(lib, init)(context, None, b"SM3", None, None, key, None) != 1:
            raise _unavailable("SM2 with SM3 cannot be set up")
        yield context
    finally:
        lib.EVP_MD_CTX_free(context)
        lib.EVP_PKEY_CTX_free(options)
        lib.ERR_clear_error()


def _encoded(call: Any, pointer: int) -> bytes:
    length = call(pointer, None)
    if length <= 0:
        raise BadKey("this SM2 key cannot be written", "该 SM2 密钥无法导出")
    out = ctypes.create_string_buffer(length)
    cursor = c_void_p(ctypes.addressof(out))
    call(pointer, byref(cursor))
    return out.raw
