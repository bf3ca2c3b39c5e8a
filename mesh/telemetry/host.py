"""The host: memory, processors, system and disk of this machine, as Linux tells them in /proc."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROC = Path("/proc")
KIB = 1024


def collect(folder: str, now: float) -> dict[str, Any]:
    """What is known, in Consul's shape; `folder` is on the disk in question, `now` Unix seconds.

    What cannot be read is left out and told among the errors.
    """
    found: dict[str, Any] = {}
    errors: list[str] = []
    parts: dict[str, Callable[[], Any]] = {
        "Memory": _memory,
        "CPU": _processors,
        "Host": lambda: _system(now),
        "Disk": lambda: _disk(folder),
    }
    for name, read in parts.items():
        try:
            found[name] = read()
        except (OSError, ValueError, LookupError) as error:
            found[name] = None
            errors.append(f"{name}: {error}")
    return found | {"CollectionTime": int(now * 1e9), "Errors": errors or None}


def _memory() -> dict[str, Any]:
    lines = (line.split() for line in (PROC / "meminfo").read_text().splitlines())
    sizes = {line[0].rstrip(":"): int(line[1]) * KIB for line in lines if len(line) > 1}
    total, available = sizes["MemTotal"], sizes["MemAvailable"]
    used = total - available
    return {
        "total": total,
        "available": available,
        "used": used,
        "usedPercent": 100 * used / total,
        "free": sizes["MemFree"],
        "active": sizes["Active"],
        "inactive": sizes["Inactive"],
        "buffers": sizes["Buffers"],
        "cached": sizes["Cached"],
        "swapTotal": sizes["SwapTotal"],
        "swapFree": sizes["SwapFree"],
    }


def _processors() -> list[dict[str, Any]]:
    found = []
    for block in (PROC / "cpuinfo").read_text().strip().split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        fields = {name.strip(): value.strip() for name, _, value in pairs}
        if "processor" in fields:
            found.append(
                {
                    "cpu": int(fields["processor"]),
                    "vendorId": fields.get("vendor_id", ""),
                    "family": fields.get("cpu family", ""),
                    "model": fields.get("model", ""),
                    "modelName": fields.get("model name", ""),
                    "physicalId": fields.get("physical id", ""),
                    "coreId": fields.get("core id", ""),
                    "cores": 1,
                    "mhz": float(fields.get("cpu MHz", "0")),
                    "flags": fields.get("flags", "").split(),
                }
            )
    return found


def _system(now: float) -> dict[str, Any]:
    uptime = int(float((PROC / "uptime").read_text().split()[0]))
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return {
        "hostname": socket.gethostname(),
        "uptime": uptime,
        "bootTime": int(now) - uptime,
        "procs": sum(one.name.isdigit() for one in PROC.iterdir()),
        "os": platform.system().lower(),
        "platform": release.get("ID", ""),
        "platformFamily": release.get("ID_LIKE", release.get("ID", "")),
        "platformVersion": release.get("VERSION_ID", ""),
        "kernelVersion": platform.release(),
        "kernelArch": platform.machine(),
    }


def _disk(folder: str) -> dict[str, Any]:
    figures = os.statvfs(folder)
    total, free = figures.f_blocks * figures.f_frsize, figures.f_bavail * figures.f_frsize
    used = total - figures.f_bfree * figures.f_frsize
    files, spare = figures.f_files, figures.f_ffree
    return {
        "path": folder,
        "total": total,
        "free": free,
        "used": used,
        "usedPercent": 100 * used / (used + free) if used + free else 0.0,
        "inodesTotal": files,
        "inodesUsed": files - spare,
        "inodesFree": spare,
        "inodesUsedPercent": 100 * (files - spare) / files if files else 0.0,
    }
