"""meshctl connect proxy: the built-in proxy, for machines without Envoy."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from mesh.cli.command import OK, Command, Example
from mesh.cli.connect_running import Running
from mesh.cli.connect_sidecar import EVERYWHERE, LOOPBACK, Sidecar, Upstream, described, find
from mesh.cli.flags import Flag, Parsed, Usage
from mesh.cli.invocation import Invocation
from mesh.client import agent, proxies
from mesh.client.shapes import Service
from mesh.connect.proxy import Target
from mesh.errors import Invalid, MeshError, NotFound
from mesh.telemetry.logs import LEVELS, set_up

log = logging.getLogger(__name__)

ANY_ADDRESS = {"", "0.0.0.0", "::"}  # noqa: S104  # To be told apart, not bound.
DRAIN_SECONDS = 10
STOP_SECONDS = 600.0
"""How long the agent may take to drain its Envoy and stop it."""
TRIES, TRY_SECONDS = 25, 0.2
"""How long a sidecar may be unknown that was registered just now."""
UNIX = "unix://"


def proxy(invocation: Invocation) -> int:
    """Be the proxy until SIGINT or SIGTERM; a second one ends it at once."""
    parsed, client = invocation.parsed, invocation.client
    level = parsed.text("log-level") or "INFO"
    plan = _plan(invocation)
    set_up(level, as_json=parsed.switch("log-json"), stream=invocation.out.stderr)
    registration = _Registration(invocation, plan)
    if plan.proxy_id:
        registration.keep()  # Before we listen, where somebody else may still do.
    given = _given(parsed)
    running = Running(plan, client.settings, registration, partial(_revised, given))
    drain = parsed.number("drain-time")
    try:
        asyncio.run(running.run(DRAIN_SECONDS if drain is None else drain))
    finally:
        registration.leave()
        running.close()
    return OK


# What it is to do


def _plan(invocation: Invocation) -> Sidecar:
    parsed = invocation.parsed
    by_id, instance = parsed.text("proxy-id"), parsed.text("sidecar-for")
    if bool(by_id or instance) == bool(parsed.text("service")):
        raise Usage("connect proxy: say --sidecar-for ID, --proxy-id ID, or --service NAME")
    if by_id and instance:
        raise Usage("connect proxy: --sidecar-for and --proxy-id name the proxy; give one of them")
    if by_id or instance:
        plan = find(invocation.client.agent.services(), instance, by_id)
    else:
        plan = Sidecar(service=parsed.text("service"))
    plan = msgspec.structs.replace(plan, **_given(parsed))
    _check(plan, parsed)
    return plan


def _given(parsed: Parsed) -> dict[str, Any]:
    """What flags say, whatever the registration does."""
    given: dict[str, Any] = {}
    if text := parsed.text("listen"):
        given["listen"] = _address("listen", text, EVERYWHERE)
    if text := parsed.text("service-addr"):
        given["target"] = _target(text)
    if parsed.many("upstream"):
        given["upstreams"] = [_upstream(text) for text in parsed.many("upstream")]
    if text := parsed.text("metrics-bind"):
        given["metrics"] = _address("metrics-bind", text, LOOPBACK)
    if (most := parsed.number("max-connections")) is not None:
        given["most"] = int(most)
    return given


def _revised(given: dict[str, Any], service: Service) -> Sidecar:
    """What is wanted by a registration that has changed. Raises Invalid."""
    return msgspec.structs.replace(described(service), **given)


def _check(plan: Sidecar, parsed: Parsed) -> None:
    if plan.listen is not None and not plan.target.port and not plan.target.path:
        raise Usage("--listen needs --service-addr: where the application is")
    if plan.listen is None and not plan.upstreams:
        raise Usage("connect proxy: say --listen, or --upstream, or there is nothing to do")
    if parsed.switch("register") and (plan.proxy_id or plan.listen is None):
        raise Usage("--register goes with --service and --listen; a sidecar is registered already")


def _address(flag: str, text: str, default: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise Usage(f'--{flag}: expected address:port, got "{text}"')
    return host.strip("[]") or default, int(port)


def _target(text: str) -> Target:
    if text.startswith(UNIX):
        return Target(path=text.removeprefix(UNIX))
    host, port = _address("service-addr", text, LOOPBACK)
    return Target(host, port)


def _upstream(text: str) -> Upstream:
    """`name:port`, `name:address:port`, `name:unix:///path`; after the name may be @datacenter."""
    name, colon, where = text.partition(":")
    name, _, datacenter = name.partition("@")
    if not colon or not name:
        raise Usage(f'--upstream: expected name:port, got "{text}"')
    if where.startswith(UNIX):
        return Upstream(name, "", 0, datacenter, where.removeprefix(UNIX))
    try:
        host, port = _address("upstream", where if ":" in where else f":{where}", LOOPBACK)
    except Usage as error:
        expected = "name:address:port" if ":" in where else "name:port"
        raise Usage(f'--upstream: expected {expected}, got "{text}"') from error
    return Upstream(name, host, port, datacenter)


# Who knows of it


class _Registration:
    """The proxy as the agent knows it: registered if asked for, and no business of its Envoys."""

    def __init__(self, invocation: Invocation, plan: Sidecar) -> None:
        self._client, self._proxy = invocation.client, plan.proxy_id
        self._body: dict[str, Any] | None = None
        if invocation.parsed.switch("register"):
            assert plan.listen is not None, "checked before"
            self._body = _registered(plan.service, plan.listen, invocation.parsed)

    def keep(self) -> None:
        """See to it, again and again: an agent that was started anew may have forgotten."""
        if self._proxy:
            self._take_over()
        if self._body is not None and self._body["ID"] not in self._client.agent.services():
            self._client.run(agent.register(self._body))

    def _take_over(self) -> None:
        """Have the agent stop an Envoy that it runs for this sidecar: there is one port.

        Said even if it runs none: it may be about to start one for a sidecar that is just
        registered, of which its keeper of proxies hears a moment later.
        """
        stop = proxies.manage(self._proxy, enable=False)
        stop = msgspec.structs.replace(stop, wait_seconds=STOP_SECONDS)
        why = ""
        for _ in range(TRIES):
            try:
                self._client.run(stop)
            except (NotFound, Invalid) as error:  # Also of an agent that is just starting.
                why = error.message
                time.sleep(TRY_SECONDS)
            else:
                return
        log.warning("the agent was not told to leave %s alone: %s", self._proxy, why)

    def leave(self) -> None:
        """Have nobody new sent here."""
        body, self._body = self._body, None
        if body is not None:
            with suppress(MeshError):  # Its check fails soon in any case.
                self._client.agent.deregister(body["ID"])


def _registered(service: str, listen: tuple[str, int], parsed: Parsed) -> dict[str, Any]:
    host, port = listen
    name, more = f"{service}-proxy", parsed.text("register-id")
    everywhere = host in ANY_ADDRESS
    checked = LOOPBACK if everywhere else host
    return {
        "ID": f"{name}-{more}" if more else name,
        "Name": name,
        "Kind": "connect-proxy",
        "Port": port,
        "Address": "" if everywhere else host,
        "Proxy": {"DestinationServiceName": service},
        "Check": {
            "Name": "Built-in proxy listening",
            "TCP": f"[{checked}]:{port}" if ":" in checked else f"{checked}:{port}",
            "Interval": "10s",
        },
    }


COMMANDS = {
    "connect proxy": Command(
        proxy,
        about="Be a sidecar: mutual TLS before a service and on its way to others, with the\n"
        "agent's certificates, and intentions enforced on every connection, also on those that\n"
        "are open when one changes. It follows its registration, and counts what it refuses. It\n"
        "knows no requests: use Envoy for HTTP intentions and retries. It ends by Ctrl-C, once\n"
        "open connections have ended.",
        examples=(
            Example("connect proxy --sidecar-for payments", "Be a registered sidecar"),
            Example(
                "connect proxy --service payments --listen :21000 --service-addr :9090 --register",
                "Let others in to payments, and have it found",
            ),
            Example("connect proxy --service web --upstream payments:9191", "Call payments as web"),
        ),
        flags=(
            Flag("sidecar-for", "be the sidecar of the instance with this id", value="ID"),
            Flag("proxy-id", "be the proxy with this id", value="ID"),
            Flag("service", "the service that it stands for, without a registration"),
            Flag("listen", "where others come in: address:port", value="ADDRESS"),
            Flag("service-addr", "where the application is: address:port, or unix:///path"),
            Flag(
                "upstream",
                "a service to call, and where: name[@datacenter]:[address:]port, or unix:///path",
                "list",
            ),
            Flag("register", "register it with the agent meanwhile", "switch"),
            Flag("register-id", "what to add to its id, for several of a service", value="TEXT"),
            Flag("max-connections", "how many the application gets at a time at most", "number"),
            Flag(
                "metrics-bind",
                "where Prometheus finds figures: [address:]port; loopback if not told",
                value="ADDRESS",
            ),
            Flag("drain-time", "how long open connections may take to end", "number", "SECONDS"),
            Flag("log-level", "what to log", value="LEVEL", choices=tuple(LEVELS)),
            Flag("log-json", "log JSON", "switch"),
        ),
    ),
}
