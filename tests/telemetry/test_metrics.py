"""Metrics: two ways to show the same readings, and intervals that end."""

from __future__ import annotations

import math

from mesh.telemetry.metrics import Metrics, counter, counters, gauge, summary
from mesh.telemetry.windows import Window
from tests.telemetry.test_windows import Time

START = 1_700_000_000.0


def made() -> tuple[Metrics, Time, dict[str, int], Window]:
    time = Time()
    time.now = START
    counts, window, metrics = {"requests": 5}, Window(time), Metrics(time)
    metrics.add(lambda: counters("mesh.http", counts, "What HTTP did"))
    metrics.add(
        lambda: [
            gauge("mesh.raft.lag", 7, "Entries", peer='a"\\\n'),
            gauge("mesh.raft.lag", math.inf, "Entries", peer="b"),
            gauge("mesh.free", 0.25, "Part"),
            summary("mesh.raft.commit-time", window, "Ms"),
        ]
    )
    return metrics, time, counts, window


def test_the_text_for_prometheus() -> None:
    metrics, _, _, window = made()
    window.add(0.001)
    window.add(0.004)
    assert metrics.exposition() == (
        "# HELP mesh_free Part\n"
        "# TYPE mesh_free gauge\n"
        "mesh_free 0.25\n"
        "# HELP mesh_http_requests What HTTP did\n"
        "# TYPE mesh_http_requests counter\n"
        "mesh_http_requests 5\n"
        "# HELP mesh_raft_commit_time Ms\n"
        "# TYPE mesh_raft_commit_time summary\n"
        'mesh_raft_commit_time{quantile="0.5"} 1\n'
        'mesh_raft_commit_time{quantile="0.9"} 4\n'
        'mesh_raft_commit_time{quantile="0.99"} 4\n'
        "mesh_raft_commit_time_sum 5\n"
        "mesh_raft_commit_time_count 2\n"
        "# HELP mesh_raft_lag Entries\n"
        "# TYPE mesh_raft_lag gauge\n"
        'mesh_raft_lag{peer="a\\"\\\\\\n"} 7\n'
        'mesh_raft_lag{peer="b"} +Inf\n'
    )


def test_a_summary_without_samples_has_no_numbers() -> None:
    metrics, time, _, window = made()
    window.add(0.5)
    time.now += 120.0
    text = metrics.exposition()
    assert 'mesh_raft_commit_time{quantile="0.5"} NaN\n' in text
    assert "mesh_raft_commit_time_sum 500\nmesh_raft_commit_time_count 1\n" in text


def test_the_report_tells_what_the_last_interval_brought() -> None:
    metrics, time, counts, window = made()
    metrics.turn()
    counts["requests"] += 30
    window.add(0.1)
    time.now += 2.0
    [unfinished] = metrics.report()["Counters"]
    assert unfinished["Count"] == 5  # Those of before the first turn.
    time.now += 8.0
    window.add(0.3)
    metrics.turn()
    counts["requests"] += 1000  # In the interval that is not over.
    report = metrics.report()
    assert report["Timestamp"] == "2023-11-14 22:13:20 +0000 UTC"
    assert report["Points"] == []
    assert report["Gauges"] == [
        {"Name": "mesh.free", "Value": 0.25, "Labels": {}},
        {"Name": "mesh.raft.lag", "Value": 7, "Labels": {"peer": 'a"\\\n'}},
        {"Name": "mesh.raft.lag", "Value": -1.0, "Labels": {"peer": "b"}},
    ]
    [grown] = report["Counters"]
    assert (grown["Name"], grown["Count"], grown["Sum"]) == ("mesh.http.requests", 30, 30)
    assert grown["Rate"] == 3.0
    [sample] = report["Samples"]
    assert (sample["Count"], sample["Min"], sample["Max"]) == (2, 100.0, 300.0)
    assert (sample["Mean"], round(sample["Stddev"], 6)) == (200.0, 100.0)
    assert sample["Rate"] == 40.0


def test_a_counter_that_appears_late_counts_from_zero() -> None:
    time = Time()
    metrics = Metrics(time)
    found = [counter("mesh.a", 1, "A")]
    metrics.add(lambda: found)
    metrics.turn()
    metrics.turn()
    found.append(counter("mesh.b", 4, "B"))
    time.now += 10.0
    metrics.turn()
    counts = {one["Name"]: one["Count"] for one in metrics.report()["Counters"]}
    assert counts == {"mesh.a": 0, "mesh.b": 4}
