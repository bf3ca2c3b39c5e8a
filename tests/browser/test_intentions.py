"""Intentions: who may call whom, as a matrix and a list; editing, trying, and what was refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Opened
from tests.browser.driver import accessible, fits, picture, visit
from tests.cluster.meshed import Door, protocol
from tests.cluster.processes import Cluster, eventually

ENTRY = "/v1/config/service-intentions/payments"
At = Callable[[str], str]


@pytest.fixture(autouse=True)
def _none_left(shop: Cluster) -> Iterator[None]:
    """What is said about payments goes with the test."""
    yield
    shop.agents[0].ask("DELETE", f"{ENTRY}?force=true")
    shop.agents[0].ask("DELETE", "/v1/config/service-intentions/ledger")


def write(shop: Cluster, *sources: dict[str, Any], name: str = "payments") -> None:
    shop.agents[0].put(
        "/v1/config", {"Kind": "service-intentions", "Name": name, "Sources": list(sources)}
    )


def said(shop: Cluster) -> list[tuple[str, str]]:
    """What the entry about payments says of whom."""
    found = shop.agents[0].get("/v1/connect/intentions?dry-run")
    return [
        (one["SourceName"], one.get("Action", "requests"))
        for one in found
        if one["DestinationName"] == "payments"
    ]


def cell(page: Page, source: str, destination: str) -> Locator:
    return page.get_by_role("gridcell", name=re.compile(f"^{source} → {destination}:"))


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog")


def test_the_matrix_allows_and_denies_by_mouse(
    shop: Cluster, page: Page, at: At, *, update: bool
) -> None:
    visit(page, at("intentions/matrix"))
    one = cell(page, "web", "payments")
    expect(one).to_have_attribute("aria-label", re.compile("Allowed, by default, an upstream"))
    one.click()
    expect(dialog(page).get_by_role("radio", name="Deny")).to_be_checked()
    expect(dialog(page)).to_contain_text("meshctl intention deny web payments")
    expect(dialog(page).get_by_text('"Name": "web"')).to_be_visible()
    accessible(page)
    dialog(page).get_by_role("button", name="Save").click()
    expect(dialog(page)).to_have_count(0)
    expect(one).to_have_attribute("aria-label", re.compile("Denied, by a rule of its own"))
    assert said(shop) == [("web", "deny")]
    write(shop, {"Name": "web", "Action": "deny"}, {"Name": "*", "Action": "deny"})
    expect(cell(page, "every other service", "payments")).to_have_attribute(
        "aria-label", re.compile(r"Denied, by a rule of its own")
    )
    expect(cell(page, "payments", "payments")).to_have_attribute(
        "aria-label", re.compile(r"Denied, by a rule with \*")
    )
    accessible(page)
    fits(page)
    # There is room for words.
    expect(page.locator(".int-roomy")).to_be_visible()
    picture(page, "intentions-matrix", update=update)


def test_the_matrix_is_used_by_keyboard(shop: Cluster, page: Page, at: At) -> None:
    visit(page, at("intentions/matrix"))
    grid = page.get_by_role("grid")
    expect(grid).to_have_attribute("aria-rowcount", "4")
    first = page.locator('[role="gridcell"][tabindex="0"]')
    first.focus()
    page.keyboard.press("Control+End")
    page.keyboard.press("ArrowLeft")
    expect(cell(page, "web", "payments")).to_be_focused()
    page.keyboard.press("d")
    dialog(page).get_by_label("Description").fill("not today")
    page.keyboard.press("Enter")
    expect(dialog(page)).to_have_count(0)
    expect(cell(page, "web", "payments")).to_be_focused()
    expect(cell(page, "web", "payments")).to_have_attribute("aria-label", re.compile("Denied"))
    page.keyboard.press("Enter")
    expect(dialog(page).get_by_label("Description")).to_have_value("not today")
    dialog(page).get_by_role("radio", name="Allow").press("Space")
    page.keyboard.press("Enter")
    expect(cell(page, "web", "payments")).to_have_attribute(
        "aria-label", re.compile("Allowed, by a")
    )
    assert said(shop) == [("web", "allow")]


def test_search_narrows_both_axes_and_is_in_the_address(page: Page, at: At) -> None:
    visit(page, at("intentions/matrix"))
    page.get_by_role("searchbox", name="Callers").fill("we")
    page.get_by_role("searchbox", name="Called services").fill("pay")
    expect(page.get_by_role("gridcell")).to_have_count(1)
    expect(page).to_have_url(re.compile("from=we&to=pay"))
    page.reload()
    expect(cell(page, "web", "payments")).to_be_visible()
    expect(page.get_by_role("gridcell")).to_have_count(1)


def test_a_phone_has_a_list_for_each_that_is_called(
    shop: Cluster, opened: Opened, at: At, *, update: bool
) -> None:
    write(shop, {"Name": "web", "Action": "deny"})
    with opened(viewport={"width": 360, "height": 740}) as page:
        visit(page, at("intentions/matrix"))
        part = page.locator(".panel", has_text="Who may call payments")
        expect(part.get_by_role("link", name=re.compile("web.*Denied"))).to_be_visible()
        accessible(page)
        fits(page)
        picture(page, "intentions-phone", update=update)
        part.get_by_role("link", name=re.compile("web.*Denied")).click()
        expect(dialog(page)).to_be_visible()
        fits(page)
        page.keyboard.press("Escape")
        expect(dialog(page)).to_have_count(0)


@pytest.fixture
def spoken(shop: Cluster) -> Iterator[None]:
    """A service that is not there speaks http, so that requests to it can be judged."""
    protocol(shop.agents[0], "ledger", "http")
    yield
    shop.agents[0].ask("DELETE", "/v1/config/service-intentions/ledger")
    shop.agents[0].ask("DELETE", "/v1/config/service-defaults/ledger")


@pytest.mark.usefixtures("spoken")
def test_permissions_are_edited_and_ordered_by_keyboard(
    shop: Cluster, page: Page, at: At, *, update: bool
) -> None:
    visit(page, at("intentions/list?new=yes"))
    box = dialog(page)
    box.get_by_label("Caller").fill("web")
    box.get_by_label("Called service").fill("ledger")
    box.get_by_role("radio", name="By request").check()
    box.get_by_role("button", name="Add a permission").click()
    second = box.locator("li", has=page.get_by_role("heading", name="Permission 2"))
    second.get_by_label("Requests that match are").select_option("denied")
    second.get_by_label("The path").fill("/admin")
    second.get_by_role("button", name="GET").click()
    second.get_by_role("button", name="Add a header").click()
    second.get_by_label("Name").fill("x-tenant")
    second.get_by_label("How it is matched").select_option("begins with")
    second.get_by_label("Value").fill("eu-")
    box.get_by_role("button", name="Move permission 2 up").press("Enter")
    expect(box.get_by_role("button", name="Move permission 1 down")).to_be_focused()
    expect(box).to_contain_text("meshctl config write -")
    accessible(page)
    fits(page)
    box.get_by_role("radio", name="By request").scroll_into_view_if_needed()
    picture(page, "intentions-editor", update=update)
    box.get_by_role("button", name="Save").click()
    expect(box).to_have_count(0)
    (made,) = shop.agents[0].get("/v1/config/service-intentions/ledger")["Sources"]
    assert made["Permissions"] == [
        {
            "Action": "deny",
            "HTTP": {
                "PathPrefix": "/admin",
                "Header": [{"Name": "x-tenant", "Prefix": "eu-"}],
                "Methods": ["GET"],
            },
        },
        {"Action": "allow", "HTTP": {"PathPrefix": "/"}},
    ]
    row = page.get_by_role("row", name=re.compile("web.*ledger"))
    expect(row).to_contain_text("2 permissions")
    row.get_by_role("link").click()
    dialog(page).get_by_role("button", name="Delete …").click()
    last = page.get_by_role("dialog", name="Delete web → ledger")
    expect(last).to_contain_text("meshctl intention delete web ledger")
    last.get_by_role("button", name="Delete").click()
    expect(dialog(page)).to_have_count(0)
    expect(row).to_have_count(0)


def test_a_refusal_is_shown_in_the_servers_words(page: Page, at: At) -> None:
    query = urlencode({"new": "yes", "source": "web", "destination": "payments"})
    visit(page, at(f"intentions/list?{query}"))
    dialog(page).get_by_role("radio", name="By request").check()
    dialog(page).get_by_role("button", name="Save").click()
    expect(dialog(page).get_by_role("alert")).to_contain_text(
        'Sources[0].Permissions: "payments" speaks tcp'
    )
    accessible(page)


def test_the_list_is_searched_filtered_and_leads_to_each(
    shop: Cluster, page: Page, at: At, *, update: bool
) -> None:
    odd = "<b onmouseover=alert(1)>\u202egnp.exe"
    write(
        shop,
        {"Name": "web", "Action": "allow", "Description": odd, "Owner": "deploy"},
        {"Name": "web", "Action": "deny", "DryRun": True},
        {"Name": "*", "Action": "deny", "Description": "nobody else"},
    )
    visit(page, at("intentions/list"))
    table = page.get_by_role("table")
    expect(table.get_by_role("row")).to_have_count(4)
    expect(table).to_contain_text(odd)
    expect(table.get_by_role("row", name=re.compile("nobody else"))).to_contain_text("ago")
    accessible(page)
    fits(page)
    picture(page, "intentions-list", update=update)
    page.get_by_role("searchbox").fill("nobody")
    expect(table.get_by_role("row")).to_have_count(2)
    page.get_by_role("searchbox").fill('Action == "deny" and SourceName == "web"')
    expect(table.get_by_role("row")).to_have_count(2)
    page.get_by_role("searchbox").fill("Nonsense == 1")
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name=re.compile("^Dry runs")).click()
    table.get_by_role("link").click()
    expect(dialog(page).get_by_role("checkbox", name="Dry run")).to_be_checked()
    dialog(page).get_by_role("button", name="Enforce …").click()
    last = page.get_by_role("dialog", name="Enforce web → payments")
    last.get_by_role("button", name="Enforce").click()
    expect(last.get_by_role("alert")).to_contain_text('belongs to "deploy"')
    last.get_by_role("button", name="Cancel").click()
    page.keyboard.press("Escape")
    write_free(shop)
    visit(page, at("intentions/list?says=dry"))
    table.get_by_role("link").click()
    dialog(page).get_by_role("button", name="Enforce …").click()
    last.get_by_role("button", name="Enforce").click()
    expect(dialog(page)).to_have_count(0)
    assert said(shop) == [("web", "deny")]


def write_free(shop: Cluster) -> None:
    """A dry run beside one that nobody owns."""
    shop.agents[0].ask("DELETE", f"{ENTRY}?force=true")
    write(
        shop,
        {"Name": "web", "Action": "allow"},
        {"Name": "web", "Action": "deny", "DryRun": True},
    )


def test_two_people_at_one_intention_see_each_others_change(
    shop: Cluster, opened: Opened, at: At, *, update: bool
) -> None:
    write(shop, {"Name": "web", "Action": "allow"})
    query = urlencode({"edit": "yes", "source": "web", "destination": "payments"})
    with opened() as one, opened() as other:
        for page in (one, other):
            visit(page, at(f"intentions/list?{query}"))
            expect(dialog(page)).to_be_visible()
        dialog(one).get_by_label("Description").fill("mine")
        dialog(other).get_by_label("Description").fill("theirs")
        dialog(other).get_by_role("radio", name="Deny").check()
        dialog(other).get_by_role("button", name="Save").click()
        expect(dialog(other)).to_have_count(0)
        told = dialog(one).get_by_role("alert")
        expect(told).to_contain_text("Somebody changed this intention")
        expect(told).to_contain_text('"Description": "theirs"')
        expect(dialog(one).get_by_role("button", name="Save")).to_be_disabled()
        accessible(one)
        picture(one, "intentions-meanwhile", update=update)
        told.get_by_role("button", name="Keep mine on top").click()
        expect(told).to_have_count(0)
        expect(dialog(one).locator(".int-changes")).to_contain_text('"Description": "theirs"')
        dialog(one).get_by_role("button", name="Save").click()
        expect(dialog(one)).to_have_count(0)
    (left,) = shop.agents[0].get(ENTRY)["Sources"]
    assert (left["Action"], left["Description"]) == ("allow", "mine")


@pytest.mark.usefixtures("spoken")
def test_trying_a_call_says_what_decides_and_stays_right(
    shop: Cluster, page: Page, at: At, *, update: bool
) -> None:
    admin = {"Action": "deny", "HTTP": {"PathPrefix": "/admin"}}
    rest = {"Action": "allow", "HTTP": {"PathPrefix": "/"}}
    write(
        shop,
        {"Name": "web", "Permissions": [admin, rest]},
        {"Name": "*", "Action": "deny"},
        name="ledger",
    )
    visit(page, at("intentions/try"))
    page.get_by_label("Caller").fill("web")
    page.get_by_label("Called service").fill("ledger")
    page.get_by_label("Method").select_option("GET")
    page.get_by_label("Path", exact=True).fill("/v1/../admin")
    expect(page.get_by_role("heading", name="Denied")).to_be_visible()
    rule = page.get_by_role("link", name="service-intentions/ledger Sources[web].Permissions[0]")
    expect(rule).to_be_visible()
    expect(page.locator(".int-outcome")).to_contain_text(
        "meshctl intention check web ledger --method GET --path /v1/../admin"
    )
    expect(page.locator('.int-ladder [aria-current="true"]')).to_contain_text("web → ledger")
    accessible(page)
    fits(page)
    picture(page, "intentions-try", update=update)
    page.get_by_label("Path", exact=True).fill("/v1")
    expect(page.get_by_role("heading", name="Allowed")).to_be_visible()
    write(shop, {"Name": "web", "Action": "deny"}, name="ledger")
    expect(page.get_by_role("heading", name="Denied")).to_be_visible()
    page.get_by_role("link", name="service-intentions/ledger Sources[web]", exact=True).click()
    expect(page.get_by_role("dialog", name="web → ledger")).to_be_visible()


def test_the_report_shows_real_calls_and_the_next_step(
    shop: Cluster, page: Page, at: At, *, update: bool
) -> None:
    write(shop, {"Name": "web", "Action": "deny"})
    visit(page, at("intentions/report"))
    with Door(shop.agents[0].address, 9191) as door:
        eventually(lambda: door.status() == 0)
        denied = page.get_by_role("region", name="Calls that were denied")
        seen = denied.get_by_role("listitem").filter(has_text="web → payments").first
        expect(seen).to_contain_text('the intention from "web" to "payments" says deny')
        accessible(page)
        fits(page)
        picture(page, "intentions-report", update=update)
        seen.get_by_role("link", name="Allow this …").click()
        expect(dialog(page).get_by_role("radio", name="Allow")).to_be_checked()
        dialog(page).get_by_role("button", name="Save").click()
        expect(dialog(page)).to_have_count(0)
        eventually(lambda: door.status() == 200)
        door.close()
        write(
            shop,
            {"Name": "web", "Action": "allow"},
            {"Name": "web", "Action": "deny", "DryRun": True},
        )
        eventually(lambda: door.status() == 200 and tried(shop, door))
    part = page.get_by_role("region", name="What dry runs would change")
    one = part.get_by_role("listitem").filter(has_text="web → payments").first
    expect(one).to_contain_text("Would be denied")
    accessible(page)
    one.get_by_role("button", name="Enforce the dry run …").click()
    expect(dialog(page)).to_contain_text("meshctl intention promote web payments")
    dialog(page).get_by_role("button", name="Enforce").click()
    expect(dialog(page)).to_have_count(0)
    assert said(shop) == [("web", "deny")]


def tried(shop: Cluster, door: Door) -> bool:
    """Whether a sidecar told of a call that the dry run is about; the next one is a new call."""
    door.close()
    return bool(shop.agents[0].get("/v1/connect/intentions/report"))
