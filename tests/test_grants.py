"""What tokens allow: settings, offers, and what the port makes of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from port import serving

from streamsvc.cli import main
from streamsvc.config import Server, Settings
from streamsvc.signalling.auth import TokenBook, sign
from streamsvc.signalling.grants import Grant
from streamsvc.signalling.messages import Configure, Join, Offer, SignallingError, SpeechSettings, ViewSettings

KEY = "k" * 40
JOIN = Join(room="lab", name="Ana")


def test_who_may_only_watch_sends_nothing_and_others_no_more_than_their_cameras() -> None:
    watch, two = Grant(until=4e9, watch=True), Grant(until=4e9, cameras=2)
    watch.sending({})
    for kind in ("video", "audio"):
        with pytest.raises(SignallingError, match="only to watch") as refused:
            watch.sending({kind: 1})
        assert refused.value.code == "not-allowed"
    two.sending({"video": 2, "audio": 1})
    with pytest.raises(SignallingError, match="at most 2 cameras, not 3"):
        two.sending({"video": 3})
    Grant(until=4e9).sending({"video": 9})


def test_a_view_is_no_larger_than_allowed_also_where_nobody_chose_one() -> None:
    small = Grant(until=4e9, pixels=320 * 240)
    assert small.settings(JOIN, first=True).view == ViewSettings(width=320, height=240)
    assert Grant(until=4e9, pixels=2048 * 2048).settings(JOIN, first=True).view == ViewSettings(width=640, height=480)
    chosen = Configure(view=ViewSettings(width=300, height=200, budget_ms=200))
    assert small.settings(chosen, first=False) == chosen
    assert small.settings(Configure(), first=False) == Configure()
    for view in (ViewSettings(width=640, height=480), ViewSettings(width=64), ViewSettings(height=64)):
        with pytest.raises(SignallingError, match="view"):
            small.settings(Configure(view=view), first=False)


@pytest.mark.parametrize("mode", ["quilt:9x8", "quilt", "stereo"])
@pytest.mark.parametrize("first", [False, True])
def test_a_view_that_is_limited_is_one_view(mode: str, first: bool) -> None:
    small = Grant(until=4e9, pixels=320 * 240)
    with pytest.raises(SignallingError, match="one view"):
        small.settings(msgspec.structs.replace(JOIN, view=ViewSettings(width=32, height=24, mode=mode)), first=first)
    flat = msgspec.structs.replace(JOIN, view=ViewSettings(width=320, height=240, mode="anaglyph"))
    assert small.settings(flat, first=first).view.mode == "anaglyph"


@given(st.integers(64 * 64, 2048 * 2048))
def test_the_view_that_nobody_chose_fits_and_is_a_view(pixels: int) -> None:
    view = Grant(until=4e9, pixels=pixels).settings(JOIN, first=True).view
    assert view.width is not None and view.height is not None
    assert view.width >= 64 and view.height >= 64 and view.width * view.height <= pixels
    msgspec.json.decode(msgspec.json.encode(view), type=ViewSettings)


def test_only_languages_that_are_allowed_are_interpreted() -> None:
    grant = Grant(until=4e9, languages=("es", "fr"))
    assert grant.settings(JOIN, first=True).speech.source == "es"
    assert grant.settings(Configure(), first=False).speech.source is None
    french = msgspec.structs.replace(JOIN, speech=SpeechSettings(source="fr"))
    assert grant.settings(french, first=True) == french
    for source in ("de", "auto"):
        with pytest.raises(SignallingError, match="es, fr"):
            grant.settings(Configure(speech=SpeechSettings(source=source)), first=False)


def test_a_token_without_limits_changes_nothing() -> None:
    assert Grant(until=4e9, room="lab").settings(JOIN, first=True) is JOIN and not Grant(until=5).limited


def test_a_token_with_limits_reads_no_metrics_and_odd_limits_open_nothing() -> None:
    book = TokenBook((), [KEY], lambda: 0.0)
    assert book.check_bearer(f"Bearer {sign(Grant(until=9), KEY)}")
    assert not book.check_bearer(f"Bearer {sign(Grant(until=9, watch=True), KEY)}")
    assert book.check_join(sign(Grant(until=9, cameras=1), KEY), "x") == Grant(until=9, cameras=1)
    with pytest.raises(SignallingError):
        book.check_join(sign(Grant(until=9, cameras=99), KEY), "x")


async def test_the_port_holds_a_client_to_its_token(web: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokens.txt"
    file.write_text(f"key={KEY}\n")
    file.chmod(0o600)
    grant = Grant(until=4e9, room="lab", cameras=1, pixels=320 * 240, languages=("es",))
    async with serving(web, Settings(server=Server(token_file=file))) as s, s.client() as ana:
        await ana.join(msgspec.structs.replace(JOIN, token=sign(grant, KEY)))
        assert s.hub.joins[0].view == ViewSettings(width=320, height=240)
        assert s.hub.joins[0].speech.source == "es"
        s.hub.sending = {"video": 2}
        with pytest.raises(SignallingError, match="at most 1 cameras") as refused:
            await ana.offer(Offer(sdp="v=0"))
        assert refused.value.code == "not-allowed"
        s.hub.sending = {"video": 1, "audio": 1}
        await ana.offer(Offer(sdp="v=0"))
        with pytest.raises(SignallingError, match="76800 pixels"):
            await ana.configure(Configure(view=ViewSettings(width=640, height=480)))
        assert [what for _, what in s.hub.calls] == ["join", "offer"]


async def test_a_key_that_nobody_knows_any_more_does_not_lift_a_tokens_limits(web: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokens.txt"
    file.write_text(f"key={KEY}\n")
    file.chmod(0o600)
    token = sign(Grant(until=4e9, pixels=320 * 240, languages=("es",)), KEY)
    async with serving(web, Settings(server=Server(token_file=file))) as s, s.client() as ana, s.client() as again:
        joined = await ana.join(msgspec.structs.replace(JOIN, token=token, resume="stale"))
        assert s.hub.joins[0].view == ViewSettings(width=320, height=240) and not joined.resumed
        assert s.hub.joins[0].speech.source == "es"
        back = await again.join(msgspec.structs.replace(JOIN, token=token, resume=joined.resume))
        assert back.resumed and back.session == joined.session and len(s.hub.joins) == 1


def test_the_command_signs_what_it_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens.txt"
    file.write_text(f"key={KEY}\n")
    flags = ["--room", "lab", "--cameras", "1", "--view", "320x240", "--language", "es"]
    with pytest.raises(SystemExit) as left:
        main(["token", "--token-file", str(file), *flags])
    assert left.value.code == 0
    found = TokenBook.read(file).check_join(capsys.readouterr().out.strip(), "lab")
    assert (found.watch, found.cameras, found.pixels, found.languages) == (False, 1, 76800, ("es",))
    for wrong in (["--language", "klingon"], ["--watch-only", "--cameras", "2"], ["--room", "a/b"]):
        with pytest.raises(SystemExit) as left:
            main(["token", "--token-file", str(file), *wrong])
        assert left.value.code == 2 and capsys.readouterr().out == ""


def test_who_comes_with_a_token_that_has_ended_is_told_so_and_nobody_else() -> None:
    book = TokenBook((), [KEY], lambda: 10.0)
    ended = sign(Grant(until=9), KEY)
    for ask in (lambda token: book.check_join(token, "lab"), book.check_any):
        with pytest.raises(SignallingError, match="has ended; ask whoever gave it to you for another"):
            ask(ended)
        for token in (sign(Grant(until=9), "x" * 40), ended[:-1], "unsigned"):
            with pytest.raises(SignallingError, match="not accepted"):
                ask(token)


def test_what_was_begun_with_a_token_that_has_ended_since_goes_on_within_its_limits() -> None:
    book, grant = TokenBook([("alpha", "lab")], [KEY], lambda: 10.0), Grant(until=9, room="lab", cameras=1)
    ended = sign(grant, KEY)
    assert book.check_join(ended, "lab", begun=True) == book.check_any(ended, begun=True) == grant
    for token, room in ((ended, "other"), (None, "lab"), ("beta", "lab"), (sign(grant, "x" * 40), "lab")):
        with pytest.raises(SignallingError):
            book.check_join(token, room, begun=True)


async def test_who_comes_back_has_the_call_again_though_the_token_has_ended(web: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokens.txt"
    file.write_text(f"key={KEY}\nalpha\n")
    file.chmod(0o600)
    ended = sign(Grant(until=9, room="lab", cameras=1), KEY)
    async with serving(web, Settings(server=Server(token_file=file))) as s, s.client() as ana, s.client() as again:
        joined = await ana.join(msgspec.structs.replace(JOIN, token="alpha"))
        for resume in (None, "stale"):
            with pytest.raises(SignallingError, match="has ended"):
                await again.join(msgspec.structs.replace(JOIN, token=ended, resume=resume))
        with pytest.raises(SignallingError, match="needs a token"):
            await again.join(msgspec.structs.replace(JOIN, resume=joined.resume))
        back = await again.join(msgspec.structs.replace(JOIN, token=ended, resume=joined.resume))
        assert back.resumed and len(s.hub.joins) == 1
        s.hub.sending = {"video": 2}
        with pytest.raises(SignallingError, match="at most 1 cameras"):
            await again.offer(Offer(sdp="v=0"))
