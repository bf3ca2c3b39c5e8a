from mesh.cli.picture import Edge, Instance, Member, Picture, changes

ALIVE = Member("server1", "127.0.0.1", "server", "alive")
FINE = Instance("payments", "payments-1", "127.0.0.1:8080", "passing", "")
BEFORE = Picture(
    leader="server1",
    asked="agent1",
    members=(ALIVE,),
    instances=(FINE,),
    dns=(("server1", "NOERROR", ("127.0.0.1:8080",)), ("agent1", "NOERROR", ("127.0.0.1:8080",))),
)


def test_the_first_picture_tells_everything() -> None:
    assert changes(Picture(), BEFORE) == [
        "server1 leads",
        "server1 joined",
        "payments-1 is passing",
        "DNS of server1, agent1: 1 instance for payments.service.mesh",
    ]
    assert changes(BEFORE, BEFORE) == []


def test_what_fails_is_told_with_its_reason() -> None:
    after = BEFORE._replace(
        leader="",
        members=(ALIVE._replace(state="failed"),),
        instances=(FINE._replace(health="critical", reason="503"),),
        dns=(("server1", "no answer", ()), ("agent1", "NXDOMAIN", ())),
    )
    assert changes(BEFORE, after) == [
        "nobody leads",
        "server1 is failed",
        "payments-1 is critical (503)",
        "DNS of server1: no answer for payments.service.mesh",
        "DNS of agent1: NXDOMAIN for payments.service.mesh",
    ]


def test_when_nobody_answers_nothing_is_said_about_members() -> None:
    assert changes(BEFORE, Picture(leader="server1", dns=BEFORE.dns)) == []
    gone = BEFORE._replace(members=(), instances=())
    assert changes(BEFORE, gone) == ["server1 is forgotten", "payments-1 is deregistered"]


def test_all_agree() -> None:
    assert BEFORE.agrees_on(1)
    assert not BEFORE.agrees_on(2)
    assert not BEFORE._replace(leader="").agrees_on(1)
    assert not Picture(leader="server1").agrees_on(0)


def test_what_is_broken_before_anybody_answers_is_told_once() -> None:
    broken = Edge("web", "payments", "broken", "Connection refused")
    seen = Picture(edges=(broken,))
    assert changes(Picture(), seen) == ["web -> payments is broken (Connection refused)"]
    assert changes(Picture().after(seen), seen) == []
    assert BEFORE.after(seen) == BEFORE._replace(leader="", dns=(), edges=(broken,))
    assert Picture().after(BEFORE) == BEFORE
