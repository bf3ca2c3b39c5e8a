"""Calls about the mesh's certificate authority: its roots, leaves, and how it is set up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from mesh import codec
from mesh.client.call import Answer, Call, ReadOptions, decode_json, path_of, reading
from mesh.client.shapes import Shape

T = TypeVar("T")
LATEST = ReadOptions()
_NONE: Mapping[str, str] = {}
KEY_SECONDS = 60.0
"""An RSA key may take some seconds, a signing command up to a minute."""


class Root(Shape, frozen=True):
    """A root, and what leads from leaves to it."""

    id: str = ""
    name: str = ""
    serial_number: int = 0
    signing_key_id: str = ""
    not_before: str = ""
    not_after: str = ""
    root_cert: str = ""
    intermediate_certs: list[str] = []
    active: bool = False
    private_key_type: str = ""
    private_key_bits: int = 0
    create_index: int = 0
    modify_index: int = 0


class Roots(Shape, frozen=True):
    """The roots that workloads believe."""

    active_root_id: str = ""
    trust_domain: str = ""
    roots: list[Root] = []


class Leaf(Shape, frozen=True):
    """A service's certificate with the intermediates, and its private key; PEM."""

    serial_number: str = ""
    cert_pem: str = ""
    private_key_pem: str = ""
    service: str = ""
    service_uri: str = ""
    valid_after: str = ""
    valid_before: str = ""
    create_index: int = 0
    modify_index: int = 0


class Configuration(Shape, frozen=True):
    """How the authority is set up."""

    provider: str = "consul"
    config: dict[str, Any] = {}
    force_without_cross_signing: bool = False
    create_index: int = 0
    modify_index: int = 0


class RootProgress(Shape, frozen=True):
    """A root; how many workloads believe it, and how many have a leaf under it."""

    id: str = ""
    standing: str = ""
    believed: int = 0
    leaves: int = 0


class Rotation(Shape, frozen=True):
    """How far a rotation has come, and for whom the next step waits."""

    phase: str = ""
    workloads: int = 0
    roots: list[RootProgress] = []
    waiting: list[str] = []
    next: str = ""


class Step(Shape, frozen=True):
    """What a step of a rotation came to."""

    root_id: str = ""
    dropped: list[str] = []
    next: str = ""


def roots(options: ReadOptions = LATEST) -> Call[Answer[Roots]]:
    """The roots, as the servers have them."""
    return reading("/v1/connect/ca/roots", Roots, options)


def leaf(service: str, options: ReadOptions = LATEST) -> Call[Answer[Leaf]]:
    """The certificate of a service on the agent's node; the first one is made."""
    return reading(path_of("agent/connect/ca/leaf", service), Leaf, options)


def reissue(service: str) -> Call[Leaf]:
    """Have the certificate of a service on the agent's node renewed now."""
    path = f"{path_of('agent/connect/ca/leaf', service)}/reissue"
    return _asking("POST", path, Leaf)


def configuration(options: ReadOptions = LATEST) -> Call[Answer[Configuration]]:
    """How the authority is set up; private keys are not shown."""
    return reading("/v1/connect/ca/configuration", Configuration, options)


def configure(
    config: dict[str, Any],
    *,
    provider: str = "consul",
    force_without_cross_signing: bool = False,
    datacenter: str = "",
) -> Call[None]:
    """Set it up differently; what is not given stays. Other keys rotate the root."""
    body = {
        "Provider": provider,
        "Config": config,
        "ForceWithoutCrossSigning": force_without_cross_signing,
    }
    return Call(
        method="PUT",
        path="/v1/connect/ca/configuration",
        decode=lambda _: None,
        params=_given({"dc": datacenter}),
        body=codec.to_json(body),
        wait_seconds=KEY_SECONDS,
    )


def rotation(options: ReadOptions = LATEST) -> Call[Answer[Rotation]]:
    """How far a rotation has come."""
    return reading("/v1/connect/ca/rotation", Rotation, options)


def prepare(config: dict[str, Any] | None = None, *, datacenter: str = "") -> Call[Step]:
    """Make the next root, which every workload is to believe beside the present one."""
    body = codec.to_json({"Config": config or {}})
    return _asking("PUT", "/v1/connect/ca/rotation/prepare", Step, {"dc": datacenter}, body)


def activate(*, threshold: float = 1.0, force: bool = False, datacenter: str = "") -> Call[Step]:
    """Sign under the prepared root, once this share of the workloads believes it."""
    given = {"threshold": f"{threshold:g}", "force": "true" if force else "", "dc": datacenter}
    return _asking("PUT", "/v1/connect/ca/rotation/activate", Step, given)


def retire(*, threshold: float = 1.0, force: bool = False, datacenter: str = "") -> Call[Step]:
    """Believe past roots no longer, once this share of the workloads needs none."""
    given = {"threshold": f"{threshold:g}", "force": "true" if force else "", "dc": datacenter}
    return _asking("PUT", "/v1/connect/ca/rotation/retire", Step, given)


def recover(*, force: bool = False, datacenter: str = "") -> Call[Step]:
    """Begin with a new root, because the present one has expired."""
    given = {"force": "true" if force else "", "dc": datacenter}
    return _asking("PUT", "/v1/connect/ca/recover", Step, given)


def _asking(
    method: str,
    path: str,
    kind: type[T],
    given: Mapping[str, str] = _NONE,
    body: bytes | None = None,
) -> Call[T]:
    return Call(
        method=method,
        path=path,
        decode=lambda response: decode_json(response.body, kind),
        params=_given(given),
        body=body,
        wait_seconds=KEY_SECONDS,
    )


def _given(pairs: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in pairs.items() if value)
