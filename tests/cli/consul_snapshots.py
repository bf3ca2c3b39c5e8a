"""Makes snapshot files as Consul's documentation and field names have them.

There is no Consul here to make them. This writes the format with the standard library's tar and
gzip and the msgpack package, and shares nothing with the reader that is tested with it; what both
may have misunderstood alike it cannot show.
"""

from __future__ import annotations

import io
import json
import tarfile
from hashlib import sha256
from typing import Any

import msgpack

SESSION = "5a9f6c1e-6d0c-4d3e-8b07-0f6a1c6f9e11"
QUERY = "0e1f2d3c-4b5a-4978-8695-a4b3c2d1e0f9"
NODE_ID = "4d9ea2b1-9f0e-4a6c-8c1a-33d0cf0b7a10"


def _packed(value: Any) -> bytes:
    """As Go's codec of old packs it: text and bytes alike, no bin type."""
    data: bytes = msgpack.packb(value, use_bin_type=False)
    return data


def register(node: str, **inside: Any) -> tuple[int, bytes]:
    """A node, with a `Service` or a `Check`."""
    body = {
        "Datacenter": "dc1",
        "ID": inside.pop("ID", ""),
        "Node": node,
        "Address": "10.0.0.1",
        "TaggedAddresses": {"lan": "10.0.0.1", "wan": "10.0.0.1"},
        "NodeMeta": {"consul-network-segment": "", "rack": "r1"},
        "Service": None,
        "Check": None,
        "Checks": None,
        "SkipNodeUpdate": False,
        "PeerName": "",
        "CreateIndex": 5,
        "ModifyIndex": 6,
        "Token": "",
        **inside,
    }
    return 0, _packed(body)


def service(name: str, number: str = "", **fields: Any) -> dict[str, Any]:
    return {
        "Kind": "",
        "ID": number or name,
        "Service": name,
        "Tags": ["v1"],
        "Address": "",
        "TaggedAddresses": None,
        "Meta": {"team": "a"},
        "Port": 8080,
        "SocketPath": "",
        "Weights": {"Passing": 5, "Warning": 0},
        "EnableTagOverride": False,
        "Proxy": {
            "DestinationServiceName": "",
            "Config": None,
            "Upstreams": None,
            "MeshGateway": {"Mode": ""},
        },
        "Connect": {"Native": False, "SidecarService": None},
        "CreateIndex": 7,
        "ModifyIndex": 7,
        **fields,
    }


def check(number: str, status: str, service_id: str = "") -> dict[str, Any]:
    return {
        "Node": "n1",
        "CheckID": number,
        "Name": f"check {number}",
        "Status": status,
        "Notes": "",
        "Output": "HTTP GET: 200 OK",
        "ServiceID": service_id,
        "ServiceName": service_id,
        "ServiceTags": ["v1"],
        "Type": "http",
        "Interval": "10s",
        "Timeout": "1s",
        "ExposedPort": 0,
        "Definition": {"HTTP": "http://10.0.0.1/", "Interval": 10_000_000_000, "TCP": ""},
        "CreateIndex": 8,
        "ModifyIndex": 8,
    }


def key(name: str, value: bytes | None, session: str = "") -> tuple[int, bytes]:
    body = {
        "LockIndex": 3 if session else 0,
        "Key": name,
        "Flags": 2**63 + 5,
        "Value": value,
        "Session": session,
        "CreateIndex": 9,
        "ModifyIndex": 10,
    }
    return 2, _packed(body)


def session(node: str = "n1") -> tuple[int, bytes]:
    body = {
        "ID": SESSION,
        "Name": "leader of batch",
        "Node": node,
        "LockDelay": 15_000_000_000,
        "Behavior": "release",
        "TTL": "",
        "NodeChecks": ["serfHealth"],
        "ServiceChecks": None,
        "Checks": None,
        "CreateIndex": 11,
        "ModifyIndex": 11,
    }
    return 3, _packed(body)


def query() -> tuple[int, bytes]:
    body = {
        "ID": QUERY,
        "Name": "nearest-web",
        "Session": "",
        "Token": "",
        "Template": {"Type": "", "Regexp": "", "RemoveEmptyTags": False},
        "Service": {
            "Service": "web",
            "Failover": {"NearestN": 2, "Datacenters": ["dc2"], "Targets": None},
            "OnlyPassing": True,
            "IgnoreCheckIDs": None,
            "Near": "_agent",
            "Tags": ["v1"],
            "NodeMeta": None,
            "ServiceMeta": None,
            "Connect": False,
        },
        "DNS": {"TTL": "10s"},
        "CreateIndex": 12,
        "ModifyIndex": 12,
    }
    return 7, _packed(body)


def config_entry() -> tuple[int, bytes]:
    """It packs itself: the kind, then the request, both within one text of bytes."""
    body = {
        "Op": "",
        "Datacenter": "",
        "Entry": {
            "Kind": "service-resolver",
            "Name": "web",
            "DefaultSubset": "v1",
            "Subsets": {"v1": {"Filter": "Service.Meta.v == 1", "OnlyPassing": False}},
            "Redirect": None,
            "ConnectTimeout": 5_000_000_000,
            "Meta": None,
            "Hash": 1234,
            "CreateIndex": 13,
            "ModifyIndex": 13,
        },
        "Token": "",
    }
    return 22, _packed(_packed("service-resolver") + _packed(body))


def coordinates(node: str = "n1") -> tuple[int, bytes]:
    coord = {"Vec": [0.001] * 8, "Error": 0.5, "Adjustment": 0.0, "Height": 1e-5}
    return 6, _packed([{"Node": node, "Segment": "", "Coord": coord, "Partition": ""}])


def autopilot() -> tuple[int, bytes]:
    body = {
        "CleanupDeadServers": True,
        "LastContactThreshold": 300_000_000,
        "MaxTrailingLogs": 500,
        "MinQuorum": 0,
        "ServerStabilizationTime": 20_000_000_000,
        "RedundancyZoneTag": "",
        "DisableUpgradeMigration": False,
        "UpgradeVersionTag": "",
        "CreateIndex": 2,
        "ModifyIndex": 2,
    }
    return 9, _packed(body)


LEFT_OUT = (
    (5, _packed({"Key": "deleted", "ModifyIndex": 4})),
    (16, _packed({"Key": "kvs", "Value": 10})),
    (17, _packed({"AccessorID": "a", "SecretID": "s"})),
    (19, _packed({"ID": "p", "Name": "policy"})),
    (13, _packed({"ID": "root", "RootCert": "-----BEGIN"})),
    (31, _packed({"Key": "intention-format", "Value": "config-entry"})),
    (35, _packed(b"\x0a\x04\xff\xfe\xfd\xfc")),
    (99, _packed({"Some": "thing of a later Consul"})),
)


def typical() -> list[tuple[int, bytes]]:
    """One of everything, in the order in which Consul writes it."""
    return [
        register("n1", ID=NODE_ID),
        register("n1", ID=NODE_ID, Service=service("web")),
        register("n1", ID=NODE_ID, Service=service("consul")),
        register("n1", ID=NODE_ID, Check=check("serfHealth", "passing")),
        register("n1", ID=NODE_ID, Check=check("up", "warning", "web")),
        register("far", PeerName="other"),
        coordinates(),
        session(),
        key("app/config", b"\xff\x00\xfe not text"),
        key("app/empty", None),
        key("lock/batch", b"held", SESSION),
        query(),
        autopilot(),
        config_entry(),
        *LEFT_OUT,
    ]


def state(records: list[tuple[int, bytes]]) -> bytes:
    head = _packed({"LastIndex": 4711})
    return head + b"".join(bytes([kind]) + body for kind, body in records)


def snapshot(records: list[tuple[int, bytes]]) -> bytes:
    """The file."""
    meta = {
        "Version": 1,
        "ID": "2-4711-1600000000000",
        "Index": 4711,
        "Term": 2,
        "Peers": "kQ==",
        "Configuration": {"Servers": [{"Suffrage": 0, "ID": "a", "Address": "10.0.0.9:8300"}]},
        "ConfigurationIndex": 1,
        "Size": 0,
    }
    parts = {"meta.json": json.dumps(meta).encode(), "state.bin": state(records)}
    sums = "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in parts.items())
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in (parts | {"SHA256SUMS": sums.encode()}).items():
            head = tarfile.TarInfo(name)
            head.size = len(data)
            tar.addfile(head, io.BytesIO(data))
    return packed.getvalue()
