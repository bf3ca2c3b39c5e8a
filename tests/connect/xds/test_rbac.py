"""A real Envoy decides as the evaluator does: random intentions, random requests, real bytes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from msgspec.structs import replace

from mesh.connect.intentions import Decision, decide
from mesh.connect.xds.blueprint import Normalization
from tests.connect.xds.guesses import CALLERS, Caller, Guess, contented
from tests.connect.xds.sidecars import Mesh
from tests.connect.xds.signing import Issuer

pytestmark = [pytest.mark.together, pytest.mark.asyncio(loop_scope="module")]
SEED = int(os.environ.get("MESH_SEED", "7"))
POLICIES = int(os.environ.get("MESH_POLICIES", "10"))
"""For each way to normalise."""
REQUESTS = 25
"""For each caller and policy."""
WAYS = (
    Normalization(),
    Normalization(paths=False),
    Normalization(merge_slashes=True, escaped_slashes="KEEP_UNCHANGED"),
    Normalization(escaped_slashes="REJECT_REQUEST", underscores="REJECT_REQUEST"),
    Normalization(escaped_slashes="UNESCAPE_AND_FORWARD", underscores="DROP_HEADER"),
    Normalization(merge_slashes=True, escaped_slashes="UNESCAPE_AND_REDIRECT"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[Mesh]:
    found = Mesh()
    app = await asyncio.start_server(contented, "127.0.0.1", 0)
    try:
        await found.start()
        inbound = found.blueprints["payments"].inbound
        assert inbound is not None
        port = app.sockets[0].getsockname()[1]
        await found.changed("payments", inbound=replace(inbound, local_port=port))
        yield found
    finally:
        await found.stop()
        app.close()


async def test_envoy_and_the_evaluator_decide_alike(mesh: Mesh) -> None:
    issuer = Issuer("okta")
    guess = Guess(SEED, issuer)
    asked = 0
    for way in WAYS:
        await mesh.changed("payments", normalization=way, jwt_providers=[issuer.provider])
        callers = [Caller(mesh, name) for name in CALLERS]
        for _ in range(POLICIES):
            policy, default_allow = guess.policy(), guess.random.random() < 0.5
            await mesh.changed("payments", policy=policy, default_allow=default_allow)
            shadow_before = await _shadow_denied(mesh)
            told: list[Decision] = []
            for caller in callers:
                for _ in range(REQUESTS):
                    request = guess.request()
                    decision = decide(
                        policy, caller.name, request, default_allow, normalization=way
                    )
                    status = await caller.ask(request)
                    asked += 1
                    assert (status == 200) == decision.allowed, (
                        f"Envoy said {status}, the evaluator {decision}\n"
                        f"of {caller.name}: {request}\nby {policy}\n{way}"
                    )
                    told.append(
                        decide(
                            policy,
                            caller.name,
                            request,
                            default_allow,
                            normalization=way,
                            shadow=True,
                        )
                    )
            if any(one.dry_run for one in policy.intentions) and not policy.jwt:
                denied = [one for one in told if not one.allowed and one.why != "request"]
                assert await _shadow_denied(mesh) - shadow_before == len(denied), policy
        for caller in callers:
            caller.close()
    assert "deprecated" not in mesh.envoys["payments"].complaints()
    assert asked == len(WAYS) * POLICIES * len(CALLERS) * REQUESTS


async def _shadow_denied(mesh: Mesh) -> int:
    counter = "http.public_listener.rbac.dry_run_.shadow_denied"
    return (await mesh.envoys["payments"].stats("shadow_denied")).get(counter, 0)
