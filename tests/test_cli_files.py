"""What a command writes: never over what it reads or writes besides, and told before any work when it can't be."""

from pathlib import Path

import pytest

from streamsvc.cli import main

PAST = '{"kind": "never read"}\n'


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and out == "", (out, err)
    assert "Traceback" not in err and "Exception ignored" not in err
    return err.strip().splitlines()[-1]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of each kind that is read; none is what it is called, so reading one is an error."""
    for name in ("l.jsonl", "l.html", "mine.wav", "rig.json", "view.json", "truth.png", "costs.jsonl"):
        (tmp_path / name).write_text(PAST)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.jsonl").symlink_to("l.jsonl")
    monkeypatch.chdir(tmp_path)
    return tmp_path


INTERPRET = ["interpret", "mine.wav", "--events"]
SYNTHESIZE = ["synthesize", "--rig", "rig.json", "--images", "folder", "--view", "view.json", "--out"]
PEER = ["peer", "http://127.0.0.1:9", "--room", "r"]
PROBE = ["probe", "http://127.0.0.1:9"]
CALIBRATE = ["calibrate", "--board", "chessboard:8x6:0.03", "--images", "folder"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "l.jsonl", "--out", "l.jsonl"], "--out l.jsonl is read, too"),
        (["report", "l.jsonl", "--out", "./folder/../link.jsonl"], "is read, too"),
        (["report", "l.html"], "--out l.html is read, too"),
        (["report", "l.jsonl", "--trace", "l.jsonl"], "--trace l.jsonl is read, too"),
        (["report", "l.jsonl", "--json", "l.jsonl"], "--json l.jsonl is read, too"),
        (["report", "l.jsonl", "--out", "x.html", "--trace", "x.html"], "--trace x.html and --out x.html are one file"),
        ([*INTERPRET, "mine.wav"], "--events mine.wav is read, too"),
        ([*INTERPRET, "e", "--speech", "mine.wav"], "--speech mine.wav is read, too"),
        (
            [*INTERPRET, "e", "--captions", "x.srt", "--transcript", "x.srt"],
            "--transcript x.srt and --captions x.srt are one file",
        ),
        ([*SYNTHESIZE, "rig.json"], "--out rig.json is read, too"),
        ([*SYNTHESIZE, "truth.png", "--truth", "truth.png"], "--out truth.png is read, too"),
        ([*PEER, "--rig", "rig.json", "--json", "rig.json"], "--json rig.json is read, too"),
        ([*CALIBRATE, "--out", "x.png", "--picture", "x.png"], "--picture x.png and --out x.png are one file"),
        (["calibrate", *CALIBRATE[1:3], "--camera", "a=mine.wav", "--out", "mine.wav"], "--out mine.wav is read, too"),
        (["simulate", "one-session", "--costs", "costs.jsonl", "--plot", "costs.jsonl"], "--plot costs.jsonl is read"),
        (["serve", "--config", "l.jsonl", "--ledger", "l.jsonl"], "--ledger l.jsonl is read, too"),
    ],
)
def test_what_is_read_or_written_besides_is_not_overwritten(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refused(capsys, *arguments)
    assert {f.read_text() for f in here.iterdir() if f.is_file()} == {PAST}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*PROBE, "--out", "l.jsonl"], "--out l.jsonl: l.jsonl is no folder"),
        ([*PROBE, "--out", "l.jsonl/deep"], "--out l.jsonl/deep: l.jsonl is no folder"),
        (["demo", "--out", "l.jsonl"], "--out l.jsonl: l.jsonl is no folder"),
        (["bench", "session", "--out", "l.jsonl"], "--out l.jsonl: l.jsonl is no folder"),
        (["bench", "session", "--json", "folder"], "--json folder is a folder"),
        ([*SYNTHESIZE, "nope/v.png"], "--out nope/v.png: there is no folder nope"),
        ([*CALIBRATE, "--out", "nope/rig.json"], "--out nope/rig.json: there is no folder nope"),
        ([*CALIBRATE, "--out", "r.json", "--picture", "nope/r.png"], "--picture nope/r.png: there is no folder nope"),
        ([*CALIBRATE, "--out", "r.json", "--picture", "r.foo"], "--picture r.foo"),
        ([*INTERPRET, "e", "--captions", "nope/x.srt"], "--captions nope/x.srt: there is no folder nope"),
        ([*INTERPRET, "e", "--speech", "nope/x.wav"], "--speech nope/x.wav: there is no folder nope"),
        ([*INTERPRET, "e", "--speech", "x.mp3"], "must end in .wav"),
        ([*INTERPRET, "e", "--instances", "l.jsonl"], "--instances l.jsonl: l.jsonl is no folder"),
        (["interpret", "folder", "--events", "e"], "folder is a folder"),
        ([*PEER, "--json", "nope/x"], "--json nope/x: there is no folder nope"),
        ([*PEER, "--save", "l.jsonl"], "--save l.jsonl: l.jsonl is no folder"),
        (["serve", "--json", "nope/x"], "--json nope/x: there is no folder nope"),
        (["serve", "--ledger", "l.jsonl/x"], "--ledger l.jsonl/x: l.jsonl is no folder"),
        (["report", "l.jsonl", "--trace", "l.html/x"], "--trace l.html/x: l.html is no folder"),
        (["doctor", "--json", "nope/x"], "--json nope/x: there is no folder nope"),
        (["token", "--token-file", "l.jsonl", "--json", "nope/x"], "--json nope/x: there is no folder nope"),
        (["simulate", "one-session", "--plot", "nope/x.svg"], "--plot nope/x.svg: there is no folder nope"),
    ],
)
def test_what_cant_be_written_is_told_before_any_work(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = sorted(here.rglob("*"))
    assert message in refused(capsys, *arguments)
    assert sorted(here.rglob("*")) == before


def test_a_file_may_go_into_the_folder_that_the_command_makes_and_two_to_a_device(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "127.0.0.1:9" in refused(capsys, *PEER, "--save", "new", "--json", "new/figures.json")
    told = refused(capsys, "interpret", "mine.wav", "--events", "/dev/null", "--captions", "/dev/null")
    assert "/dev/null" not in told or ".srt" in told


def test_a_ledger_without_records_makes_no_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty.jsonl").touch()
    with pytest.raises(SystemExit) as ended:
        main(["report", "empty.jsonl"])
    assert ended.value.code == 1 and "empty.jsonl holds no records yet" in capsys.readouterr().err
    assert not (here / "empty.html").exists()
