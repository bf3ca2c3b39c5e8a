"""Names by which browsers ask, over real connections."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.http.server import Options
from tests.compat.conftest import Api

CHROME = {"User-Agent": "Mozilla/5.0", "Accept-Language": "en-US,en;q=0.9"}
EVIL = CHROME | {"Host": "evil.example:8500"}


async def test_a_browser_that_was_led_here_is_told_how_to_allow_the_name(api: Api) -> None:
    await api.register("n1", "web")
    for method, path in [
        ("GET", "/v1/health/service/web"),
        ("GET", "/v1/kv/?keys"),
        ("PUT", "/v1/kv/x"),
        ("POST", "/v1/internal/ui/watch"),
        ("GET", "/ui/"),
        ("GET", "/"),
    ]:
        got = await api.ask(method, path, headers=EVIL)
        assert got.status == 403, path
        assert 'http_config { allowed_hosts = ["evil.example"] }' in got.text


async def test_it_is_logged_once(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        await api.ask("GET", "/v1/status/leader", headers=EVIL)
    (said,) = [one for one in caplog.messages if "allowed_hosts" in one]
    assert "evil.example" in said


async def test_what_is_kept_for_programs_is_not_told_to_it(api: Api) -> None:
    await api.register("n1", "web")
    program = {"Host": "evil.example:8500"}
    for _ in range(2):
        assert (await api.ask("GET", "/v1/health/service/web", headers=program)).status == 200
        assert (await api.ask("GET", "/v1/health/service/web", headers=EVIL)).status == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8500", "localhost:8500", "mesh", "n0.example"])
async def test_by_its_own_names_browsers_reach_it(serve: Any, host: str) -> None:
    api = await serve(own_hosts=["n0.example"])
    got = await api.ask("GET", "/v1/status/leader", headers=CHROME | {"Host": host})
    assert got.status == 200


async def test_a_name_is_allowed_by_a_reload(api: Api) -> None:
    assert (await api.ask("GET", "/v1/status/leader", headers=EVIL)).status == 403

    def reload(names: list[str]) -> None:
        api.server.reload(
            Options(addresses=[], datacenter="dc1", node_name="n0", allowed_hosts=names)
        )

    reload(["evil.example"])
    assert (await api.ask("GET", "/v1/status/leader", headers=EVIL)).status == 200
    reload(["other.example"])
    assert (await api.ask("GET", "/v1/status/leader", headers=EVIL)).status == 403
