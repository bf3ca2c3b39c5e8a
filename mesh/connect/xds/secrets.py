"""Certificates for the mesh, and how listeners and clusters refer to them."""

from __future__ import annotations

import re
from typing import Any

from mesh.connect import identity
from mesh.connect.credentials import Bundle, Leaf
from mesh.connect.identity import Identity
from mesh.connect.xds.blueprint import TlsRules
from mesh.connect.xds.messages import (
    ADS,
    DownstreamTlsContext,
    Secret,
    UpstreamTlsContext,
    any_of,
    resource,
)
from mesh.connect.xds.snapshot import SECRET, Cause, Ref, Resource

LEAF = "leaf"
_VERSIONS = {"TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3"}


def roots_name(trust_domain: str) -> str:
    """The secret with the roots of a trust domain."""
    return f"roots:{trust_domain}"


def refs(bundle: Bundle) -> tuple[Ref, Ref]:
    """What every user of mesh TLS subscribes to."""
    return Ref(SECRET, LEAF), Ref(SECRET, roots_name(bundle.trust_domain))


def leaf_secret(leaf: Leaf) -> Resource:
    """The certificate of the service and its key."""
    certificate = {
        "certificate_chain": {"inline_string": leaf.certificate},
        "private_key": {"inline_string": leaf.key},
    }
    origin = Cause(f"leaf certificate of {leaf.service}")
    return resource(Secret(name=LEAF, tls_certificate=certificate), LEAF, causes=[origin])


def roots_secret(bundle: Bundle) -> Resource:
    """The roots of the trust domain, in order of their ids."""
    pems = "".join(f"{bundle.roots[one].strip()}\n" for one in sorted(bundle.roots))
    name = roots_name(bundle.trust_domain)
    found = Secret(name=name, validation_context={"trusted_ca": {"inline_string": pems}})
    return resource(found, name, causes=[Cause("CA roots")])


def inbound(bundle: Bundle, rules: TlsRules, alpn: list[str]) -> dict[str, Any]:
    """The transport socket of a listener for services of the trust domain, and nobody else."""
    own = {"prefix": f"spiffe://{bundle.trust_domain}/ns/"}
    context = _context(bundle, rules, [{"san_type": "URI", "matcher": own}])
    context["alpn_protocols"] = alpn
    tls = DownstreamTlsContext(
        common_tls_context=context, require_client_certificate={"value": True}
    )
    return {"name": "tls", "typed_config": any_of(tls)}


def outbound(bundle: Bundle, rules: TlsRules, server_name: str, who: Identity) -> dict[str, Any]:
    """The transport socket of a cluster whose endpoints prove to be this service."""
    context = _context(bundle, rules, [{"san_type": "URI", "matcher": _matcher(who)}])
    tls = UpstreamTlsContext(common_tls_context=context, sni=server_name)
    return {"name": "tls", "typed_config": any_of(tls)}


def _matcher(who: Identity) -> dict[str, Any]:
    """Its leaf has its name as it was registered, in whatever case."""
    if who.name.isascii():
        return {"exact": who.uri, "ignore_case": True}
    front = re.escape(who.uri[: who.uri.rindex("/") + 1])
    return {"safe_regex": {"regex": f"{front}(?i:{identity.name_pattern(who.name)})"}}


def _context(bundle: Bundle, rules: TlsRules, names: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "tls_params": _parameters(rules),
        "tls_certificate_sds_secret_configs": [{"name": LEAF, "sds_config": ADS}],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": names},
            "validation_context_sds_secret_config": {
                "name": roots_name(bundle.trust_domain),
                "sds_config": ADS,
            },
        },
    }


def _parameters(rules: TlsRules) -> dict[str, Any]:
    found: dict[str, Any] = {"cipher_suites": rules.ciphers}
    if rules.version_min in _VERSIONS:
        found["tls_minimum_protocol_version"] = rules.version_min
    if rules.version_max in _VERSIONS:
        found["tls_maximum_protocol_version"] = rules.version_max
    return found
