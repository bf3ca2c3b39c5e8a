"""The authority: on the leader, founds the certificate authority, cares for it and signs leaves."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import msgspec

from mesh.clock import Clock, Dice
from mesh.connect import ca, ca_config, horizon
from mesh.connect.admission import REFUSED, NotSigned
from mesh.connect.ca import LeafSigner, Making
from mesh.connect.pace import Pace
from mesh.errors import Busy, Internal, Invalid, MeshError, NoLeader, NotFound
from mesh.registry import authority, refusals
from mesh.registry.authority import Amend, Brought, Settings, Signed, State, Step
from mesh.registry.levels import MESH, level_of
from mesh.registry.port import Command, Order, WriteOptions
from mesh.rpc.forwarded import Consensus, Forwarded
from mesh.store.database import Database

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_SECONDS = 1.0
RETRY_SECONDS = 60.0
"""After renewing failed, before it is tried again."""
CSR_WAIT_SECONDS = 0.5
"""How long a request for a leaf waits for its turn."""


class Options(msgspec.Struct, frozen=True):
    """How the authority begins."""

    datacenter: str
    enabled: bool = True
    wanted: ca_config.Wanted = msgspec.field(
        default_factory=lambda: ca_config.Wanted(rules=authority.Rules())
    )


class Authority:
    """Makes what the tables are to hold, proposes it, and signs leaves with what they hold."""

    def __init__(
        self,
        as_leader: Forwarded,
        consensus: Consensus,
        database: Database,
        options: Options,
        world: tuple[Clock, Dice],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        # Not the router: keys that this leader made must not come after those of another one.
        self._as_leader, self._consensus, self._database = as_leader, consensus, database
        self.options, self._seconds = options, look_seconds
        self._clock, self._dice = world
        self._changing = asyncio.Lock()
        self._woken = asyncio.Event()
        self._signer: LeafSigner | None = None
        self._pace = Pace()
        self._signing = 0
        self._retry_at = float("-inf")
        self._stage, self._told = 0, False
        self._adopted = False
        self.counters: Counter[str] = Counter(signed=0, limited=0)
        self.refused: Counter[str] = Counter(dict.fromkeys(REFUSED, 0))
        """Requests for leaves that were refused, by the reason."""
        self.problem = ""
        self.tell: Callable[[str, str], None] = lambda *_: None
        """Hears a status and the reason for it."""
        self.orders: dict[type[Order[Any]], Callable[[Any], Awaitable[Any]]] = {
            authority.Sign: self._sign,
            authority.Configure: self._configure,
            authority.Prepare: self._prepare,
            authority.Activate: self._activate,
            authority.Retire: self._retire,
            authority.Recover: self._recover,
        }

    # Duties

    async def run(self) -> None:
        """Look again and again; never ends."""
        while True:
            if self._consensus.is_leader and self._ready():
                try:
                    await self.look()
                except MeshError as error:
                    self._failed(error)
                except Exception as error:
                    log.exception("certificate authority: looking after it failed")
                    self._failed(Internal(f"{type(error).__name__}: {error}"))
                self._judge()
            elif self._told:
                self._told, self._stage, self.problem = False, 0, ""
                self._retry_at = float("-inf")
                self.tell("passing", "another server leads and cares for it")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._woken.wait()
            self._woken.clear()

    def wake(self) -> None:
        """Leadership or the feature level changed: look now."""
        self._woken.set()

    def _judge(self) -> None:
        """Say how the authority fares; when its end comes nearer, in the log too."""
        trust = authority.Roots().run(self._database.view())
        verdict = horizon.judge(trust, self._clock.wall(), self.problem)
        if verdict.stage > self._stage and trust.active:
            log.warning("certificate authority: %s", verdict.reason)
        self._stage, self._told = verdict.stage, True
        self.tell(verdict.status, verdict.reason)

    def _ready(self) -> bool:
        return self.options.enabled and level_of(self._database) >= MESH

    async def look(self) -> None:
        """Do what is due. Raises a MeshError when it cannot be done now."""
        state = self._state()
        if state is None:
            async with self._changing:
                await self._found()
            return
        now = self._clock.wall()
        if authority.forgettable(self._database.view(), now):
            await self._write(authority.Forget())
        if refusals.forgettable(self._database.view(), now):
            await self._write(refusals.Forget())
        if (amend := ca.prune(state, now)) is not None:
            log.info("certificate authority: past roots are over: %s", ", ".join(amend.dropped))
            await self._write(amend)
            return
        due = ca.is_renewal_due(state, now)
        if (due or not self._adopted) and self._clock.monotonic() < self._retry_at:
            return  # What failed still stands.
        await self._adopt(state)
        if due:
            await self._renew()
        self.problem = ""

    async def _renew(self) -> None:
        async with self._changing:
            # Not as it was before: who changed it meanwhile may have renewed them too.
            if (state := self._state()) is None:
                return
            amend = await self._made(partial(ca.renew, state, self._making()))
            if amend is not None:
                await self._write(amend)
                log.info("certificate authority: new intermediates for %d roots", len(amend.roots))

    async def _adopt(self, state: State) -> None:
        """Take the intermediate of our files, once a life, if it ends later than the present."""
        if self._adopted:
            return
        async with self._changing:
            amend = ca.adopt(state, self.options.wanted.brought, self._clock.wall())
            if amend is not None:
                await self._write(amend)
                log.info("certificate authority: the intermediate of our files signs from now on")
        self._adopted = True

    def _failed(self, error: MeshError) -> None:
        if not isinstance(error, NoLeader):
            self._retry_at = self._clock.monotonic() + RETRY_SECONDS
            self.problem = error.message
            log.warning("certificate authority: %s", error)

    async def _found(self) -> None:
        await self._consensus.barrier()
        if self._state() is not None or self._clock.monotonic() < self._retry_at:
            return
        wanted = self.options.wanted
        settings = Settings(cluster_id=wanted.cluster_id or self._dice.uuid(), rules=wanted.rules)
        amend = await self._made(partial(ca.found, settings, wanted.brought, self._making()))
        await self._write(amend)
        self.problem = ""
        log.info("certificate authority: founded for trust domain %s", settings.trust_domain)

    # Orders

    async def _sign(self, order: authority.Sign) -> Signed:
        """Raises Busy above the limits, Invalid or Denied for what is not signed."""
        state = await self._leading()
        await self._take_turn(state.settings.rules)
        self._signing += 1
        try:
            signer = self._signer
            if signer is None or not signer.is_of(state):
                signer = self._signer = LeafSigner(state, self.options.datacenter)
            work = partial(signer.sign, order.csr, self._clock.wall())
            signed = await self._made(work) if signer.slow else work()
        except (Invalid, NotSigned) as error:
            self.refused[error.reason if isinstance(error, NotSigned) else error.code] += 1
            log.warning("certificate authority: a leaf is refused: %s", error)
            raise
        finally:
            self._signing -= 1
        self.counters["signed"] += 1
        return signed

    async def _take_turn(self, rules: authority.Rules) -> None:
        """As Consul: the limit per second counts, and the one of those at once without it."""
        if rules.csr_max_per_second:
            wait = self._pace.reserve(
                self._clock.monotonic(), rules.csr_max_per_second, CSR_WAIT_SECONDS
            )
            if wait is None:
                self.counters["limited"] += 1
                raise Busy("CSR rate limited by the server: too many requests for leaves")
            if wait:
                await self._clock.sleep(wait)
        elif rules.csr_max_concurrent:
            until = self._clock.monotonic() + CSR_WAIT_SECONDS
            while self._signing >= rules.csr_max_concurrent:
                if self._clock.monotonic() >= until:
                    self.counters["limited"] += 1
                    raise Busy("CSR rate limited by the server: too many leaves signed at once")
                await self._clock.sleep(0.01)

    async def _configure(self, order: authority.Configure) -> bool:
        async with self._changing:
            state = await self._leading()
            settings = state.settings
            if order.check_index not in {None, settings.modify_index}:
                return False
            if order.provider != ca_config.PROVIDER:
                raise Invalid(f'Provider: mesh has "{ca_config.PROVIDER}" only')
            wanted = await self._made(partial(ca_config.read, order.config, settings.rules))
            if wanted.cluster_id not in {"", settings.cluster_id}:
                raise Invalid("ClusterID: the trust domain cannot be changed")
            force = order.force_without_cross_signing
            settings = msgspec.structs.replace(
                settings, rules=wanted.rules, force_without_cross_signing=force
            )
            if _is_other(state, wanted):
                making = self._making()
                rotate = partial(ca.rotate, state, wanted.rules, wanted.brought, making)
                amend = await self._made(partial(rotate, force=force))
                log.info("certificate authority: another root signs: %s", amend.roots[-1].id)
            else:
                amend = ca.configure(state, settings)
                amend = self._with_given(state, wanted.brought, amend)
            await self._write(msgspec.structs.replace(amend, settings=settings))
        return True

    def _with_given(self, state: State, brought: Brought, amend: Amend) -> Amend:
        """And the intermediate that an operator gives for the root that there is."""
        if not brought.intermediate:
            return amend
        given = ca.replace(state, brought, self._clock.wall())
        if given is None:
            return amend
        ttl = state.active.leaf_ttl, amend.settings.rules.leaf_cert_ttl
        roots = [msgspec.structs.replace(root, leaf_ttl=max(ttl)) for root in given.roots]
        log.info("certificate authority: another intermediate from outside signs")
        others = [root for root in amend.roots if root.id != roots[0].id]
        return msgspec.structs.replace(amend, roots=[*others, *roots], keys=given.keys)

    async def _prepare(self, order: authority.Prepare) -> Step:
        async with self._changing:
            state = await self._leading()
            before = state.settings.rules
            wanted = await self._made(partial(ca_config.read, order.config, before))
            making = self._making()
            prepare = partial(ca.prepare, state, wanted.rules, wanted.brought, making)
            amend = await self._made(prepare)
            await self._write(amend)
        root = amend.roots[0]
        log.info("certificate authority: root %s is prepared", root.id)
        return Step(
            root=root.id,
            said="everybody is told to believe it; activate it once they do"
            + ("" if root.crossed else "; it is not cross-signed, so do not force that"),
        )

    async def _activate(self, order: authority.Activate) -> Step:
        async with self._changing:
            state = await self._leading()
            reports, now = self._reports(), self._clock.wall()
            amend = ca.activate(state, reports, order.threshold, now, force=order.force)
            await self._write(amend)
        log.info("certificate authority: root %s signs from now on", amend.roots[-1].id)
        return Step(
            root=amend.roots[-1].id,
            said="leaves are renewed under it; retire the past root once they all are",
        )

    async def _retire(self, order: authority.Retire) -> Step:
        async with self._changing:
            state = await self._leading()
            reports, now = self._reports(), self._clock.wall()
            amend = ca.retire(state, reports, order.threshold, now, force=order.force)
            await self._write(amend)
        log.info("certificate authority: no longer believed: %s", ", ".join(amend.dropped))
        return Step(root=state.active.id, dropped=amend.dropped, said="the rotation is over")

    async def _recover(self, order: authority.Recover) -> Step:
        async with self._changing:
            state = await self._leading()
            amend = await self._made(partial(ca.recover, state, self._making(), force=order.force))
            await self._write(amend)
        root = amend.roots[0]
        log.warning("certificate authority: recovered with root %s", root.id)
        said = "agents get leaves under it now; nobody believes the former roots"
        return Step(root=root.id, dropped=amend.dropped, said=said)

    # Parts of them

    def _state(self) -> State | None:
        return authority.state(self._database.view())

    def _reports(self) -> list[authority.Report]:
        return authority.Reports().run(self._database.view())

    async def _leading(self) -> State:
        """The state as the leader has it, and surely nobody else. Raises NotFound without one."""
        if not self._consensus.leased():
            await self._consensus.barrier()
        state = self._state()
        if state is None:
            raise NotFound(self._why_none())
        return state

    def _why_none(self) -> str:
        if not self.options.enabled:
            return "Connect must be enabled in order to use this endpoint [connect.enabled]"
        if level_of(self._database) < MESH:
            return f"the certificate authority needs feature level {MESH}"
        return f"there is no certificate authority yet{self.problem and ': '}{self.problem}"

    def _making(self) -> Making:
        command = self.options.wanted.sign_command
        return Making(self._clock.wall(), partial(signed_outside, command) if command else None)

    async def _made(self, make: Callable[[], T]) -> T:
        """Keys and signatures may take long, and a signing command does."""
        return await asyncio.to_thread(make)

    async def _write(self, command: Command[Any]) -> None:
        options = WriteOptions(request=self._dice.uuid(), origin="leader")
        await self._as_leader.write(command, options)


def _is_other(state: State, wanted: ca_config.Wanted) -> bool:
    """Whether this takes another root: one from outside that is not there, or other keys."""
    active, rules = state.active, wanted.rules
    if wanted.brought.certificate:
        return ca.root_id(wanted.brought.certificate) != active.id
    if wanted.brought.key:
        return state.keys[active.id].root != wanted.brought.key
    kind = (rules.private_key_type, rules.private_key_bits)
    before = (state.settings.rules.private_key_type, state.settings.rules.private_key_bits)
    return kind != before


def signed_outside(command: Sequence[str], csr: str) -> str:
    """What the command prints when it reads this request. Raises Internal when it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - a server's own files name the command.
            command,
            input=csr,
            capture_output=True,
            text=True,
            timeout=ca_config.SIGN_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise Internal(f"SignCommand: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise Internal(f"SignCommand: exit code {done.returncode}: {said[-1] if said else ''}")
    return done.stdout
