"""What may be shown of a configuration, and what a reload applies."""

from mesh.codec import to_json
from mesh.config.describe import changes, reloaded, to_plain
from mesh.config.flags import parse
from mesh.config.schema import Config

SECRETS = """
encrypt = "MDEyMzQ1Njc4OWFiY2RlZg=="
acl { tokens { agent = "hush" } }
connect { ca_config { cluster_id = "hush" } }
service { name = "web" token = "hush" check { tcp = "x:1" interval = "1s" Token = "hush" } }
check { name = "x" token = "hush" ttl = "5s" }
check { name = "h" http = "http://x/" interval = "5s" header { Authorization = ["hush"] } }
watches = [{ type = "key", key = "y", handler_type = "http", http_handler_config {
  path = "http://127.0.0.1/" header { X-Key = ["hush"] } } }]
watches = [{ type = "key", key = "x", args = ["true"], token = "hush" }]
"""


def test_secrets_are_hidden() -> None:
    plain = to_plain(parse(["-dev", "-hcl", SECRETS], server=False))
    text = to_json(plain).decode()
    assert "hush" not in text
    assert "MDEy" not in text
    assert plain["acl"]["tokens"]["agent"] == "hidden"
    assert plain["acl"]["tokens"]["default"] == ""
    assert plain["services"][0]["checks"] == [{"tcp": "x:1", "interval": "1s", "token": "hidden"}]


def test_changes() -> None:
    old = parse(["-dev"], server=False)
    fragments = ['-hcl=service { name="a" }', "-hcl=dns_config { soa { retry = 5 } }"]
    flags = ["-dev", "-log-level=warn", "-http-port=1", "-node-meta=a:b"]
    new = parse([*flags, *fragments], server=False)
    applied, restart = changes(old, new)
    assert applied == ["node_meta", "log_level", "services", "dns_config.soa.retry"]
    assert restart == ["ports.http"]
    after = reloaded(old, new)
    assert (after.ports.http, after.log_level) == (8500, "WARN")
    assert after.dns_config.soa.retry == 5
    assert changes(after, new) == ([], ["ports.http"])
    assert reloaded(old, old) == old
    assert changes(Config(), Config()) == ([], [])
