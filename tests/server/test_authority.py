"""The authority on a real log: founded once, cared for, and what it signs and refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.connect import ca_config, identity, signing
from mesh.connect.admission import REFUSED
from mesh.connect.keys import new_key
from mesh.daemon.consensus import RaftConsensus
from mesh.errors import Busy, Conflict, Denied, Internal, Invalid, NotFound
from mesh.registry import authority
from mesh.registry.authority import Brought, Rules, Sign, Tell
from mesh.registry.levels import HIGHEST, Finalize, level_of
from mesh.registry.workloads import Ack, said
from mesh.server.authority import Authority, Options, signed_outside
from tests.connect.authority import Elsewhere, openssl_verifies
from tests.rpc.stack import WORLD, Stack, agent, client, until

DAY = 86400.0


class Moved(SystemClock):
    """The wall clock of somebody who turned it."""

    ahead = 0.0

    def wall(self) -> float:
        return super().wall() + self.ahead


class Office:
    """A voter with an authority."""

    def __init__(self, server: Stack, wanted: ca_config.Wanted) -> None:
        self.server, self.clock = server, Moved()
        self.told: list[tuple[str, str]] = []
        self.authority = Authority(
            server.forwarded,
            RaftConsensus(server.raft, lambda peer: peer.address),
            server.machine.database,
            Options("dc1", wanted=wanted),
            (self.clock, WORLD[1]),
            0.01,
        )
        self.authority.tell = lambda *told: self.told.append(told)
        server.forwarded.operator = self

    async def operate(self, order: Any) -> Any:
        """As the operator of the server, whose only orders are these."""
        return await self.authority.orders[type(order)](order)

    @property
    def state(self) -> authority.State:
        found = authority.state(self.server.machine.database.view())
        assert found is not None
        return found

    def founded(self) -> bool:
        return authority.state(self.server.machine.database.view()) is not None

    async def order(self, order: Any) -> Any:
        return await self.server.router.operate(order)

    async def sign(self, datacenter: str = "dc1") -> authority.Signed:
        uri = identity.service(self.state.settings.trust_domain, datacenter, "web").uri
        signed: authority.Signed = await self.order(
            Sign(signing.request_leaf(new_key("ec", 256), uri))
        )
        return signed


@pytest.fixture
def wanted() -> ca_config.Wanted:
    return ca_config.Wanted(rules=Rules())


@pytest.fixture
async def office(tmp_path: Path, wanted: ca_config.Wanted) -> AsyncIterator[Office]:
    server = await Stack(tmp_path).start()
    made = Office(server, wanted)
    running = asyncio.create_task(made.authority.run())
    while level_of(server.machine.database) < HIGHEST:
        await server.router.write(Finalize(level_of(server.machine.database) + 1))
    await until(made.founded)
    yield made
    running.cancel()
    await server.stop()


async def test_below_its_level_there_is_none(tmp_path: Path, wanted: ca_config.Wanted) -> None:
    server = await Stack(tmp_path).start()
    office = Office(server, wanted)
    with pytest.raises(NotFound, match="feature level"):
        await office.order(Sign(""))
    await server.stop()


async def test_leaves_are_signed_for_this_datacenter_only(office: Office) -> None:
    leaf = await office.sign()
    now = office.clock.wall()
    assert not openssl_verifies(leaf, [office.state.active.certificate], now)
    with pytest.raises(Denied, match="datacenter dc2"):
        await office.sign("dc2")
    with pytest.raises(Invalid):
        await office.order(Sign("nonsense"))
    wanted = dict.fromkeys(REFUSED, 0) | {"datacenter": 1, "invalid": 1}
    assert office.authority.refused == wanted
    assert office.authority.counters["signed"] == 1


async def test_too_many_requests_wait_and_are_then_refused(office: Office) -> None:
    await office.order(authority.Configure(config={"CSRMaxPerSecond": 4}))
    done = await asyncio.gather(*(office.sign() for _ in range(8)), return_exceptions=True)
    busy = [one for one in done if isinstance(one, Busy)]
    assert 0 < len(busy) < 8
    assert office.authority.counters["limited"] >= len(busy)  # Routers ask again for a while.


async def test_a_rotation_in_steps(office: Office) -> None:
    old = office.state.active.id
    await office.server.router.write(Tell("n1", said([Ack(id="proxy:p", roots=[old], leaf=old)])))
    step = await office.order(authority.Prepare())
    with pytest.raises(Conflict, match="proxy:p on n1"):
        await office.order(authority.Activate())
    both = [old, step.root]
    await office.server.router.write(Tell("n1", said([Ack(id="proxy:p", roots=both, leaf=old)])))
    assert (await office.order(authority.Activate())).root == step.root
    assert (await office.sign()).root == step.root
    with pytest.raises(Conflict):
        await office.order(authority.Retire())
    assert (await office.order(authority.Retire(force=True))).dropped == [old]
    assert list(office.state.roots) == [step.root]


async def test_it_cares_for_itself_as_time_goes_by(office: Office) -> None:
    before = office.state.active
    office.clock.ahead = 183 * DAY
    await until(lambda: office.state.active.intermediate != before.intermediate)
    office.clock.ahead = before.not_after - SystemClock().wall() - 50 * DAY
    await until(lambda: office.told[-1][0] == "warning")
    assert "the root ends in" in office.told[-1][1]
    office.clock.ahead += 51 * DAY
    await until(lambda: office.told[-1][0] == "critical")
    with pytest.raises(Invalid, match="expired"):
        await office.sign()
    await office.order(authority.Recover())
    await until(lambda: office.told[-1][0] == "passing")
    now = office.clock.wall()
    leaf = await office.sign()
    assert not openssl_verifies(leaf, [office.state.active.certificate], now)
    assert before.id not in office.state.roots


async def test_whatever_fails_is_told_and_goes_on(office: Office) -> None:
    look, office.authority.look = office.authority.look, broken  # type: ignore[method-assign]
    await until(lambda: office.told[-1] == ("warning", office.told[-1][1]))
    assert "ValueError: out of hand" in office.told[-1][1]
    office.authority.look = look  # type: ignore[method-assign]
    office.authority._retry_at = 0.0
    await until(lambda: office.told[-1][0] == "passing")
    await office.sign()


async def test_a_renewal_that_fails_is_told_until_it_succeeds(office: Office) -> None:
    before, renew = office.state.active, office.authority._renew
    office.authority._renew = broken  # type: ignore[method-assign]
    office.clock.ahead = 183 * DAY
    await until(lambda: office.told[-1][0] == "warning")
    told = len(office.told)
    await until(lambda: len(office.told) > told + 3)
    assert office.told[-1] == ("warning", "ValueError: out of hand")
    office.authority._renew = renew  # type: ignore[method-assign]
    office.authority._retry_at = 0.0
    await until(lambda: office.told[-1][0] == "passing")
    assert office.state.active.intermediate != before.intermediate


async def broken() -> None:
    raise ValueError("out of hand")


async def test_past_roots_go(office: Office) -> None:
    old = office.state.active.id
    await office.order(authority.Configure(config={"PrivateKeyBits": 384}))
    assert office.state.roots[old].standing == "past"
    office.clock.ahead = 6 * DAY + 1
    await until(lambda: old not in office.state.roots)


async def test_what_was_said_of_nodes_that_are_gone_is_forgotten(office: Office) -> None:
    await office.server.router.write(Tell("gone", said([Ack(id="proxy:p")])))
    office.clock.ahead = -3601.0
    reports = office.server.machine.answers
    assert reports.read(authority.Reports()).value


async def test_the_keys_are_shown_to_nobody(office: Office) -> None:
    keys = office.state.keys[office.state.active.id]
    for query in (authority.Roots(), authority.Configured(), authority.Reports()):
        assert "PRIVATE" not in repr(office.server.machine.answers.read(query).value)
    shown = repr(authority.Amend(0, office.state.settings, [office.state.active], [keys]))
    shown += repr(authority.Configure(config={"PrivateKey": keys.root}))
    shown += repr(authority.Prepare(config={"PrivateKey": keys.root}))
    assert "PRIVATE" not in shown


async def test_only_the_leader_writes_it(office: Office) -> None:
    state = office.state
    amend = authority.Amend(state.settings.generation, state.settings, [], [], [state.active.id])
    asks = client()
    with pytest.raises(Denied, match="only the leader"):
        await agent(asks, office.server).write(amend)
    await asks.stop()
    assert office.state.active.id == state.active.id


async def test_an_operator_gives_the_next_intermediate(office: Office) -> None:
    """Through the API, for the root that there is; and by its files, for who starts with them."""
    elsewhere = Elsewhere(office.clock.wall(), office.state.settings.trust_domain)

    def config(given: Brought) -> dict[str, str]:
        return {
            "RootCert": given.certificate,
            "IntermediateCert": given.intermediate,
            "IntermediateKey": given.intermediate_key,
        }

    first, second = elsewhere.gives(100), elsewhere.gives(200)
    await office.order(authority.Configure(config=config(first)))
    root = office.state.active
    assert root.intermediate == first.intermediate
    rules = {"LeafCertTTL": "24h", **config(second)}
    await office.order(authority.Configure(config=rules))
    assert (office.state.active.id, office.state.active.intermediate) == (
        root.id,
        second.intermediate,
    )
    assert office.state.settings.rules.leaf_cert_ttl == DAY
    assert (await office.sign()).chain[0] == second.intermediate
    with pytest.raises(Invalid, match="goes with"):
        await office.order(authority.Configure(config={"IntermediateCert": first.intermediate}))

    third = elsewhere.gives(300)
    files = ca_config.Wanted(rules=Rules(), brought=third)
    restarted = Office(office.server, files)
    await restarted.authority.look()
    assert office.state.active.intermediate == third.intermediate
    older = Office(office.server, ca_config.Wanted(rules=Rules(), brought=first))
    await older.authority.look()
    assert office.state.active.intermediate == third.intermediate


def test_a_signing_command_that_fails() -> None:
    assert signed_outside(["cat"], "csr") == "csr"
    with pytest.raises(Internal, match="exit code 3: no"):
        signed_outside(["sh", "-c", "echo no >&2; exit 3"], "csr")
    with pytest.raises(Internal, match="SignCommand"):
        signed_outside(["/none/such"], "csr")
