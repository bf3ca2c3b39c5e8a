"""Every script in tests/cases/dns gives the output written in it; --update rewrites it."""

from pathlib import Path

import pytest

from tests.dns.script import Script

CASES = Path(__file__).parent.parent / "cases" / "dns"


@pytest.mark.parametrize("path", sorted(CASES.glob("*.txt")), ids=lambda path: path.stem)
def test_script(path: Path, request: pytest.FixtureRequest) -> None:
    script = Script()
    written = path.read_text()
    cases = []
    for block in written.strip().split("\n\n"):
        entered = block.partition("\n----\n")[0]
        cases.append(f"{entered}\n----\n{script.run(entered)}")
    given = "\n\n".join(cases) + "\n"
    if request.config.getoption("--update"):
        path.write_text(given)
    assert given == (path.read_text() if request.config.getoption("--update") else written)
