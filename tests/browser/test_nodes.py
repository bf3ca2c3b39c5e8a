"""Nodes: the list, a node's page, and what can be done to one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Opened
from tests.browser.driver import PHONE, accessible, fits, picture, visit
from tests.cluster.processes import Cluster

At = Callable[[str], str]


@pytest.fixture
def external(shop: Cluster) -> Iterator[str]:
    """A node without an agent, with an instance that fails."""
    node = shop.agents[0]
    name = "printer-1"
    body = {
        "Node": name,
        "Address": "127.9.9.9",
        "NodeMeta": {"rack": "<b>a7</b>"},
        "Service": {"Service": "print", "ID": "print-1", "Port": 631, "Tags": ["colour"]},
        "Check": {
            "Name": "paper",
            "CheckID": "paper",
            "ServiceID": "print-1",
            "Status": "critical",
            "Output": "<script>alert(1)</script> no paper " + "x" * 5000,
        },
    }
    node.put("/v1/catalog/register", body)
    yield name
    node.put("/v1/catalog/deregister", {"Node": name})


def test_the_list_is_searched_by_text_and_filter_and_narrowed_by_health(
    shop: Cluster, page: Page, at: At, external: str, *, update: bool
) -> None:
    visit(page, at("nodes"))
    table = page.get_by_role("table", name="Nodes")
    every = len(shop.nodes) + 1
    expect(page.get_by_text(f"{every} nodes")).to_be_visible()
    expect(table.get_by_text("Leader", exact=True)).to_have_count(1)
    expect(table.get_by_role("row").filter(has_text=external)).to_contain_text("Critical")
    expect(table.get_by_text(re.compile(r"^\d.* ms$")).first).to_be_visible()
    picture(page, "nodes", update=update)
    accessible(page)
    fits(page)
    box = page.get_by_role("searchbox")
    box.fill("print")
    expect(page.get_by_text(f"1 of {every} nodes")).to_be_visible()
    box.fill('Services contains "web"')
    expect(page.get_by_text("1 node", exact=True)).to_be_visible()
    expect(table.get_by_role("link")).to_have_text(shop.agents[0].name)
    box.fill("Odd == 1")
    expect(page.get_by_role("alert")).to_contain_text("Odd")
    box.fill("")
    page.get_by_role("group", name="Health").get_by_role("button", name="Critical").click()
    expect(table.get_by_role("link")).to_have_text(external)
    expect(page).to_have_url(re.compile("status=critical"))


def test_a_nodes_checks_show_their_output_as_data(page: Page, at: At, external: str) -> None:
    visit(page, at(f"nodes/{external}"))
    expect(page.get_by_text("<script>alert(1)</script>")).to_be_visible()
    page.get_by_role("button", name=re.compile("Show all 5")).click()
    expect(page.locator("pre", has_text="x" * 4000)).to_be_visible()
    expect(page.get_by_role("link", name="print-1")).to_have_attribute(
        "href", re.compile("/services/print/instances/printer-1/print-1$")
    )
    accessible(page)
    fits(page)
    page.get_by_role("link", name=re.compile("^Metadata")).click()
    expect(page.get_by_text("<b>a7</b>")).to_be_visible()
    accessible(page)


def test_a_nodes_page_has_a_part_for_each_thing(
    shop: Cluster, page: Page, at: At, *, update: bool
) -> None:
    node = shop.agents[0]
    visit(page, at(f"nodes/{node.name}"))
    gossip = page.get_by_role("article").filter(has_text="Serf Health Status")
    expect(gossip).to_contain_text(re.compile("since .* (ago|now)"))
    picture(page, "node", update=update)
    accessible(page)
    fits(page)
    tabs = page.get_by_role("navigation", name=node.name)
    tabs.get_by_role("link", name=re.compile("^Instances")).click()
    table = page.get_by_role("table", name="Instances")
    expect(table.get_by_role("link", name="web", exact=True)).to_have_attribute(
        "href", re.compile(f"/services/web/instances/{node.name}/web$")
    )
    page.get_by_role("searchbox").fill("sidecar")
    expect(table.get_by_role("link")).to_have_count(1)
    accessible(page)
    fits(page)
    tabs.get_by_role("link", name="Round trips").click()
    chart = page.get_by_role("img", name=re.compile("^Round trips to 4 nodes"))
    expect(chart.locator("canvas")).to_be_visible()
    expect(page.get_by_role("table", name="Round trips from this node")).to_be_visible()
    picture(page, "node-rtt", update=update)
    accessible(page)
    fits(page)
    tabs.get_by_role("link", name="History").click()
    expect(page.get_by_role("row").filter(has_text=f"{node.name}/web").first).to_be_visible()
    accessible(page)
    fits(page)


def test_an_address_that_names_no_tab_shows_the_first(page: Page, at: At, external: str) -> None:
    visit(page, at(f"nodes/{external}/nosuch"))
    tabs = page.get_by_role("navigation", name=external)
    expect(tabs.locator("[aria-current=page]")).to_contain_text("Checks")
    expect(page.get_by_text("<script>alert(1)</script>")).to_be_visible()
    for other, first in (("members", "Members"), ("servers", "Overview")):
        visit(page, at(f"{other}/nosuch"))
        expect(page.locator(".tabs [aria-current=page]")).to_have_text(first)
        expect(page.get_by_role("table").first).to_be_visible()


def test_the_tab_of_the_address_is_in_sight_on_a_small_phone(
    opened: Opened, at: At, external: str
) -> None:
    with opened(viewport=PHONE) as page:
        visit(page, at(f"nodes/{external}/history"))
        tab = page.locator(".tabs [aria-current=page]")
        expect(tab).to_have_text("History")
        expect(tab).to_be_in_viewport(ratio=1)
        page.locator(".tabs").evaluate("row => { row.scrollLeft = 0 }")
        page.locator(".tabs").get_by_role("link", name="Checks").click()
        expect(tab).to_contain_text("Checks")
        expect(tab).to_be_in_viewport(ratio=1)


def test_a_node_goes_into_maintenance_and_back(shop: Cluster, page: Page, at: At) -> None:
    node = shop.servers[0]
    visit(page, at(f"nodes/{node.name}"))
    page.get_by_role("button", name="Maintenance …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("new disk")
    dialog.get_by_label("End after").fill("2h")
    expect(dialog.get_by_text(f"meshctl maint --enable --node {node.name}")).to_contain_text(
        "--for 2h --reason 'new disk'"
    )
    accessible(page)
    dialog.get_by_role("button", name="Begin maintenance").click()
    expect(page.get_by_role("heading", name="This node is in maintenance")).to_be_visible()
    expect(page.get_by_text("new disk").first).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="End maintenance").click()
    dialog.get_by_role("button", name="End maintenance").click()
    expect(page.get_by_role("heading", name="This node is in maintenance")).to_have_count(0)


def test_what_makes_no_sense_is_refused_in_the_servers_words(
    shop: Cluster, page: Page, at: At
) -> None:
    visit(page, at(f"nodes/{shop.agents[1].name}"))
    page.get_by_role("button", name="Maintenance …").click()
    page.get_by_label("End after").fill("soon")
    page.get_by_role("button", name="Begin maintenance").click()
    expect(page.get_by_role("alert")).to_contain_text("soon")


def test_an_external_node_is_deregistered(page: Page, at: At, external: str) -> None:
    visit(page, at(f"nodes/{external}"))
    page.get_by_role("button", name="Deregister …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("/v1/catalog/deregister")).to_be_visible()
    dialog.get_by_role("button", name="Deregister").click()
    expect(page).to_have_url(re.compile("/nodes$"))
    expect(page.get_by_role("link", name=external)).to_have_count(0)
    visit(page, at(f"nodes/{external}"))
    expect(page.get_by_text(f"There is no node {external}")).to_be_visible()
    accessible(page)
