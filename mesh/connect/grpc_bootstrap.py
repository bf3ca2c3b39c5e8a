"""The bootstrap of a gRPC program: who it is, who configures it, and where its certificates lie."""

from __future__ import annotations

from typing import Any

import msgspec

PREFIX = "grpc:"
"""Before the name of a service, the node id of its programs."""
CERTIFICATES = "mesh"
"""The certificate provider that configurations name."""
SERVER_LISTENER = "grpc/server?xds.resource.listening_address=%s"
"""What a server asks for that listens on %s."""
REFRESH_SECONDS = 5
"""How often a program looks at its certificate files."""
CERTIFICATE, KEY, ROOTS = "certificate.pem", "key.pem", "roots.pem"


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """What it is made of."""

    service: str
    node: str
    datacenter: str
    agent: str
    """Where xDS is served: unix:/path, or address:port."""
    folder: str
    """Where the certificate files are."""


def bootstrap(given: Bootstrap) -> dict[str, Any]:
    """What GRPC_XDS_BOOTSTRAP is to name as a file (gRFC A27, A29, A36)."""
    files = {
        "certificate_file": f"{given.folder}/{CERTIFICATE}",
        "private_key_file": f"{given.folder}/{KEY}",
        "ca_certificate_file": f"{given.folder}/{ROOTS}",
        "refresh_interval": f"{REFRESH_SECONDS}s",
    }
    return {
        "xds_servers": [
            {
                "server_uri": given.agent,
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3", "ignore_resource_deletion"],
            }
        ],
        "node": {
            "id": f"{PREFIX}{given.service}",
            "cluster": given.service,
            "locality": {"region": given.datacenter},
            "metadata": {"node_name": given.node},
        },
        "certificate_providers": {CERTIFICATES: {"plugin_name": "file_watcher", "config": files}},
        "server_listener_resource_name_template": SERVER_LISTENER,
    }
