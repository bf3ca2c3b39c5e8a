"""Calls about the servers and their log: who votes, how they fare, what became of a request."""

from __future__ import annotations

from typing import TypeVar

from mesh import codec
from mesh.client.call import Answer, Call, ReadOptions, deciding, decode_json, path_of, reading
from mesh.client.shapes import (
    AutopilotHealth,
    AutopilotSettings,
    AutopilotState,
    Keyring,
    Outcome,
    RaftConfiguration,
    RaftStatus,
    Transferred,
    Upgrade,
)
from mesh.client.shapes_tls import Revoked
from mesh.client.shapes_usage import Usage

T = TypeVar("T")
LATEST = ReadOptions()
CHANGE_SECONDS = 30.0
"""A change of the voters takes an election's time; it must not be given up earlier."""

POOL_SECONDS = 60.0
"""Members of a large pool are asked for longer than a server is."""


def raft_configuration(*, stale: bool = False, datacenter: str = "") -> Call[RaftConfiguration]:
    """The servers that keep the log, voters first. With stale any server answers."""
    return _asking("/v1/operator/raft/configuration", RaftConfiguration, stale, dc=datacenter)


def raft_status(server: str = "", *, stale: bool = False, datacenter: str = "") -> Call[RaftStatus]:
    """The figures of every server's log, or of one, by its id or name."""
    return _asking("/v1/operator/raft/status", RaftStatus, stale, server=server, dc=datacenter)


def add_peer(server: str = "", *, address: str = "", datacenter: str = "") -> Call[None]:
    """Give a server that follows the log a vote, by its id or name, or its address."""
    return _changing("PUT", server, address, datacenter)


def remove_peer(server: str = "", *, address: str = "", datacenter: str = "") -> Call[None]:
    """Take a server's vote, by its id or name, or its address. It gets none again by itself."""
    return _changing("DELETE", server, address, datacenter)


def transfer_leader(server: str = "", *, datacenter: str = "") -> Call[Transferred]:
    """Hand leadership to a voter, by its id or name; to the fittest when empty."""
    return Call(
        method="POST",
        path="/v1/operator/raft/transfer-leader",
        decode=lambda response: decode_json(response.body, Transferred),
        params=_given(id=server, dc=datacenter),
        wait_seconds=CHANGE_SECONDS,
    )


def autopilot_settings(options: ReadOptions = LATEST) -> Call[Answer[AutopilotSettings]]:
    """How the leader cares for the servers."""
    return reading("/v1/operator/autopilot/configuration", AutopilotSettings, options)


def set_autopilot_settings(
    settings: AutopilotSettings, *, cas: int | None = None, datacenter: str = ""
) -> Call[bool]:
    """Write the settings. With cas only if their modify index is that; False when it is not."""
    params = _given(cas="" if cas is None else str(cas), dc=datacenter)
    body = codec.to_json(settings)
    return deciding("PUT", "/v1/operator/autopilot/configuration", params, body)


def autopilot_health(*, datacenter: str = "") -> Call[AutopilotHealth]:
    """How each server fares."""
    path = "/v1/operator/autopilot/health"
    return Call(
        method="GET",
        path=path,
        decode=lambda response: decode_json(response.body, AutopilotHealth),
        params=_given(dc=datacenter),
        accepts=(200, 429),
    )


def autopilot_state(*, datacenter: str = "") -> Call[AutopilotState]:
    """How each server fares, who votes, and what autopilot did last."""
    return _asking("/v1/operator/autopilot/state", AutopilotState, stale=False, dc=datacenter)


def keyring(*, relay_factor: int = 0, local_only: bool = False) -> Call[list[Keyring]]:
    """The keys of each pool, and how many members have them."""
    local = (("local-only", "true"),) if local_only else ()
    return Call(
        method="GET",
        path="/v1/operator/keyring",
        decode=lambda response: decode_json(response.body, list[Keyring]),
        params=(*_relayed(relay_factor), *local),
        wait_seconds=POOL_SECONDS,
    )


def install_key(key: str, *, relay_factor: int = 0) -> Call[None]:
    """Give every member this key, in base64, beside those it has."""
    return _keyed("POST", key, relay_factor)


def use_key(key: str, *, relay_factor: int = 0) -> Call[None]:
    """Have every member encrypt with this key, which all must have."""
    return _keyed("PUT", key, relay_factor)


def remove_key(key: str, *, relay_factor: int = 0) -> Call[None]:
    """Take this key from every member. It must not be the one in use."""
    return _keyed("DELETE", key, relay_factor)


def request(key: str, since: int | None = None, *, datacenter: str = "") -> Call[Outcome]:
    """What became of the request with this Idempotency-Key.

    `since` is a log index known before it was first made, as an OutcomeUnknown has it; without it
    nothing can be said of requests that are not remembered.
    """
    return Call(
        method="GET",
        path=path_of("operator/request", key),
        decode=lambda response: decode_json(response.body, Outcome),
        params=_given(since="" if since is None else str(since), dc=datacenter),
    )


def cancel(key: str, since: int, *, datacenter: str = "") -> Call[Outcome]:
    """Make sure that the request is not applied any more; what became of it."""
    return Call(
        method="DELETE",
        path=path_of("operator/request", key),
        decode=lambda response: decode_json(response.body, Outcome),
        params=_given(since=str(since), dc=datacenter),
    )


def usage(*, everywhere: bool = False, datacenter: str = "") -> Call[Usage]:
    """How much is registered in a datacenter, or in each."""
    params = _given(dc=datacenter) + ((("global", ""),) if everywhere else ())
    return Call(
        method="GET",
        path="/v1/operator/usage",
        decode=lambda response: decode_json(response.body, Usage),
        params=params,
    )


def upgrade() -> Call[Upgrade]:
    """The cluster's feature level, and who keeps it from rising."""
    return Call(
        method="GET",
        path="/v1/operator/upgrade",
        decode=lambda response: decode_json(response.body, Upgrade),
    )


def finalize() -> Call[Upgrade]:
    """Raise the feature level, for good, as far as every server speaks it."""
    return Call(
        method="PUT",
        path="/v1/operator/upgrade/finalize",
        decode=lambda response: decode_json(response.body, Upgrade),
        body=b"",
    )


def _keyed(method: str, key: str, relay_factor: int) -> Call[None]:
    return Call(
        method=method,
        path="/v1/operator/keyring",
        decode=lambda _: None,
        params=_relayed(relay_factor),
        body=codec.to_json({"Key": key}),
        wait_seconds=POOL_SECONDS,
    )


def _relayed(factor: int) -> tuple[tuple[str, str], ...]:
    return (("relay-factor", str(factor)),) if factor else ()


def _asking(path: str, kind: type[T], stale: bool, **params: str) -> Call[T]:
    return Call(
        method="GET",
        path=path,
        decode=lambda response: decode_json(response.body, kind),
        params=(*((("stale", ""),) if stale else ()), *_given(**params)),
    )


def _changing(method: str, server: str, address: str, datacenter: str) -> Call[None]:
    return Call(
        method=method,
        path="/v1/operator/raft/peer",
        decode=lambda _: None,
        params=_given(id=server, address=address, dc=datacenter),
        body=b"" if method == "PUT" else None,
        wait_seconds=CHANGE_SECONDS,
    )


def _given(**params: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in params.items() if value)


def revoked(options: ReadOptions = LATEST) -> Call[Answer[list[Revoked]]]:
    """Certificates of nodes that servers refuse."""
    return reading("/v1/operator/tls/revoked", list[Revoked], options)


def revoke(
    *,
    certificate: str = "",
    serial: str = "",
    reason: str = "",
    force: bool = False,
    datacenter: str = "",
) -> Call[Revoked]:
    """Have servers refuse a certificate: itself in PEM form, or its serial number.

    With force even that of the node that is asked or of the leader, or without which no majority
    of the servers is left.
    """
    fields = {
        "Certificate": certificate,
        "SerialNumber": serial,
        "Reason": reason,
        "Force": force,
    }
    return Call(
        method="PUT",
        path="/v1/operator/tls/revoked",
        decode=lambda response: decode_json(response.body, Revoked),
        params=_given(dc=datacenter),
        body=codec.to_json({name: value for name, value in fields.items() if value}),
    )


def unrevoke(serial: str, *, issuer: str = "", datacenter: str = "") -> Call[bool]:
    """Have servers believe a certificate again; False when it was not revoked."""
    params = _given(serial=serial, issuer=issuer, dc=datacenter)
    return deciding("DELETE", "/v1/operator/tls/revoked", params)
