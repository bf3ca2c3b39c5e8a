"""Names and links made by somebody who means harm, and readers who do odd things with dialogs."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from playwright.sync_api import Page, expect

from tests.browser.driver import accessible, visit


def test_a_link_cannot_put_a_command_into_the_readers_shell(
    page: Page, at: Callable[[str], str]
) -> None:
    visit(page, at(f"services/{quote('x$(id)', safe='')}/instances"))
    said = page.get_by_text("meshctl services register")
    expect(said).to_have_text("meshctl services register --name 'x$(id)' --port 8080")
    visit(page, at(f"history?since={quote('1h; id')}"))
    expect(page.get_by_text("meshctl history")).to_contain_text("--since '1h; id'")


def test_a_name_that_is_only_dots_has_an_address(page: Page, at: Callable[[str], str]) -> None:
    visit(page, at("kv/~.."))
    expect(page.get_by_role("heading", level=1)).to_have_text("..")
    visit(page, at("services/~.."))
    expect(page.get_by_role("heading", level=1)).to_have_text("..")


def test_a_dialog_closes_when_that_is_meant(page: Page, at: Callable[[str], str]) -> None:
    visit(page, at("events"))
    page.get_by_role("button", name="Fire").click()
    dialog = page.get_by_role("dialog")
    field = dialog.get_by_role("textbox").first
    field.fill("deploy")
    box = field.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(5, 5)
    page.mouse.up()
    expect(field).to_have_value("deploy")
    page.mouse.click(5, 5)
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="Fire").click()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_what_is_open_ends_with_its_datacenter(page: Page, at: Callable[[str], str]) -> None:
    visit(page, at("events"))
    page.get_by_role("button", name="Fire").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.evaluate(
        "history.pushState(null, '', '/ui/dc9/members'); dispatchEvent(new Event('popstate'))"
    )
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text("Only nodes of dc9 know its members")).to_be_visible()
    expect(page).to_have_url(re.compile("/ui/dc9/members$"))
    accessible(page)
