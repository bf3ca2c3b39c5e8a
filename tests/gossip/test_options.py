"""Options: what makes no sense is refused by name."""

import pytest

from mesh.errors import Invalid
from mesh.gossip.driver import Options
from mesh.gossip.options import SwimOptions
from mesh.gossip.profiles import LocalOptions, WanOptions


@pytest.mark.parametrize("kind", [Options, WanOptions, LocalOptions])
def test_the_profiles_make_sense(kind: type[Options]) -> None:
    kind(bind_address="127.0.0.1").check()


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, bounds in Options.bounds.items() for value in bounds],
)
def test_bounds_are_named_with_the_field(field: str, value: float) -> None:
    fits = {"probe_timeout_seconds": 0.001} | {field: value}
    if field == "probe_timeout_seconds":
        fits["probe_interval_seconds"] = 3600.0
    Options(bind_address="", **fits).check()  # type: ignore[arg-type]
    beyond = value - 1 if value == Options.bounds[field][0] else value + 1
    with pytest.raises(Invalid, match=rf"{field}: -?[\d.e+]+ is not between"):
        Options(bind_address="", **{**fits, field: beyond}).check()  # type: ignore[arg-type]


def test_every_number_has_bounds() -> None:
    assert set(SwimOptions.bounds) == set(SwimOptions.__struct_fields__)


def test_a_timeout_longer_than_the_interval_leaves_no_time_for_help() -> None:
    with pytest.raises(Invalid, match="probe_timeout_seconds: 2 is longer than"):
        SwimOptions(probe_timeout_seconds=2.0).check()
