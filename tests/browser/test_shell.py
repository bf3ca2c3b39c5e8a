"""What all pages have in common."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import Opened, address
from tests.browser.driver import accessible, fits, visit
from tests.cluster.processes import Cluster


def test_the_root_leads_to_what_is_wrong_now_in_the_servers_datacenter(
    shop: Cluster, page: Page
) -> None:
    visit(page, address(shop))
    expect(page).to_have_url(f"{address(shop)}/ui/dc1")
    expect(page.get_by_role("heading", level=1)).to_have_text("Now")
    accessible(page)
    fits(page)


def test_the_palette_finds_services_nodes_and_pages_from_the_keyboard(
    page: Page, at: Callable[[str], str]
) -> None:
    visit(page, at("members"))
    page.keyboard.press("Control+k")
    box = page.get_by_role("combobox")
    expect(box).to_be_focused()
    box.fill("paym")
    expect(page.get_by_role("option", selected=True)).to_contain_text("payments")
    accessible(page)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/ui/dc1/services/payments$"))
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_g_and_a_letter_lead_to_a_page_and_the_help_says_which(
    page: Page, at: Callable[[str], str]
) -> None:
    visit(page, at(""))
    expect(page.get_by_role("heading", level=1)).to_have_text("Now")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    accessible(page)
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("i")
    expect(page).to_have_url(re.compile("/ui/dc1/intentions$"))
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Now")


def test_colours_are_the_readers_choice_and_remembered(
    page: Page, at: Callable[[str], str]
) -> None:
    visit(page, at(""))
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("radio", name="Dark").check()
    page.reload()
    expect(page.locator("html")).to_have_css("color-scheme", "dark")


def test_a_page_that_does_not_exist_says_so(page: Page, at: Callable[[str], str]) -> None:
    visit(page, at("no-such-page"))
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    accessible(page)


def test_a_phone_has_the_pages_in_a_drawer(opened: Opened, at: Callable[[str], str]) -> None:
    with opened(viewport={"width": 360, "height": 740}) as page:
        visit(page, at(""))
        expect(page.get_by_role("link", name="Nodes", exact=True)).to_be_hidden()
        page.get_by_role("button", name="Menu").click()
        accessible(page)
        page.get_by_role("link", name="Nodes", exact=True).click()
        expect(page).to_have_url(re.compile("/ui/dc1/nodes$"))
        expect(page.get_by_role("link", name="Nodes", exact=True)).to_be_hidden()
