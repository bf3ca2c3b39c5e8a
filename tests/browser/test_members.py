"""Members: who is there, why gossip thinks so, and whether the network is well."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.driver import accessible, fits, picture, visit
from tests.cluster.processes import Cluster, Meshd, eventually

At = Callable[[str], str]
GUARD = "/v1/agent/guard"


@pytest.fixture
def gone(shop: Cluster, tmp_path: Path) -> str:
    """A member that was there and left."""
    first = shop.servers[0]
    node = Meshd("gone-1", shop.agents[0].address, tmp_path / "gone-1", {})
    node.config["retry_join"] = [first.joinable]
    node.config["leave_on_terminate"] = True
    node.start()
    try:
        eventually(lambda: "gone-1" in statuses(shop))
    finally:
        node.stop()
    eventually(lambda: statuses(shop).get("gone-1") == 3)
    return "gone-1"


def statuses(shop: Cluster) -> dict[str, int]:
    return {one["Name"]: one["Status"] for one in shop.agents[0].get("/v1/agent/members")}


def test_members_are_listed_with_what_gossip_knows(
    shop: Cluster, page: Page, at: At, *, update: bool
) -> None:
    visit(page, at("members"))
    table = page.get_by_role("table", name="Members")
    expect(table.get_by_role("link", name=shop.servers[0].name, exact=True)).to_be_visible()
    expect(page.get_by_text("Nothing is frozen or damped")).to_be_visible()
    expect(page.get_by_text("Its health score is")).to_be_visible()
    expect(table.get_by_text(re.compile(r"^\d.* ms$")).first).to_be_visible()
    picture(page, "members", update=update)
    accessible(page)
    fits(page)
    page.get_by_role("searchbox").fill("role=consul")
    expect(table.get_by_role("row")).to_have_count(4)
    table.get_by_role("link", name=shop.servers[0].name, exact=True).click()
    expect(page.get_by_text("State in SWIM")).to_be_visible()
    expect(page.get_by_role("link", name="To the node's page")).to_be_visible()
    accessible(page)
    fits(page)


def test_a_member_that_left_is_dropped_from_the_list(page: Page, at: At, gone: str) -> None:
    visit(page, at(f"members/list/{gone}"))
    page.get_by_role("button", name="Force leave …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("checkbox").check()
    expect(dialog.get_by_text(f"meshctl force-leave --prune {gone}")).to_be_visible()
    accessible(page)
    dialog.get_by_role("button", name="Force leave").click()
    expect(page.get_by_text(f"There is no member {gone}")).to_be_visible()


def test_the_network_is_tested_when_asked(page: Page, at: At, *, update: bool) -> None:
    visit(page, at("members/reach"))
    page.get_by_role("button", name="Ask everybody").click()
    expect(page.get_by_text("All 5 members answered.")).to_be_visible()
    accessible(page)
    fits(page)
    page.get_by_role("link", name="Network doctor").click()
    page.get_by_role("button", name="Test the network").click()
    expect(page.get_by_role("table", name="Median round trips")).to_be_visible()
    picture(page, "members-doctor", update=update)
    accessible(page)
    fits(page)


def test_gossip_without_keys_says_so(page: Page, at: At) -> None:
    visit(page, at("members/keys"))
    expect(page.get_by_text("Gossip is not encrypted")).to_be_visible()
    expect(page.get_by_text("meshctl keygen")).to_be_visible()
    accessible(page)
    fits(page)


def test_a_freeze_is_shown_and_released(page: Page, at: At) -> None:
    """Nothing is frozen in a cluster that is well, so what the page hears of it is put in."""
    frozen = {
        "Frozen": True,
        "Rule": "more than 40 %",
        "Ends": "when all are back",
        "Since": "2026-11-22T02:00:00Z",
        "EndsBy": "2026-11-22T02:05:00Z",
        "Vanished": 3,
        "Pool": 5,
        "Members": ["a7"],
        "Damped": [{"Name": "a9", "Penalty": 3.4, "Until": "2026-11-22T02:09:00Z"}],
    }

    def watched(route: Route) -> None:
        body: Any = route.request.post_data_json
        if any(one["Path"] == GUARD and one["Mark"].startswith("new:") for one in body["Asks"]):
            route.fulfill(json=[{"Path": GUARD, "Mark": "bytes:1", "Status": 200, "Body": frozen}])
            return
        asks = [one for one in body["Asks"] if one["Path"] != GUARD]
        route.continue_(post_data=json.dumps(body | {"Asks": asks}))

    page.route("**/v1/internal/ui/watch", watched)
    visit(page, at("members"))
    expect(page.get_by_text("Removals from discovery are frozen")).to_be_visible()
    expect(page.get_by_role("link", name="a9")).to_be_visible()
    accessible(page)
    fits(page)
    page.unroute("**/v1/internal/ui/watch")
    page.get_by_role("button", name="Release …").click()
    page.get_by_role("button", name="End the freeze").click()
    expect(page.get_by_text("Nothing is frozen or damped")).to_be_visible()
