"""The mesh's options: files that the authority begins with, and what contradicts each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from mesh.config.connect import problems, wanted
from mesh.config.schema import Config
from mesh.config.sections import Connect
from mesh.connect.keys import new_key
from mesh.registry.authority import Brought
from tests.connect.authority import CLUSTER, Elsewhere


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The keys of the configuration, with files of an intermediate from outside."""
    given = Elsewhere().gives()
    texts = {
        "root_cert_file": given.certificate,
        "intermediate_cert_file": given.intermediate,
        "intermediate_key_file": given.intermediate_key,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return {name: str(tmp_path / name) for name in texts} | {"cluster_id": CLUSTER}


def said(connect: Connect) -> list[tuple[str, str]]:
    return list(problems(Config(connect=connect)))


def test_an_intermediate_by_files(files: dict[str, str]) -> None:
    config = Config(connect=Connect(ca_config=files))
    assert not list(problems(config))
    texts = [Path(path).read_text() for name, path in files.items() if name.endswith("_file")]
    found = Brought(certificate=texts[0], intermediate=texts[1], intermediate_key=texts[2])
    assert wanted(config).brought == found


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"cluster_id": ""}, "cluster_id: is needed with intermediate_cert"),
        ({"intermediate_key": ""}, "goes with IntermediateKey"),
        ({"intermediate_key": new_key("ec", 256)}, "is not the key of IntermediateCert"),
        ({"root_cert": ""}, "goes with the RootCert"),
        ({"sign_command": ["true"]}, "SignCommand: gives intermediates itself"),
        ({"intermediate_cert_file": "/nowhere/x"}, "intermediate_cert_file: /nowhere/x: No such"),
    ],
)
def test_what_does_not_go_together(files: dict[str, str], more: dict[str, str], why: str) -> None:
    given = {name: text for name, text in files.items() if name.removesuffix("_file") not in more}
    ((key, text),) = said(Connect(ca_config=given | more))
    assert key == "connect.ca_config"
    assert why in text


def test_sockets_of_workloads() -> None:
    good = Connect(workload_folder="/run/w", workload_users={"web": "root"})
    assert not said(good)
    ((key, _),) = said(replace(good, workload_folder="w"))
    assert key == "connect.workload_folder"
    ((key, _),) = said(replace(good, workload_folder=""))
    assert key == "connect.workload_users"
