"""Pages about another datacenter than that of the node they came from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENT
from tests.browser.driver import accessible, fits, visit
from tests.cluster.federation import Site, federation
from tests.cluster.processes import eventually


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Site]]:
    """dc1, and dc2 where calls that no intention names are denied; a server each."""
    folder = tmp_path_factory.mktemp("two")
    deny = {"dc2": {"default_intention_policy": "deny"}}
    with federation(folder, [(1, 0), (1, 0)], own=deny, **PATIENT) as made:
        for site in made:
            service = {"Name": "web", "Connect": {"Native": True}}
            site.servers[0].put("/v1/agent/service/register", service)
        eventually(lambda: made[0].servers[0].get("/v1/health/service/web?dc=dc2"))
        yield made


def seen(two: list[Site], path: str) -> str:
    """The address of a page as the server of dc1 has it."""
    node = two[0].servers[0]
    return f"http://{node.client_address}:{node.http}/ui/{path}"


def test_what_no_intention_names_is_decided_there(two: list[Site], page: Page) -> None:
    visit(page, seen(two, "dc1/intentions"))
    expect(page.get_by_text("Where no rule decides, calls are allowed.")).to_be_visible()
    visit(page, seen(two, "dc2/intentions"))
    expect(page.get_by_text("Where no rule decides, calls are denied.")).to_be_visible()
    page.get_by_role("link", name="Try").click()
    page.get_by_label("Caller").fill("api")
    page.get_by_label("Called service").fill("web")
    expect(page.get_by_role("main")).to_contain_text("Denied")
    visit(page, seen(two, "dc2/services/web/intentions"))
    expect(page.get_by_role("main")).to_contain_text("denied")
    accessible(page)
    fits(page)


def test_events_are_those_of_the_pool_that_hears_them(two: list[Site], page: Page) -> None:
    here, there = two[0].servers[0], two[1].servers[0]
    here.put("/v1/event/fire/only-here")
    visit(page, seen(two, "dc1/events"))
    expect(page.get_by_role("heading", name="only-here")).to_be_visible()
    visit(page, seen(two, "dc2/events"))
    expect(page.get_by_text("Only agents of dc2 know its events")).to_be_visible()
    expect(page.get_by_text("This page came from a node of dc1")).to_be_visible()
    expect(page.get_by_text("only-here")).to_have_count(0)
    accessible(page)
    fits(page)
    page.get_by_role("button", name="Fire an event").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("from-afar")
    dialog.get_by_role("button", name="Fire").click()
    expect(dialog).to_have_count(0)
    eventually(lambda: [one["Name"] for one in there.get("/v1/event/list")] == ["from-afar"])
    assert [one["Name"] for one in here.get("/v1/event/list")] == ["only-here"]


def test_certificates_are_said_to_be_whose_they_are(two: list[Site], page: Page) -> None:
    here, there = two[0].servers[0], two[1].servers[0]
    visit(page, seen(two, "dc2/certificates/leaves"))
    expect(page.get_by_text("What nodes of dc2 show is known there alone")).to_be_visible()
    expect(page.get_by_role("table")).to_have_count(0)
    accessible(page)
    fits(page)
    page.get_by_role("link", name="Revoked").click()
    page.get_by_role("button", name="Revoke a certificate").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".command")).to_contain_text("On a node of dc2:")
    dialog.get_by_label("The certificate, or its serial number").fill("5a0f")
    dialog.get_by_role("button", name="Revoke", exact=True).click()
    row = page.get_by_role("row").filter(has_text="5A0F")
    expect(row).to_be_visible()
    path = "/v1/operator/tls/revoked"
    assert ([one["SerialNumber"] for one in there.get(path)], here.get(path)) == (["5A0F"], [])
    row.get_by_role("button", name="Unrevoke").click()
    dialog.get_by_role("button", name="Unrevoke").click()
    expect(page.get_by_text("No certificate is revoked")).to_be_visible()
    assert there.get(path) == []
