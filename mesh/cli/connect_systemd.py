"""meshctl connect systemd and connect wait: sidecars as units, and who waits for them."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from mesh.cli.command import OK, Command, Example
from mesh.cli.connect_sidecar import Sidecar, find
from mesh.cli.flags import Argument, Flag, Parsed, Usage
from mesh.cli.invocation import Invocation
from mesh.connect.proxy import Target
from mesh.errors import NotFound, Unreachable

WAIT_SECONDS = 60
LOOK_SECONDS = 0.2
CONNECT_SECONDS = 1.0
DRAIN_SECONDS = 10
_now = time.monotonic  # noqa: TID251  # A command of a person, who is not simulated.

HARDENING = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077
LimitNOFILE=65536
"""


def systemd(invocation: Invocation) -> int:
    """Print a unit."""
    parsed = invocation.parsed
    service = parsed.arguments[0]
    if not service.isprintable() or "/" in service:
        raise Usage(f'connect systemd: no name of a service: "{service}"')
    invocation.out.lines([], list(_unit(service, parsed, invocation.client.settings.address)))
    return OK


def _unit(service: str, parsed: Parsed, agent: str) -> Iterator[str]:
    unit = parsed.text("agent-unit") or "meshd.service"
    yield "[Unit]"
    yield f"Description=Sidecar of {_plain(service)}"
    yield "# Wants, not Requires: the sidecar goes on while the agent is stopped or restarted."
    yield f"Wants={unit} network-online.target"
    yield f"After={unit} network-online.target"
    yield "StartLimitIntervalSec=0"
    yield ""
    yield "[Service]"
    yield from _commands(service, agent, builtin=parsed.switch("builtin"))
    user = parsed.text("user")
    yield f"User={user}" if user else "DynamicUser=yes"
    yield from _capabilities(low_ports=parsed.switch("low-ports"))
    yield from HARDENING.splitlines()
    yield ""
    yield "[Install]"
    yield "WantedBy=multi-user.target"


def _commands(service: str, agent: str, *, builtin: bool) -> Iterator[str]:
    program = _program()
    be = ["proxy", "--drain-time", str(DRAIN_SECONDS)] if builtin else ["envoy", "--for-good"]
    yield "Type=exec"
    yield f"ExecStart={_line([*program, 'connect', *be, '--sidecar-for', service])}"
    yield "# What is ordered after this unit starts once connections get through."
    yield f"ExecStartPost={_line([*program, 'connect', 'wait', service])}"
    yield f"Environment={_word(f'MESH_HTTP_ADDR={agent}')}"
    yield "# May hold MESH_HTTP_TOKEN."
    yield f"EnvironmentFile=-/etc/mesh/sidecar-{_plain(service)}.env"
    yield "Restart=always"
    yield "RestartSec=1s"
    yield f"TimeoutStartSec={WAIT_SECONDS + 30}s"
    yield f"TimeoutStopSec={DRAIN_SECONDS + 20}s"
    yield "KillMode=mixed"


def _capabilities(*, low_ports: bool) -> Iterator[str]:
    capability = "CAP_NET_BIND_SERVICE" if low_ports else ""
    yield f"CapabilityBoundingSet={capability}"
    if capability:
        yield f"AmbientCapabilities={capability}"


def _plain(text: str) -> str:
    """Without specifiers of systemd's."""
    return text.replace("%", "%%")


def _program() -> list[str]:
    """How this program is started, wherever from."""
    beside = Path(sys.executable).with_name("meshctl")
    found = str(beside) if beside.exists() else shutil.which("meshctl")
    return [found] if found else [sys.executable, "-m", "mesh.cli.main"]


def _line(words: Iterable[str]) -> str:
    return " ".join(_word(word).replace("$", "$$") for word in words)


def _word(text: str) -> str:
    """As systemd.syntax(7) wants it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if escaped != text or " " in text or not text else text


def wait(invocation: Invocation) -> int:
    """Return when all that the sidecar listens at accepts connections."""
    parsed = invocation.parsed
    seconds = parsed.number("timeout")
    until = _now() + (WAIT_SECONDS if seconds is None else seconds)
    while True:
        missing = _missing(invocation)
        if not missing:
            return OK
        if _now() >= until:
            raise Unreachable(f"the sidecar is not ready: {missing}")
        time.sleep(LOOK_SECONDS)


def _missing(invocation: Invocation) -> str:
    """What is not there yet; empty when all is."""
    service = invocation.parsed.arguments[0]
    try:
        sidecar = find(invocation.client.agent.services(), service)
    except (NotFound, Unreachable) as error:
        return error.message
    closed = [str(one) for one in _listeners(sidecar) if not _accepts(one)]
    return f"nobody listens at {', '.join(closed)}" if closed else ""


def _listeners(sidecar: Sidecar) -> list[Target]:
    own = [Target(*sidecar.listen)] if sidecar.listen is not None else []
    return [*own, *(one.place for one in sidecar.upstreams)]


def _accepts(where: Target) -> bool:
    everywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
    try:
        if where.path:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
                made.settimeout(CONNECT_SECONDS)
                made.connect(where.path)
        else:
            host = everywhere.get(where.address, where.address)
            socket.create_connection((host, where.port), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


COMMANDS = {
    "connect systemd": Command(
        systemd,
        about="Print a systemd unit that runs the sidecar of a service outside of the agent. It\n"
        "goes on while the agent is away, counts as started once connections get through, and\n"
        "may do little else. The token, if one is needed, comes from a file of its own.",
        examples=(
            Example("connect systemd payments > mesh-payments.service", "With Envoy"),
            Example("connect systemd payments --builtin", "With the built-in proxy"),
        ),
        arguments=(Argument("SERVICE"),),
        flags=(
            Flag("builtin", "run the built-in proxy, and no Envoy", "switch"),
            Flag("user", "run as this user, not as one made for the unit", value="USER"),
            Flag("low-ports", "it may listen at ports below 1024", "switch"),
            Flag("agent-unit", "the agent's unit; meshd.service unless told", value="UNIT"),
        ),
    ),
    "connect wait": Command(
        wait,
        about="Wait until the sidecar of a service accepts connections, at its public listener\n"
        "and at those of its upstreams: for programs that must not start before it.",
        examples=(Example("connect wait web --timeout 30", "At most 30 s"),),
        arguments=(Argument("SERVICE"),),
        flags=(
            Flag(
                "timeout",
                f"how long to wait at most; {WAIT_SECONDS} unless told",
                "number",
                "SECONDS",
            ),
        ),
        exits=("1: it did not come in time",),
    ),
}
