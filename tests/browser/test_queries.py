"""Prepared queries: listed, written, refused, executed and explained."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Opened
from tests.browser.driver import accessible, fits, picture, visit
from tests.cluster.processes import Cluster, Meshd

At = Callable[[str], str]


@pytest.fixture
def agent(shop: Cluster) -> Iterator[Meshd]:
    """The agent behind the page; queries are gone afterwards."""
    node = shop.agents[0]
    yield node
    for one in node.get("/v1/query"):
        node.ask("DELETE", f"/v1/query/{one['ID']}")


def make(node: Meshd, **body: Any) -> str:
    """Create a query; its id."""
    made: str = node.ask("POST", "/v1/query", body)["ID"]
    return made


def test_without_queries_the_page_says_what_they_are(agent: Meshd, page: Page, at: At) -> None:
    visit(page, at("queries"))
    expect(page.get_by_text("There are no prepared queries yet")).to_be_visible()
    expect(page.get_by_text("meshctl query create --name stable-web")).to_be_visible()
    accessible(page)
    fits(page)


def test_a_query_is_written_in_a_form_and_deleted(
    agent: Meshd, page: Page, at: At, update: bool
) -> None:
    visit(page, at("queries?new=yes"))
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("ui-web")
    dialog.get_by_label("Service", exact=True).fill("web")
    dialog.get_by_label("Tags").fill("v1, !canary")
    dialog.get_by_label("TTL of DNS answers").fill("soon")
    expect(dialog).to_contain_text(
        "meshctl query create --name ui-web --service web --tag v1 --tag '!canary' --ttl soon"
    )
    accessible(page)
    fits(page)
    picture(page, "query-form", update=update)
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_role("alert")).to_contain_text("TTL")
    dialog.get_by_label("TTL of DNS answers").fill("10s")
    dialog.get_by_role("button", name="Create").click()
    expect(page).to_have_url(re.compile("/queries/[0-9a-f-]{36}$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("ui-web")
    (made,) = agent.get("/v1/query")
    assert made["Service"]["Tags"] == ["v1", "!canary"]
    page.get_by_role("button", name="Delete").click()
    expect(dialog).to_contain_text(f"meshctl query delete {made['ID']}")
    accessible(page)
    dialog.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(at("queries"))
    assert agent.get("/v1/query") == []


def test_what_a_form_has_no_field_for_is_written_as_json(agent: Meshd, page: Page, at: At) -> None:
    identity = make(agent, Name="ui-json", Service={"Service": "web"})
    visit(page, at(f"queries/{identity}"))
    page.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="JSON").click()
    content = dialog.locator(".cm-content")
    expect(content).to_contain_text('"Service": "web"')
    accessible(page)
    fits(page)
    text = '{"Name": "ui-json", "Service": {"Service": "web", "Failover": {"Targets": [%s]}}}'

    def write(targets: str) -> None:
        content.click()
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(text % targets)

    write("oops")
    expect(dialog.get_by_role("button", name="Save")).to_be_disabled()
    write('{"Datacenter": "dc2", "Peer": "p"}')
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("no Peer yet")
    write('{"Datacenter": "dc2"}')
    expect(dialog).to_contain_text(f"| meshctl query update {identity} -")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    expect(page.locator(".facts").first).to_contain_text("dc2")


@pytest.fixture
def three(agent: Meshd) -> None:
    """A query with failover, a template, and one that finds nothing."""
    failover = {"NearestN": 1, "Datacenters": ["dc2"]}
    make(agent, Name="ui-pay", Service={"Service": "payments", "Failover": failover})
    template = {"Type": "name_prefix_match", "Regexp": "^ui-any-(.*)$"}
    make(agent, Name="ui-any-", Template=template, Service={"Service": "${match(1)}"})
    make(agent, Name="<b>ui</b>", Service={"Service": "nothing-of-that-name"})


@pytest.mark.usefixtures("three")
def test_queries_are_listed_by_kind_and_by_what_they_name(page: Page, at: At, update: bool) -> None:
    visit(page, at("queries"))
    expect(page.get_by_text("3 queries")).to_be_visible()
    expect(page.get_by_text("<b>ui</b>")).to_be_visible()
    accessible(page)
    fits(page)
    picture(page, "queries", update=update)
    page.get_by_role("button", name=re.compile("^Template")).click()
    expect(page.get_by_text("1 of 3 queries")).to_be_visible()
    page.get_by_role("button", name=re.compile("^All")).click()
    page.get_by_role("searchbox").fill("paym")
    expect(page.get_by_text("1 of 3 queries")).to_be_visible()


@pytest.mark.usefixtures("three")
def test_a_query_is_executed(page: Page, at: At, update: bool) -> None:
    visit(page, at("queries"))
    page.get_by_role("link", name="ui-pay").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.get_by_text("1 instance in dc1")).to_be_visible()
    expect(page.get_by_role("table").get_by_text("Passing")).to_be_visible()
    expect(page.get_by_text("meshctl query execute ui-pay")).to_be_visible()
    accessible(page)
    fits(page)
    picture(page, "query", update=update)
    page.go_back()
    page.get_by_role("link", name="<b>ui</b>").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.get_by_text("It finds no instance")).to_be_visible()
    accessible(page)


@pytest.mark.usefixtures("three")
def test_a_template_is_explained_for_a_name(page: Page, at: At) -> None:
    visit(page, at("queries"))
    page.get_by_role("link", name="ui-any-").click()
    page.get_by_label("Name to ask for").fill("ui-any-web")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("heading", name="What it is for ui-any-web")).to_be_visible()
    expect(page.get_by_role("link", name="web", exact=True)).to_be_visible()
    expect(page.get_by_text("meshctl query explain ui-any-web")).to_be_visible()
    accessible(page)
    fits(page)
    page.get_by_label("Name to ask for").fill("no-such-query")
    page.get_by_role("button", name="Execute").click()
    expect(page.get_by_role("alert")).to_contain_text("Query not found")


def test_who_edits_a_query_sees_what_another_saved(
    agent: Meshd, page: Page, at: At, update: bool
) -> None:
    identity = make(agent, Name="ui-two", Service={"Service": "web"})
    visit(page, at(f"queries/{identity}"))
    page.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Tags").fill("mine")
    agent.put(f"/v1/query/{identity}", {"Name": "ui-two", "Service": {"Service": "payments"}})
    expect(dialog.get_by_role("alert")).to_contain_text("Somebody else changed this query")
    expect(dialog.locator(".queries-moved")).to_contain_text("payments")
    expect(dialog.get_by_role("button", name="Save")).to_be_disabled()
    picture(page, "query-meanwhile", update=update)
    accessible(page)
    fits(page)
    dialog.get_by_role("button", name="Take theirs").click()
    expect(dialog.get_by_label("Service", exact=True)).to_have_value("payments")
    expect(dialog.get_by_label("Tags")).to_have_value("")
    expect(dialog.locator(".queries-moved")).to_have_count(0)
    dialog.get_by_label("Tags").fill("both")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    service = agent.get(f"/v1/query/{identity}")[0]["Service"]
    assert (service["Service"], service["Tags"]) == ("payments", ["both"])


def test_of_two_windows_none_saves_over_what_it_has_not_shown(
    agent: Meshd, opened: Opened, at: At
) -> None:
    identity = make(agent, Name="ui-race", Service={"Service": "web"})

    def tags() -> list[str]:
        found: list[str] = agent.get(f"/v1/query/{identity}")[0]["Service"]["Tags"]
        return found

    with opened() as one, opened() as other:
        for page, tag in ((one, "one"), (other, "other")):
            visit(page, at(f"queries/{identity}"))
            expect(page.get_by_role("button", name="Edit")).to_be_visible()
            if page is one:  # It hears of nothing more, as when both save at the same moment.
                page.route("**/v1/internal/ui/watch", lambda _: None)
            page.get_by_role("button", name="Edit").click()
            page.get_by_role("dialog").get_by_label("Tags").fill(tag)
        other.get_by_role("dialog").get_by_role("button", name="Save").click()
        expect(other.get_by_role("dialog")).to_have_count(0)
        dialog = one.get_by_role("dialog")
        save = dialog.get_by_role("button", name="Save")
        save.click()
        alert = dialog.get_by_role("alert")
        expect(alert).to_contain_text("Nothing of yours was saved")
        expect(alert).to_contain_text('"other"')
        expect(save).to_be_disabled()
        assert tags() == ["other"]
        dialog.get_by_role("button", name="Keep mine").click()
        expect(alert).to_have_count(0)
        expect(dialog.locator(".queries-moved")).to_contain_text("in the place of theirs")
        accessible(one)
        fits(one)
        assert tags() == ["other"]
        save.click()
        expect(dialog).to_have_count(0)
        assert tags() == ["one"]


def test_what_is_typed_stays_when_another_deletes_the_query(
    agent: Meshd, page: Page, at: At
) -> None:
    identity = make(agent, Name="ui-gone", Service={"Service": "web"})
    visit(page, at(f"queries/{identity}"))
    page.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Tags").fill("mine")
    agent.ask("DELETE", f"/v1/query/{identity}")
    expect(page.get_by_text("There is no such prepared query")).to_have_count(1)
    expect(dialog.get_by_label("Tags")).to_have_value("mine")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Query not found")


def test_a_query_that_is_gone_says_so(opened: Opened, agent: Meshd, at: At) -> None:
    with opened() as page:
        visit(page, at("queries/00000000-0000-4000-8000-000000000000"))
        expect(page.get_by_text("There is no such prepared query")).to_be_visible()
        accessible(page)
