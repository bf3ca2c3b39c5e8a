"""The first page: what is wrong now, since when, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.driver import accessible, fits, picture, visit
from tests.cluster.processes import Cluster


def test_a_quiet_cluster_is_summed_up(page: Page, at: Callable[[str], str], update: bool) -> None:
    visit(page, at(""))
    expect(page.get_by_role("link", name="Servers 3 led by s")).to_be_visible()
    expect(page.get_by_role("heading", name="cluster snapshots")).to_be_visible()
    if update:
        expect(page.locator(".now-mood")).to_contain_text("All is well")
    picture(page, "now-well", update=update)
    accessible(page)
    fits(page)


def test_what_begins_to_fail_is_shown_with_its_next_step_and_goes_when_it_is_over(
    shop: Cluster, page: Page, at: Callable[[str], str], update: bool
) -> None:
    node = shop.agents[0]
    visit(page, at(""))
    expect(page.get_by_role("heading", name="cluster snapshots")).to_be_visible()
    card = page.locator(".now-card").filter(has_text="service now-ill")
    held = page.locator(".now-card").filter(has_text="service now-new")
    try:
        body = {
            "name": "now-ill",
            "id": "now-ill",
            "port": 1,
            "check": {"ttl": "1h", "status": "passing"},
        }
        node.put("/v1/agent/service/register", body)
        said = {"Status": "critical", "Output": "<b>disk</b> is full"}
        node.put("/v1/agent/check/update/service:now-ill", said)
        given = {"Service": "now-new", "Reason": "new disk", "Owner": "ann"}
        node.put("/v1/maintenance", given)
        expect(card).to_contain_text("<b>disk</b> is full")
        expect(card).to_contain_text("meshctl maint --enable --node")
        expect(card.locator(".since")).to_have_text(re.compile("^since .* (ago|now)"))
        expect(page.locator(".now-mood")).to_contain_text("critical")
        expect(held).to_contain_text("new disk (ann)")
        picture(page, "now", update=update)
        accessible(page)
        fits(page)

        about = page.get_by_role("group", name="What it is about")
        about.get_by_role("button", name="services").click()
        expect(page.get_by_role("heading", name="cluster snapshots")).to_have_count(0)
        card.get_by_role("link", name="now-ill", exact=True).click()
        expect(page.get_by_role("heading", level=1)).not_to_have_text("Now")
        page.go_back()
        expect(card).to_be_visible()
    finally:
        node.put("/v1/agent/service/deregister/now-ill")
        node.ask("DELETE", "/v1/maintenance?service=now-new")
    expect(card).to_have_count(0)
    expect(held).to_have_count(0)
