"""meshctl validate: check configuration files without an agent."""

from __future__ import annotations

from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.flags import Argument, Flag
from mesh.cli.invocation import Invocation
from mesh.config import load
from mesh.errors import MeshError

FORMATS = ("hcl", "json", "yaml")


def validate(invocation: Invocation) -> int:
    """Read the files as an agent would, and say every error at once."""
    parsed, out = invocation.parsed, invocation.out
    try:
        config = load.validate(parsed.arguments, parsed.text("config-format"))
    except MeshError as error:
        if not out.as_json:
            raise
        out.json({"Valid": False, "Errors": str(error).splitlines(), "Warnings": []})
        return FAILED
    if out.as_json:
        out.json({"Valid": True, "Errors": [], "Warnings": list(config.warnings)})
        return OK
    for warning in config.warnings:
        out.note(f"warning: {warning}")
    if not parsed.switch("quiet"):
        out.lines(None, ["Configuration is valid!"])
    return OK


COMMANDS = {
    "validate": Command(
        validate,
        about="Check configuration files, or folders of them, as an agent would read them. It\n"
        "names every error at once, and asks no agent.",
        examples=(
            Example("validate /etc/mesh", "Every file of a folder"),
            Example("validate -quiet web.hcl", "Say nothing when it is valid"),
        ),
        arguments=(Argument("PATH", many=True),),
        flags=(
            Flag("config-format", "what files without .hcl, .json or .yaml are", choices=FORMATS),
            Flag("quiet", "say nothing when it is valid", "switch"),
        ),
        asks_agent=False,
        exits=("1: something is wrong in the files",),
    ),
}
