"""A rig set up step by step by a person who is told what helps: pictures in, answers out.

`Guided` owns what one set-up has seen. It does no I/O, and what it can't do it refuses without forgetting anything.
Invariant: a view that is kept shows the board at rest, sharp, and in a place of its own, as in `live`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np

from streamsvc.calibrate import picture, sheet
from streamsvc.calibrate.boards import Board, Detection, Detector, Gray, parse_board
from streamsvc.calibrate.errors import CalibrationError
from streamsvc.calibrate.gather import SAMPLED, Gathered, decode_gray
from streamsvc.calibrate.jpeg import jpeg_size
from streamsvc.calibrate.layout import cameras_of, propose_pairs
from streamsvc.calibrate.live import Collector, Look
from streamsvc.calibrate.solve import SMALL_COVERAGE, Calibration, View, calibrate, covered
from streamsvc.frames import Rig, rigsetup

WANTED = 15
MIN_TRY = 4
"""Views of every camera before a rig is tried."""

TRY_SHARE = 6
"""After a try, a sixth as many views again are kept before the next: trying takes longer the more there are."""

APART_VIEWS = 4
MAX_VIEWS = 60
BLURRED = 0.007
"""Edges wider than this share of the picture's width are blurred: by motion, or out of focus."""

PUZZLED = 12
"""Looks in a row without a board after which it is asked why."""

DPI = 200
MAX_PIXELS = 64_000_000
"""Of a picture of the board: a sheet of A0."""


class Guided:
    """One set-up."""

    def __init__(self, board: str, cameras: Sequence[str]) -> None:
        """Raises CalibrationError when the board can't be, or two cameras have one name."""
        if len(set(cameras)) != len(cameras):
            raise CalibrationError("two cameras have one name", "bad-message")
        self.board: Board = parse_board(board)
        self._cameras = tuple(cameras)
        self._detector = Detector(self.board)
        self._gathered = Gathered()
        self._collector: Collector | None = None
        self._trial: Calibration | None = None
        self._trouble: CalibrationError | None = None
        self._next_try = MIN_TRY
        self._unseen = 0
        self._guess: str | None = None

    def look(self, pictures: Sequence[bytes]) -> rigsetup.Seen:
        """Look for the board in one JPEG of each camera; raises CalibrationError when one can't be used."""
        grays = self._decode(pictures)
        found: dict[str, Detection] = {}
        blurred: set[str] = set()
        for name, gray in grays.items():
            self._gathered.look(name, gray, "a picture")
            seen = self._detector.find(gray, thorough=False)
            if seen is None:
                missed = self._gathered.missed.setdefault(name, [])
                missed[:] = [*missed, gray][-SAMPLED:]
                continue
            found[name] = seen
            self._gathered.keep(name, gray, seen)
            if seen.spread > BLURRED * gray.shape[1]:
                blurred.add(name)
        if self._collector is None:
            self._collector = Collector(self._gathered.sizes, WANTED)
        why = self._puzzle(grays, found)
        full = len(self._collector.kept) >= MAX_VIEWS
        worth = Look.KNOWN if full else self._collector.offer({n: d for n, d in found.items() if n not in blurred})
        if worth is Look.KEPT:
            kept = self._collector.kept[-1]
            self._gathered.views.append(View(f"view {len(self._collector.kept)}", kept))
            if len(self._collector.kept) >= self._next_try:
                self._try()
        return self._seen(worth, found, blurred, why)

    def finish(self) -> rigsetup.Solved:
        """Return the rig of everything that was kept; raises CalibrationError that says why there is none."""
        if self._collector is None:
            raise CalibrationError("no picture was looked at yet", "too-few-views")
        self._gathered.check(self._detector)
        result = self._solve()
        cameras = cameras_of(result)
        done, png = cv2.imencode(".png", picture.draw(result)[:, :, ::-1])
        assert done
        fits = [
            rigsetup.CameraFit(
                name=name, rms_px=result.rms_of(c), views=len(result.seen_by(c)), covered=result.coverage(c)
            )
            for c, name in enumerate(result.names)
        ]
        return rigsetup.Solved(
            rig=Rig(cameras, propose_pairs(cameras)).to_json(),
            rms_px=result.adjusted.rms,
            cameras=fits,
            warnings=list(result.warnings),
            picture=png.tobytes(),
        )

    def draw(self, form: rigsetup.Form) -> rigsetup.Drawn:
        """Return the board to be shown; raises CalibrationError when it would be unreasonably large."""
        drawn = sheet.svg(self.board).encode() if form == "svg" else sheet.png(self.board, DPI, MAX_PIXELS)[0]
        return rigsetup.Drawn(data=drawn)

    def _decode(self, pictures: Sequence[bytes]) -> dict[str, Gray]:
        if len(pictures) != len(self._cameras):
            told = f"{len(pictures)} pictures came, not one of each of {len(self._cameras)} cameras"
            raise CalibrationError(told, "bad-message")
        grays = {}
        for name, data in zip(self._cameras, pictures, strict=True):
            width, height = jpeg_size(data)
            if max(width, height) > rigsetup.MAX_SIDE:
                told = f"camera {name}: a picture of {width} x {height} pixels is too large; {rigsetup.MAX_SIDE} a side"
                raise CalibrationError(f"{told} are accepted", "too-large")
            gray = grays[name] = decode_gray(data, f"camera {name}: the picture")
            if gray.shape != (height, width):
                raise CalibrationError(f"camera {name}: the picture is not what its header says", "bad-picture")
        for name, gray in grays.items():
            first = self._gathered.sizes.get(name, gray.shape[::-1])
            if first != gray.shape[::-1]:
                told = f"camera {name} changed the size of its pictures: begin again, and turn no phone meanwhile"
                raise CalibrationError(told, "other-size")
        return grays

    def _puzzle(self, grays: Mapping[str, Gray], found: Mapping[str, Detection]) -> str | None:
        """Return why the board isn't found, when two looks in a row say the same; asking is slow."""
        self._unseen = 0 if found else self._unseen + 1
        turn = self._unseen % PUZZLED
        if self._unseen < PUZZLED or turn > 1:
            return None
        reasons = [r for gray in grays.values() if (r := self._detector.explain(gray)) is not None]
        before, self._guess = self._guess, reasons[0] if reasons else None
        return plain(self._guess) if turn == 1 and self._guess and self._guess == before else None

    def _try(self) -> None:
        if min(self._views().values()) < MIN_TRY:
            return
        self._next_try = len(self._gathered.views) + max(1, len(self._gathered.views) // TRY_SHARE)
        try:
            self._trial, self._trouble = self._solve(), None
        except CalibrationError as e:
            self._trial, self._trouble = None, e

    def _solve(self) -> Calibration:
        try:
            return calibrate(self.board, self._gathered.sizes, self._gathered.views)
        except (np.linalg.LinAlgError, cv2.error):
            told = "the views determine nothing: show the board in other places, tilted to all sides"
            raise CalibrationError(told, "degenerate") from None

    def _views(self) -> dict[str, int]:
        return {c: sum(c in v.found for v in self._gathered.views) for c in self._cameras}

    def _seen(self, worth: Look, found: Mapping[str, Detection], blurred: set[str], why: str | None) -> rigsetup.Seen:
        assert self._collector is not None
        zones, views, trial, trouble = self._collector.zones(), self._views(), self._trial, self._trouble
        enough = trial is not None and self._collector.done
        cameras = [
            rigsetup.CameraSeen(
                name=name,
                corners=[(round(x, 1), round(y, 1)) for x, y in found[name].pixels.tolist()] if name in found else [],
                blurred=name in blurred,
                views=views[name],
                zones=zones[name].tolist(),
                covered=covered([v.found[name].pixels for v in self._gathered.views if name in v.found], size),
                rms_px=None if trial is None else trial.rms_of(c),
            )
            for c, (name, size) in enumerate(self._gathered.sizes.items())
        ]
        return rigsetup.Seen(
            state="blurred" if worth is Look.UNSEEN and blurred else worth.value,
            why=why,
            views=len(self._gathered.views),
            cameras=cameras,
            next=self._next(enough and min(c.covered for c in cameras) >= SMALL_COVERAGE),
            enough=enough,
            rms_px=None if trial is None else trial.adjusted.rms,
            trouble=None if trouble is None else rigsetup.Trouble(code=trouble.code, message=plain(trouble)),
        )

    def _next(self, good: bool) -> rigsetup.Next:
        assert self._collector is not None
        kept = self._collector.kept
        if not kept:
            return rigsetup.Next(do="show")
        groups = _groups(self._cameras, (v.keys() for v in kept))
        if len(groups) > 1 and len(kept) >= APART_VIEWS:
            return rigsetup.Next(do="together", cameras=[groups[0][-1], groups[1][0]])
        if self._trouble is not None and self._trouble.code == "degenerate":
            return rigsetup.Next(do="tilt")
        if good:
            return rigsetup.Next(do="finish")
        camera, zone = self._collector.place()
        return rigsetup.Next(do="place", cameras=[camera], zone=zone)


def _groups(cameras: Sequence[str], views: Iterable[Iterable[str]]) -> list[list[str]]:
    """Return the cameras in groups that hang together by views that they share, each in rig order."""
    of = {c: i for i, c in enumerate(cameras)}
    for view in views:
        numbers = {of[c] for c in view}
        of = {c: min(numbers) if i in numbers else i for c, i in of.items()}
    return [[c for c in cameras if of[c] == i] for i in sorted(set(of.values()))]


def plain(told: object) -> str:
    """Return what an error, or a guess, says to somebody who has typed no flags."""
    return str(told).replace("--board", "the board's description").replace("--dpi", "the resolution")
