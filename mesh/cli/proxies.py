"""meshctl proxy, and meshctl connect envoy: sidecars, what they were told, and running one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.flags import Argument, Flag, Parsed, Usage
from mesh.cli.invocation import Invocation
from mesh.client.proxies import Proxy
from mesh.connect import binary
from mesh.connect.launcher import Options
from mesh.errors import MeshError, NotFound

COLUMNS = ("Proxy", "Service", "Port", "Envoy", "Process", "Version", "Configuration")
HOT_RESTART = ("--restart-epoch", "--base-id", "--use-dynamic-base-id", "--hot-restart-version")
ADMIN = "127.0.0.1:19000"


def listing(invocation: Invocation) -> int:
    """The proxies of the agent."""
    found = invocation.client.proxies.every()
    if not found and not invocation.out.as_json:
        invocation.out.lines([], ["No proxy is registered with this agent."])
        return OK
    invocation.out.table(found, COLUMNS, [_row(proxy) for proxy in found])
    return OK


def status(invocation: Invocation) -> int:
    """One proxy: its Envoy, what it was told, and what it refused. Exit 1 if not all is well."""
    proxy = invocation.client.proxies.one(invocation.parsed.arguments[0])
    out = invocation.out
    if out.as_json:
        out.json(proxy)
    else:
        out.fields(proxy, list(_fields(proxy)))
    return OK if _configuration(proxy) == "current" else FAILED


def _row(proxy: Proxy) -> Sequence[str]:
    envoy = proxy.envoy
    return (
        proxy.id,
        proxy.service,
        str(proxy.port or "-"),
        envoy.state if envoy else "not ours",
        str(envoy.pid) if envoy and envoy.pid else "-",
        envoy.version if envoy else "-",
        _configuration(proxy),
    )


def _configuration(proxy: Proxy) -> str:
    """In a word or two how it stands with what the proxy is to have."""
    refused = sum(len(kind.refused) for one in proxy.streams for kind in one.kinds)
    if refused:
        return f"{refused} refused"
    if proxy.problems:
        return "not complete"
    if not proxy.streams:
        return "not connected"
    return "current" if all(stream.current for stream in proxy.streams) else "on its way"


def _fields(proxy: Proxy) -> Iterator[tuple[str, str]]:
    yield "Proxy", proxy.id
    yield "Service", proxy.service
    yield "Port", str(proxy.port or "none")
    if proxy.envoy is None:
        yield "Envoy", "run by somebody else"
    else:
        envoy = proxy.envoy
        yield "Envoy", f"{envoy.state}, version {envoy.version or 'unknown'}"
        yield "Process", str(envoy.pid or "none")
        yield "Restarts", str(envoy.restarts)
        if envoy.why:
            yield "Why", envoy.why
        yield "Log", envoy.log
        yield "Admin", envoy.admin or "none"
    yield "Configuration", _configuration(proxy)
    for problem in proxy.problems:
        yield "Problem", problem
    for stream in proxy.streams:
        yield "Stream", f"{stream.form}, connected for {stream.connected_seconds:.0f} s"
        for kind in stream.kinds:
            said = f"{kind.accepted} of {kind.wanted}"
            if kind.waiting_seconds is not None:
                said += f", no answer for {kind.waiting_seconds:.1f} s"
            yield f"  {kind.kind}", said
            for one in kind.refused:
                yield "  refused", f"{one.name}: {one.error}"
                yield "    because of", one.origin or "unknown"


def envoy(invocation: Invocation) -> int:
    """Print a bootstrap, or become an Envoy that has it."""
    parsed, client = invocation.parsed, invocation.client
    if parsed.text("proxy-id") and parsed.text("sidecar-for"):
        raise Usage("connect envoy: --sidecar-for and --proxy-id name the proxy; give one of them")
    proxy = parsed.text("proxy-id") or _sidecar(invocation)
    made = client.proxies.bootstrap(
        proxy,
        admin_bind=parsed.text("admin-bind") or ADMIN,
        grpc_addr=_address(parsed.text("grpc-addr")),
        ready_bind=_ready(parsed),
        prometheus_backend_port=parsed.text("prometheus-backend-port"),
        prometheus_scrape_path=parsed.text("prometheus-scrape-path"),
    )
    if parsed.switch("bootstrap"):
        invocation.out.json(made)
        return OK
    path = binary.find(parsed.text("envoy-binary"))
    more = parsed.arguments
    # Asked for in any case: the agent may be about to start its own.
    managed = client.proxies.one(proxy).managed
    client.proxies.manage(proxy, enable=False)
    if managed:
        invocation.out.note(f"The agent has stopped its own Envoy for {proxy}; this is it now.")
    try:
        return _become(path, made, more)
    finally:
        if not parsed.switch("for-good"):
            with suppress(MeshError):
                client.proxies.manage(proxy, enable=True)


def grpc_bootstrap(invocation: Invocation) -> int:
    """Print what a gRPC program is started with."""
    parsed = invocation.parsed
    service = parsed.text("service")
    if not service:
        raise Usage("connect grpc-bootstrap: say --service SERVICE")
    address = _address(parsed.text("grpc-addr"))
    invocation.out.json(invocation.client.proxies.grpc_bootstrap(service, address))
    return OK


def _sidecar(invocation: Invocation) -> str:
    """The proxy of the service that is named. Raises NotFound or Usage."""
    service = invocation.parsed.text("sidecar-for")
    if not service:
        raise Usage("connect envoy: say --sidecar-for SERVICE or --proxy-id ID")
    wanted = f"{service}-sidecar-proxy"
    found = [
        one.id
        for one in invocation.client.proxies.every()
        if one.id == wanted or one.service == service
    ]
    if wanted in found:
        return wanted
    if len(found) != 1:
        known = f"one of {', '.join(found)} by --proxy-id" if found else "its sidecar first"
        what = "choose" if found else "register"
        raise NotFound(f'service "{service}" has {len(found)} proxies here; {what} {known}')
    return found[0]


def _address(text: str) -> str:
    """Of the agent's gRPC, as Consul's tools give it: with or without a scheme."""
    for scheme in ("http://", "https://", "grpc://"):
        text = text.removeprefix(scheme)
    return text


def _ready(parsed: Parsed) -> str:
    address, port = parsed.text("envoy-ready-bind-address"), parsed.text("envoy-ready-bind-port")
    if bool(address) != bool(port):
        raise Usage(
            "connect envoy: --envoy-ready-bind-address and --envoy-ready-bind-port go together"
        )
    return f"{address}:{port}" if address else ""


def _become(path: str, made: dict[str, object], more: Sequence[str]) -> int:
    """Run Envoy in the foreground. Its bootstrap may hold a token: nobody else may read it."""
    flags = [] if any(flag in more for flag in HOT_RESTART) else ["--disable-hot-restart"]
    with tempfile.TemporaryDirectory(prefix="mesh-envoy-") as folder:
        file = Path(folder, "bootstrap.json")
        file.write_text(json.dumps(made))
        ours = Options(concurrency=_workers()).flags(made)
        command = [path, "-c", str(file), *flags, *ours, *more]
        process = subprocess.Popen(command)  # noqa: S603 - the Envoy that was found.
        for sent in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(sent, lambda number, _: process.send_signal(number))
        while True:
            try:
                code = process.wait()
            except KeyboardInterrupt:
                continue  # The terminal has told Envoy as well.
            sys.stdout.flush()
            return 128 - code if code < 0 else code


def _workers() -> int:
    return min(2, os.cpu_count() or 1)


_BOTH = (
    Flag("sidecar-for", "the service whose sidecar this is", value="SERVICE"),
    Flag("proxy-id", "the proxy by its own id", value="ID"),
)

COMMANDS = {
    "proxy list": Command(
        listing,
        about="List the proxies that are registered with the agent: whether their Envoys run, and\n"
        "whether they have taken the configuration that they are to have.",
        examples=(Example("proxy list", "All proxies of this agent"),),
    ),
    "proxy status": Command(
        status,
        about="Show a proxy: its Envoy, what it was told, what it refused, and because of which\n"
        "config entry or option that was told.",
        examples=(Example("proxy status web-sidecar-proxy", "The sidecar of web"),),
        arguments=(Argument("PROXY"),),
        exits=("1: there is no such proxy, or it does not have all that it is to have",),
    ),
    "connect envoy": Command(
        envoy,
        about="Run an Envoy in the foreground as a proxy that is registered with the agent, or\n"
        "print its bootstrap. Agents run the Envoys of sidecars themselves: this is for those who\n"
        "want to, such as in a systemd unit or a container of its own. Arguments after -- go to\n"
        "Envoy.",
        examples=(
            Example("connect envoy --sidecar-for web", "Be the sidecar of web"),
            Example("connect envoy --sidecar-for web --bootstrap", "Print what it would be told"),
            Example("connect envoy --proxy-id web-sidecar-proxy -- -l debug", "Say much"),
        ),
        arguments=(Argument("ARGUMENT", required=False, many=True),),
        flags=(
            *_BOTH,
            Flag("bootstrap", "print the bootstrap and start nothing", "switch"),
            Flag("for-good", "the agent runs none of its own when this one has ended", "switch"),
            Flag("envoy-binary", "the Envoy to run", value="PROGRAM"),
            Flag("admin-bind", f"where its admin interface listens; {ADMIN} unless told"),
            Flag("grpc-addr", "where the agent serves xDS: ip:port, or unix:///path"),
            Flag("envoy-ready-bind-address", "answer /ready here too", value="IP"),
            Flag("envoy-ready-bind-port", "answer /ready here too", value="PORT"),
            Flag("prometheus-backend-port", "what answers the scrapes of metrics", value="PORT"),
            Flag("prometheus-scrape-path", "where metrics are; /metrics unless told"),
        ),
        exits=("Envoy's own, once it runs",),
    ),
    "connect grpc-bootstrap": Command(
        grpc_bootstrap,
        about="Print the bootstrap of a gRPC program that is in the mesh without a sidecar, as a\n"
        "client (xds:///payments) or a server. Write it to a file and name that file in\n"
        "GRPC_XDS_BOOTSTRAP. The agent keeps the certificates that it names current.",
        examples=(
            Example(
                "connect grpc-bootstrap --service web > bootstrap.json",
                "For the programs of web, which is registered with the agent",
            ),
        ),
        flags=(
            Flag("service", "the service whose program it is", value="SERVICE"),
            Flag("grpc-addr", "where the agent serves xDS: ip:port, or unix:///path"),
        ),
    ),
}
