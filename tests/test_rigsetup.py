"""Setting up a rig over HTTP, with the real process behind it: rendered boards in, a rig out, every refusal told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import cv2
import numpy as np
import pytest
from calibration_scene import board_poses, corners, inside, make_cameras, render
from hypothesis import given, settings
from hypothesis import strategies as st
from port import Service, fetch, serving
from test_calibrate_pictures import assert_near

from streamsvc.calibrate import Board, Calibration, CalibrationError, View, calibrate, parse_board
from streamsvc.calibrate.guided import APART_VIEWS, PUZZLED, WANTED, Guided, _groups
from streamsvc.calibrate.jpeg import jpeg_size
from streamsvc.config import Limits, Settings
from streamsvc.config import Server as ServerSettings
from streamsvc.frames import Camera, parse_rig
from streamsvc.frames.rigsetup import MAX_PICTURE_BYTES, Answer, Ask, Seen
from streamsvc.signalling.auth import sign
from streamsvc.signalling.grants import Grant
from streamsvc.signalling.rigprocess import RigProcess
from streamsvc.signalling.rigsetup import SOLVE_TIMEOUT_S

BOARD = "charuco:7x5:0.042:0.032:4X4_50"
NAMES = ["left", "right"]  # as the person sees them: the first camera stands on the person's left


def jpeg(gray: np.ndarray, quality: int = 95) -> bytes:
    return cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


EMPTY = jpeg(np.full((480, 640), 90, np.uint8))


def shows(cameras: tuple[Camera, ...], spec: str, count: int, *, tilt: float = 40.0) -> list[list[bytes]]:
    """`count` instants at which all cameras see the whole board, as JPEGs."""
    board = parse_board(spec)
    poses = [
        p
        for p in board_poses(board, 2000, seed=5, tilt=tilt)
        if all(inside(corners(c, board, p), c, 8) for c in cameras)
    ][:count]
    assert len(poses) == count
    return [[jpeg(render(c, board, p, seed=i)) for c in cameras] for i, p in enumerate(poses)]


@pytest.fixture(scope="module")
def pair() -> tuple[Camera, ...]:
    return make_cameras(2)


@pytest.fixture(scope="module")
def instants(pair: tuple[Camera, ...]) -> list[list[bytes]]:
    return shows(pair, BOARD, 24)


def rest(guided: Guided, pictures: list[bytes]) -> Seen:
    """Show the board at rest: two looks at one place."""
    guided.look(pictures)
    return guided.look(pictures)


# What a set-up says.


def test_the_rig_of_what_was_shown_is_right_and_the_error_is_told_on_the_way(
    pair: tuple[Camera, ...], instants: list[list[bytes]]
) -> None:
    guided = Guided(BOARD, NAMES)
    seen = [rest(guided, pictures) for pictures in instants]
    assert all(s.state in ("kept", "known") for s in seen) and seen[0].next.do == "place"
    assert seen[0].rms_px is None and seen[-1].rms_px is not None and seen[-1].rms_px < 0.5
    assert [c.name for c in seen[-1].cameras] == NAMES
    assert all(len(c.corners) >= 8 and c.views >= WANTED and c.covered > 0.3 for c in seen[-1].cameras)
    assert seen[-1].enough and seen[-1].trouble is None and not seen[5].enough
    solved = guided.finish()
    rig = parse_rig(solved.rig)
    assert [c.name for c in rig.cameras] == NAMES and rig.pairs == (("right", "left"),)
    assert_near(pair, rig.cameras, 0.005, 2.0, 0.2)
    assert solved.rms_px < 0.5 and all(c.rms_px < 0.5 for c in solved.cameras)
    assert cv2.imdecode(np.frombuffer(solved.picture, np.uint8), cv2.IMREAD_COLOR).shape[1] == 1400


def test_a_rig_is_tried_less_often_the_more_views_there_are(
    instants: list[list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def count(board: Board, sizes: Mapping[str, tuple[int, int]], views: Sequence[View]) -> Calibration:
        tried.append(len(views))
        return calibrate(board, sizes, views)

    monkeypatch.setattr("streamsvc.calibrate.guided.calibrate", count)
    guided = Guided(BOARD, NAMES)
    seen = [rest(guided, pictures) for pictures in instants]
    assert len(tried) > 4 and all(b - a >= max(1, a // 6) for a, b in pairwise(tried))
    assert [a for a, b in pairwise(tried) if b - a > 1], "not at every view"
    assert seen[-1].rms_px is not None and seen[-1].views > tried[0]


def test_a_set_up_that_sees_no_board_counts_its_pictures_right() -> None:
    guided = Guided(BOARD, NAMES)
    for _ in range(3):
        guided.look([EMPTY, EMPTY])
    with pytest.raises(CalibrationError, match="found in none of 3 pictures"):
        guided.finish()


def test_a_board_in_motion_in_a_known_place_or_out_of_sight_is_not_kept(instants: list[list[bytes]]) -> None:
    guided = Guided(BOARD, NAMES)
    empty = [EMPTY, EMPTY]
    looks = [empty, instants[0], instants[1], instants[1], instants[1], empty]
    said = [guided.look(pictures) for pictures in looks]
    assert [s.state for s in said] == ["unseen", "moving", "moving", "kept", "known", "unseen"]
    assert [s.next.do for s in said] == ["show", "show", "show", "place", "place", "place"]
    assert said[-1].views == 1 and said[-1].cameras[0].corners == []


def test_a_blurred_board_is_told_from_one_that_is_not_seen(pair: tuple[Camera, ...]) -> None:
    board = parse_board("chessboard:9x6:0.04")
    pose = next(p for p in board_poses(board, 500, seed=3, tilt=10) if inside(corners(pair[0], board, p), pair[0], 20))
    blurred = jpeg(cv2.GaussianBlur(render(pair[0], board, pose), (0, 0), 3.0))
    said = Guided("chessboard:9x6:0.04", NAMES).look([blurred, EMPTY])
    assert said.state == "blurred" and [c.blurred for c in said.cameras] == [True, False]


def test_cameras_that_never_see_the_board_together_are_told_and_refused(instants: list[list[bytes]]) -> None:
    guided = Guided(BOARD, NAMES)
    for i, (left, right) in enumerate(instants[:16]):
        said = rest(guided, [left, EMPTY] if i % 2 else [EMPTY, right])
        if i + 1 >= APART_VIEWS:
            assert said.next.do == "together" and said.next.cameras == NAMES
    with pytest.raises(CalibrationError, match="left and right never see the board at the same instant") as refused:
        guided.finish()
    assert refused.value.code == "apart"


def test_boards_that_are_never_tilted_are_told_and_refused(pair: tuple[Camera, ...]) -> None:
    guided = Guided(BOARD, NAMES)
    said = [rest(guided, pictures) for pictures in shows(pair, BOARD, 10, tilt=0.5)]
    assert said[-1].next.do == "tilt" and said[-1].trouble is not None and said[-1].trouble.code == "degenerate"
    with pytest.raises(CalibrationError, match="Tilt the board"):
        guided.finish()


def test_a_board_that_is_not_the_one_that_was_named_is_guessed_at(instants: list[list[bytes]]) -> None:
    guided = Guided("charuco:9x6:0.024:0.018:5X5_100", NAMES)
    why = [guided.look(instants[0]).why for _ in range(PUZZLED + 1)]
    assert why[:-1] == [None] * PUZZLED
    assert "markers of 4X4 are seen" in str(why[-1]) and "--" not in str(why[-1])


def test_cameras_hang_together_through_others() -> None:
    assert _groups(["a", "b", "c", "d"], [{"b", "c"}, {"d"}, {"a", "b"}]) == [["a", "b", "c"], ["d"]]


@pytest.mark.parametrize(
    ("pictures", "code"),
    [
        ([EMPTY], "bad-message"),
        ([EMPTY, b"GIF89a"], "bad-picture"),
        ([EMPTY, EMPTY[:40]], "bad-picture"),
        ([EMPTY, jpeg(np.zeros((100, 2049), np.uint8))], "too-large"),
        ([EMPTY, EMPTY[:-300].replace(b"\xff\xda", b"\xff\xdb")], "bad-picture"),
    ],
)
def test_pictures_that_cannot_be_used_are_refused_and_the_set_up_goes_on(
    pictures: list[bytes], code: str, instants: list[list[bytes]]
) -> None:
    guided = Guided(BOARD, NAMES)
    rest(guided, instants[0])
    with pytest.raises(CalibrationError) as refused:
        guided.look(pictures)
    assert refused.value.code == code
    assert rest(guided, instants[1]).views == 2


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_picture_is_looked_at_or_refused(data: st.DataObject) -> None:
    picture = bytearray(EMPTY)
    for _ in range(data.draw(st.integers(1, 4))):
        picture[data.draw(st.integers(0, len(picture) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(picture)))
    try:
        assert Guided(BOARD, NAMES).look([EMPTY, bytes(picture[:cut])]).state == "unseen"
    except CalibrationError as e:
        assert e.code in ("bad-picture", "too-large")


def test_a_camera_may_not_change_its_size() -> None:
    guided = Guided(BOARD, NAMES)
    guided.look([EMPTY, EMPTY])
    with pytest.raises(CalibrationError, match="right changed the size"):
        guided.look([EMPTY, jpeg(np.zeros((640, 480), np.uint8))])


def test_the_size_of_a_jpeg_is_read_from_its_header() -> None:
    assert jpeg_size(jpeg(np.zeros((31, 77), np.uint8))) == (77, 31)
    progressive = cv2.imencode(".jpg", np.zeros((31, 77, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert jpeg_size(progressive) == (77, 31)


# Over HTTP.


async def begun(
    s: Service, board: str = BOARD, cameras: list[str] | None = None, **headers: str
) -> tuple[int, Any, Any]:
    body = json.dumps({"type": "begin", "board": board, "cameras": cameras or NAMES}).encode()
    status, headers_, data = await fetch(
        s.url + "/setup", "POST", body, **{"Content-Type": "application/json", **headers}
    )
    return status, headers_, json.loads(data)


async def look(s: Service, where: str, pictures: list[bytes], **headers: str) -> tuple[int, Any]:
    query = ",".join(str(len(p)) for p in pictures)
    more = {"Content-Type": "application/octet-stream", **headers}
    status, _, data = await fetch(f"{s.url}{where}/look?bytes={query}", "POST", b"".join(pictures), **more)
    return status, json.loads(data)


async def told(
    s: Service, where: str, method: str = "POST", body: bytes | None = b"", **headers: str
) -> tuple[int, str]:
    status, _, data = await fetch(s.url + where, method, body, **headers)
    return status, json.loads(data)["code"] if data else ""


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        for _ in iter(true, True):
            await asyncio.sleep(0)


def open_places(s: Service) -> int:
    count: int = s.app.state.statistics().open
    return count


async def test_a_rig_is_set_up_over_http_and_nothing_is_left(
    web: Path, pair: tuple[Camera, ...], instants: list[list[bytes]]
) -> None:
    async with serving(web) as s:
        status, headers, answer = await begun(s)
        where = headers["location"]
        assert status == 201 and answer == {"type": "begun", "wanted": WANTED}
        assert len(where.rpartition("/")[2]) >= 32
        for pictures in instants:
            for _ in range(2):
                status, seen = await look(s, where, pictures)
                assert status == 200 and seen["type"] == "seen"
        assert seen["rms_px"] < 0.5
        status, headers, data = await fetch(f"{s.url}{where}/finish", "POST", b"")
        solved = json.loads(data)
        assert status == 200 and solved["rms_px"] < 0.5 and b64decode(solved["picture"])[:4] == b"\x89PNG"
        assert_near(pair, parse_rig(solved["rig"]).cameras, 0.005, 2.0, 0.2)
        for form, kind, first in (("svg", "image/svg+xml", b"<svg"), ("png", "image/png", b"\x89PNG")):
            status, headers, data = await fetch(f"{s.url}{where}/sheet?form={form}")
            assert status == 200 and headers["content-type"].startswith(kind) and data.startswith(first)
        assert open_places(s) == 1
        assert await told(s, where, "DELETE", None) == (204, "")
        assert open_places(s) == 0
        assert await told(s, where + "/finish") == (404, "not-found")


async def test_what_is_asked_for_wrongly_is_refused_with_a_status(web: Path) -> None:
    async with serving(web) as s:
        json_ = {"Content-Type": "application/json"}
        assert await told(s, "/setup", body=b"{", **json_) == (400, "not-json")
        assert await told(s, "/setup", body=b"{}", **json_) == (400, "bad-message")
        assert await told(s, "/setup", body=b"{}") == (415, "bad-content-type")
        assert await told(s, "/setup", body=b" " * 5000, **json_) == (413, "too-large")
        assert await told(s, "/setup", "GET", None) == (405, "bad-method")
        assert await told(s, "/setup/none", "DELETE", None) == (404, "not-found")
        assert (await begun(s, "chessboard:2x2:9"))[2]["code"] == "bad-calibration"
        assert (await begun(s, cameras=["a", "a"]))[2]["code"] == "bad-message"
        assert (await begun(s, cameras=["a"]))[0] == (await begun(s, cameras=list("abcde")))[0] == 400
        assert open_places(s) == 0
        where = (await begun(s))[1]["location"]
        assert (await look(s, where, [EMPTY]))[1]["code"] == "bad-message"
        assert await told(
            s, f"{where}/look?bytes=3,4", body=b"123456", **{"Content-Type": "application/octet-stream"}
        ) == (
            400,
            "bad-message",
        )
        large = [EMPTY, b" " * (MAX_PICTURE_BYTES + 1)]
        assert (await look(s, where, large))[1]["code"] == "too-large"
        assert await told(s, f"{where}/finish") == (422, "too-few-views")
        assert await told(s, f"{where}/sheet?form=pdf", "GET", None) == (400, "bad-message")
        assert (await look(s, where, [EMPTY, EMPTY]))[0] == 200


async def test_tokens_and_origins_are_asked_for_as_they_are_for_joining(web: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("sesame\nonly-lab room=lab\n")
    tokens.chmod(0o600)
    async with serving(web, Settings(server=ServerSettings(token_file=tokens))) as s:
        assert (await begun(s))[0] == (await begun(s, Authorization="Bearer wrong"))[0] == 401
        assert (await begun(s, Authorization="Bearer sesame", Origin="https://elsewhere.example"))[0] == 403
        for token in ("sesame", "only-lab"):
            status, headers, _ = await begun(s, Authorization=f"Bearer {token}")
            assert status == 201
            assert await told(s, headers["location"], "DELETE", None) == (401, "bad-token")


async def test_who_may_not_send_so_many_cameras_sets_up_none(web: Path, tmp_path: Path) -> None:
    tokens, key = tmp_path / "tokens", "k" * 40
    tokens.write_text(f"key={key}\n")
    tokens.chmod(0o600)
    async with serving(web, Settings(server=ServerSettings(token_file=tokens))) as s:
        for less in (Grant(until=4e9, watch=True), Grant(until=4e9, cameras=1)):
            status, _, answer = await begun(s, Authorization=f"Bearer {sign(less, key)}")
            assert (status, answer["code"]) == (403, "not-allowed") and open_places(s) == 0
        status, headers, _ = await begun(s, Authorization=f"Bearer {sign(Grant(until=4e9, cameras=2), key)}")
        assert status == 201
        ended = f"Bearer {sign(Grant(until=9, cameras=2), key)}"
        assert (await begun(s, Authorization=ended))[0] == 401
        assert await told(s, headers["location"], "DELETE", None, Authorization=ended) == (204, "")
        assert open_places(s) == 0


async def test_set_ups_are_counted_and_the_next_one_gets_the_place_of_one_that_ended(web: Path) -> None:
    async with serving(web, Settings(limits=Limits(max_setups=1))) as s:
        where = (await begun(s))[1]["location"]
        status, headers, answer = await begun(s)
        assert (status, answer["code"]) == (503, "setups-full") and headers["retry-after"]
        await told(s, where, "DELETE", None)
        assert (await begun(s))[0] == 201


async def test_a_look_may_take_as_long_as_finishing_and_the_process_stays_in_our_session(
    web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: dict[str, float] = {}
    ask = RigProcess.ask

    async def noted(process: RigProcess, message: Ask, timeout_s: float) -> Answer:
        waits[type(message).__name__] = timeout_s
        return await ask(process, message, timeout_s)

    monkeypatch.setattr(RigProcess, "ask", noted)
    async with serving(web) as s:
        where = (await begun(s))[1]["location"]
        assert (await look(s, where, [EMPTY, EMPTY]))[0] == 200
        pid = next(iter(s.app.state.close.__self__._setups.values())).process.pid
        assert os.getsid(pid) == os.getsid(0) and os.getpgid(pid) == pid, "niceness counts only within a session"
    assert waits == {"Begin": Limits().answer_timeout_s, "Look": SOLVE_TIMEOUT_S}


async def test_a_set_up_does_one_thing_at_a_time_and_ends_with_its_process(web: Path) -> None:
    async with serving(web) as s:
        where = (await begun(s))[1]["location"]
        setup = next(iter(s.app.state.close.__self__._setups.values()))
        os.kill(setup.process.pid, signal.SIGSTOP)
        waiting = asyncio.create_task(look(s, where, [EMPTY, EMPTY]))
        await until(lambda: setup.busy)
        assert await told(s, f"{where}/finish") == (409, "busy")
        os.kill(setup.process.pid, signal.SIGKILL)
        status, answer = await waiting
        assert (status, answer["code"]) == (500, "setup-failed")
        assert open_places(s) == 0 and await told(s, f"{where}/finish") == (404, "not-found")


async def test_a_set_up_reads_one_body_at_a_time(web: Path) -> None:
    async with serving(web) as s:
        where = (await begun(s))[1]["location"]
        setup = next(iter(s.app.state.close.__self__._setups.values()))
        _, writer = await asyncio.open_connection("127.0.0.1", s.port)
        head = f"POST {where}/look?bytes=9,9 HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
        writer.write(f"{head}Content-Length: 18\r\n\r\n123".encode())
        await until(lambda: setup.busy)
        assert await look(s, where, [EMPTY, EMPTY]) == (409, ANY)
        writer.close()
        await until(lambda: not setup.busy)
        assert (await look(s, where, [EMPTY, EMPTY]))[0] == 200


async def test_a_set_up_that_nobody_asks_anything_ends(web: Path) -> None:
    async with serving(web, Settings(limits=Limits(setup_idle_s=0.1))) as s:
        await begun(s)
        await until(lambda: not open_places(s))


async def test_stopping_ends_the_processes(web: Path) -> None:
    async with serving(web) as s:
        await begun(s)
        process = next(iter(s.app.state.close.__self__._setups.values())).process
    assert process.ended
