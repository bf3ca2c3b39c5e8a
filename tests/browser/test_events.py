"""Events: those that were heard, and firing one."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.driver import accessible, fits, picture, visit
from tests.cluster.processes import Cluster

At = Callable[[str], str]


def test_an_event_is_fired_and_heard(shop: Cluster, page: Page, at: At, *, update: bool) -> None:
    visit(page, at("events"))
    page.get_by_role("button", name="Fire an event …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("ui-deploy")
    dialog.get_by_label("Payload").fill("<img src=x> 1.4.2")
    dialog.get_by_label("Only nodes whose name matches").fill(".*")
    expect(dialog.get_by_text("meshctl event --name ui-deploy --node")).to_be_visible()
    accessible(page)
    dialog.get_by_role("button", name="Fire").click()
    expect(page.get_by_role("heading", name="ui-deploy")).to_be_visible()
    expect(page.get_by_text("<img src=x> 1.4.2")).to_be_visible()
    shop.agents[1].put("/v1/event/fire/ui-binary", bytes(range(200, 240)))
    expect(page.get_by_role("heading", name="ui-binary")).to_be_visible()
    expect(page.get_by_text("40 B that are no text")).to_be_visible()
    picture(page, "events", update=update)
    accessible(page)
    fits(page)
    page.get_by_role("searchbox").fill("1.4.2")
    expect(page.get_by_role("heading", name="ui-binary")).to_have_count(0)


def test_what_is_too_long_is_refused_in_the_servers_words(page: Page, at: At) -> None:
    visit(page, at("events"))
    page.get_by_role("button", name="Fire an event …").click()
    page.get_by_label("Name", exact=True).fill("long")
    page.get_by_label("Payload").fill("x" * 2000)
    page.get_by_role("button", name="Fire", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("512")
