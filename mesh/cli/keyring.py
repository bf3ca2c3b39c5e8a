"""meshctl keyring: the keys that gossip is encrypted with."""

from __future__ import annotations

from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.flags import Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.client.shapes import Keyring

ACTS = ("install", "use", "remove")
RELAY_FACTOR_MAX = 5


def keyring(invocation: Invocation) -> int:
    """Do the one thing that the flags ask for."""
    parsed = invocation.parsed
    asked = [name for name in ACTS if parsed.text(name)]
    asked += [name for name in ("list", "list-primary") if parsed.switch(name)]
    if len(asked) != 1:
        known = ", ".join(f"--{name}" for name in (*ACTS, "list", "list-primary"))
        raise Usage(f"keyring needs exactly one of {known}")
    factor = parsed.number("relay-factor") or 0
    if factor > RELAY_FACTOR_MAX:
        raise Usage(f"--relay-factor: expected 0 to {RELAY_FACTOR_MAX}, got {factor}")
    if parsed.switch("local-only") and not asked[0].startswith("list"):
        raise Usage("--local-only is for --list and --list-primary")
    if asked[0].startswith("list"):
        return _list(invocation, factor, primary=asked[0] == "list-primary")
    operator = invocation.client.operator
    act = {"install": operator.install_key, "use": operator.use_key}.get(
        asked[0], operator.remove_key
    )
    act(parsed.text(asked[0]), relay_factor=factor)
    done = {
        "install": "Every member has the key.",
        "use": "Every member encrypts with the key.",
        "remove": "No member has the key any more.",
    }
    invocation.out.done(done[asked[0]], Done=asked[0])
    return OK


def _list(invocation: Invocation, factor: int, *, primary: bool) -> int:
    local = invocation.parsed.switch("local-only")
    found = invocation.client.operator.keyring(relay_factor=factor, local_only=local)
    rows = [
        (_pool(ring), key, f"{count}/{ring.num_nodes}")
        for ring in found
        for key, count in sorted((ring.primary_keys if primary else ring.keys).items())
    ]
    invocation.out.table(found, ("Pool", "Key", "Members"), rows)
    wrong = [
        f"{_pool(ring)}: {name}: {ring.messages[name]}"
        for ring in found
        for name in sorted(ring.messages)
    ]
    for line in wrong:
        invocation.out.note(line)
    return FAILED if wrong else OK


def _pool(ring: Keyring) -> str:
    return "WAN" if ring.wan else f"{ring.datacenter} (LAN)"


COMMANDS = {
    "keyring": Command(
        keyring,
        about="Look at the keys that gossip is encrypted with, or change them on every member. A\n"
        "new key is first installed, then used, and then the old one is removed; each step only\n"
        "when the one before reached all. meshctl keygen makes a key.",
        examples=(
            Example("keyring --list", "Which keys there are, and how many members have each"),
            Example("keyring --install 5vyDVzPOHPwDMm29hRGvlw==", "First step to another key"),
            Example("keyring --use 5vyDVzPOHPwDMm29hRGvlw==", "Second step, once all have it"),
            Example("keyring --remove cg8StVXbQJ0gPvMd9o7yrg==", "Third step: drop the old one"),
        ),
        flags=(
            Flag("install", "give every member this key, in base64", value="KEY"),
            Flag("use", "encrypt with this key, which all must have", value="KEY"),
            Flag("remove", "take this key from every member; it must not be in use", value="KEY"),
            Flag("list", "show the keys of each pool", "switch"),
            Flag("list-primary", "show which keys are used to encrypt", "switch"),
            Flag("relay-factor", "members that carry each answer too, 0 to 5", "number"),
            Flag("local-only", "ask no other datacenter", "switch"),
        ),
        exits=("1: a member did not do it, or did not answer",),
    ),
}
