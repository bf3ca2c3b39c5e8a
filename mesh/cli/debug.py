"""meshctl debug: a bundle of files that tells somebody else how an agent fares, without secrets."""

from __future__ import annotations

import io
import json
import re
import tarfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from mesh import __version__, codec
from mesh.cli.command import OK, Command, Example
from mesh.cli.files import private
from mesh.cli.flags import Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.cli.progress import Progress
from mesh.client import Client, agent
from mesh.client.call import Call, Response
from mesh.durations import parse_duration
from mesh.errors import Invalid, MeshError

ONCE = {
    "agent": "/v1/agent/self",
    "host": "/v1/agent/host",
    "members": "/v1/agent/members",
    "cluster": "/v1/operator/raft/configuration",
    "autopilot": "/v1/operator/autopilot/state",
    "usage": "/v1/operator/usage",
}
"""What is asked once, at the start, by the name of its file."""
TARGETS = (*ONCE, "metrics", "logs")
INTERVAL_MIN_SECONDS = 5.0
CAPTURES_MAX = 1000
LOG_LINES_MAX = 100_000
HIDDEN = "hidden"
_SECRET = re.compile(
    r"token|secret|passw|encrypt|private|credential|authorization|cookie|^(headers?|body)$|(^|_)key$"
    r"|(?-i:[a-z]Key$)",
    re.IGNORECASE,
)
_VALUE = r"(?:\"(?:[^\"\\]|\\.)*\"|\S+)"
_SAID = re.compile(
    r"((?:token|secret|passw|encrypt|authorization|cookie|api_?key|access_?key)\w*[\"']?\s*[:=]\s*"
    rf"(?:[\"']?(?:bearer|basic)\s+)?|\bbearer\s+){_VALUE}",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL)


def debug(invocation: Invocation) -> int:
    """Ask the agent again and again, and put what it says into a folder or an archive."""
    parsed, out = invocation.parsed, invocation.out
    duration, interval = _seconds(invocation, "duration", 300.0), _interval(invocation)
    captures = min(max(1, int(duration // interval)), CAPTURES_MAX)
    wanted = parsed.many("capture") or list(TARGETS)
    output = Path(parsed.text("output") or f"meshctl-debug-{int(time.time())}")  # noqa: TID251
    archive = parsed.text("archive") != "false"
    path = output.with_name(f"{output.name}.tar.gz") if archive else output
    if path.exists():
        raise Usage(f"--output: {path} is there already")
    _seconds(invocation, "since", 0.0)
    lines = _Log(invocation, parsed.text("since")) if "logs" in wanted else None
    files: dict[str, bytes] = {}
    failed: dict[str, str] = {}
    with Progress(out, "Capturing") as progress:
        for name in wanted:
            if name in ONCE:
                _capture(invocation, ONCE[name], f"{name}.json", files, failed)
        for number in range(captures):
            progress.say(f"Capturing: {number + 1} of {captures}")
            if "metrics" in wanted:
                file = f"metrics-{number:03}.json"
                _capture(invocation, "/v1/agent/metrics", file, files, failed)
            if number + 1 < captures or lines is not None:
                time.sleep(interval if captures > 1 else min(interval, max(duration, 0.0)))
    if lines is not None:
        files["agent.log"] = lines.text()
    index = {
        "Version": __version__,
        "DurationSeconds": duration,
        "IntervalSeconds": interval,
        "Targets": wanted,
        "Files": sorted(files),
        "Failed": failed,
        "Hidden": "values of fields whose names say token, secret, password, encrypt or key",
    }
    files["index.json"] = codec.to_json(index, indent=2)
    _write(path, files, archive=archive)
    for name in sorted(failed):
        out.note(f"{name}: {failed[name]}")
    out.done(f"Saved {len(files)} files, without secrets, to {path}.", Path=str(path), **index)
    return OK


def _seconds(invocation: Invocation, flag: str, default: float) -> float:
    text = invocation.parsed.text(flag)
    try:
        return parse_duration(text) if text else default
    except Invalid as error:
        raise Usage(f"--{flag}: {error.message}") from error


def _interval(invocation: Invocation) -> float:
    interval = _seconds(invocation, "interval", 30.0)
    if interval < INTERVAL_MIN_SECONDS:
        raise Usage(f"--interval: must be at least {INTERVAL_MIN_SECONDS:.0f}s")
    return interval


def _capture(
    invocation: Invocation, path: str, file: str, files: dict[str, bytes], failed: dict[str, str]
) -> None:
    call: Call[Response] = Call(method="GET", path=path, decode=lambda response: response)
    try:
        found = invocation.client.run(call)
    except MeshError as error:
        failed[file] = error.message
        return
    files[file] = codec.to_json(redacted(json.loads(found.body)), indent=2)


def redacted(value: Any, name: str = "", *, within: bool = False) -> Any:
    """The same with everything hidden whose name, or that of what it is in, says it is secret."""
    hidden = within or _SECRET.search(name) is not None
    if isinstance(value, dict):
        return {key: redacted(each, str(key), within=hidden) for key, each in value.items()}
    if isinstance(value, list):
        return [redacted(each, name, within=hidden) for each in value]
    if isinstance(value, str) and value:
        return HIDDEN if hidden else cleaned(value)
    return value


def cleaned(text: str) -> str:
    """A text without what looks like a secret in it."""
    text = _SAID.sub(rf"\1{HIDDEN}", _PEM.sub(HIDDEN, text))
    return _LOGIN.sub(rf"\1{HIDDEN}", text)


class _Log:
    """The agent's log meanwhile, read by a thread with a connection of its own."""

    def __init__(self, invocation: Invocation, since: str) -> None:
        self._lines: deque[bytes] = deque(maxlen=LOG_LINES_MAX)
        self._call = agent.monitor("debug", since=since)
        self._client = Client(invocation.client.settings)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for line in self._client.stream(self._call):
                self._lines.append(line)
        except MeshError as error:
            self._lines.append(f"the log ended: {error.message}\n".encode())

    def text(self) -> bytes:
        """What came so far, without secrets."""
        said = b"".join(list(self._lines)).decode("utf-8", "replace")
        return cleaned(said).encode()


def _write(path: Path, files: dict[str, bytes], *, archive: bool) -> None:
    try:
        if not archive:
            path.mkdir(mode=0o700, parents=True)
            for name, data in files.items():
                with open(path / name, "xb", opener=private) as file:
                    file.write(data)
            return
        with (
            open(path, "xb", opener=private) as file,
            tarfile.open(fileobj=file, mode="w:gz") as packed,
        ):
            for name in sorted(files):
                entry = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
                entry.size, entry.mode = len(files[name]), 0o600
                packed.addfile(entry, io.BytesIO(files[name]))
    except OSError as error:
        raise Usage(f"--output: cannot write {path}: {(error.strerror or '').lower()}") from error


COMMANDS = {
    "debug": Command(
        debug,
        about="Make a bundle for whoever helps you: the agent and its machine, the members, the\n"
        "servers, metrics again and again, and the log meanwhile. Tokens, keys and passwords are\n"
        "hidden; names, addresses and the words of the log are in it, so look before you send it.\n"
        "index.json says what is in it and what could not be had.",
        examples=(
            Example("debug", "Five minutes, into an archive in this folder"),
            Example("debug -duration 1m -interval 10s -capture metrics -capture logs", "Less"),
            Example("debug -since 1h -duration 5s", "Soon after something went wrong"),
            Example("debug -archive=false -output bundle", "Into a folder"),
        ),
        flags=(
            Flag("duration", "how long to capture; 5m unless told", value="TIME"),
            Flag("interval", "between two captures; 30s unless told, at least 5s", value="TIME"),
            Flag("capture", "only this; may be repeated", "list", value="WHAT", choices=TARGETS),
            Flag("since", "begin with what the agent's log still has of so long", value="TIME"),
            Flag("output", "the folder, or the archive without .tar.gz", value="PATH"),
            Flag("archive", "pack it; on unless =false", "switch"),
        ),
        exits=("1: the agent could not be reached, or nothing could be written",),
    ),
}
