"""Rooms: who gets in, who is told, what is left."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.signalling.messages import SignallingError
from streamsvc.signalling.rooms import Member, Rooms, check_room


def rooms(max_rooms: int = 4, max_participants: int = 6) -> Rooms:
    return Rooms(max_rooms=max_rooms, max_participants=max_participants)


def refused(code: str) -> pytest.RaisesExc[SignallingError]:
    return pytest.raises(SignallingError, check=lambda e: e.code == code)


def test_two_members_of_a_room_see_each_other_in_order_of_joining() -> None:
    r = rooms()
    r.join("lab", Member("s1", "Ana"))
    room = r.join("lab", Member("s2", "Bo"))
    assert [m.name for m in room.members] == ["Ana", "Bo"]
    assert [m.name for m in room.others("s1")] == ["Bo"]


@pytest.mark.parametrize("name", ["a/b", "/", "..", " . ", "", "  ", "a\nb", "x" * 65])
def test_a_room_that_no_page_could_open_does_not_come_into_being(name: str) -> None:
    r = rooms()
    with refused("bad-room"):
        r.join(name, Member("s1", "Ana"))
    assert r.rooms() == ()


@pytest.mark.parametrize("name", ["lab", "a b", "...", "\N{GREEK SMALL LETTER PI} & co?", "x" * 64])
def test_other_names_are_a_rooms(name: str) -> None:
    check_room(name)


def test_third_member_is_refused_and_changes_nothing() -> None:
    r = rooms()
    r.join("lab", Member("s1", "Ana"))
    r.join("lab", Member("s2", "Bo"))
    before = r.rooms()
    with refused("room-full"):
        r.join("lab", Member("s3", "Cy"))
    assert r.rooms() == before
    assert r.room_of("s3") is None


def test_mirror_holds_one() -> None:
    r = rooms()
    r.join("glass", Member("s1", "Ana"), mirror=True)
    for mirror in (True, False):
        with refused("room-full"):
            r.join("glass", Member("s2", "Bo"), mirror=mirror)


def test_room_that_is_not_a_mirror_does_not_become_one() -> None:
    r = rooms()
    r.join("lab", Member("s1", "Ana"))
    with refused("wrong-kind"):
        r.join("lab", Member("s2", "Bo"), mirror=True)


@pytest.mark.parametrize("name", ["Zoé", "zoé", "Zoe\u0301", " Zoé "])
def test_names_that_look_alike_are_one_name(name: str) -> None:
    r = rooms()
    r.join("lab", Member("s1", "Zoé"))
    with refused("name-taken"):
        r.join("LAB", Member("s2", name))
    r.join("other", Member("s2", name))


def test_a_session_is_in_one_room_only() -> None:
    r = rooms()
    r.join("lab", Member("s1", "Ana"))
    with refused("already-joined"):
        r.join("other", Member("s1", "Ana"))


def test_limits_of_rooms_and_participants_are_kept() -> None:
    r = rooms(max_rooms=2, max_participants=3)
    r.join("a", Member("s1", "Ana"))
    r.join("b", Member("s2", "Ana"))
    with refused("too-many-rooms"):
        r.join("c", Member("s3", "Ana"))
    r.join("a", Member("s3", "Bo"))
    with refused("service-full"):
        r.join("b", Member("s4", "Bo"))


def test_room_is_gone_when_empty_and_its_name_free_for_another_kind() -> None:
    r = rooms()
    r.join("lab", Member("s1", "Ana"))
    left = r.leave("s1")
    assert left is not None and left.members == ()
    assert r.leave("s1") is None
    r.join("lab", Member("s1", "Ana"), mirror=True)


@given(st.lists(st.tuples(st.sampled_from("jml"), st.sampled_from("abc"), st.integers(0, 5)), max_size=40))
def test_invariants_hold_after_any_history(history: list[tuple[str, str, int]]) -> None:
    r = rooms(max_rooms=2, max_participants=3)
    for action, room, n in history:
        if action == "l":
            r.leave(f"s{n}")
            continue
        with contextlib.suppress(SignallingError):
            r.join(room, Member(f"s{n}", f"n{n % 4}"), mirror=action == "m")
        now = r.rooms()
        sessions = [m.session for x in now for m in x.members]
        assert len(sessions) == len(set(sessions)) <= 3
        assert len(now) <= 2
        for x in now:
            assert 1 <= len(x.members) <= x.capacity
            assert len({m.name for m in x.members}) == len(x.members)
            assert all(r.room_of(m.session) == x for m in x.members)
