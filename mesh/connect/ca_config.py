"""The authority's configuration as users write it, in files or through the API, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from mesh.durations import format_duration, parse_duration
from mesh.errors import Invalid
from mesh.lazily import Lazy
from mesh.registry.authority import HOUR, PEM_MAX_BYTES, Brought, Rules

if TYPE_CHECKING:
    from mesh.connect import keys, signing
else:
    keys = Lazy("mesh.connect.keys")
    signing = Lazy("mesh.connect.signing")

PROVIDER = "consul"
LEAF_TTL_MIN, LEAF_TTL_MAX = HOUR, 8760 * HOUR
ROOT_TTL_MAX = 876000 * HOUR
"""A century: certificates know no year after 9999."""
LEAVES_PER_INTERMEDIATE = 3
SIGN_SECONDS = 60.0
"""How long a signing command may take."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration says."""

    rules: Rules
    brought: Brought = Brought()
    cluster_id: str = ""
    """Pins the trust domain; for the first start only."""
    sign_command: list[str] = []
    """Signs intermediates for a root whose key is elsewhere. Only from a server's own files."""


def _duration(name: str, value: Any) -> float:
    """Text as Go has it, or a number of nanoseconds."""
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except Invalid as error:
            raise Invalid(f"{name}: {error.message}") from error
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        raise Invalid(f"{name}: expected a duration such as 72h")
    return float(value) / 1e9


def _number(name: str, value: Any) -> float:
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not 0 <= found < 1e9:
        raise Invalid(f"{name}: expected a number, 0 or more")
    return found


def _whole(name: str, value: Any) -> int:
    found = _number(name, value)
    if found != int(found):
        raise Invalid(f"{name}: expected a whole number")
    return int(found)


def _switch(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in {"true", "false"}:
        return str(value).lower() == "true"
    raise Invalid(f"{name}: expected true or false")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > PEM_MAX_BYTES:
        raise Invalid(f"{name}: expected a text of at most {PEM_MAX_BYTES} characters")
    return value


_RULES: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "LeafCertTTL": ("leaf_cert_ttl", _duration),
    "IntermediateCertTTL": ("intermediate_cert_ttl", _duration),
    "RootCertTTL": ("root_cert_ttl", _duration),
    "PrivateKeyType": ("private_key_type", _text),
    "PrivateKeyBits": ("private_key_bits", _whole),
    "CSRMaxPerSecond": ("csr_max_per_second", _number),
    "CSRMaxConcurrent": ("csr_max_concurrent", _whole),
    "SkipValidate": ("skip_validate", _switch),
    "DisableCrossSigning": ("disable_cross_signing", _switch),
}
_PEMS = {
    "RootCert": "certificate",
    "PrivateKey": "key",
    "IntermediateCert": "intermediate",
    "IntermediateKey": "intermediate_key",
}
_OTHERS = (*_PEMS, "ClusterID", "SignCommand")
_IGNORED = ("RotationPeriod",)
"""What Consul's files still have; it has no effect there either."""
_NAMES = {name.lower(): name for name in (*_RULES, *_OTHERS, *_IGNORED)}


def read(given: Mapping[str, Any], before: Rules, *, own: bool = False) -> Wanted:
    """What this says, with `before` where it says nothing; `own`: from a server's own files.

    Raises Invalid, naming the key.
    """
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = _NAMES.get(key.replace("_", "").lower())
        if name is None:
            known = ", ".join(sorted({*_RULES, *_OTHERS}))
            raise Invalid(f'Config: unknown key "{key}"; there are {known}')
        if name in found:
            raise Invalid(f"Config: {name} is given twice")
        if value is not None:
            found[name] = value
    rules = {
        field: read(name, found[name]) for name, (field, read) in _RULES.items() if name in found
    }
    wanted = msgspec.structs.replace(before, **rules)
    if not wanted.private_key_bits:
        wanted = msgspec.structs.replace(wanted, private_key_bits=_usual(wanted.private_key_type))
    elif "PrivateKeyType" in found and "PrivateKeyBits" not in found:
        bits = before.private_key_bits
        if wanted.private_key_type != before.private_key_type:
            bits = _usual(wanted.private_key_type)
        wanted = msgspec.structs.replace(wanted, private_key_bits=bits)
    check(wanted)
    brought = Brought(
        **{field: _text(name, found[name]) for name, field in _PEMS.items() if name in found}
    )
    check_brought(brought)
    command = _command(found.get("SignCommand", []), own=own)
    if command and brought.intermediate:
        raise Invalid("SignCommand: gives intermediates itself; leave IntermediateCert out")
    return Wanted(
        rules=wanted,
        brought=brought,
        cluster_id=_cluster_id(found.get("ClusterID", "")),
        sign_command=command,
    )


def _usual(kind: str) -> int:
    return 2048 if kind == "rsa" else 256


def _cluster_id(value: Any) -> str:
    text = _text("ClusterID", value).lower()
    if text and not (
        len(text) <= 63 and all(c.isascii() and (c.isalnum() or c == "-") for c in text)
    ):
        raise Invalid("ClusterID: expected a UUID, or another name of letters, digits and -")
    return text


def _command(value: Any, *, own: bool) -> list[str]:
    if value and not own:
        raise Invalid("SignCommand: a server runs only what its own files name")
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise Invalid("SignCommand: expected a list of words, a program and its arguments")
    return value


def check_brought(brought: Brought) -> None:
    """Raise Invalid for what is no certificate, or a key that is not its own."""
    if brought.certificate:
        _certificates("RootCert", brought.certificate)
    if brought.key:
        keys.read_key(brought.key, suspect=True)
    if brought.key and brought.certificate:
        signing.Signer(brought.certificate, brought.key)
    if not brought.intermediate and not brought.intermediate_key:
        return
    if not brought.intermediate or not brought.intermediate_key:
        raise Invalid("IntermediateCert: goes with IntermediateKey; give both or none")
    if not brought.certificate or brought.key:
        raise Invalid("IntermediateCert: goes with the RootCert that signed it, and no PrivateKey")
    _certificates("IntermediateCert", brought.intermediate)
    keys.read_key(brought.intermediate_key, suspect=True)
    if not signing.same_key(brought.intermediate, brought.intermediate_key):
        raise Invalid("IntermediateKey: is not the key of IntermediateCert")


def _certificates(name: str, pem: str) -> None:
    try:
        signing.split(pem)
    except Invalid as error:
        raise Invalid(f"{name}: {error.message}") from error


def check(rules: Rules) -> None:
    """Raise Invalid, naming the key, for what goes against the limits."""
    leaf, intermediate, root = (
        rules.leaf_cert_ttl,
        rules.intermediate_cert_ttl,
        rules.root_cert_ttl,
    )
    if not LEAF_TTL_MIN <= leaf <= LEAF_TTL_MAX:
        raise Invalid(f"LeafCertTTL: expected 1h to 8760h, got {format_duration(leaf)}")
    if intermediate < LEAVES_PER_INTERMEDIATE * leaf:
        raise Invalid(
            f"IntermediateCertTTL: expected at least {LEAVES_PER_INTERMEDIATE} times LeafCertTTL, "
            f"got {format_duration(intermediate)}"
        )
    if not intermediate <= root <= ROOT_TTL_MAX:
        raise Invalid(
            "RootCertTTL: expected at least IntermediateCertTTL and at most 876000h, "
            f"got {format_duration(root)}"
        )
    keys.check_kind(rules.private_key_type, rules.private_key_bits)


def shown(rules: Rules, root: str = "") -> dict[str, Any]:
    """As the API has it, with the root that was brought, if any, and never with a key."""
    found: dict[str, Any] = {}
    for name, (field, kind) in _RULES.items():
        value = getattr(rules, field)
        if kind is _duration:
            value = _brief(format_duration(value))
        elif kind is _number:
            value = int(value) if value == int(value) else value
        found[name] = value
    return found | ({"RootCert": root} if root else {})


def _brief(duration: str) -> str:
    """72h0m0s as people write it: 72h."""
    for rest in ("m0s", "h0m"):
        if duration.endswith(rest):
            duration = duration[:-2]
    return duration
