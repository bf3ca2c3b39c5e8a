"""Two real sidecars: what they let through, and what becomes of that when things change."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mesh.registry.intentions import Intention, Policy
from tests.connect.xds.sidecars import Mesh

pytestmark = [pytest.mark.together, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[Mesh]:
    found = Mesh()
    try:
        await found.start()
        yield found
    finally:
        await found.stop()


async def test_a_call_goes_through_both_sidecars_and_says_who_calls(mesh: Mesh) -> None:
    status, text = await mesh.get("/a?b=c")
    told = json.loads(text)
    assert (status, told["app"], told["path"]) == (200, "payments", "/a?b=c")
    caller = told["headers"]["x-forwarded-client-cert"]
    assert f"URI={mesh.signer.leaf('web').uri}" in caller


async def test_a_deny_bites_on_a_warm_connection_once_it_is_accepted(mesh: Mesh) -> None:
    deny = Intention(source="web", destination="payments", action="deny", precedence=9)
    denied = Policy(destination="payments", intentions=[deny])
    for _ in range(3):
        assert (await mesh.get())[0] == 200
        assert (await mesh.changed("payments", policy=denied)).refusals == 0
        assert (await mesh.get())[0] == 403
        await mesh.changed("payments", policy=Policy(destination="payments"))
