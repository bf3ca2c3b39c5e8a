"""H2PING checks: an HTTP/2 PING is answered."""

from __future__ import annotations

import asyncio

from mesh.agent.checks import Result
from mesh.agent.definitions import CheckDefinition
from mesh.agent.probes.http2 import open_connection
from mesh.agent.probes.target import Contexts, reason, seconds


async def run(check: CheckDefinition, contexts: Contexts) -> Result:
    """Over TLS unless the definition says otherwise."""
    try:
        async with asyncio.timeout(seconds(check)):
            over_tls = check.h2ping_use_tls
            connection = await open_connection(check.h2ping, check, contexts, over_tls=over_tls)
            try:
                await connection.ping()
            finally:
                connection.close()
    except (OSError, ValueError) as error:
        return Result("critical", f"HTTP2 ping {check.h2ping}: {reason(error)}")
    return Result("passing", "HTTP2 ping was successful")
