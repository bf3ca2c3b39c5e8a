from __future__ import annotations

from pathlib import Path

from mesh.http import reference

PAGE = Path(__file__).parent.parent.parent / "docs" / "api.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == reference.page(), "run: python -m mesh.http.reference > docs/api.md"
