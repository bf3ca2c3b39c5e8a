"""/v1/agent/guard and /v1/agent/doctor over a real server."""

from __future__ import annotations

from tests.compat.agent import AgentApi
from tests.compat.test_agent import api

__all__ = ["api"]


async def test_the_network_doctor(api: AgentApi) -> None:
    report = (await api.get("/v1/agent/doctor/network?node=n1&node=n0")).json
    assert api.node.asked == [("examine", "n1", "n0")]
    assert report["Healthy"] is False
    assert (report["Asker"], report["Total"]) == ("n0", 2)
    told = {"Name": "n1", "Address": "10.0.0.2:8301", "Score": 0, "Silent": ""}
    assert report["Members"][1] == told | {"ClockAhead": 0.25, "ClockUncertain": 0.01}
    untold = {"Name": "n0", "Address": "10.0.0.1:8301", "Score": None, "Silent": "busy"}
    assert report["Members"][0] == untold | {"ClockAhead": None, "ClockUncertain": None}
    assert report["Paths"] == [
        {
            "Source": "n0",
            "Target": "n1",
            "Address": "10.0.0.2:8301",
            "Sent": 20,
            "Heard": 0,
            "Answered": 0,
            "LargeSent": 3,
            "LargeHeard": 0,
            "UDPMs": None,
            "TCPMs": 1.234,
            "TCPError": "",
            "Shown": "no UDP",
        }
    ]
    fault, remark = report["Findings"]
    assert fault["Text"].startswith("UDP from n0 to n1 at 10.0.0.2:8301 is blocked")
    assert (fault["Kind"], fault["Fault"]) == ("udp-one-way", True)
    assert (fault["Source"], fault["Target"]) == ("n0", "n1")
    assert remark["Fault"] is False
    got = await api.get("/v1/agent/doctor/network?node=n9")
    assert (got.status, got.text) == (400, "n9: no such member")


async def test_what_the_guard_holds(api: AgentApi) -> None:
    damped = [{"Name": "n2", "Penalty": 4.26, "Until": "2023-11-14T22:28:20Z"}]
    assert (await api.get("/v1/agent/guard")).json == {
        "Frozen": True,
        "Rule": "many",
        "Ends": "soon",
        "Since": "2023-11-14T22:13:20Z",
        "EndsBy": "2023-11-14T22:18:20Z",
        "Vanished": 3,
        "Pool": 5,
        "Members": ["n1"],
        "Damped": damped,
    }
    assert (await api.put("/v1/agent/guard/release")).json is True
    assert (await api.put("/v1/agent/guard/release")).json is False
    got = (await api.get("/v1/agent/guard")).json
    assert (got["Frozen"], got["Since"], got["EndsBy"], got["Damped"]) == (False, "", "", damped)
