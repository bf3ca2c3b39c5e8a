import json
import threading
from itertools import count

import pytest

from mesh.cli.shop import Shop
from tests.client.scripted import Scripted


def shop(calls: str = "") -> Shop:
    healthy = threading.Event()
    healthy.set()
    return Shop("web", calls, "", healthy, count())


def test_health_can_be_broken_and_mended() -> None:
    one = shop()
    assert one.reply("GET", "/health") == (200, "web is fine")
    assert one.reply("POST", "/fail") == (503, "web is out of order")
    assert one.reply("GET", "/health")[0] == 503
    assert one.reply("GET", "/") == (200, "web at your service")
    assert one.reply("POST", "/recover")[0] == 200
    assert one.reply("GET", "/nothing")[0] == 404


def test_it_asks_the_healthy_instances_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scripted() as registry, Scripted() as payments:
        monkeypatch.setenv("MESH_HTTP_ADDR", registry.address)
        payments.on("GET", "/", "payments-1 at your service\n")
        host, port = payments.address.split(":")
        service = {"Service": "payments", "Port": int(port)}
        registry.on(
            "GET",
            "/v1/health/service/payments?passing",
            json.dumps([{"Node": {"Node": "n", "Address": host}, "Service": service}]),
        )
        one = shop("payments")
        said = "web asked payments: payments-1 at your service"
        assert one.reply("GET", "/") == (200, said)
        assert one.reply("GET", "/") == (200, said)
    status, text = one.reply("GET", "/")
    assert status == 503
    assert "cannot reach the mesh agent" in text
