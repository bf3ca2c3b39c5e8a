"""TCP checks: a connection, with TLS if wanted, is all it takes."""

from __future__ import annotations

import asyncio
import ssl

from mesh.agent.checks import Result
from mesh.agent.definitions import CheckDefinition
from mesh.agent.probes.target import Contexts, connect, reason, seconds


async def run(check: CheckDefinition, contexts: Contexts) -> Result:
    """Passing when somebody accepts the connection."""
    what = f"{'TCP+TLS' if check.tcp_use_tls else 'TCP'} connect {check.tcp}"
    context: ssl.SSLContext | None = None
    try:
        context = contexts.get(check) if check.tcp_use_tls else None
        async with asyncio.timeout(seconds(check)):
            _, writer = await connect(check.tcp, check, context)
    except (OSError, ValueError) as error:
        return Result("critical", f"{what}: {reason(error)}")
    if context is None:
        writer.close()
    else:
        writer.transport.abort()  # Nobody need wait for the farewell of TLS.
    return Result("passing", f"{what}: Success")
