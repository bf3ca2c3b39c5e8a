"""/v1/operator/tls/revoked over a real agent's API. Ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.registry.levels import HIGHEST, Found
from tests.certificates import Certificates
from tests.compat.agent import AgentApi, serving

PATH = "/v1/operator/tls/revoked"


@pytest.fixture
async def api() -> AsyncIterator[AgentApi]:
    async with serving() as made:
        await made.registry.write(Found(HIGHEST))
        yield made


async def test_a_certificate_is_revoked_listed_and_taken_back(
    api: AgentApi, tmp_path: Path
) -> None:
    assert (await api.get(PATH)).json == []
    made = Certificates(tmp_path)
    pair = made.issue("client", "a1")
    # Nothing but the certificate counts, not even when somebody sends more.
    body = {"Certificate": (pair.certificate + pair.key).decode(), "Reason": "stolen"}
    one = (await api.put(PATH, body)).json
    shown = made.credentials("client", "a1", pair).own
    assert [one["SerialNumber"], one["Issuer"]] == [shown.serial, shown.issuer]
    assert one["Names"] == ["a1.client.dc1.mesh", "client.dc1.mesh", "localhost"]
    assert (one["Reason"], one["By"]) == ("stolen", "n0/http/127.0.0.1")
    assert one["Time"] < one["Expires"]
    listed = await api.get(PATH)
    assert listed.json == [one]
    assert listed.index == one["ModifyIndex"]
    assert (await api.delete(f"{PATH}?serial={shown.serial.lower()}")).json is True
    assert (await api.delete(f"{PATH}?serial={shown.serial}")).json is False


async def test_a_serial_number_stands_for_any_authority(api: AgentApi) -> None:
    one = (await api.put(PATH, {"SerialNumber": "a:1b"})).json
    wanted = {"SerialNumber": "0A1B", "Issuer": "", "Names": [], "Expires": ""}
    assert {name: one[name] for name in wanted} == wanted


async def test_nobody_shuts_himself_out_by_accident(api: AgentApi) -> None:
    refused = await api.put(PATH, {"SerialNumber": "0a"})
    assert refused.status == 500
    assert "0A is the certificate of this very node (n0)" in refused.text
    assert (await api.put(PATH, {"SerialNumber": "0a", "Force": True})).status == 200


async def test_what_makes_no_sense_is_refused(api: AgentApi, tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    authority = made.ca.read_text()
    damaged = "-----BEGIN CERTIFICATE-----\nMAUCAQE=\n-----END CERTIFICATE-----"
    for body, said in (
        ({}, "either a Certificate or a SerialNumber"),
        ({"Certificate": "x", "SerialNumber": "1"}, "either"),
        ({"Certificate": "x"}, "no certificate in PEM form"),
        ({"Certificate": damaged}, "no certificate"),
        ({"Certificate": authority}, "take it out of the ca_file"),
        ({"SerialNumber": "web"}, "hexadecimal"),
    ):
        refused = await api.put(PATH, body)
        assert (refused.status, said in refused.text) == (400, True), refused.text
    assert (await api.delete(f"{PATH}?serial=web")).status == 400
    assert (await api.delete(PATH)).status == 400
