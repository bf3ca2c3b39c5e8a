"""Servers that agree on the first voters, and never on two sets that share one."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.server.bootstrap import Bootstrap, Candidate


def digest(ids: object) -> str:
    return repr(tuple(ids))  # type: ignore[arg-type]


def candidate(name: str, expect: int = 3, proposal: str = "", cluster: str = "") -> Candidate:
    return Candidate(name, name, f"{name}:8300", expect, proposal, cluster)


def test_one_server_starts_alone_at_once() -> None:
    verdict = Bootstrap("a", 1, digest).decide([candidate("a", 1)])
    assert [voter.id for voter in verdict.voters] == ["a"]


def test_three_servers_start_once_all_have_said_so() -> None:
    server = Bootstrap("a", 3, digest)
    assert "2 of 3" in server.decide([candidate("a"), candidate("b")]).reason
    first = server.decide([candidate(name) for name in "abc"])
    assert first.proposal == digest("abc")
    assert first.voters == ()
    agreed = [candidate("a"), *(candidate(name, proposal=first.proposal) for name in "bc")]
    assert [voter.id for voter in server.decide(agreed).voters] == ["a", "b", "c"]


def test_a_server_too_many_waits() -> None:
    server = Bootstrap("d", 3, digest)
    verdict = server.decide([candidate(name) for name in "abcd"])
    assert verdict.proposal == ""
    assert "waiting to be added" in verdict.reason


def test_a_founder_that_missed_the_start_follows() -> None:
    cluster = digest("abc")
    server = Bootstrap("c", 3, digest)
    others = [candidate(name, cluster=cluster) for name in "ab"]
    assert server.decide([*others, candidate("c")]).voters != ()


@given(st.data())
def test_no_two_sets_that_share_a_server_start(data: st.DataObject) -> None:
    names = "abcd"
    servers = {name: Bootstrap(name, 3, digest) for name in names}
    shown: dict[str, Candidate] = {name: candidate(name) for name in names}
    started: dict[str, tuple[str, ...]] = {}
    for _ in range(data.draw(st.integers(1, 20))):
        me = data.draw(st.sampled_from(names))
        visible = data.draw(st.sets(st.sampled_from(names))) | {me}
        verdict = servers[me].decide([shown[name] for name in sorted(visible)])
        cluster = shown[me].cluster
        if verdict.voters and not cluster:
            cluster = verdict.proposal
            started[me] = tuple(voter.id for voter in verdict.voters)
        shown[me] = candidate(me, proposal=verdict.proposal, cluster=cluster)
    assert len(set(started.values())) <= 1
