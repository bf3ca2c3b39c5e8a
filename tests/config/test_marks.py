"""The tables of special keys name keys that exist."""

from mesh.config.check import ADVERTISED, CHOICES, NETWORKS, POSITIVE, RANGES
from mesh.config.load import DEV_OVERLAY
from mesh.config.marks import NOT_YET, OLD_NAMES, RELOADABLE, SECRET
from mesh.config.schema import Config
from mesh.config.shape import OPTIONS, build, value_at
from mesh.config.wording import leaves


def test_tables_name_options() -> None:
    named = [*NOT_YET, *RELOADABLE, *SECRET, *OLD_NAMES.values(), *CHOICES, *RANGES, *POSITIVE]
    for key in [*named, *ADVERTISED, *NETWORKS, *DEV_OVERLAY]:
        assert key in OPTIONS
    assert not set(OLD_NAMES) & set(OPTIONS)


def test_every_option_can_be_built() -> None:
    defaults = Config()
    assert build({key: value_at(defaults, key) for key in leaves()}) == defaults
