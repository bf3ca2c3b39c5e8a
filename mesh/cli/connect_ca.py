"""meshctl connect ca: the mesh's certificate authority, and the rotation of its root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mesh import codec
from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.connection import read_options
from mesh.cli.flags import DATACENTER, READ_FLAGS, Argument, Flag, Parsed, Usage
from mesh.cli.invocation import Invocation
from mesh.client.ca import Root, Step
from mesh.errors import Invalid, explained

WHOLE = (
    "Provider",
    "Config",
    "ForceWithoutCrossSigning",
    "State",
    "CreateIndex",
    "ModifyIndex",
)
"""The keys of what get-config prints."""
COLUMNS = ("Root", "State", "Key", "Not Before", "Not After")


def roots(invocation: Invocation) -> int:
    """List them, or print them as PEM."""
    answer = invocation.client.ca.roots(read_options(invocation.parsed))
    found = answer.value
    if invocation.parsed.switch("pem"):
        invocation.out.raw("".join(root.root_cert for root in found.roots).encode())
        return OK
    rows = [_row(root) for root in found.roots]
    invocation.out.table(found, COLUMNS, rows)
    if found.trust_domain:
        invocation.out.note(f"Trust domain {found.trust_domain}")
    else:
        invocation.out.note("There is no certificate authority; see connect.enabled.")
    return OK if found.trust_domain else FAILED


def _row(root: Root) -> tuple[str, ...]:
    state = "active" if root.active else "believed"
    key = f"{root.private_key_type} {root.private_key_bits}"
    return (root.id, state, key, root.not_before, root.not_after)


def get_config(invocation: Invocation) -> int:
    """As JSON, for set-config to take."""
    found = invocation.client.ca.configuration(read_options(invocation.parsed)).value
    invocation.out.json(found)
    return OK


def set_config(invocation: Invocation) -> int:
    """Put a file's configuration in place."""
    parsed = invocation.parsed
    path = parsed.text("config-file")
    if not path:
        raise Usage("connect ca set-config needs --config-file FILE")
    given = _document(invocation, path)
    config = _settings(given, path)
    force = parsed.switch("force-without-cross-signing") or given.get("ForceWithoutCrossSigning")
    invocation.client.ca.configure(
        config,
        provider=str(given.get("Provider", "consul")),
        force_without_cross_signing=bool(force),
        datacenter=parsed.text("datacenter"),
    )
    invocation.out.done("Configuration updated!", Updated=True)
    return OK


def _document(invocation: Invocation, path: str) -> dict[str, Any]:
    try:
        data = invocation.stdin.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or explained(error)
        raise Invalid(f"cannot read {path}: {reason}") from error
    try:
        return codec.from_json(data, dict[str, Any])
    except Invalid as error:
        raise Invalid(f"{path}: not JSON: {error.message}") from error


def _settings(given: dict[str, Any], path: str) -> dict[str, Any]:
    """The settings in a document: as get-config prints them, or these alone."""
    if not given.keys() & {"Provider", "Config"}:
        return given
    if unknown := sorted(given.keys() - WHOLE):
        raise Invalid(f'{path}: unknown key "{unknown[0]}"; there are {", ".join(WHOLE)}')
    config = given.get("Config", {})
    if not isinstance(config, dict):
        raise Invalid(f"{path}: Config: expected an object")
    return config


def reissue(invocation: Invocation) -> int:
    """Renew the certificate of a service on the agent's node."""
    (service,) = invocation.parsed.arguments
    leaf = invocation.client.ca.reissue(service)
    invocation.out.done(
        f"{service} has certificate {leaf.serial_number}, good until {leaf.valid_before}.",
        Service=service,
        SerialNumber=leaf.serial_number,
        ValidBefore=leaf.valid_before,
    )
    return OK


def status(invocation: Invocation) -> int:
    """How far a rotation has come."""
    found = invocation.client.ca.rotation(read_options(invocation.parsed)).value
    count = found.workloads
    rows = [
        (root.id, root.standing, f"{root.believed}/{count}", f"{root.leaves}/{count}")
        for root in found.roots
    ]
    invocation.out.table(found, ("Root", "State", "Believed By", "Leaves"), rows)
    for one in found.waiting:
        invocation.out.note(f"waits for {one}")
    invocation.out.note(f"Next: {found.next}.")
    return OK


def prepare(invocation: Invocation) -> int:
    """Make the next root."""
    parsed = invocation.parsed
    path = parsed.text("config-file")
    config = _settings(_document(invocation, path), path) if path else {}
    for name, key in (("key-type", "PrivateKeyType"), ("key-bits", "PrivateKeyBits")):
        if parsed.text(name):
            config[key] = parsed.text(name)
    step = invocation.client.ca.prepare(config, datacenter=parsed.text("datacenter"))
    return _done(invocation, f"Root {step.root_id} is prepared", step)


def activate(invocation: Invocation) -> int:
    """Sign under it."""
    parsed = invocation.parsed
    step = invocation.client.ca.activate(
        threshold=_threshold(parsed),
        force=parsed.switch("force"),
        datacenter=parsed.text("datacenter"),
    )
    return _done(invocation, f"Root {step.root_id} signs from now on", step)


def retire(invocation: Invocation) -> int:
    """Drop what is past."""
    parsed = invocation.parsed
    step = invocation.client.ca.retire(
        threshold=_threshold(parsed),
        force=parsed.switch("force"),
        datacenter=parsed.text("datacenter"),
    )
    return _done(invocation, f"Nobody believes {', '.join(step.dropped)} any more", step)


def recover(invocation: Invocation) -> int:
    """A new root, at once."""
    parsed = invocation.parsed
    step = invocation.client.ca.recover(
        force=parsed.switch("force"), datacenter=parsed.text("datacenter")
    )
    return _done(invocation, f"Root {step.root_id} signs from now on", step)


def _done(invocation: Invocation, said: str, step: Step) -> int:
    facts = {"RootID": step.root_id, "Dropped": step.dropped, "Next": step.next}
    invocation.out.done(f"{said}: {step.next}.", **facts)
    return OK


def _threshold(parsed: Parsed) -> float:
    text = parsed.text("threshold") or "1"
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise Usage(f'--threshold: expected a share such as 0.95 or 95%, got "{text}"')
    return share


SERVICE = Argument("SERVICE")
GATE = (
    Flag("threshold", "the share of workloads that will do, 0.95 or 95%", value="SHARE"),
    Flag("force", "go on, whoever may have to do without", "switch"),
    DATACENTER,
)
CONFIG_FILE = Flag("config-file", "a file of JSON; - for standard input", value="FILE")
WAITS = "1: too few workloads are ready; says for whom it waits"
COMMANDS = {
    "connect ca roots": Command(
        roots,
        about="List the roots that every workload of the mesh believes, the active one first:\n"
        "leaves are signed under it.",
        examples=(
            Example("connect ca roots", "All roots"),
            Example("connect ca roots --pem", "As PEM, for other programs"),
        ),
        flags=(Flag("pem", "print the certificates and nothing else", "switch"), *READ_FLAGS),
    ),
    "connect ca get-config": Command(
        get_config,
        about="Show how certificates are made, as JSON. Private keys are not shown.",
        examples=(Example("connect ca get-config", "Lifetimes, keys, limits"),),
        flags=READ_FLAGS,
    ),
    "connect ca set-config": Command(
        set_config,
        about="Change how certificates are made. What the file leaves out stays. Another kind of\n"
        "key, or a RootCert, rotates the root in one step; rotate does it with proof.",
        examples=(Example("connect ca set-config --config-file ca.json", "What it says"),),
        flags=(
            CONFIG_FILE,
            Flag("force-without-cross-signing", "though the old root cannot sign it", "switch"),
            DATACENTER,
        ),
    ),
    "connect ca reissue": Command(
        reissue,
        about="Renew the certificate of SERVICE on the agent's node now.",
        examples=(Example("connect ca reissue web", "Another key, another certificate"),),
        arguments=(SERVICE,),
    ),
    "connect ca rotate status": Command(
        status,
        about="Show which roots there are, how many workloads believe each and have their leaf\n"
        "under it, and for whom the next step waits.",
        examples=(Example("connect ca rotate status", "Where it stands"),),
        flags=READ_FLAGS,
    ),
    "connect ca rotate prepare": Command(
        prepare,
        about="First step: make the next root, which every workload is to believe beside the\n"
        "present one. Nothing is signed under it yet.",
        examples=(
            Example("connect ca rotate prepare", "Keys as they are"),
            Example("connect ca rotate prepare --key-type rsa --key-bits 4096", "Other keys"),
        ),
        flags=(
            Flag("key-type", "ec or rsa", choices=("ec", "rsa"), value="TYPE"),
            Flag("key-bits", "the size of the keys", "number"),
            CONFIG_FILE,
            DATACENTER,
        ),
    ),
    "connect ca rotate activate": Command(
        activate,
        about="Second step: sign leaves under the prepared root, once every workload believes it.",
        examples=(
            Example("connect ca rotate activate", "When all do"),
            Example("connect ca rotate activate --threshold 95%", "When most do"),
        ),
        flags=GATE,
        exits=(WAITS,),
    ),
    "connect ca rotate retire": Command(
        retire,
        about="Third step: believe past roots no longer, once no workload needs one. With --force\n"
        "after prepare alone it takes the prepared root back.",
        examples=(Example("connect ca rotate retire", "When all leaves are renewed"),),
        flags=GATE,
        exits=(WAITS,),
    ),
    "connect ca recover": Command(
        recover,
        about="Begin with a new root at once and believe no other, because the present one has\n"
        "expired: agents get new leaves within seconds, sidecars with them.",
        examples=(Example("connect ca recover", "After the root's last day"),),
        flags=(Flag("force", "also when it has not expired", "switch"), DATACENTER),
    ),
}
