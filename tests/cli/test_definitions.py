"""Service files: the same service in every language."""

from pathlib import Path

import pytest

from mesh.cli.definitions import read_services
from mesh.errors import Invalid

SAME = {
    "web.hcl": 'service {\n  name = "web"\n  port = 80\n  enable_tag_override = true\n}\n',
    "web.json": '{"service": {"name": "web", "port": 80, "enable_tag_override": true}}',
    "web.yaml": "services:\n  - name: web\n    port: 80\n    enable_tag_override: true\n",
}


@pytest.mark.parametrize("name", SAME)
def test_all_languages_say_the_same(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(SAME[name])
    assert read_services(str(file)) == [{"Name": "web", "Port": 80, "EnableTagOverride": True}]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.hcl", "service {", "not HCL: line 1"),
        ("a.json", "{", "not JSON"),
        ("a.yaml", "{", "not YAML"),
        ("a.txt", "x", r"ends in \.hcl, \.json, \.yaml or \.yml"),
        ("a.json", '{"port": 1}', "expected `service` or `services`"),
    ],
)
def test_bad_files_are_named_with_what_is_wrong(
    name: str, text: str, problem: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(Invalid, match=problem) as caught:
        read_services(str(file))
    assert str(file) in caught.value.message


def test_a_file_may_have_several_blocks_of_one_service(tmp_path: Path) -> None:
    file = tmp_path / "two.hcl"
    file.write_text('service {\n  name = "web"\n}\nservice {\n  name = "db"\n}\n')
    assert read_services(str(file)) == [{"Name": "web"}, {"Name": "db"}]
