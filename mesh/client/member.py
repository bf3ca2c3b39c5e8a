"""A service in the mesh, as its agent keeps it informed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from mesh.client import connect
from mesh.client.ca import Leaf, Roots
from mesh.client.connect import Verdict
from mesh.client.following import Following, patient
from mesh.client.material import Credentials
from mesh.client.peers import trust_domain_of
from mesh.client.settings import Settings
from mesh.client.sync import Client
from mesh.client.verdicts import Verdicts
from mesh.errors import Unreachable

ASK_SECONDS = 2.0
"""How long a caller waits at most for what the agent says of it."""


class Member:
    """A service in the mesh: its leaf, the roots, and who may call it, always the newest.

    Threads keep it so, which know this object only.
    """

    def __init__(self, service: str, configured: Settings) -> None:
        """Raises the MeshError that says why there is no leaf."""
        self.service, self._settings = service, configured
        with Client(configured) as client:
            leaf = client.run(connect.leaf(service)).value  # Waits while there is no authority.
            roots = client.run(connect.roots()).value
        self.credentials = Credentials(leaf, roots)
        self.verdicts = Verdicts(self._ask)
        self._changing = threading.Lock()
        self._guarded = False
        self._told: list[Callable[[], None]] = []
        self.following = Following(configured)
        self.following.follow(f"leaf of {service}", connect.leaf(service), self._renew)
        self.following.follow("roots of the mesh", connect.roots(), self._trust)

    def _renew(self, leaf: Leaf) -> None:
        with self._changing:
            if leaf != self.credentials.leaf:
                self.credentials = msgspec.structs.replace(self.credentials, leaf=leaf)

    def _trust(self, roots: Roots) -> None:
        with self._changing:
            if roots == self.credentials.roots:
                return
            self.credentials = msgspec.structs.replace(self.credentials, roots=roots)
        self.verdicts.changed()

    def _ask(self, caller: str, serial: str) -> Verdict:
        with Client(patient(self._settings, ASK_SECONDS)) as client:
            return client.run(connect.authorize(self.service, caller, serial))

    def judged(self, caller: str, serial: str) -> Verdict:
        """Whether who has this SPIFFE ID may connect. Waits for the agent if it is a new one."""
        if trust_domain_of(caller) != self.credentials.roots.trust_domain.lower():
            return Verdict(authorized=False, reason="it is of another trust domain")
        return self.verdicts.of(caller, serial)

    def guard(self, told: Callable[[], None] | None = None) -> None:
        """Follow the intentions about this service from now on.

        `told` is called in a thread when callers have been judged again.
        """
        with self._changing:
            begins, self._guarded = not self._guarded, True
            if told is not None:
                self._told.append(told)
        if begins:
            name = f"intentions about {self.service}"
            self.following.follow(name, connect.rules(self.service), self._judge_again)

    def _judge_again(self, _: bytes) -> None:
        answered = self.verdicts.changed()
        for told in list(self._told):
            told()
        if not answered:
            raise Unreachable("the agent did not say who may connect")
