"""An authority over tables in memory, and chains as OpenSSL sees them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from mesh.connect import identity, signing
from mesh.connect.ca import LeafSigner, Making, found
from mesh.connect.keys import new_key
from mesh.registry import authority
from mesh.registry.authority import Amend, Brought, Rules, Settings, Signed, State, Tell
from tests.registry.world import World

CLUSTER = "11111111-2222-3333-4444-555555555555"
DOMAIN = f"{CLUSTER}.consul"
START = 1_700_000_000.0
RULES, NONE = Rules(), Brought()


class Office(World):
    """Tables with an authority, at a time that stands still until it is moved."""

    def __init__(self, rules: Rules = RULES, brought: Brought = NONE) -> None:
        super().__init__()
        self.now = START
        settings = Settings(cluster_id=CLUSTER, rules=rules)
        self.do(found(settings, brought, self.making))

    @property
    def making(self) -> Making:
        return Making(self.now)

    @property
    def state(self) -> State:
        found = authority.state(self.database.view())
        assert found is not None
        return found

    @property
    def trust(self) -> authority.Trust:
        return self.ask(authority.Roots())

    @property
    def reports(self) -> list[authority.Report]:
        return self.ask(authority.Reports())

    def amend(self, amend: Amend | None) -> None:
        assert amend is not None
        self.do(amend)

    def tell(self, node: str, *acks: authority.Ack) -> None:
        self.do(Tell(node, list(acks)))

    def sign(self, service: str = "web") -> Signed:
        key = new_key("ec", 256)
        csr = signing.request_leaf(key, identity.service(DOMAIN, "dc1", service).uri)
        return LeafSigner(self.state, "dc1").sign(csr, self.now)


class Elsewhere:
    """An authority elsewhere, which gives intermediates and keeps the key of its root."""

    def __init__(self, now: float = START, domain: str = DOMAIN) -> None:
        self.now, self.domain, self._key = now, domain, new_key("ec", 256)
        self.root = signing.make_root(self._key, domain, signing.Validity(now, 1e9))

    def gives(self, days: float = 365.0, domain: str = "") -> Brought:
        key, validity = new_key("ec", 256), signing.Validity(self.now, days * 86400.0)
        signer = signing.Signer(self.root, self._key)
        made = signer.intermediate(key, domain or self.domain, validity)
        return Brought(certificate=self.root, intermediate=made, intermediate_key=key)


def openssl_verifies(leaf: Signed, roots: Iterable[str], now: float) -> str:
    """Empty when it believes the leaf, else why it does not."""
    with TemporaryDirectory() as folder:
        names = {"roots": "".join(roots), "chain": "".join(leaf.chain), "leaf": leaf.certificate}
        paths = {name: Path(folder, name) for name in names}
        for name, text in names.items():
            paths[name].write_text(text)
        command = ["openssl", "verify", "-attime", str(int(now)), "-purpose", "sslserver"]
        command += ["-no-CApath", "-no-CAfile", "-CAfile", str(paths["roots"])]
        command += ["-untrusted", str(paths["chain"]), str(paths["leaf"])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr


def signed_by_openssl(root: str, key: str, csr: str) -> str:
    """An intermediate, as an authority elsewhere makes it, and then its root."""
    with TemporaryDirectory() as folder:
        extensions = "basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign\n"
        texts = {"root": root, "key": key, "csr": csr, "extensions": extensions}
        for name, text in texts.items():
            Path(folder, name).write_text(text)
        command = "openssl x509 -req -in csr -CA root -CAkey key -days 3000 -set_serial 7"
        command += " -extfile extensions"
        done = subprocess.run(
            command.split(), cwd=folder, capture_output=True, text=True, check=True
        )
    return done.stdout + root
