"""Asking: loads of DNS and HTTP, and all that the clients can say of the answers.

`dnsperf` asks with EDNS, so that an answer of 20 or 200 instances comes whole where it fits into
4,096 bytes: without, a registry answers UDP with 3 instances, and a ratio would say nothing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.node import Node

SOCKETS, UNDER_WAY = 4, 64
PACE = 10_000
"""Questions a second when latency is measured: about a tenth of what is possible."""
PERCENTILES = (1, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99)
_PRINT_LATENCIES = f"""
done = function(summary, latency, requests)
  for _, p in ipairs({{{", ".join(map(str, PERCENTILES))}}}) do
    io.write(string.format("at %g took %d\\n", p, latency:percentile(p)))
  end
  local failed = summary.errors
  io.write(string.format("failed %d\\n",
    failed.connect + failed.read + failed.write + failed.status + failed.timeout))
end
"""


class Heard(NamedTuple):
    """What came back."""

    rate: float
    bytes: float
    spread: Sequence[tuple[float, float]] = ()
    """Percentiles and milliseconds."""

    def at(self, percentile: float) -> float:
        """The milliseconds within which so many of a hundred answers came; 0 when unknown."""
        return dict(self.spread).get(percentile, 0.0)


def need_programs() -> None:
    """End unless the clients are there."""
    missing = [name for name in ("dnsperf", "wrk") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"Needs {' and '.join(missing)} on PATH: apt-get install dnsperf wrk")


def dns(node: Node, names: Sequence[str], kind: str, seconds: float, *, tcp: bool = False) -> Heard:
    """Ask for these names in turn, as fast as answers come."""
    printed = _dnsperf(node, names, kind, seconds, ["-m", "tcp" if tcp else "udp"])
    return Heard(_rate(printed), _figure(r"packet size:\s+request \d+, response (\d+)", printed))


def dns_latency(node: Node, name: str, kind: str, seconds: float) -> Heard:
    """Ask for one name at `PACE`, and note how long each answer took."""
    printed = _dnsperf(node, [name], kind, seconds, ["-Q", str(PACE), "-v"])
    times = re.findall(r"^> NOERROR .* ([\d.]+)$", printed, re.MULTILINE)
    taken = sorted(float(text) * 1e3 for text in times)
    if not taken:
        raise SystemExit(f"no answers for {name}:\n{printed[-2000:]}")
    last = len(taken) - 1
    spread = [(part, taken[min(last, int(len(taken) * part / 100))]) for part in PERCENTILES]
    return Heard(_rate(printed), 0.0, spread)


def _dnsperf(
    node: Node, names: Sequence[str], kind: str, seconds: float, more: Sequence[str]
) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as questions:
        questions.writelines(f"{name} {kind}\n" for name in names)
        questions.flush()
        command = ["dnsperf", "-s", "127.0.0.1", "-p", str(node.dns), "-d", questions.name, "-e"]
        options = ["-l", str(max(1, int(seconds))), "-c", str(SOCKETS), "-q", str(UNDER_WAY)]
        printed = _output([*command, *options, *more])
    done, sent = _figure(r"completed:\s+(\d+)", printed), _figure(r"sent:\s+(\d+)", printed)
    codes = re.findall(r"(\w+) (\d+) \([\d.]+%\)", printed)
    wrong = [f"{count} {code}" for code, count in codes if code != "NOERROR"]
    if done < 0.99 * sent or wrong:
        raise SystemExit(
            f"{node.name} did not answer {names[0]} {kind}: {wrong}\n{printed[-2000:]}"
        )
    return printed


def http(node: Node, path: str, connections: int, seconds: float) -> Heard:
    """Read the path over so many keep-alive connections, each as fast as answers come."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "latencies.lua")
        script.write_text(_PRINT_LATENCIES)
        options = ["-t", "1", "-c", str(connections), "-d", f"{max(1, int(seconds))}s"]
        printed = _output(["wrk", *options, "-s", str(script), node.url(path)])
    if _figure(r"failed (\d+)", printed):
        raise SystemExit(f"{node.name} refused {path}:\n{printed}")
    times = re.findall(r"at ([\d.]+) took (\d+)", printed)
    spread = [(float(part), int(took) / 1e3) for part, took in times]
    size = _figure(r"Transfer/sec:\s+([\d.]+)", printed) * _unit(printed)
    rate = _figure(r"Requests/sec:\s+([\d.]+)", printed)
    return Heard(rate, size / rate if rate else 0.0, spread)


def _unit(printed: str) -> float:
    found = re.search(r"Transfer/sec:\s+[\d.]+([KMG]?)B", printed)
    return 1024.0 ** ("KMG".index(found[1]) + 1) if found is not None and found[1] else 1.0


def _rate(printed: str) -> float:
    return _figure(r"Queries per second:\s+([\d.]+)", printed)


def _figure(pattern: str, printed: str) -> float:
    found = re.search(pattern, printed)
    if found is None:
        raise SystemExit(f"cannot read {pattern!r} in:\n{printed[-2000:]}")
    return float(found[1])


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.stdout
