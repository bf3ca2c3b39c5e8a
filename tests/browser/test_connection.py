"""What pages do when their node goes away and comes back."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.driver import accessible, visit, window
from tests.cluster.processes import PLAIN, Meshd, eventually


def test_a_lost_connection_is_said_and_found_again(chromium: Browser, tmp_path: Path) -> None:
    config = {"server": True, "bootstrap_expect": 1, "tls": PLAIN}
    node = Meshd("alone", "127.0.0.1", tmp_path / "alone", config)
    node.start()
    try:
        eventually(lambda: node.get("/v1/status/leader"))
        node.put("/v1/agent/service/register", {"Name": "before"})
        with window(chromium) as page:
            visit(page, f"http://127.0.0.1:{node.http}/ui/dc1/services")
            expect(page.get_by_role("link", name="before")).to_be_visible()
            node.kill()
            expect(page.get_by_text("Connection lost at")).to_be_visible()
            expect(page.get_by_role("link", name="before")).to_be_visible()
            accessible(page)
            node.start()
            expect(page.get_by_text("Connection lost at")).to_have_count(0)
            eventually(lambda: node.get("/v1/status/leader"))
            node.put("/v1/agent/service/register", {"Name": "after"})
            expect(page.get_by_role("link", name="after")).to_be_visible()
    finally:
        node.stop()
