"""Paths in their one form. The cases were compared with what Envoy 1.40 makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.connect.paths import bare, normal_path, normalization_of
from mesh.connect.xds.blueprint import Normalization
from mesh.registry.settings import MeshSettings

MERGED = Normalization(merge_slashes=True)
AS_IT_IS = Normalization(paths=False)
FORWARD = Normalization(escaped_slashes="UNESCAPE_AND_FORWARD")


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e%2E/c", "/c"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/..b/.c", "/a/..b/.c"),
        ("/a//../b", "/a/b"),
        ("/a\\b\\..\\c", "/a/c"),
        ("/%61%41%7E%2d", "/aA~-"),
        ("/%2f%2F%5c", "/%2f%2F%5c"),
        ("/%zz%", "/%zz%"),
        ("/%252e", "/%252e"),
        ("/<>^`{|}", "/%3C%3E%5E%60%7B%7C%7D"),
        ("/!$&'()*+,:;=@[]_~", "/!$&'()*+,:;=@[]_~"),
        ("/a/..;x/b", "/b"),
        ("/a/.;/b", "/a/b"),
        ("/a;..;/b", "/a;..;/b"),
        ("/a/../b?c=/../d", "/b?c=/../d"),
        ("a", "/a"),
        ("", "/"),
    ],
)
def test_normal_paths(path: str, normal: str) -> None:
    found = normal_path(path)
    assert (found.path, found.verdict) == (normal, "continue")


def test_options() -> None:
    assert normal_path("//a//b/?c=//", MERGED).path == "/a/b/?c=//"
    assert normal_path("//", MERGED).path == "//"  # So does Envoy.
    assert normal_path("/a/../%41\\", AS_IT_IS).path == "/a/../%41\\"
    assert normal_path("/a%2f..%5Cb", FORWARD).path == "/b"
    assert normal_path("/a?%2f", Normalization(escaped_slashes="REJECT_REQUEST")).path == "/a?%2f"
    for action, verdict in (
        ("REJECT_REQUEST", "reject"),
        ("UNESCAPE_AND_REDIRECT", "redirect"),
        ("KEEP_UNCHANGED", "continue"),
    ):
        assert normal_path("/a%5c", Normalization(escaped_slashes=action)).verdict == verdict
    mesh = MeshSettings(merge_slashes=True, normalize_paths=False, underscores="ALLOW")
    assert normalization_of(mesh) == Normalization(
        paths=False, merge_slashes=True, underscores="ALLOW"
    )


@pytest.mark.parametrize("path", ["/a#b", "/%00", "/a b", "/\x7f", "/\xe9", "/?\xe9", "/\r\n"])
def test_refused(path: str) -> None:
    assert normal_path(path).verdict == "reject"


def test_what_rules_compare() -> None:
    assert [bare(one) for one in ("/a?b#c", "/a#b?c", "/a")] == ["/a", "/a", "/a"]


PIECES = st.sampled_from(["/", "//", ".", "..", "%2e", "%2E", "\\", "a", "%61", "%", "?q=/.."])


@given(st.lists(PIECES, max_size=8))
def test_a_normal_path_has_no_dots_left_and_stays(pieces: list[str]) -> None:
    found = normal_path("/" + "".join(pieces))
    parts = bare(found.path).split("/")
    assert not {".", ".."} & set(parts)
    assert found.path.startswith("/")
    again = normal_path(found.path)
    assert again.path == found.path
