"""The certificate authority of the mesh: its rows, what is asked of it, and who believes it so far.

The leader makes keys and certificates (`connect.ca`) and proposes the tables as they are to be
then; the command compares a generation, so that of two who did so at once one is refused. Private
keys lie in a table of their own, which no query reads.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from mesh.errors import Conflict, Invalid
from mesh.registry.levels import MESH
from mesh.registry.nodes import NODES
from mesh.registry.port import Command, Order, Query
from mesh.store.database import Transaction, View
from mesh.store.table import Row, Table

KeyType = Literal["ec", "rsa"]
Standing = Literal["prepared", "active", "past"]
HOUR = 3600.0
WORKLOADS_MAX = 4096
"""What one node may have in the mesh."""
NAME_MAX = 1024
ROOTS_MAX = 16
CSR_MAX_BYTES = 64 * 1024
PEM_MAX_BYTES = 256 * 1024
_KEY = ""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How the authority makes certificates. Times are in seconds, names and defaults Consul's."""

    leaf_cert_ttl: float = 72 * HOUR
    intermediate_cert_ttl: float = 8760 * HOUR
    root_cert_ttl: float = 87600 * HOUR
    private_key_type: KeyType = "ec"
    private_key_bits: int = 256
    csr_max_per_second: float = 50.0
    """Leaves signed per second; 0 for no limit."""
    csr_max_concurrent: int = 0
    """Leaves signed at once, where there is no limit per second; 0 for no limit."""
    skip_validate: bool = False
    """Kept for Consul's tools; has no effect."""
    disable_cross_signing: bool = False
    """Refuse a rotation by configuration, unless it is forced to do without."""


class Settings(Row, frozen=True, kw_only=True):
    """The one row that says which authority there is, and counts its changes."""

    cluster_id: str
    generation: int = 0
    provider: str = "consul"
    rules: Rules = Rules()
    force_without_cross_signing: bool = False

    @property
    def trust_domain(self) -> str:
        """The name under which all identities stand."""
        return f"{self.cluster_id}.consul".lower()


class Root(Row, frozen=True, kw_only=True):
    """A root, with the intermediate that signs leaves under it. Certificates are PEM."""

    id: str
    """The SHA-1 fingerprint of the certificate, in hex with colons."""
    name: str
    serial: str
    certificate: str
    not_before: float
    not_after: float
    """Unix seconds, as all times here."""
    key_type: KeyType
    key_bits: int
    standing: Standing = "active"
    intermediate: str = ""
    """Empty while it is only prepared."""
    intermediate_not_before: float = 0.0
    intermediate_not_after: float = 0.0
    intermediate_brought: bool = False
    """It was given from outside, and so is the one that follows it."""
    signing_key: str = ""
    """The identifier of the key that signs leaves, in hex with colons."""
    crossed: str = ""
    """The same name and key signed by another root, for who knows only that one."""
    crossed_by: str = ""
    """Which one that is."""
    since: float = 0.0
    """When it became active."""
    past_since: float = 0.0
    """When another became active."""
    brought: bool = False
    """It was given from outside; its key may lie elsewhere."""
    automatic: bool = False
    """Once past, it is dropped by itself when no leaf of its can live any more."""
    leaf_ttl: float = 0.0
    """The longest that a leaf under it may live."""


class Keys(Row, frozen=True, kw_only=True):
    """The private keys that go with a root, PEM. Nothing shows them."""

    id: str
    root: str = ""
    """Empty where the root's key lies elsewhere."""
    intermediate: str = ""

    def __repr__(self) -> str:
        """Say nothing of them."""
        return f"Keys({self.id!r})"


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """What a workload of a node acknowledged: a sidecar, or the agent for who has no sidecar."""

    id: str
    """`proxy:<instance id>` or `leaf:<service>`."""
    roots: list[str] = []
    """The ids of the roots that it believes, in order."""
    leaf: str = ""
    """The id of the root that its certificate is under; empty while it has none."""


class Report(Row, frozen=True, kw_only=True):
    """What the workloads of a node acknowledged, ordered by their ids."""

    node: str
    acks: list[Ack] = []
    time: float = 0.0
    """When it was said."""


SETTINGS: Table[Settings] = Table("ca", Settings, key=lambda _: _KEY, indexes={}, level=MESH)
ROOTS: Table[Root] = Table("ca_roots", Root, key=lambda row: row.id, indexes={}, level=MESH)
KEYS: Table[Keys] = Table("ca_keys", Keys, key=lambda row: row.id, indexes={}, level=MESH)
REPORTS: Table[Report] = Table(
    "ca_reports", Report, key=lambda row: row.node.lower(), indexes={}, level=MESH
)
SECRET_TABLES = frozenset({KEYS.name})
"""Whose rows nothing shows."""


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """Which roots are believed, and under which one leaves are signed."""

    trust_domain: str = ""
    """Empty while there is no authority."""
    active: str = ""
    roots: list[Root] = []
    """The active one first, then the newest."""
    rules: Rules = Rules()
    sequence: int = 0
    """Rises with each change, for SPIFFE."""


class Roots(Query[Trust], frozen=True, tag="authority.roots"):
    """What every workload believes."""

    answer = Trust
    needs: ClassVar[int] = MESH

    def run(self, view: View) -> Trust:
        """Read the settings and the roots."""
        settings = view.get(SETTINGS, _KEY)
        if settings is None:
            return Trust()
        roots = sorted(view.every(ROOTS), key=_newest_first)
        active = next((root.id for root in roots if root.standing == "active"), "")
        return Trust(
            trust_domain=settings.trust_domain,
            active=active,
            roots=roots,
            rules=settings.rules,
            sequence=settings.generation,
        )


def _newest_first(root: Root) -> tuple[bool, float, str]:
    return (root.standing != "active", -root.not_before, root.id)


class Configured(Query[Settings | None], frozen=True, tag="authority.configured"):
    """How the authority is set up; None while there is none."""

    answer = Settings | None
    needs: ClassVar[int] = MESH

    def run(self, view: View) -> Settings | None:
        """Read the row."""
        return view.get(SETTINGS, _KEY)


class Reports(Query[list[Report]], frozen=True, tag="authority.reports"):
    """What was acknowledged, ordered by node."""

    answer = list[Report]
    needs: ClassVar[int] = MESH

    def run(self, view: View) -> list[Report]:
        """Read the table."""
        return view.every(REPORTS)


class ReportOf(Query[Report | None], frozen=True, tag="authority.report-of"):
    """What was acknowledged on a node."""

    answer = Report | None
    needs: ClassVar[int] = MESH
    shared: ClassVar[bool] = False
    node: str

    def run(self, view: View) -> Report | None:
        """Read the row."""
        return view.get(REPORTS, self.node.lower())


class Amend(Command[int], frozen=True, tag="authority.amend"):
    """Put the authority into another state, if it is of this generation; the generation then.

    Only the leader makes it. Rows that are given replace those with the same id; roots that are
    `dropped` go with their keys.
    """

    result = int
    needs: ClassVar[int] = MESH
    internal: ClassVar[bool] = True
    generation: int
    """0: there is no authority yet."""
    settings: Settings
    roots: list[Root] = []
    keys: list[Keys] = []
    dropped: list[str] = []

    def apply(self, transaction: Transaction) -> int:
        """Write it all. Raises Conflict when it was changed meanwhile."""
        present = transaction.get(SETTINGS, _KEY)
        generation = present.generation if present else 0
        if generation != self.generation:
            raise Conflict("the certificate authority was changed meanwhile; look, and try again")
        transaction.put(SETTINGS, msgspec.structs.replace(self.settings, generation=generation + 1))
        for root in self.roots:
            transaction.put(ROOTS, root)
        for keys in self.keys:
            transaction.put(KEYS, keys)
        for root_id in self.dropped:
            transaction.delete(ROOTS, root_id)
            transaction.delete(KEYS, root_id)
        return generation + 1


class Tell(Command[bool], frozen=True, tag="authority.tell"):
    """Say what the workloads of a node acknowledged; with none of them nothing is kept of it."""

    result = bool
    needs: ClassVar[int] = MESH
    node: str
    acks: list[Ack] = []

    def validate(self) -> None:
        """Names and numbers have limits."""
        if not 0 < len(self.node) <= NAME_MAX:
            raise Invalid(f"Node: expected 1 to {NAME_MAX} characters")
        if len(self.acks) > WORKLOADS_MAX:
            raise Invalid(f"a node reports at most {WORKLOADS_MAX} workloads")
        for ack in self.acks:
            texts = (ack.id, ack.leaf, *ack.roots)
            if len(ack.roots) > ROOTS_MAX or any(len(text) > NAME_MAX for text in texts):
                raise Invalid(f"a report of {ack.id[:64]!r} is larger than there can be")

    def apply(self, transaction: Transaction) -> bool:
        """Write it."""
        if not self.acks:
            return transaction.delete(REPORTS, self.node.lower())
        acks = sorted(self.acks, key=lambda ack: ack.id)
        transaction.put(REPORTS, Report(node=self.node, acks=acks, time=transaction.time))
        return True


class Forget(Command[int], frozen=True, tag="authority.forget"):
    """Drop what was said long ago of nodes that the catalog does not have any more; how many."""

    result = int
    needs: ClassVar[int] = MESH

    def apply(self, transaction: Transaction) -> int:
        """Look each one up."""
        gone = forgettable(transaction, transaction.time)
        for row in gone:
            transaction.delete(REPORTS, row.node.lower())
        return len(gone)


def forgettable(view: View, now: float) -> list[Report]:
    """Reports of nodes that are gone. One that is new may be in the catalog soon."""
    return [
        row
        for row in view.every(REPORTS)
        if row.time < now - HOUR and view.get(NODES, row.node.lower()) is None
    ]


class State(msgspec.Struct, frozen=True):
    """The authority as the tables have it, private keys too: for the leader, and for no edge."""

    settings: Settings
    roots: dict[str, Root]
    keys: dict[str, Keys]

    @property
    def active(self) -> Root:
        """The root under which leaves are signed."""
        return next(root for root in self.roots.values() if root.standing == "active")

    @property
    def prepared(self) -> Root | None:
        """The root that is to follow it."""
        found = (root for root in self.roots.values() if root.standing == "prepared")
        return next(found, None)

    @property
    def past(self) -> list[Root]:
        """The roots that are still believed."""
        return [root for root in self.roots.values() if root.standing == "past"]


def state(view: View) -> State | None:
    """Everything there is; None while there is no authority."""
    settings = view.get(SETTINGS, _KEY)
    if settings is None:
        return None
    roots = {root.id: root for root in view.every(ROOTS)}
    return State(settings, roots, {keys.id: keys for keys in view.every(KEYS)})


# Orders, all for the leader


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A leaf, PEM, and all that leads from it to the roots."""

    certificate: str
    chain: list[str]
    """The intermediate, then the active root as older roots signed it."""
    root: str
    uri: str
    serial: str
    valid_after: float
    valid_before: float


class Sign(Order[Signed], frozen=True, tag="authority.sign"):
    """Sign a leaf for a certificate request in PEM."""

    outcome = Signed
    needs: ClassVar[int] = MESH
    repeatable: ClassVar[bool] = True  # A second leaf does no harm, and no leaf does.
    csr: str

    def validate(self) -> None:
        """It has a limit."""
        if len(self.csr) > CSR_MAX_BYTES:
            raise Invalid(f"CSR: longer than {CSR_MAX_BYTES} bytes")


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """A root from outside, PEM, with its private key or with an intermediate and that one's key."""

    certificate: str = ""
    key: str = ""
    intermediate: str = ""
    intermediate_key: str = ""

    def __repr__(self) -> str:
        """Say nothing of the keys."""
        return f"Brought({'a root' if self.certificate else 'none'})"


class Configure(Order[bool], frozen=True, tag="authority.configure"):
    """Change how certificates are made; other keys, or a root from outside, rotate the root."""

    outcome = bool
    needs: ClassVar[int] = MESH
    provider: str = "consul"
    config: dict[str, Any] = {}
    """As the API has it, names in any of their forms."""
    force_without_cross_signing: bool = False
    check_index: int | None = None
    """Only if the modify index of the settings is this."""

    def __repr__(self) -> str:
        """Say nothing of keys."""
        return f"Configure(provider={self.provider!r}, keys={sorted(self.config)!r})"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What a step of a rotation came to."""

    root: str
    """The root that was made, that signs now, or ... """
    dropped: list[str] = []
    """... those that nobody believes any more."""
    said: str = ""
    """What to do next, for people."""


class Prepare(Order[Step], frozen=True, tag="authority.prepare"):
    """Make the next root, or take one from outside, and have everybody believe it too."""

    outcome = Step
    needs: ClassVar[int] = MESH
    config: dict[str, Any] = {}

    def __repr__(self) -> str:
        """Say nothing of keys."""
        return f"Prepare(keys={sorted(self.config)!r})"


class Activate(Order[Step], frozen=True, tag="authority.activate"):
    """Sign leaves under the prepared root, once this share of the workloads believes it."""

    outcome = Step
    needs: ClassVar[int] = MESH
    threshold: float = 1.0
    force: bool = False

    def validate(self) -> None:
        """A share is from 0 to 1."""
        check_threshold(self.threshold)


class Retire(Order[Step], frozen=True, tag="authority.retire"):
    """Stop believing past roots, once this share of the workloads needs none of them."""

    outcome = Step
    needs: ClassVar[int] = MESH
    threshold: float = 1.0
    force: bool = False

    def validate(self) -> None:
        """A share is from 0 to 1."""
        check_threshold(self.threshold)


class Recover(Order[Step], frozen=True, tag="authority.recover"):
    """Begin with a new root at once, and believe no other, because the present one has expired."""

    outcome = Step
    needs: ClassVar[int] = MESH
    force: bool = False
    """Also when it has not."""


def check_threshold(share: float) -> None:
    """Raise Invalid for what is no share."""
    if not 0.0 <= share <= 1.0:
        raise Invalid(f"threshold: expected a share from 0 to 1, got {share:g}")
