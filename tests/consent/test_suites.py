"""The crypto suites against published vectors, and what a sealed box and a signature refuse (R48)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.hashing import HASHES
from consent.suites import SUITES, suite
from consent.suites.errors import BadKey, BadSignature, CannotOpen, SuiteUnavailable, UnknownSuite

ED, SM = SUITES["ed25519"], SUITES["sm2"]
SM2_D = "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8"
SM2_P = (
    "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
)
SM2_R = "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
SM2_S = "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
SM2_N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123


def sm2_der(d: int, public: str = "") -> bytes:
    """PKCS #8 of an SM2 private key, with the public key or without."""

    def tlv(tag: int, content: bytes) -> bytes:
        length = len(content)
        return bytes([tag]) + (bytes([length]) if length < 128 else bytes([0x81, length])) + content

    half = tlv(0xA1, tlv(3, b"\x00" + bytes.fromhex(public))) if public else b""
    inner = tlv(0x30, tlv(2, b"\x01") + tlv(4, d.to_bytes(32, "big")) + half)
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a811ccf5501822d")
    return tlv(0x30, tlv(2, b"\x00") + algorithm + tlv(4, inner))


# ---- published vectors


def test_sm2_example_of_the_standard_verifies() -> None:
    """GB/T 32918.5-2017, annex A.2: message "message digest", identity 1234567812345678."""
    key = SM.public_key(bytes.fromhex(SM2_P))
    key.verify(bytes.fromhex(SM2_R + SM2_S), b"message digest")
    with pytest.raises(BadSignature):
        key.verify(bytes.fromhex(SM2_R + SM2_S), b"message digesu")


def test_sm2_example_key_has_the_public_key_of_the_standard_and_signs() -> None:
    key = SM.private_key(sm2_der(int(SM2_D, 16)))
    assert key.public.hex() == SM2_P
    SM.public_key(key.public).verify(key.sign(b"message digest"), b"message digest")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
        (b"abcd" * 16, "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
    ],
)
def test_sm3_examples_of_the_standard(message: bytes, expected: str) -> None:
    """GB/T 32905-2016, annex A."""
    assert SM.digest(message).hex() == expected == HASHES["sm3"](message).hex()


def test_sm4_block_of_the_standard() -> None:
    """GB/T 32907-2016, annex A.1: the block cipher under the suite's GCM."""
    key = bytes.fromhex("0123456789abcdeffedcba9876543210")
    encryptor = Cipher(algorithms.SM4(key), modes.ECB()).encryptor()
    assert (encryptor.update(key) + encryptor.finalize()).hex() == "681edf34d206965e86b3e94f536e4246"


def test_sm4_gcm_vector() -> None:
    """RFC 8998, appendix A.1."""
    secret = bytes.fromhex("0123456789abcdeffedcba9876543210")
    nonce = bytes.fromhex("00001234567800000000abcd")
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    plaintext = bytes.fromhex("".join(c * 16 for c in "abcdefea"))
    expected = bytes.fromhex(
        "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
        "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
        "83de3541e4c2b58177e065a9bf7b62ec"
    )
    assert SM.encrypt_with_nonce(secret, nonce, plaintext, aad) == expected
    assert SM.decrypt_with_nonce(secret, nonce, expected, aad) == plaintext


def test_aes_256_gcm_vector() -> None:
    """McGrew and Viega, The Galois/Counter Mode of Operation (submitted to NIST), test case 16."""
    secret = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
    nonce = bytes.fromhex("cafebabefacedbaddecaf888")
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    plaintext = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
        "b16aedf5aa0de657ba637b39"
    )
    expected = bytes.fromhex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
        "c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
    )
    assert ED.encrypt_with_nonce(secret, nonce, plaintext, aad) == expected
    assert ED.decrypt_with_nonce(secret, nonce, expected, aad) == plaintext


@pytest.mark.parametrize(
    ("seed", "public", "message", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ],
)
def test_ed25519_vectors(seed: str, public: str, message: str, signature: str) -> None:
    """RFC 8032, section 7.1, tests 1 and 2."""
    key = ED.private_key(bytes.fromhex("302e020100300506032b657004220420" + seed))
    assert key.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    ED.public_key(key.public).verify(bytes.fromhex(signature), bytes.fromhex(message))


# ---- signatures


@pytest.mark.parametrize("name", SUITES)
def test_a_signature_has_the_suites_length_and_holds_for_its_payload_only(name: str) -> None:
    key = suite(name).generate()
    public = suite(name).public_key(key.public)
    signature = key.sign(b"payload")
    assert len(signature) == suite(name).signature_bytes
    public.verify(signature, b"payload")
    for other, payload in ((signature, b"payloaD"), (signature[:-1], b"payload"), (signature + b"\0", b"payload")):
        with pytest.raises(BadSignature):
            public.verify(other, payload)
    with pytest.raises(BadSignature):
        suite(name).public_key(suite(name).generate().public).verify(signature, b"payload")


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 63), change=st.integers(1, 255), name=st.sampled_from(sorted(SUITES)))
def test_any_changed_byte_of_a_signature_is_refused(position: int, change: int, name: str) -> None:
    key = KEYS[name]
    changed = bytearray(key.sign(b"payload"))
    changed[position] ^= change
    with pytest.raises(BadSignature):
        suite(name).public_key(key.public).verify(bytes(changed), b"payload")


KEYS = {name: each.generate() for name, each in SUITES.items()}


@pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (SM2_N, 1), (1, SM2_N), (1, SM2_N - 1)])
def test_sm2_signature_numbers_out_of_range_are_refused(r: int, s: int) -> None:
    """GB/T 32918.2, section 7.1: r and s lie in 1 to n-1, and r + s is not n."""
    with pytest.raises(BadSignature):
        SM.public_key(bytes.fromhex(SM2_P)).verify(r.to_bytes(32, "big") + s.to_bytes(32, "big"), b"m")


def test_a_public_key_off_the_curve_is_refused() -> None:
    raw = bytearray.fromhex(SM2_P)
    raw[-1] ^= 1
    with pytest.raises(BadKey):
        SM.public_key(bytes(raw))
    with pytest.raises(BadKey):
        SM.public_key(b"\x04" + bytes(64))


@pytest.mark.parametrize("d", [0, SM2_N - 1, SM2_N, 2**256 - 1])
def test_an_sm2_private_key_out_of_range_is_refused(d: int) -> None:
    """GB/T 32918.1, section 6.1: d lies in 1 to n-2."""
    with pytest.raises(BadKey):
        SM.private_key(sm2_der(d))


def test_an_sm2_private_key_with_another_public_half_is_refused() -> None:
    SM.private_key(sm2_der(int(SM2_D, 16), SM2_P))
    with pytest.raises(BadKey):
        SM.private_key(sm2_der(int(SM2_D, 16) - 1, SM2_P))


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize("der", [b"", b"\x30\x00", b"junk" * 20])
def test_bytes_that_are_no_key_are_refused(name: str, der: bytes) -> None:
    with pytest.raises(BadKey):
        suite(name).private_key(der)
    with pytest.raises(BadKey):
        suite(name).raw_public_key(der)


def test_a_key_with_bytes_behind_it_is_refused() -> None:
    with pytest.raises(BadKey):
        SM.private_key(sm2_der(int(SM2_D, 16)) + b"\0")


def test_an_ed25519_key_of_small_order_is_refused() -> None:
    """Under the neutral point one signature (R = neutral, S = 0) would fit every message."""
    for raw in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ):
        with pytest.raises(BadKey):
            ED.public_key(bytes.fromhex(raw))


def test_an_unknown_suite_is_refused_by_name() -> None:
    for name in ("rsa", "", None, 1):
        with pytest.raises(UnknownSuite, match="is not known"):
            suite(name)


def test_a_machine_without_sm2_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from consent.suites import openssl

    monkeypatch.setattr(openssl, "_NAMES", ("libno-such-crypto.so.9",))
    monkeypatch.setattr(openssl.ctypes.util, "find_library", lambda _: None)
    openssl.library.cache_clear()
    try:
        with pytest.raises(SuiteUnavailable, match="libssl3") as caught:
            SM.generate()
        assert caught.value.code == "suite_unavailable"
        assert "OpenSSL" in caught.value.message_zh
    finally:
        openssl.library.cache_clear()


# ---- sealed boxes


@pytest.mark.parametrize("name", SUITES)
@settings(max_examples=50, deadline=None)
@given(plaintext=st.binary(max_size=200), aad=st.binary(max_size=40))
def test_a_sealed_box_opens_and_no_two_are_alike(name: str, plaintext: bytes, aad: bytes) -> None:
    secret = suite(name).new_secret()
    sealed = suite(name).seal(secret, plaintext, aad)
    assert suite(name).open(secret, sealed, aad) == plaintext
    assert suite(name).seal(secret, plaintext, aad) != sealed
    assert sealed.startswith(f"creditlab/sealed/1/{name}/{suite(name).secret_id(secret)}\n".encode())


@pytest.mark.parametrize("name", SUITES)
def test_every_changed_byte_of_a_sealed_box_is_refused(name: str) -> None:
    secret = suite(name).new_secret()
    sealed = suite(name).seal(secret, b"plaintext", b"context")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(CannotOpen):
            suite(name).open(secret, bytes(changed), b"context")
        with pytest.raises(CannotOpen):
            suite(name).open(secret, sealed[:position], b"context")


@pytest.mark.parametrize("name", SUITES)
def test_a_sealed_box_opens_only_with_its_secret_and_context(name: str) -> None:
    secret = suite(name).new_secret()
    sealed = suite(name).seal(secret, b"plaintext", b"context")
    with pytest.raises(CannotOpen):
        suite(name).open(suite(name).new_secret(), sealed, b"context")
    with pytest.raises(CannotOpen):
        suite(name).open(secret, sealed, b"another")
    with pytest.raises(CannotOpen):
        suite(name).seal(secret + b"\0", b"plaintext")
