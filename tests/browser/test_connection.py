"""What pages do when their node goes away and comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.browser.conftest import Opened, alone, page_of
from tests.browser.driver import accessible, visit
from tests.cluster.processes import eventually

TRY = "async ([path, request]) => (await fetch(path, request)).status"
DISGUISE = {"User-Agent": "curl", "Accept-Language": "*", "X-Forwarded-For": "10.0.0.1"}
ASKED: list[dict[str, Any]] = [
    {},
    {"headers": DISGUISE, "referrerPolicy": "no-referrer"},
    {"headers": {"Accept-Language": ""}},
    {"method": "PUT", "headers": DISGUISE},
]
"""How a page may ask, and what it may say of itself."""


def test_a_lost_connection_is_said_and_found_again(opened: Opened, tmp_path: Path) -> None:
    with alone(tmp_path) as node:
        node.put("/v1/agent/service/register", {"Name": "before"})
        with opened() as page:
            visit(page, page_of(node, "services"))
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


def test_a_website_that_has_its_name_lead_here_is_told_nothing(
    opened: Opened, tmp_path: Path
) -> None:
    with alone(tmp_path) as node:
        with opened() as page:
            page.goto(f"http://evil.example:{node.http}/")
            expect(page.get_by_text('allowed_hosts = ["evil.example"]')).to_be_visible()
            for request in ASKED:
                assert page.evaluate(TRY, ["/v1/agent/self", request]) == 403, request
        with opened() as page:
            page.goto(f"http://localhost:{node.http}/")
            assert page.evaluate(TRY, ["/v1/agent/self", {}]) == 200
