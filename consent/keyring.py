"""The platform's keys over time: which key was valid when, told in statements that each follow from the one before.

Owns the form of a keyring and the rules by which one statement may follow another, so that whoever trusts one key can
follow to its successors. It never holds a private key beyond the call that signs, and keeps no clock: times are given.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from consent.canonical import canonical
from consent.keys import BadSignature, SigningKey, VerifyingKey
from consent.signed import Document, read_canonical, sign, signer, verify
from consent.suites import suite
from consent.suites.errors import SuiteNotAllowed
from consent.times import BadTime, parse, stamp

TYPE = "keyring"
ROLE = "keyring"
VERSION = 1
DOCUMENTS = "documents"
RECOVERY = "recovery"
USES = (DOCUMENTS, RECOVERY)
_BODY = frozenset({"type", "version", "platform", "sequence", "previous", "issued_at", "keys"})
_KEY = frozenset({"key_id", "public_key", "suite", "use", "valid_from", "valid_until", "retired_at", "compromised_at"})


class KeyringRefused(BadSignature):
    """A keyring that is malformed or does not follow from what is trusted."""

    code = "keyring_refused"
    text_zh = "密钥环无效"


class UnknownKeyringVersion(KeyringRefused):
    """A statement of a version that this program does not know."""

    code = "keyring_version_unknown"


class KeyringForked(KeyringRefused):
    """Two statements claim the same place: one of them was made by somebody else."""

    code = "keyring_forked"


class KeyringRolledBack(KeyringRefused):
    """An older keyring than the one that is known already."""

    code = "keyring_rolled_back"


class UnknownKey(BadSignature):
    """A key that is not on the keyring."""

    code = "unknown_key"
    text_zh = "密钥不在密钥环上"


class KeyNotValid(BadSignature):
    """A key of the keyring, used outside its time, after it was compromised, or for what it is not for."""

    code = "key_not_valid"
    text_zh = "密钥在该时间无效"


@dataclass(frozen=True, slots=True)
class PlatformKey:
    """One key. Valid from `valid_from` until before `valid_until`, or `retired_at` if that is earlier."""

    public: VerifyingKey
    use: str
    valid_from: str
    valid_until: str
    retired_at: str | None = None
    compromised_at: str | None = None

    @property
    def end(self) -> str:
        return min(self.valid_until, self.retired_at or self.valid_until)

    def check(self, at: str, *, witnessed: bool = False) -> None:
        """Raises KeyNotValid unless a signature made at `at` counts.

        Whoever holds a compromised key can write any date into what it signs. So nothing by such a key counts, unless
        `witnessed`: the caller knows `at` from something the key's holder could not make (its own journal, a log's
        head signed by another key), and `at` is before the compromise.
        """
        named = self.public.key_id
        _time(at, "at")
        if not self.valid_from <= at < self.end:
            raise KeyNotValid(
                f"key {named} is valid from {self.valid_from} to {self.end}, not at {at}",
                f"密钥 {named} 的有效期为 {self.valid_from} 至 {self.end}，{at} 不在其内",
            )
        if self.compromised_at is not None and not (witnessed and at < self.compromised_at):
            raise KeyNotValid(
                f"key {named} is compromised since {self.compromised_at}: ask the platform for a new signature",
                f"密钥 {named} 自 {self.compromised_at} 起已泄露：请向平台索取新的签名",
            )

    def to_json(self) -> Document:
        return {
            "key_id": self.public.key_id,
            "public_key": self.public.b64,
            "suite": self.public.suite,
            "use": self.use,
            "valid_from": self.valid_from,
            "valid_until": self.valid_until,
            "retired_at": self.retired_at,
            "compromised_at": self.compromised_at,
        }


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys as the last of `statements` tells them. Made by `found` and `read`, never by hand."""

    platform: str
    keys: tuple[PlatformKey, ...]
    statements: tuple[Document, ...]

    # ---- making statements

    @classmethod
    def found(
        cls,
        key: SigningKey,
        *,
        platform: str,
        at: str,
        valid_until: str,
        recovery: VerifyingKey | None = None,
        recovery_until: str | None = None,
    ) -> Self:
        """The first statement, signed by the first key itself: nodes are given that key by hand.

        `recovery` is the public half of a key kept offline: it signs nothing but statements, and so can declare the
        working key compromised. Raises KeyringRefused.
        """
        keys = [PlatformKey(key.public, DOCUMENTS, at, valid_until)]
        if recovery is not None:
            keys.append(PlatformKey(recovery, RECOVERY, at, recovery_until or valid_until))
        return cls._follow(None, _statement(platform, 1, None, at, keys, key))

    def add(
        self,
        by: SigningKey,
        key: VerifyingKey,
        *,
        at: str,
        valid_from: str,
        valid_until: str,
        use: str = DOCUMENTS,
    ) -> Self:
        """A keyring with one more key. Raises KeyringRefused, UnknownKey or KeyNotValid (of the signer)."""
        return self._next(by, at, [*self.keys, PlatformKey(key, use, valid_from, valid_until)])

    def retire(self, by: SigningKey, key_id: str, *, at: str) -> Self:
        """Ends a key's time now: what it signed before stays good."""
        old = self.key(key_id)
        return self._next(by, at, [replace(key, retired_at=at) if key == old else key for key in self.keys])

    def compromise(self, by: SigningKey, key_id: str, *, since: str, at: str) -> Self:
        """Declares a key compromised. It cannot be declared by that key itself."""
        old = self.key(key_id)
        return self._next(by, at, [replace(key, compromised_at=since) if key == old else key for key in self.keys])

    def _next(self, by: SigningKey, at: str, keys: Sequence[PlatformKey]) -> Self:
        previous = _digest(self.statements[-1], by.suite)
        return self.extend(_statement(self.platform, self.sequence + 1, previous, at, keys, by))

    # ---- reading them

    @classmethod
    def read(cls, raw: bytes, anchor: VerifyingKey, allowed: Collection[str] | None = None) -> Self:
        """From canonical JSON. The first statement must be signed by `anchor`, a key known by other means.

        With `allowed`, a keyring with a key of any other suite is refused. Raises KeyringRefused, SuiteNotAllowed.
        """
        keyring = cls.read_untrusted(raw, allowed)
        founder = signer(keyring.statements[0], ROLE)
        if founder != anchor:
            raise KeyringRefused(
                f"the keyring begins with key {founder.key_id}, trusted is {anchor.key_id}",
                f"密钥环的首个密钥为 {founder.key_id}，而受信任的是 {anchor.key_id}",
            )
        return keyring

    @classmethod
    def read_for(cls, raw: bytes, pinned: VerifyingKey, allowed: Collection[str] | None = None) -> Self:
        """Like `read`, for who was given any one key of the platform: it must have signed one of the statements.

        By its digest of the one before, a statement vouches for all earlier ones; the later ones follow from it. To
        stand on the keyring is not enough: anybody can put another's key on a keyring of his own.
        """
        keyring = cls.read_untrusted(raw, allowed)
        if pinned not in [signer(statement, ROLE) for statement in keyring.statements]:
            raise KeyringRefused(
                f"key {pinned.key_id}, which is trusted, has signed none of the keyring's statements",
                f"受信任的密钥 {pinned.key_id} 未签署密钥环的任何声明",
            )
        return keyring

    @classmethod
    def read_untrusted(cls, raw: bytes, allowed: Collection[str] | None = None) -> Self:
        """Like `read`, but whoever made the keyring is believed: the caller must compare `first` itself."""
        statements = read_canonical(raw)
        if not isinstance(statements, list) or not statements:
            raise KeyringRefused("a keyring is a list of signed statements", "密钥环须为签名声明的列表")
        keyring: Self | None = None
        for statement in statements:
            keyring = cls._follow(keyring, statement, allowed)
        assert keyring is not None
        return keyring

    def to_json(self) -> bytes:
        """Canonical JSON: every statement from the first."""
        return canonical(list(self.statements))

    def extend(self, statement: Document, allowed: Collection[str] | None = None) -> Self:
        """The keyring after one more statement. Raises KeyringRefused by name."""
        return self._follow(self, statement, allowed)

    def advance(self, raw: bytes, allowed: Collection[str] | None = None) -> Self:
        """The newer keyring in `raw`, which must begin with everything that is known here.

        Raises KeyringRolledBack for a shorter one, KeyringForked for another history.
        """
        newer = type(self).read_untrusted(raw, allowed)
        known = len(self.statements)
        if newer.statements[:known] != self.statements[: len(newer.statements)]:
            raise KeyringForked(
                "the keyring tells another history than the one known here: ask the platform's operator by other means",
                "密钥环与已知历史不一致：请以其他方式向平台运营方核实",
            )
        if len(newer.statements) < known:
            raise KeyringRolledBack(
                f"the keyring has {len(newer.statements)} statements, {known} are known already",
                f"密钥环有 {len(newer.statements)} 份声明，已知 {known} 份",
            )
        return newer

    # ---- using them

    @property
    def sequence(self) -> int:
        return len(self.statements)

    @property
    def first(self) -> VerifyingKey:
        """The key that founded the keyring."""
        return signer(self.statements[0], ROLE)

    def key(self, key_id: str) -> PlatformKey:
        """Raises UnknownKey."""
        for key in self.keys:
            if key.public.key_id == key_id:
                return key
        raise UnknownKey(f"key {key_id} is not on the keyring", f"密钥 {key_id} 不在密钥环上")

    def current(self, at: str) -> PlatformKey:
        """The key to sign documents with at `at`: of the valid ones the one that began last. Raises KeyNotValid."""
        _time(at, "at")
        valid = [
            key
            for key in self.keys
            if key.use == DOCUMENTS and key.compromised_at is None and key.valid_from <= at < key.end
        ]
        if not valid:
            raise KeyNotValid(f"no key of the platform is valid at {at}: add one", f"{at} 没有有效的平台密钥：请添加")
        return max(reversed(valid), key=lambda key: key.valid_from)

    def check(self, key: VerifyingKey, at: str, *, witnessed: bool = False) -> None:
        """Raises UnknownKey or KeyNotValid unless `key` may have signed a document at `at`."""
        known = self.key(key.key_id)
        if known.public != key:
            raise UnknownKey(f"key {key.key_id} is not on the keyring", f"密钥 {key.key_id} 不在密钥环上")
        if known.use != DOCUMENTS:
            raise KeyNotValid(f"key {key.key_id} may sign keyrings only", f"密钥 {key.key_id} 只可签署密钥环")
        known.check(at, witnessed=witnessed)

    def verify(
        self,
        document: Document,
        role: str,
        at: str,
        *,
        witnessed: bool = False,
        allowed: Collection[str] | None = None,
    ) -> Document:
        """The body, once the signature of `role` verifies under a key that was valid at `at`.

        Raises BadSignature: UnknownKey, KeyNotValid (see `PlatformKey.check` on `witnessed`), SuiteNotAllowed.
        """
        key = signer(document, role)
        self.check(key, at, witnessed=witnessed)
        return verify(document, role, key, allowed)

    # ---- the rules

    @classmethod
    def _follow(cls, before: Self | None, statement: Any, allowed: Collection[str] | None = None) -> Self:
        if not isinstance(statement, dict) or not isinstance(statement.get("signatures"), list):
            raise KeyringRefused("a statement is a signed document", "声明须为签名文件")
        if len(statement["signatures"]) != 1:
            raise KeyringRefused("a statement has exactly one signature", "声明须恰有一个签名")
        body = verify(statement, ROLE, allowed=allowed)
        keys = _read(body)
        by = signer(statement, ROLE)
        for key in keys:
            if allowed is not None and key.public.suite not in allowed:
                raise SuiteNotAllowed(
                    f"key {key.public.key_id} of the keyring is of suite {key.public.suite}: not accepted here",
                    f"密钥环上的密钥 {key.public.key_id} 属于套件 {key.public.suite}，此处不接受",
                )
        if before is None:
            _check_first(body, keys, by)
        else:
            _check_next(before, body, keys, by, _digest(before.statements[-1], by.suite))
        statements = (*(before.statements if before else ()), statement)
        return cls(body["platform"], tuple(keys), statements)


def _statement(
    platform: str, sequence: int, previous: str | None, at: str, keys: Sequence[PlatformKey], key: SigningKey
) -> Document:
    body = {
        "type": TYPE,
        "version": VERSION,
        "platform": platform,
        "sequence": sequence,
        "previous": previous,
        "issued_at": at,
        "keys": [each.to_json() for each in keys],
    }
    return sign(body, key, ROLE)


def _digest(statement: Document, name: str) -> str:
    """Hash of the whole previous statement, by the hash of the suite that signs the next."""
    return suite(name).digest(canonical(statement)).hex()


def _time(text: object, field: str) -> str:
    try:
        if stamp(parse(text)) != text:
            raise BadTime(f"{text!r}: not in its one form")
    except BadTime as error:
        raise KeyringRefused(f"{field}: {error}", f"{field}：时间格式须如 2026-01-31T08:00:00Z") from error
    assert isinstance(text, str)
    return text


def _read(body: Document) -> list[PlatformKey]:
    if body.keys() != _BODY or body["type"] != TYPE:
        raise KeyringRefused(f"a statement has exactly the fields {', '.join(sorted(_BODY))}")
    if type(body["version"]) is not int or body["version"] != VERSION:
        raise UnknownKeyringVersion(
            f"keyring version {body['version']!r}: {VERSION} is known",
            f"密钥环版本 {body['version']!r} 未知，已知版本 {VERSION}",
        )
    if not isinstance(body["platform"], str) or not body["platform"]:
        raise KeyringRefused("platform: a name is needed", "platform：须填写平台名称")
    if type(body["sequence"]) is not int:
        raise KeyringRefused("sequence: a whole number is needed", "sequence：须为整数")
    _time(body["issued_at"], "issued_at")
    if not isinstance(body["keys"], list) or not body["keys"]:
        raise KeyringRefused("keys: a list of at least one key is needed", "keys：至少须有一个密钥")
    keys = [_read_key(entry, number) for number, entry in enumerate(body["keys"])]
    if len({key.public.key_id for key in keys}) != len(keys):
        raise KeyringRefused("keys: a key stands twice", "keys：密钥重复")
    return keys


def _read_key(entry: Any, number: int) -> PlatformKey:
    where = f"keys[{number}]"
    if not isinstance(entry, dict) or entry.keys() != _KEY:
        raise KeyringRefused(f"{where}: exactly the fields {', '.join(sorted(_KEY))} are needed")
    if entry["use"] not in USES:
        raise KeyringRefused(f"{where}.use: one of {', '.join(USES)} is needed, found {entry['use']!r}")
    if not isinstance(entry["public_key"], str) or not isinstance(entry["suite"], str):
        raise KeyringRefused(f"{where}: public_key and suite are texts")
    public = VerifyingKey.from_b64(entry["public_key"], entry["suite"])
    if entry["key_id"] != public.key_id:
        raise KeyringRefused(f"{where}.key_id: not this key's, which is {public.key_id}")
    for name in ("valid_from", "valid_until"):
        _time(entry[name], f"{where}.{name}")
    for name in ("retired_at", "compromised_at"):
        if entry[name] is not None:
            _time(entry[name], f"{where}.{name}")
    if entry["valid_from"] >= entry["valid_until"]:
        raise KeyringRefused(f"{where}.valid_until: must be after valid_from")
    return PlatformKey(
        public, entry["use"], entry["valid_from"], entry["valid_until"], entry["retired_at"], entry["compromised_at"]
    )


def _check_first(body: Document, keys: Sequence[PlatformKey], by: VerifyingKey) -> None:
    if body["sequence"] != 1 or body["previous"] is not None:
        raise KeyringRefused("the first statement is missing: sequence 1 without a previous one", "缺少首份声明")
    founder = next((key for key in keys if key.public == by), None)
    if founder is None:
        raise KeyringRefused("the first statement is not signed by a key of its own", "首份声明须由其自身密钥签署")
    for key in keys:
        _check_new(key, body["issued_at"])
    founder.check(body["issued_at"])


def _check_new(key: PlatformKey, issued_at: str) -> None:
    # a key that began before its statement could date documents into a time when nobody knew it
    if key.valid_from < issued_at or key.retired_at is not None or key.compromised_at is not None:
        raise KeyringRefused(
            f"key {key.public.key_id}: a new key begins at or after its statement ({issued_at}), neither retired nor "
            "compromised",
            f"密钥 {key.public.key_id}：新密钥的生效时间不得早于声明时间 {issued_at}，且不得已停用或泄露",
        )


def _check_next(before: Keyring, body: Document, keys: Sequence[PlatformKey], by: VerifyingKey, digest: str) -> None:
    issued_at = body["issued_at"]
    if body["platform"] != before.platform:
        raise KeyringRefused(f"platform: {before.platform} expected, found {body['platform']}")
    if body["sequence"] <= before.sequence and body["sequence"] >= 1:
        raise KeyringForked(
            f"statement {body['sequence']} is known already, this is another one", f"第 {body['sequence']} 份声明已存在"
        )
    if body["sequence"] != before.sequence + 1:
        raise KeyringRefused(
            f"statement {body['sequence']} follows {before.sequence}: one is missing",
            f"第 {before.sequence} 份声明之后出现第 {body['sequence']} 份：中间缺失",
        )
    if body["previous"] != digest:
        raise KeyringForked(
            f"statement {body['sequence']} follows another statement {before.sequence} than the one known here",
            f"第 {body['sequence']} 份声明所接续的并非此处已知的第 {before.sequence} 份",
        )
    if issued_at < before.statements[-1]["body"]["issued_at"]:
        raise KeyringRefused("issued_at: before the previous statement", "issued_at：早于上一份声明")
    for old, new in zip(before.keys, keys, strict=False):
        _check_kept(old, new, issued_at)
    if len(keys) < len(before.keys):
        raise KeyringRefused("a key disappeared: keys are retired, never removed", "密钥只可停用，不可删除")
    for key in keys[len(before.keys) :]:
        _check_new(key, issued_at)
    before.key(by.key_id).check(issued_at)
    accused = next(key for key in keys if key.public == by)
    if accused.compromised_at is not None:
        raise KeyNotValid(
            f"key {by.key_id} cannot declare itself compromised: sign with another key of the keyring",
            f"密钥 {by.key_id} 不能声明自身泄露：请用密钥环上的另一密钥签署",
        )


def _check_kept(old: PlatformKey, new: PlatformKey, issued_at: str) -> None:
    named = old.public.key_id
    if replace(new, retired_at=None, compromised_at=None) != replace(old, retired_at=None, compromised_at=None):
        raise KeyringRefused(
            f"key {named}: key, use and time are never changed, and the order of keys stays",
            f"密钥 {named}：密钥、用途与有效期不可更改，次序不变",
        )
    if new.retired_at != old.retired_at and (old.retired_at is not None or (new.retired_at or "") < issued_at):
        raise KeyringRefused(
            f"key {named}: retired once, at or after its statement; a key misused earlier is compromised",
            f"密钥 {named}：只可停用一次，且不得早于声明时间；此前被盗用应声明为泄露",
        )
    if new.compromised_at != old.compromised_at and (
        new.compromised_at is None
        or new.compromised_at > issued_at
        or (old.compromised_at is not None and new.compromised_at > old.compromised_at)
    ):
        raise KeyringRefused(
            f"key {named}: a compromise lies in the past, is never taken back and may only be dated earlier",
            f"密钥 {named}：泄露时间须在过去，不可撤销，只可提前",
        )
