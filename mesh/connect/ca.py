"""The certificate authority as a state machine: what the tables are to become, and leaves.

    nothing --found--> active --prepare--> active + prepared --activate--> active + past
                                                              --retire-->  active

Each step is given the state and returns the command that puts the next one into the tables; it
does no I/O, and asks for no time. `activate` waits until the workloads believe the prepared root,
`retire` until none needs a past one, by what they reported. As long as nobody forces a step, every
leaf that lives is verified by every set of roots that a workload has acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from mesh.connect import ca_config
from mesh.connect.admission import admitted
from mesh.connect.credentials import Bundle
from mesh.connect.proof import believing, independent
from mesh.errors import Conflict, Invalid
from mesh.lazily import Lazy
from mesh.registry.authority import (
    Amend,
    Brought,
    Keys,
    Report,
    Root,
    Rules,
    Settings,
    Signed,
    State,
    Trust,
)
from mesh.registry.workloads import ROOTS_MAX

if TYPE_CHECKING:
    from mesh.connect import keys as making_keys
    from mesh.connect import signing
else:
    making_keys = Lazy("mesh.connect.keys")
    signing = Lazy("mesh.connect.signing")

Outside: TypeAlias = Callable[[str], str]
"""Has a request for an intermediate signed by who has the root's key; PEM, the intermediate first.

Raises a MeshError.
"""


class Making(msgspec.Struct, frozen=True):
    """What certificates are made with: the time, and who has a root's key that is not here."""

    now: float
    outside: Outside | None = None


def bundle(trust: Trust) -> Bundle:
    """What workloads check others against."""
    roots = {root.id: root.certificate for root in trust.roots}
    return Bundle(trust.trust_domain, roots, trust.active)


def root_id(certificate: str) -> str:
    """The id of a root. Raises Invalid for what is no certificate."""
    return signing.facts(certificate).id


# The steps


def found(settings: Settings, brought: Brought, making: Making) -> Amend:
    """Begin an authority. Raises Invalid for a root from outside that is none."""
    root, keys = _root(settings, brought, making)
    root = msgspec.structs.replace(root, standing="active", since=making.now)
    return Amend(0, settings, [root], [keys])


def prepare(state: State, rules: Rules, brought: Brought, making: Making) -> Amend:
    """Make the next root, which everybody is to believe from now on beside the present one.

    The rules are kept with it, and count once it is active. Raises Conflict when there is one
    already, Invalid for a root from outside that is none.
    """
    if state.prepared is not None:
        raise Conflict(
            f"root {state.prepared.id} is prepared already; activate it, or retire it with force"
        )
    if len(state.roots) >= ROOTS_MAX:
        raise Conflict(f"{ROOTS_MAX} roots are believed already; retire the past ones first")
    settings = msgspec.structs.replace(state.settings, rules=rules)
    root, keys = _root(settings, brought, making)
    if root.id in state.roots:
        raise Conflict(f"root {root.id} is believed already")
    if not (rules.disable_cross_signing or state.settings.rules.disable_cross_signing):
        root = _crossed(state, root, making.now)
    root = msgspec.structs.replace(root, standing="prepared", rules=rules)
    return _amend(state, [root], [keys])


def activate(
    state: State, reports: Iterable[Report], threshold: float, now: float, *, force: bool = False
) -> Amend:
    """Sign under the prepared root from now on.

    Raises Conflict when there is none, or when fewer than this share of the workloads believe it.
    """
    root = state.prepared
    if root is None:
        raise Conflict("no root is prepared; prepare one first")
    if not force:
        believing(reports, root.id).check(threshold, f"believe root {root.id}")
    return _activated(state, root, now, automatic=False)


def rotate(state: State, rules: Rules, brought: Brought, making: Making, *, force: bool) -> Amend:
    """Another root in one step, as Consul does it: who knows only the old one believes it by that.

    Raises Conflict when the present root cannot sign the new one, unless forced to do without.
    """
    if state.prepared is not None:
        raise Conflict(f"root {state.prepared.id} is prepared; activate or retire it first")
    made = prepare(state, rules, brought, making)
    (root,) = made.roots
    if not root.crossed and not force:
        raise Conflict(
            "The current CA Provider does not support cross-signing. You can try again with "
            "ForceWithoutCrossSigningSet but this may cause disruption - see documentation for more"
        )
    between = State(state.settings, state.roots | {root.id: root}, state.keys)
    after = _activated(between, root, making.now, automatic=True)
    return msgspec.structs.replace(after, keys=made.keys)


def retire(
    state: State, reports: Iterable[Report], threshold: float, now: float, *, force: bool = False
) -> Amend:
    """Believe past roots no longer; when forced, one that is only prepared is dropped instead.

    Raises Conflict when there is none, or when fewer than this share of the workloads can do
    without.
    """
    past = state.past
    if not past:
        if force and state.prepared is not None:
            return _amend(state, dropped=[state.prepared.id])
        raise Conflict("there is no past root")
    if not force:
        over = all(root.past_since + root.leaf_ttl <= now for root in past)
        content = independent(reports, state.active.id, leaves=not over)
        content.check(threshold, "need no past root")
    gone = {root.id for root in past}
    kept = [_uncrossed(root, gone) for root in state.roots.values() if root.id not in gone]
    changed = [root for root in kept if root != state.roots[root.id]]
    return _amend(state, changed, dropped=sorted(gone))


def renew(state: State, making: Making) -> Amend | None:
    """New intermediates for roots whose present one is past half its life, if any.

    Raises a MeshError when whoever has the root's key does not sign.
    """
    due = [
        root
        for root in state.roots.values()
        if root.standing != "past" and _is_due(root, making.now)
    ]
    made = [_with_intermediate(state, root, making) for root in due]
    if not made:
        return None
    return _amend(state, [root for root, _ in made], [keys for _, keys in made])


def replace(state: State, brought: Brought, now: float) -> Amend | None:
    """The active root with the intermediate that was brought for it; None if it has that one.

    Raises Invalid for one that may not sign under it, Conflict when it is of another root.
    """
    root = state.active
    if root_id(brought.certificate) != root.id:
        raise Conflict(f"IntermediateCert: is of another root than the active one, {root.id}")
    if signing.split(brought.intermediate)[0] == root.intermediate:
        return None
    root, keys = _with_intermediate(state, root, Making(now), brought)
    return _amend(state, [root], [keys])


def adopt(state: State, brought: Brought, now: float) -> Amend | None:
    """The same for files that lie there since long: None also when theirs ends no later.

    And none when they are of another root, which the API may have taken since.
    """
    if not brought.intermediate or root_id(brought.certificate) != state.active.id:
        return None
    if signing.facts(brought.intermediate).not_after <= state.active.intermediate_not_after:
        return None
    return replace(state, brought, now)


def is_renewal_due(state: State, now: float) -> bool:
    """Whether `renew` would make something."""
    return any(root.standing != "past" and _is_due(root, now) for root in state.roots.values())


def prune(state: State, now: float) -> Amend | None:
    """Drop past roots that expired, and those whose last leaf cannot live any more."""
    gone = {
        root.id
        for root in state.past
        if root.not_after <= now or (root.automatic and root.past_since + 2 * root.leaf_ttl <= now)
    }
    if not gone:
        return None
    kept = [_uncrossed(root, gone) for root in state.roots.values() if root.id not in gone]
    changed = [root for root in kept if root != state.roots[root.id]]
    return _amend(state, changed, dropped=sorted(gone))


def recover(state: State, making: Making, *, force: bool = False) -> Amend:
    """Another root at once, and no other: for when the present one has expired.

    Raises Conflict when it has not, unless forced.
    """
    active = state.active
    if making.now < active.not_after and not force:
        raise Conflict(
            f"root {active.id} has not expired; rotate it instead (meshctl connect ca rotate)"
        )
    root, keys = _root(state.settings, Brought(), making)
    root = msgspec.structs.replace(root, standing="active", since=making.now)
    return _amend(state, [root], [keys], dropped=sorted(state.roots))


def configure(state: State, settings: Settings) -> Amend:
    """Other rules for what is made from now on, under the same root.

    What changes does so for a prepared root as well. Raises Invalid when its rules forbid that.
    """
    active, prepared = state.active, state.prepared
    roots = [_with_leaves_of(active, settings.rules)]
    if prepared is not None and prepared.rules is not None:
        rules = _changed(prepared.rules, state.settings.rules, settings.rules)
        ca_config.check(rules)
        roots.append(msgspec.structs.replace(prepared, rules=rules))
    changed = [root for root in roots if root != state.roots[root.id]]
    return _amend(state, changed, settings=settings)


def _with_leaves_of(root: Root, rules: Rules) -> Root:
    return msgspec.structs.replace(root, leaf_ttl=max(root.leaf_ttl, rules.leaf_cert_ttl))


def _changed(rules: Rules, before: Rules, after: Rules) -> Rules:
    """These rules with what differs between the other two."""
    found = {name: getattr(after, name) for name in after.__struct_fields__}
    news = {name: value for name, value in found.items() if value != getattr(before, name)}
    return msgspec.structs.replace(rules, **news)


# Leaves


class LeafSigner:
    """Signs leaves under the active root of a state."""

    def __init__(self, state: State, datacenter: str) -> None:
        self._settings, self._root = state.settings, state.active
        self._datacenter = datacenter
        self._chain = chain(state)
        keys = state.keys[self._root.id]
        self._signer = signing.Signer(self._root.intermediate, keys.intermediate)

    def is_of(self, state: State) -> bool:
        """Whether it signs as this state says. A restored one may be of the same generation."""
        return self._settings == state.settings and self._root == state.active

    @property
    def slow(self) -> bool:
        """Whether a signature takes milliseconds."""
        return self._signer.slow

    def sign(self, csr: str, now: float) -> Signed:
        """A leaf for this request. Raises Invalid, or NotSigned for an identity of others."""
        asked = signing.read_request(csr)
        who = admitted(asked.uri, self._settings.trust_domain, self._datacenter)
        validity = signing.Validity(now, self._settings.rules.leaf_cert_ttl)
        pem = self._signer.leaf(asked, who.name or who.role, validity)
        leaf = signing.facts(pem)
        return Signed(
            certificate=pem,
            chain=self._chain,
            root=self._root.id,
            uri=asked.uri,
            serial=leaf.serial,
            valid_after=leaf.not_before,
            valid_before=leaf.not_after,
        )


def chain(state: State) -> list[str]:
    """From a leaf of the active root to all roots: its intermediate, then it as older ones sign."""
    root = state.active
    found = [root.intermediate]
    seen = {root.id}
    while root.crossed and root.crossed_by in state.roots and root.crossed_by not in seen:
        found.append(root.crossed)
        root = state.roots[root.crossed_by]
        seen.add(root.id)
    return found


# Making roots


def _root(settings: Settings, brought: Brought, making: Making) -> tuple[Root, Keys]:
    rules = settings.rules
    if brought.certificate:
        certificate, key = signing.split(brought.certificate)[0], brought.key
        if key:
            signing.Signer(certificate, key)
    else:
        key = brought.key or making_keys.new_key(rules.private_key_type, rules.private_key_bits)
        validity = signing.Validity(making.now, rules.root_cert_ttl)
        certificate = signing.make_root(key, settings.trust_domain, validity)
    found = signing.facts(certificate)
    _check_root(found, settings, making.now)
    root = Root(
        id=found.id,
        name="Mesh CA Primary Cert" if not brought.certificate else found.name,
        serial=found.serial,
        certificate=certificate,
        not_before=found.not_before,
        not_after=found.not_after,
        key_type=found.key_type,
        key_bits=found.key_bits,
        brought=bool(brought.certificate),
        leaf_ttl=rules.leaf_cert_ttl,
    )
    own = Keys(id=found.id, root=key)
    state = State(settings, {root.id: root}, {root.id: own})
    return _with_intermediate(state, root, making, brought)


def _check_root(found: signing.Facts, settings: Settings, now: float) -> None:
    if not found.authority:
        raise Invalid("RootCert: is no certificate authority")
    if found.below == 0:
        raise Invalid("RootCert: its path length is 0, so it allows no intermediate")
    if not found.not_before <= now < found.not_after:
        raise Invalid("RootCert: is not valid now")
    domains = [uri.removeprefix("spiffe://").lower() for uri in found.uris]
    if domains and settings.trust_domain not in domains:
        raise Invalid(f"RootCert: is for {', '.join(domains)}, not {settings.trust_domain}")


def _with_intermediate(
    state: State, root: Root, making: Making, brought: Brought | None = None
) -> tuple[Root, Keys]:
    """The root with a new intermediate: one that was brought, or by its own key, or whoever's."""
    rules, keys = root.rules or state.settings.rules, state.keys[root.id]
    given = brought is not None and bool(brought.intermediate)
    if brought is not None and given:
        key, certificate = brought.intermediate_key, signing.split(brought.intermediate)[0]
        _check_given(certificate, root, state.settings.trust_domain)
    else:
        key = making_keys.new_key(rules.private_key_type, rules.private_key_bits)
        certificate = _signed_intermediate(key, state, root, making)
    found = signing.facts(certificate)
    _check_intermediate(certificate, key, root)
    if not found.not_before <= making.now < found.not_after:
        raise Invalid(f"the intermediate under root {root.id} is not valid now")
    root = msgspec.structs.replace(
        root,
        intermediate=certificate,
        intermediate_not_before=found.not_before,
        intermediate_not_after=found.not_after,
        intermediate_brought=given,
        signing_key=found.key_id,
    )
    return root, msgspec.structs.replace(keys, intermediate=key)


def _check_given(certificate: str, root: Root, domain: str) -> None:
    """Raise Invalid for an intermediate whose leaves nobody would believe."""
    found = signing.facts(certificate)
    if not found.authority:
        raise Invalid("IntermediateCert: is no certificate authority")
    if found.uris != [f"spiffe://{domain}"]:
        names = ", ".join(found.uris) or "nobody"
        raise Invalid(f"IntermediateCert: expected the URI spiffe://{domain}, it is for {names}")
    if found.not_after > root.not_after:
        raise Invalid("IntermediateCert: ends after RootCert")


def _signed_intermediate(key: str, state: State, root: Root, making: Making) -> str:
    """By the root's own key, or by whoever has that."""
    rules, domain = root.rules or state.settings.rules, state.settings.trust_domain
    keys = state.keys[root.id]
    if keys.root:
        signer = signing.Signer(root.certificate, keys.root)
        validity = signing.Validity(making.now, rules.intermediate_cert_ttl)
        return signer.intermediate(key, domain, validity)
    if making.outside is None:
        raise Invalid(
            "PrivateKey: is needed with RootCert, or an IntermediateCert, or a signing command "
            "[connect.ca_config]"
        )
    return signing.split(making.outside(signing.request_intermediate(key, domain)))[0]


def _check_intermediate(certificate: str, key: str, root: Root) -> None:
    signing.Signer(certificate, key)
    if not signing.is_signed_by(certificate, root.certificate):
        raise Invalid(f"the intermediate is not signed by root {root.id}")


def _crossed(state: State, root: Root, now: float) -> Root:
    """The root with a certificate of its own from the active one, where that can be had."""
    active, key = state.active, state.keys[state.active.id].root
    if not key or now >= active.not_after or not _has_room(state):
        return root
    signer = signing.Signer(active.certificate, key)
    validity = signing.Validity(now, root.not_after - now)
    crossed = signer.cross(root.certificate, validity)
    return msgspec.structs.replace(root, crossed=crossed, crossed_by=active.id)


def _has_room(state: State) -> bool:
    """Whether each root from the active one up allows as many authorities as a crossed one adds."""
    root, below, seen = state.active, 2, set[str]()  # The crossed root, and its intermediate.
    while root.id not in seen:
        length = signing.facts(root.certificate).below
        if length is not None and length < below:
            return False
        seen.add(root.id)
        root, below = state.roots.get(root.crossed_by, root), below + 1
    return True


def _uncrossed(root: Root, gone: set[str]) -> Root:
    if root.crossed_by not in gone:
        return root
    return msgspec.structs.replace(root, crossed="", crossed_by="")


def _activated(state: State, root: Root, now: float, *, automatic: bool) -> Amend:
    old = msgspec.structs.replace(
        state.active, standing="past", past_since=now, automatic=automatic
    )
    rules = root.rules or state.settings.rules
    new = msgspec.structs.replace(root, standing="active", since=now, rules=None)
    settings = msgspec.structs.replace(state.settings, rules=rules)
    return _amend(state, [old, _with_leaves_of(new, rules)], settings=settings)


def _amend(
    state: State,
    roots: Iterable[Root] = (),
    keys: Iterable[Keys] = (),
    *,
    dropped: Iterable[str] = (),
    settings: Settings | None = None,
) -> Amend:
    generation = state.settings.generation
    return Amend(generation, settings or state.settings, list(roots), list(keys), list(dropped))


def _is_due(root: Root, now: float) -> bool:
    """Whether its intermediate is past half its life, and another one would live longer.

    What was brought from outside is replaced from there.
    """
    if root.intermediate_brought:
        return False
    half = (root.intermediate_not_before + root.intermediate_not_after) / 2
    return half <= now < root.not_after and root.intermediate_not_after < root.not_after
