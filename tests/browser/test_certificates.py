"""The authority: its roots, a whole rotation with its proof, and what the node shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Opened, alone, page_of
from tests.browser.driver import accessible, fits, picture, visit
from tests.certificates import Certificates
from tests.cluster.forked import MESHD
from tests.cluster.processes import Cluster, eventually


def test_a_root_is_prepared_and_taken_back(
    page: Page, at: Callable[[str], str], update: bool
) -> None:
    visit(page, at("certificates"))
    expect(page.get_by_text("No rotation")).to_be_visible()
    expect(page.get_by_text("Private keys are never shown.")).to_be_visible()
    picture(page, "certificates", update=update)
    accessible(page)
    fits(page)

    page.get_by_role("button", name="Prepare another root").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Its key").select_option("ec 384")
    command = "meshctl connect ca rotate prepare --key-type ec --key-bits 384"
    expect(dialog.locator("code")).to_have_text(command)
    dialog.get_by_role("button", name="Prepare another root").click()
    expect(page.get_by_role("article").filter(has_text="EC 384")).to_contain_text("Prepared")
    picture(page, "certificates-prepared", update=update)
    accessible(page)

    page.get_by_role("button", name="Take the prepared root back").click()
    page.get_by_role("dialog").get_by_role("button", name="Take the prepared root back").click()
    expect(page.get_by_role("article")).to_have_count(1)
    expect(page.get_by_text("No rotation")).to_be_visible()


def test_a_rotation_goes_through_its_steps(page: Page, at: Callable[[str], str]) -> None:
    visit(page, at("certificates"))
    page.get_by_role("button", name="Prepare another root").click()
    page.get_by_role("dialog").get_by_role("button", name="Prepare another root").click()
    expect(page.get_by_role("article").filter(has_text="Prepared")).to_be_visible()
    page.get_by_role("button", name="Activate the prepared root").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Workloads that have to be ready").fill("95")
    expect(dialog.locator("code")).to_have_text(
        "meshctl connect ca rotate activate --threshold 95%"
    )
    dialog.get_by_label("Go on whoever is not ready").check()
    expect(dialog.locator("code")).to_have_text("meshctl connect ca rotate activate --force")
    dialog.get_by_role("button", name="Activate the prepared root").click()
    expect(page.get_by_role("article").filter(has_text="Former")).to_be_visible()
    page.get_by_role("button", name="Retire the former root").click()
    dialog.get_by_label("Go on whoever is not ready").check()
    expect(dialog.locator("code")).to_have_text("meshctl connect ca rotate retire --force")
    dialog.get_by_role("button", name="Retire the former root").click()
    expect(page.get_by_role("article")).to_have_count(1)
    expect(page.get_by_text("No rotation")).to_be_visible()


def test_the_lifetime_of_leaves_is_changed_or_refused_in_the_servers_words(
    page: Page, at: Callable[[str], str]
) -> None:
    visit(page, at("certificates"))
    page.get_by_role("button", name="Change the lifetime of leaves").click()
    dialog = page.get_by_role("dialog")
    box = dialog.get_by_label("A leaf lives")
    usual = box.input_value()
    box.fill("1s")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("LeafCertTTL")
    for wanted in ("48h", usual):
        box.fill(wanted)
        dialog.get_by_role("button", name="Save").click()
        expect(page.locator(".facts")).to_contain_text([wanted])
        page.get_by_role("button", name="Change the lifetime of leaves").click()


def test_what_the_node_shows_and_when_it_ends(
    page: Page, at: Callable[[str], str], update: bool
) -> None:
    visit(page, at("certificates/leaves"))
    row = page.get_by_role("row").filter(has_text="web")
    expect(row.first).to_contain_text("Good")
    picture(page, "certificates-leaves", update=update)
    accessible(page)
    fits(page)


def test_an_authority_that_has_ended_begins_anew(
    opened: Opened, tmp_path: Path, update: bool
) -> None:
    with alone(tmp_path, module="tests.browser.long_ago") as node, opened() as page:
        before = eventually(lambda: node.get("/v1/connect/ca/roots")["ActiveRootID"])
        node.kill()
        node.module = MESHD
        node.start()
        eventually(lambda: node.get("/v1/status/leader"))
        visit(page, page_of(node, "certificates"))
        root = page.get_by_role("article")
        expect(root).to_contain_text("Has ended")
        expect(page.get_by_role("heading", name="The root has ended")).to_be_visible()
        expect(page.get_by_text("Leaves are signed under it.")).to_have_count(0)
        expect(page.get_by_role("button", name="Prepare another root")).to_have_count(0)
        picture(page, "certificates-ended", update=update)
        accessible(page)
        fits(page)
        page.get_by_role("button", name="Begin with a new root").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("The present root has expired")
        expect(dialog.locator("code")).to_have_text("meshctl connect ca recover")
        accessible(page)
        dialog.get_by_role("button", name="Begin with a new root").click()
        said = page.get_by_role("status").filter(has_text="agents get leaves under it now")
        expect(said).to_be_visible()
        expect(root).to_have_count(1)
        expect(root).to_contain_text("Good")
        expect(root).not_to_contain_text(before)
        expect(page.get_by_role("button", name="Prepare another root")).to_be_visible()


@pytest.fixture
def listed(shop: Cluster) -> Iterator[Cluster]:
    """The shop; whatever was revoked in it is believed again afterwards."""
    yield shop
    path = "/v1/operator/tls/revoked"
    for one in shop.agents[0].get(path):
        query = urlencode({"serial": one["SerialNumber"], "issuer": one["Issuer"]})
        shop.agents[0].ask("DELETE", f"{path}?{query}")


def revoke(page: Page, which: str, reason: str = "", *, force: bool = False) -> None:
    page.get_by_role("button", name="Revoke a certificate").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("The certificate, or its serial number").fill(which)
    dialog.get_by_label("Reason").fill(reason)
    if force:
        dialog.get_by_label("Even if it is that of the node asked").check()
    dialog.get_by_role("button", name="Revoke", exact=True).click()


@pytest.mark.usefixtures("listed")
def test_a_certificate_is_revoked_and_believed_again(
    page: Page, at: Callable[[str], str], tmp_path: Path, update: bool
) -> None:
    pair = Certificates(tmp_path).issue("client", "laptop")
    visit(page, at("certificates/revoked"))
    expect(page.get_by_text("No certificate is revoked")).to_be_visible()
    expect(page.locator(".empty code")).to_have_text(
        "meshctl tls revoke FILE --reason 'laptop stolen'"
    )
    accessible(page)
    fits(page)

    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.post_data or ""))
    revoke(page, (pair.key + pair.certificate).decode(), "laptop stolen")
    row = page.get_by_role("row").filter(has_text="laptop.client.dc1.mesh")
    expect(row).to_contain_text("laptop stolen")
    expect(row.locator("time").first).to_have_attribute("title", re.compile(r"\d:\d\d:\d\d"))
    assert any("BEGIN CERTIFICATE" in one for one in sent)
    assert not any("KEY" in one for one in sent), "a key left the browser"
    revoke(page, "5a:0f")
    expect(page.get_by_role("row").filter(has_text="5A0F")).to_contain_text("no reason given")
    expect(page.get_by_text("2 revoked")).to_be_visible()
    expect(page.get_by_text("talks to others without TLS")).to_have_count(0)
    picture(page, "certificates-revoked", update=update)
    accessible(page)
    fits(page)

    serial = row.get_by_role("cell").nth(1).inner_text()
    row.get_by_role("button", name="Unrevoke").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".command code")).to_have_text(f"meshctl tls unrevoke {serial}")
    expect(dialog.locator(".facts")).to_contain_text("laptop stolen")
    expect(dialog.locator(".facts")).to_contain_text("O=mesh, CN=Mesh Agent CA")
    wide, inside = page.evaluate(
        "() => { const one = document.querySelector('dialog[open]');"
        " return [one.scrollWidth, one.clientWidth]; }"
    )
    assert wide <= inside, "what a dialog says runs out of it"
    accessible(page)
    fits(page)
    dialog.get_by_role("button", name="Unrevoke").click()
    expect(row).to_have_count(0)
    page.get_by_role("row").filter(has_text="5A0F").get_by_role("button").click()
    dialog.get_by_role("button", name="Unrevoke").click()
    expect(page.get_by_text("No certificate is revoked")).to_be_visible()


def test_what_is_not_revoked_is_refused_in_the_servers_words(
    listed: Cluster, page: Page, at: Callable[[str], str]
) -> None:
    own = Path(listed.agents[0].config["tls"]["defaults"]["cert_file"]).read_text()
    visit(page, at("certificates/revoked"))
    revoke(page, own)
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_contain_text("is the certificate of this very node (a1)")
    accessible(page)
    dialog.get_by_label("The certificate, or its serial number").fill("web")
    expect(dialog.locator(".command code")).to_have_text("meshctl tls revoke web")
    dialog.get_by_role("button", name="Revoke", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("expected hexadecimal digits")
    dialog.get_by_label("The certificate, or its serial number").fill("-----BEGIN PRIVATE KEY-----")
    dialog.get_by_role("button", name="Revoke", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("holds no certificate in PEM form")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("No certificate is revoked")).to_be_visible()


def test_a_cluster_that_cannot_revoke_says_why(opened: Opened, tmp_path: Path) -> None:
    with alone(tmp_path, upgrade={"level_max": 5}) as node, opened() as page:
        visit(page, page_of(node, "certificates/revoked"))
        expect(page.get_by_role("alert")).to_contain_text("feature level 6")
        expect(page.get_by_role("button", name="Revoke a certificate")).to_have_count(0)
        accessible(page)
        node.kill()
        del node.config["upgrade"]
        node.start()
        eventually(lambda: node.put("/v1/operator/upgrade/finalize"))
        expect(page.get_by_text("talks to others without TLS certificates")).to_be_visible()
        expect(page.get_by_text("No certificate is revoked")).to_be_visible()
        accessible(page)
        fits(page)
