"""Admission: for whom the authority signs leaves."""

from __future__ import annotations

from mesh.connect import identity
from mesh.errors import Denied

REFUSED = ("invalid", "trust_domain", "role", "datacenter", "partition", "spelling")
"""Why a leaf is not signed: no request that can be read, or what is wrong with its identity."""


class NotSigned(Denied):
    """A leaf is asked for an identity that this authority does not vouch for."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"CSR: {message}")
        self.reason = reason


def admitted(uri: str, domain: str, datacenter: str) -> identity.Identity:
    """Whom a leaf is asked for. Raises NotSigned for anybody of another trust domain or datacenter.

    Raises Invalid for what is no identity.
    """
    who = identity.parse(uri)
    if who.trust_domain != domain:
        said = f"trust domain {who.trust_domain}; this authority is of {domain}"
        raise NotSigned("trust_domain", said)
    if who.role not in {"service", "agent", "gateway"}:
        raise NotSigned("role", f"leaves for a {who.role} are not signed")
    if who.datacenter != datacenter:
        said = f"for datacenter {who.datacenter}; this authority is of {datacenter}"
        raise NotSigned("datacenter", said)
    if (who.partition, who.namespace) != ("default", "default"):
        raise NotSigned("partition", "mesh has no partitions and namespaces but the default ones")
    if who.uri != uri:
        raise NotSigned("spelling", f"spelled differently than {who.uri}")
    return who
