"""docs/config.md says what the schema says."""

from pathlib import Path

from mesh.config.load import Sources, load
from mesh.config.reference import write

DOCS = Path(__file__).parent.parent.parent / "docs" / "config.md"


def test_the_reference_is_current() -> None:
    assert DOCS.read_text() == write(), "python -m mesh.config.reference > docs/config.md"


def test_its_example_loads(tmp_path: Path) -> None:
    example = tmp_path / "example.hcl"
    example.write_text(DOCS.read_text().partition("```hcl\n")[2].partition("```")[0])
    config = load(Sources(paths=[str(example)]))
    assert config.services[0]["checks"] == [{"http": "http://localhost/health", "interval": "10s"}]
