"""Requests that the OpenAPI document allows, and such as it does not, for a live server.

Whatever is asked: an answer in time, of a status and shape that the document foretells, no error
of the server's own but those named there, and no memory that grows.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from schemathesis import GenerationMode

from mesh.http import openapi
from mesh.http.routes import ROUTES
from tests.cluster.processes import PLAIN, Meshd, eventually
from tests.compat import contract

NOT_FUZZED = {
    "/v1/agent/leave": "the server would stop",
    "/v1/agent/join/{addr}": "it would connect to addresses made up here",
    "/v1/agent/monitor": "it never ends",
    "/v1/agent/metrics/stream": "it never ends",
}
SECONDS_MAX = 20.0
"""How long an answer may take; blocking queries wait for 0.1 s here."""
GROWTH_MAX_BYTES = 16 * 2**20
REPLAYED_MAX = 1000
EXAMPLES = 4
"""Requests of one kind for one operation before it is the next one's turn."""
SLOW = {"/v1/agent/reachability", "/v1/agent/doctor/network"}
"""What takes seconds whatever is asked: one request of a kind is enough."""
REPLAYED_SECONDS = 0.5
"""Requests that took longer are not repeated for the sake of memory."""
KNOWN = ("web", "web-1", "n1", "fuzz", "any", "passing", "a/b", "a", "_agent", "1")
ELSEWHERE = "No path to datacenter"
FILTER = "Invalid filter"
"""As Consul, which answers it with 500 too."""


class Found(msgspec.Struct):
    """What came of a run."""

    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    slowest_seconds: float = 0.0
    grown_bytes: int = 0
    """How much more memory the server had after the requests of the first round were repeated."""
    sent: list[requests.PreparedRequest] = msgspec.field(default_factory=list)
    """The requests of the first round that were quick."""


def server(folder: Path, address: str) -> Meshd:
    """A server with some data, whose blocking queries do not last."""
    config = {
        "server": True,
        "bootstrap_expect": 1,
        "default_query_time": "100ms",
        "max_query_time": "100ms",
        "log_level": "WARN",
        "tls": PLAIN,
    }
    node = Meshd("fuzz", address, folder / "fuzz", config)
    node.start()
    eventually(lambda: node.get("/v1/status/leader"))
    service = {"ID": "web-1", "Service": "web", "Port": 80, "Tags": ["a"]}
    check = {"CheckID": "c", "Name": "c", "Status": "passing", "ServiceID": "web-1"}
    body = {"Node": "n1", "Address": "10.0.0.1", "Service": service, "Check": check}
    node.put("/v1/catalog/register", body)
    node.put("/v1/agent/service/register", {"Name": "web", "Check": {"TTL": "10m"}})
    node.put("/v1/kv/a/b", b"1")
    return node


def run(node: Meshd, seconds: float, seed: int = 0) -> Found:
    """Ask for so long, at least once for each operation. Raises AssertionError at a fault."""
    found, began, warm = Found(), time.monotonic(), 0
    document = openapi.document(ROUTES)
    document["paths"] = {
        path: one for path, one in document["paths"].items() if path not in NOT_FUZZED
    }
    schema = schemathesis.openapi.from_dict(document)
    made: list[Any] = list(schema.get_all_operations())
    operations = [one.ok() for one in made]
    session = requests.Session()
    rounds = 0
    while rounds < 1 or time.monotonic() - began < seconds:
        for operation in operations:
            for mode in GenerationMode:
                _ask(node, session, operation, mode, found, seed + rounds)
        _unharmed(node)
        rounds += 1
    for again in range(2):
        if again:
            warm = resident(node)
        for request in found.sent:
            with session.send(request, timeout=SECONDS_MAX, stream=True):
                pass
    _unharmed(node)
    found.grown_bytes = resident(node) - warm
    assert found.grown_bytes < GROWTH_MAX_BYTES, f"memory grew by {found.grown_bytes} bytes"
    return found


def _ask(
    node: Meshd, session: requests.Session, operation: Any, mode: Any, found: Found, seed: int
) -> None:
    base = f"http://{node.client_address}:{node.http}"
    calm = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

    @seeded(seed)
    @settings(
        max_examples=1 if operation.path in SLOW else EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=calm,
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=st.sampled_from([None, *KNOWN]))
    def ask(case: Any, known: str | None) -> None:
        if known is not None:
            for name in case.path_parameters or {}:
                case.path_parameters[name] = known
            # There is no other datacenter, and that would be all that most answers say.
            (case.query or {}).pop("dc", None)
        began = time.monotonic()
        response = case.call(base_url=base, session=session, timeout=SECONDS_MAX)
        took = time.monotonic() - began
        found.slowest_seconds = max(found.slowest_seconds, took)
        if took < REPLAYED_SECONDS and len(found.sent) < REPLAYED_MAX:
            found.sent.append(response.request)
        found.statuses[response.status_code] += 1
        _check(operation, response)

    ask()


def _check(operation: Any, response: Any) -> None:
    method, status = operation.method.upper(), response.status_code
    target = response.request.url.split("//", 1)[1]
    route = contract.operation(method, "/" + target.partition("/")[2])
    if route is None or openapi.template(route) != operation.path or status in {301, 405}:
        return  # The made-up path was another one's, or was moved.
    kind = response.headers.get("content-type", [""])[0]
    text = response.content.decode(errors="replace")
    contract.verify(route, status, kind, response.content)
    own = 500 in dict(route.statuses) or text.startswith((ELSEWHERE, FILTER))
    assert status != 500 or own, f"{method} {target} answered 500: {text}"


def _unharmed(node: Meshd) -> None:
    assert node.process is not None
    assert node.process.poll() is None, f"the server ended: {node.log()[-2000:]}"
    page = requests.get(
        f"http://{node.client_address}:{node.http}/v1/agent/metrics?format=prometheus", timeout=20
    ).text
    failures = re.search(r"^mesh_http_failures (\d+)$", page, re.MULTILINE)
    assert failures is None or failures[1] == "0", node.log()[-5000:]


def resident(node: Meshd) -> int:
    """Bytes of memory that the server has now."""
    assert node.process is not None
    text = Path(f"/proc/{node.process.pid}/statm").read_text()
    return int(text.split()[1]) * 4096
