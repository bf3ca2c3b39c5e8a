"""Templates: what `${...}` becomes, and errors that point at the mistake."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.registry import templates
from mesh.registry.prepared_rows import Failover, Prepared, ServiceQuery, Target, Template


def template(name: str, regexp: str = "", *, empty: bool = False, **service: object) -> Prepared:
    return Prepared(
        id="",
        name=name,
        template=Template("name_prefix_match", regexp, empty),
        service=ServiceQuery(**{"service": "${name.full}", **service}),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("plain", "plain"),
        ("${name.full}", "geo-db-web-eu"),
        ("${name.prefix}|${ name.suffix }|${agent.segment}|", "geo-db-|web-eu||"),
        ("${match(0)}/${match( 1 )}/${match(2)}", "geo-db-web-eu/web/eu"),
        ("${match(3)}${match(9999)}", ""),
        ("$${name.full} costs $5 and {1}", "${name.full} costs $5 and {1}"),
        ("$$${name.suffix}", "$${name.suffix}"),
        ("", ""),
    ],
)
def test_texts_are_rendered(text: str, rendered: str) -> None:
    query = template("geo-db-", "^geo-db-(.*?)-([^-]+?)$", service=text)
    assert templates.render(query, "geo-db-web-eu").service.service == rendered


def test_every_text_of_the_service_is_rendered_and_no_key() -> None:
    query = template(
        "p-",
        empty=True,
        failover=Failover(targets=[Target("${name.suffix}")], nearest_n=2),
        near="${name.suffix}",
        tags=["a", "${match(1)}", "!${name.suffix}"],
        ignore_check_ids=["${name.suffix}"],
        node_meta={"${name.full}": "${name.suffix}"},
        only_passing=True,
    )
    rendered = templates.render(query, "p-x").service
    assert rendered == ServiceQuery(
        service="p-x",
        failover=Failover(targets=[Target("x")], nearest_n=2),
        near="x",
        tags=["a", "!x"],
        ignore_check_ids=["x"],
        node_meta={"${name.full}": "x"},
        only_passing=True,
    )


def test_empty_tags_stay_unless_they_are_to_go() -> None:
    query = template("", tags=["${match(0)}"])
    assert templates.render(query, "x").service.tags == [""]


def test_a_name_that_the_expression_does_not_match_has_empty_groups() -> None:
    query = template("", "^(a)$", service="<${match(0)}${match(1)}>")
    assert templates.render(query, "b").service.service == "<>"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "a-${nam.full}",
            'unknown variable "nam.full": there are agent.segment, name.full, name.prefix, '
            "name.suffix and match(n)\n  a-${nam.full}\n      ^",
        ),
        (
            "ab ${name.full",
            "this ${ is never closed; write $${ for a plain ${\n  ab ${name.full\n     ^",
        ),
        ("${match(x)}", "the number of a group, as in match(1)\n  ${match(x)}\n          ^"),
        ("${match(1}", "expected )\n  ${match(1}\n           ^"),
        ("${match 1}", "expected (\n  ${match 1}\n          ^"),
        ("${match(12345)}", "more than 9999 groups\n"),
        ("${}", "or match(n)\n  ${}\n    ^"),
        ("${name.full + 1}", "expected }\n  ${name.full + 1}\n              ^"),
        ("x" * 2000, "it has 2000 characters, and 1024 is the limit"),
        ("y" * 100 + "${" + "z" * 30 + "}", f"y${{{'z' * 30}}}\n{' ' * 43}"),
    ],
)
def test_errors_name_the_field_and_point_at_the_character(text: str, error: str) -> None:
    with pytest.raises(Invalid) as caught:
        templates.check(template("", tags=["fine", text]))
    assert caught.value.message.startswith("Service.Tags[1]: ")
    assert error in caught.value.message


def test_fields_are_named_as_users_write_them() -> None:
    with pytest.raises(Invalid, match=r"^Service\.Failover\.Targets\[0\]\.Datacenter: "):
        templates.check(template("", failover=Failover(targets=[Target("${")])))
    with pytest.raises(Invalid, match=r"^Service\.IgnoreCheckIDs\[0\]: "):
        templates.check(template("", ignore_check_ids=["${"]))
    with pytest.raises(Invalid, match=r"^Template\.Regexp: missing \)"):
        templates.check(template("", "(a"))


@given(st.text("${}() name.fulmatch(0)1x", max_size=40))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    with contextlib.suppress(Invalid):
        templates.parse(text)


@given(st.text(max_size=30))
def test_escaped_text_is_rendered_to_itself(text: str) -> None:
    escaped = text.replace("${", "$${")
    query = template("", service=escaped)
    if "$$${" not in escaped:
        assert templates.render(query, "n").service.service == text
