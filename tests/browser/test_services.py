"""Services: the list, a service with its topology, an instance, and what can be done to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.driver import PHONE, accessible, fits, picture, visit
from tests.cluster.processes import Cluster, Meshd

At = Callable[[str], str]
NODE = "far-1"
"""A node without an agent."""
ODD = 'till <b>"1"</b> \u05e9\u05dc\u05d5\u05dd'


@pytest.fixture
def till(shop: Cluster) -> Iterator[Meshd]:
    """`till` with two instances, one of them ill, whose sidecar calls `ledger` and `gone`."""
    node = shop.agents[0]
    put(node, "till", "till-1", Tags=["v1", "eu"], Meta={"team": "sales"}, Address="10.9.0.1")
    put(node, "till", "till-2", Tags=["v2"], Meta={"external-source": "nomad"})
    put(node, "ledger", "ledger-1")
    upstreams = [
        {"DestinationName": one, "LocalBindPort": 9100 + i}
        for i, one in enumerate(("ledger", "gone"))
    ]
    proxy = {
        "DestinationServiceName": "till",
        "DestinationServiceID": "till-1",
        "Upstreams": upstreams,
        "Expose": {"Paths": [{"Path": "/healthz", "LocalPathPort": 8080, "ListenerPort": 21500}]},
    }
    put(node, "till-sidecar-proxy", "till-1-proxy", Kind="connect-proxy", Proxy=proxy)
    check(node, "till-1", "answers", "passing", "HTTP GET: 200 OK")
    check(node, "till-2", "disk <full>", "critical", f"{ODD}\n" + "x" * 5000)
    yield node
    node.put("/v1/catalog/deregister", {"Node": NODE})
    for ends in ("source=till&destination=ledger", "source=*&destination=ledger"):
        node.ask("DELETE", f"/v1/connect/intentions/exact?{ends}")
    node.ask("DELETE", "/v1/maintenance?service=till")


def put(node: Meshd, name: str, identity: str, **service: Any) -> None:
    """Register an instance in the catalog, where no agent is."""
    body = {"Service": name, "ID": identity, "Port": 8080} | service
    where = {"Node": NODE, "Address": "10.9.0.9", "SkipNodeUpdate": False}
    node.put("/v1/catalog/register", where | {"Service": body})


def check(node: Meshd, identity: str, name: str, status: str, output: str = "") -> None:
    about = {"ServiceID": identity, "CheckID": f"{identity}-{name[:4]}", "Name": name}
    body = about | {"Status": status, "Output": output, "Node": NODE}
    node.put("/v1/catalog/register", {"Node": NODE, "Address": "10.9.0.9", "Check": body})


def row(page: Page, name: str) -> Locator:
    link = page.get_by_role("link", name=name, exact=True)
    return page.get_by_role("row").filter(has=link)


def test_the_list_has_a_row_a_service_with_its_sidecars_in_it(
    page: Page, at: At, till: Meshd, update: bool
) -> None:
    visit(page, at("services"))
    expect(row(page, "till")).to_contain_text("1 of 2 critical")
    expect(row(page, "till")).to_contain_text("in mesh")
    expect(row(page, "till")).to_contain_text("nomad")
    expect(row(page, "web")).to_contain_text("1 passing")
    expect(page.get_by_role("link", name="till-sidecar-proxy")).to_have_count(0)
    accessible(page)
    picture(page, "services", update=update)
    fits(page)
    check(till, "till-2", "disk <full>", "passing")
    expect(row(page, "till")).to_contain_text("2 passing")
    row(page, "till").get_by_role("link").click()
    expect(page).to_have_url(re.compile("/services/till$"))


def test_rows_show_whole_words_on_a_small_phone(page: Page, at: At, till: Meshd) -> None:
    put(till, "rest", "rest-1", Tags=["canary-with-a-long-tag", "primary", "v1"])
    resting = {"ServiceID": "rest-1", "CheckID": "_service_maintenance:rest-1", "Name": "rest"}
    body = {"Node": NODE, "Address": "10.9.0.9", "Check": resting | {"Status": "critical"}}
    till.put("/v1/catalog/register", body)
    visit(page, at("services"))
    tags = row(page, "rest").locator(".tags")
    assert tags.bounding_box()["height"] < 30  # type: ignore[index]  # It is there, so it has one.
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    health = row(page, "rest").locator(".status").first
    expect(health).to_have_text("1 maintenance")
    assert health.evaluate(
        "one => one.closest('.cell').scrollWidth <= one.closest('.cell').clientWidth"
        " && one.lastChild.scrollWidth <= one.lastChild.clientWidth"
    )


def test_the_list_is_narrowed_by_text_filters_and_facets(page: Page, at: At, till: Meshd) -> None:
    visit(page, at("services?status=failing"))
    expect(page.get_by_role("button", name="Only failing")).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(row(page, "till")).to_be_visible()
    expect(row(page, "web")).to_have_count(0)
    page.get_by_role("button", name="All", exact=True).click()
    box = page.get_by_role("searchbox")
    box.fill("led")
    expect(row(page, "ledger")).to_be_visible()
    expect(row(page, "web")).to_have_count(0)
    box.fill('Tags contains "v2"')
    expect(row(page, "till")).to_be_visible()
    expect(row(page, "ledger")).to_have_count(0)
    box.fill("Colour == red")
    expect(page.get_by_role("alert")).to_contain_text("Colour")
    accessible(page)
    box.fill("no such thing")
    expect(page.get_by_text("No service matches")).to_be_visible()
    page.get_by_role("link", name="Show all services").click()
    expect(row(page, "web")).to_be_visible()


def test_topology_shows_each_call_with_what_decides_it(
    page: Page, at: At, till: Meshd, update: bool
) -> None:
    visit(page, at("services/till/topology"))
    figure = page.get_by_role("figure")
    expect(figure.get_by_role("link", name="ledger")).to_be_visible()
    expect(figure).to_contain_text("not registered")
    expect(figure.get_by_role("button", name="till to ledger: Allowed. Change")).to_be_visible()
    accessible(page)
    figure.get_by_role("button", name="till to ledger").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("no intention is about this")
    expect(dialog).to_contain_text("meshctl intention deny till ledger")
    dialog.get_by_label("Description").fill("not yet")
    expect(dialog).to_contain_text("--description 'not yet'")
    accessible(page)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    expect(figure.get_by_role("button", name="till to ledger: Denied. Change")).to_be_visible()
    expect(page.get_by_role("table")).to_contain_text(
        'the intention from "till" to "ledger" says deny'
    )
    picture(page, "service-topology", update=update)
    fits(page)


def test_who_changes_an_intention_second_sees_what_the_first_did(
    page: Page, at: At, till: Meshd
) -> None:
    visit(page, at("services/till/topology"))
    with page.expect_response(re.compile("/v1/config/service-intentions/ledger")):
        page.get_by_role("figure").get_by_role("button", name="till to ledger").click()
    dialog = page.get_by_role("dialog")
    path = "/v1/connect/intentions/exact?source=till&destination=ledger"
    permission = {"Action": "allow", "HTTP": {"PathPrefix": "/v1"}}
    till.put("/v1/config", {"Kind": "service-defaults", "Name": "ledger", "Protocol": "http"})
    till.put(path, {"Permissions": [permission]})
    expect(dialog).to_contain_text("allow path prefix /v1")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("It is now: 1 permission")
    dialog.get_by_label("From now on").select_option("allow")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    assert till.get(path)["Action"] == "allow"
    till.ask("DELETE", path)
    till.ask("DELETE", "/v1/config/service-defaults/ledger")


def test_instances_have_checks_with_output_and_filters(
    page: Page, at: At, till: Meshd, update: bool
) -> None:
    visit(page, at("services/till/instances"))
    listed = page.get_by_role("list", name="Instances of till").get_by_role("listitem")
    expect(listed.first).to_contain_text("till-2")
    expect(page.get_by_text("10.9.0.1:8080")).to_be_visible()
    page.get_by_role("button", name="of till-2").click()
    expect(page.get_by_text("disk <full>").first).to_be_visible()
    expect(page.get_by_text('till <b>"1"</b>')).to_be_visible()
    page.get_by_role("button", name="Show all of the output").click()
    accessible(page)
    picture(page, "service-instances", update=update)
    fits(page)
    page.get_by_role("searchbox").fill('Service.Tags contains "v1"')
    expect(page.get_by_text("1 of 2 instances", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="till-1")).to_be_visible()
    page.get_by_role("searchbox").fill("Nothing == 1")
    expect(page.get_by_role("alert")).to_be_visible()


def test_maintenance_of_a_service_begins_with_a_reason_and_ends(
    page: Page, at: At, till: Meshd
) -> None:
    visit(page, at("services/till/instances"))
    page.get_by_role("banner").page.locator("header.page-head").get_by_role(
        "button", name="Maintenance"
    ).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("new <disk>")
    dialog.get_by_label("End it after").fill("soon")
    command = "meshctl maint --enable --cluster --service till --for soon --reason 'new <disk>'"
    expect(dialog).to_contain_text(command)
    dialog.get_by_role("button", name="Begin maintenance").click()
    expect(dialog.get_by_role("alert")).to_contain_text("For:")
    accessible(page)
    dialog.get_by_label("End it after").fill("2h")
    dialog.get_by_role("button", name="Begin maintenance").click()
    expect(page.get_by_role("heading", name="In maintenance: service till")).to_be_visible()
    expect(page.get_by_text("new <disk>").first).to_be_visible()
    expect(page.get_by_text("all 2 instances maintenance")).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="End maintenance").first.click()
    page.get_by_role("dialog").get_by_role("button", name="End maintenance").click()
    expect(page.get_by_text("In maintenance: service till")).to_have_count(0)
    assert till.get("/v1/maintenance") == []


def test_an_instance_is_deregistered_by_who_has_it(
    page: Page, at: At, shop: Cluster, till: Meshd
) -> None:
    body = {"name": "till", "id": "till-here", "port": 8081}
    till.put("/v1/agent/service/register", body)
    visit(page, at("services/till/instances"))
    here = page.get_by_role("listitem").filter(has=page.get_by_role("link", name="till-here"))
    here.get_by_role("button", name="Deregister").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("meshctl services deregister --id till-here")
    accessible(page)
    dialog.get_by_role("button", name="Deregister").click()
    expect(here).to_have_count(0)
    assert "till-here" not in till.get("/v1/agent/services")
    far = page.get_by_role("listitem").filter(has=page.get_by_role("link", name="till-2"))
    far.get_by_role("button", name="Deregister").click()
    expect(dialog).to_contain_text("meshctl txn -")
    dialog.get_by_role("button", name="Deregister").click()
    expect(far).to_have_count(0)
    visit(page, at("services/payments/instances"))
    page.get_by_role("button", name="Deregister").click()
    expect(dialog).to_contain_text(f"In a shell on {shop.agents[1].name}")


def test_an_instance_shows_all_that_is_known_of_it(
    page: Page, at: At, till: Meshd, update: bool
) -> None:
    visit(page, at(f"services/till/instances/{NODE}/till-1"))
    main = page.get_by_role("main")
    for text in ("HTTP GET: 200 OK", "/healthz", "127.0.0.1:9100", "sales", "10.9.0.9", "v1"):
        expect(main).to_contain_text(text)
    accessible(page)
    picture(page, "service-instance", update=update)
    fits(page)
    main.get_by_role("button", name="Maintenance").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"meshctl maint --enable --node {NODE} --service till-1")
    dialog.get_by_role("button", name="Begin maintenance").click()
    expect(page.get_by_role("heading", name=f"instance till-1 on {NODE}")).to_be_visible()
    page.get_by_role("button", name="End maintenance").click()
    dialog.get_by_role("button", name="End maintenance").click()
    expect(main.get_by_role("button", name="Maintenance", exact=True)).to_be_visible()
    main.get_by_role("button", name="Deregister").click()
    dialog.get_by_role("button", name="Deregister").click()
    expect(page).to_have_url(re.compile("/services/till/instances$"))
    visit(page, at(f"services/till/instances/{NODE}/till-1"))
    expect(page.get_by_text("There is no instance till-1")).to_be_visible()
    accessible(page)


def test_the_other_tabs_have_intentions_tags_and_history(page: Page, at: At, till: Meshd) -> None:
    till.put("/v1/connect/intentions/exact?source=*&destination=ledger", {"Action": "deny"})
    visit(page, at("services/ledger/intentions"))
    first = page.get_by_role("row").filter(has_text="* (every service)").first
    expect(first).to_contain_text("Denied")
    expect(page.get_by_text("meshctl intention allow ledger DEST")).to_be_visible()
    accessible(page)
    fits(page)
    page.get_by_role("main").get_by_role("link", name="History").click()
    expect(page.get_by_text("service-intentions/ledger").first).to_be_visible()
    expect(page.get_by_text(f"{NODE}/ledger-1").first).to_be_visible()
    page.get_by_text("service-intentions/ledger").first.click()
    accessible(page)
    fits(page)
    visit(page, at("services/till/tags"))
    expect(page.get_by_role("row").filter(has_text="team")).to_contain_text("sales")
    accessible(page)
    fits(page)
    page.get_by_role("link", name="v2").click()
    expect(page.get_by_role("link", name="till-2")).to_be_visible()
    expect(page.get_by_role("link", name="till-1")).to_have_count(0)


def test_a_service_has_the_dashboard_that_the_operator_names(
    page: Page, at: At, till: Meshd
) -> None:
    urls = {"service": "https://boards.example/{{Service.Name}}?dc={{Datacenter}}"}
    chosen = {"DashboardURLTemplates": urls, "DefaultIntentionPolicy": "deny"}
    page.route("**/v1/internal/ui/settings", lambda route: route.fulfill(json=chosen))
    visit(page, at("services/till/intentions"))
    link = page.get_by_role("link", name="Dashboard")
    expect(link).to_have_attribute("href", "https://boards.example/till?dc=dc1")
    expect(page.get_by_text("What no intention is about is denied").first).to_be_visible()
    accessible(page)


def test_names_are_data_and_what_is_unknown_says_so(page: Page, at: At, till: Meshd) -> None:
    put(till, ODD, "odd")
    visit(page, at("services"))
    page.get_by_role("link").filter(has_text='till <b>"1"</b>').click()
    expect(page.get_by_role("heading", level=1)).to_have_text(ODD)
    page.get_by_role("link", name="Instances").click()
    expect(page.get_by_role("link", name="odd")).to_be_visible()
    visit(page, at("services/nobody"))
    expect(page.get_by_text("Nothing is known to call nobody")).to_be_visible()
    accessible(page)
    fits(page)
    page.get_by_role("link", name="Instances").click()
    expect(page.get_by_text("meshctl services register --name nobody")).to_be_visible()
