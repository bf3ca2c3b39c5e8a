from pathlib import Path

from mesh.cli.reference import markdown

PAGE = Path(__file__).parent.parent.parent / "docs" / "cli.md"


def test_the_page_is_current() -> None:
    message = "run: ./dev run python -m mesh.cli.reference > docs/cli.md"
    assert PAGE.read_text() == markdown(), message
