"""OS service checks: systemd says that the unit is active."""

from __future__ import annotations

from mesh.agent import scripts
from mesh.agent.checks import Result
from mesh.agent.definitions import CheckDefinition
from mesh.durations import format_duration

TIMEOUT_SECONDS = 30.0


async def run(check: CheckDefinition) -> Result:
    """Ask `systemctl is-active`."""
    name, limit, said = check.os_service, check.timeout or TIMEOUT_SECONDS, scripts.Tail()
    try:
        code = await scripts.execute(["systemctl", "is-active", "--", name], limit, said.add)
    except scripts.CannotStart:
        return Result(
            "critical",
            f"OS service {name}: cannot be checked: this machine has no systemctl, and mesh knows "
            "services of systemd only",
        )
    except TimeoutError:
        return Result("critical", f"Timed out ({format_duration(limit)}) running check")
    state = said.text.strip() or f"systemctl ended with {code}"
    return Result("passing" if code == 0 else "critical", f"OS service {name}: {state}")
