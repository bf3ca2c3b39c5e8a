"""Every case in tests/cases/config gives the output written in it; --update rewrites it.

A case is files (`=== name`, then the text), a command line after `$`, `----`, and what comes out:
the problems, or the options that differ from the defaults, warnings and keys mesh ignores.
"""

import json
import shlex
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from mesh.config.addresses import advertised
from mesh.config.flags import parse
from mesh.config.load import validate
from mesh.config.problems import ConfigError
from mesh.config.schema import Config
from mesh.config.shape import OPTIONS, value_at
from mesh.config.wording import leaves

CASES = Path(__file__).parent.parent / "cases" / "config"
BORDER = "\n\n========\n\n"


def run(entered: str, folder: Path) -> str:
    for piece in entered.split("=== ")[1:]:
        name, _, text = piece.partition("\n")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.partition("\n$ ")[0] + "\n")
    command = entered[entered.rindex("$ ") + 2 :]
    _, verb, *arguments = shlex.split(command)
    try:
        if verb == "validate":
            return show(validate(arguments))
        return show(parse(arguments, server=verb == "server"))
    except ConfigError as error:
        return str(error)


def show(config: Config) -> str:
    defaults = Config(node_name="host")
    lines = [
        f"{key} = {json.dumps(value_at(config, key))}"
        for key in leaves()
        if value_at(config, key) != value_at(defaults, key)
    ]
    lines += [f"warning: {line}" for line in config.warnings]
    lines += [f"not yet: {' '.join(config.not_yet)}"] if config.not_yet else []
    return "\n".join(lines) or "defaults"


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "host")


@pytest.mark.parametrize("path", sorted(CASES.glob("*.txt")), ids=lambda path: path.stem)
def test_case(
    path: Path, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = path.read_text()
    cases = []
    for number, block in enumerate(written.strip().split(BORDER)):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        entered = block.partition("\n----\n")[0].removesuffix("\n----")
        cases.append(f"{entered}\n----\n{run(entered, folder)}")
    output = BORDER.join(cases) + "\n"
    if request.config.getoption("--update"):
        path.write_text(output)
        written = output
    assert output == written


fragments = some.sampled_from(
    [*OPTIONS, "service", "check", "=", "{", "}", "[", "]", ":", ",", '"', "\n", " ", "- ", "<<E"]
)
texts = some.one_of(some.text(), some.lists(fragments).map(" ".join))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts, some.sampled_from(["hcl", "json", "yaml"]))
def test_any_text_gives_a_config_or_its_problems(tmp_path: Path, text: str, kind: str) -> None:
    path = tmp_path / f"any.{kind}"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    try:
        outcome = show(validate([str(path)]))
    except ConfigError as error:
        outcome = str(error)
    assert outcome


scalars = some.one_of(
    some.none(), some.booleans(), some.integers(), some.floats(allow_nan=False), some.text()
)
values = some.recursive(
    scalars, lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner), max_leaves=5
)
keys = some.sampled_from(sorted(key for key in OPTIONS if "." not in key))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(some.dictionaries(keys, values))
def test_any_value_of_any_option_gives_a_config_or_its_problems(
    tmp_path: Path, options: dict[str, object]
) -> None:
    path = tmp_path / "any.json"
    path.write_text(json.dumps(options))
    try:
        outcome = show(parse(["-dev", f"-config-file={path}"], server=False))
    except ConfigError as error:
        outcome = str(error)
    assert outcome


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "bad.hcl"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        validate([str(path)])


def test_yaml_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 20)}]" for n in range(1, 12)]
    for text in ("\n".join(lines), "a: &a [*a]", "a: " + "[" * 5000 + "]" * 5000):
        path = tmp_path / "bomb.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError):
            validate([str(path)])


def test_what_is_advertised() -> None:
    assert advertised(Config(bind_addr="10.0.0.1")) == "10.0.0.1"
    assert advertised(Config(bind_addr="10.0.0.1", advertise_addr="1.2.3.4")) == "1.2.3.4"


def test_leaving_depends_on_the_role() -> None:
    client, server = Config(), Config(server=True)
    assert (client.leaves_on_terminate, client.leaves_on_interrupt) == (True, True)
    assert (server.leaves_on_terminate, server.leaves_on_interrupt) == (False, False)
    assert Config(server=True, leave_on_terminate=True).leaves_on_terminate
