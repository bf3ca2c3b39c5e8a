"""Reloads of a real node: what they say, and that files themselves may ask for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.processes import PLAIN, Meshd, eventually

BAD = {"tcp": "x", "interval": "1s"}
WEB: dict[str, Any] = {"name": "web", "port": 80}


@pytest.fixture
def node(tmp_path: Path) -> Meshd:
    config = {
        "server": True,
        "bootstrap_expect": 1,
        "tls": PLAIN,
        "services": [WEB],
        "log_level": "INFO",
    }
    return Meshd("n1", "127.0.0.1", tmp_path / "n1", config)


def test_a_reload_says_what_it_changed(node: Meshd) -> None:
    node.start()
    try:
        eventually(lambda: node.get("/v1/catalog/service/web"))
        port = node.http
        node.config["services"] = [WEB | {"port": 81, "check": {"ttl": "1m"}}]
        node.config["log_level"] = "DEBUG"
        node.config["ports"]["http"] = 1
        node.write_config()
        done = node.meshctl("reload")
        assert done.returncode == 0, done
        assert done.stdout.splitlines() == [
            "service web: port: 80 -> 81",
            "check service:web: added",
            "log_level: INFO -> DEBUG",
            "Not before a restart:",
            f"  ports.http: {port} -> 1",
        ]
        said = [line for line in node.log().splitlines() if "reload: " in line][-1]
        assert "reload: service web: port: 80 -> 81; check service:web added; " in said
        assert "(needs a restart)" in said
        node.config["services"] = [WEB | {"port": "x"}, {"name": "b", "check": BAD}]
        file = node.write_config()
        done = node.meshctl("reload")
        assert done.returncode == 1
        assert f'{file}: services[0]: service "web": port: Expected' in done.stderr
        assert f"{file}: services[1]: check: TCP: expected host:port" in done.stderr
        assert node.get("/v1/agent/service/web")["Port"] == 81
    finally:
        node.kill()


def test_files_that_change_are_read_again(node: Meshd) -> None:
    node.config["auto_reload_config"] = True
    node.start()
    try:
        eventually(lambda: node.get("/v1/catalog/service/web"))
        node.config["services"] = [WEB | {"port": 0.5}]
        node.write_config()
        eventually(lambda: "reload: nothing was changed: " in node.log())
        node.config["services"] = [WEB | {"port": 82}]
        node.write_config()
        eventually(lambda: node.get("/v1/agent/service/web")["Port"] == 82)
        assert "reload: service web: port: 80 -> 82" in node.log()
    finally:
        node.kill()


def test_a_new_file_in_a_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    config = {"server": True, "bootstrap_expect": 1, "tls": PLAIN, "auto_reload_config": True}
    node = Meshd("n1", "127.0.0.1", tmp_path / "n1", config)
    node.flags = ["-config-dir", str(folder)]
    (folder / "a.hcl").write_text('service { name = "a" }')
    node.start()
    try:
        eventually(lambda: node.get("/v1/catalog/service/a"))
        (folder / "b.yaml").write_text("service: {name: b}")
        eventually(lambda: "b" in node.get("/v1/agent/services"))
        (folder / "a.hcl").unlink()
        eventually(lambda: list(node.get("/v1/agent/services")) == ["b"])
    finally:
        node.kill()
