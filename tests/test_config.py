"""Settings: three sources, one precedence, and errors that name the key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.config import ConfigError, Settings, example, is_loopback, load


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "service.toml"
    file.write_text(text)
    return file


def test_nothing_given_is_loopback_without_third_parties() -> None:
    s = load(None, {}, {})
    assert s == Settings()
    assert is_loopback(s.server.host) and not s.server.tls
    assert s.server.ice_servers == ()


def test_flags_win_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "[server]\nport = 1\nhost = 'a'\n[view]\nwidth = 100\n")
    s = load(file, {"STREAMSVC_SERVER_PORT": "2", "STREAMSVC_SERVER_HOST": "b"}, {"server.port": 3, "view.width": None})
    assert (s.server.port, s.server.host, s.view.width) == (3, "b", 100)


def test_environment_text_becomes_numbers_booleans_lists_and_tables() -> None:
    s = load(
        None,
        {
            "STREAMSVC_SPEECH_ENABLED": "false",
            "STREAMSVC_WORKER_HANG_S": "1.5",
            "STREAMSVC_SERVER_ALLOWED_ORIGINS": "https://a.example, http://b.example:81",
            "STREAMSVC_SERVER_ICE_SERVERS": '[{"urls": ["turn:x"], "username": "u", "credential": "c"}]',
            "STREAMSVC_SPEECH_PARAMETERS": '{"n": 3}',
            "STREAMSVC_SPEECH_MODEL": "",
            "STREAMSVC_CACHE": "/var/cache",
            "STREAMSVC_TOKEN": "a peer's",
            "STREAMSVC_WEIGHTS": "/srv/weights",
        },
        {},
    )
    assert s.speech.enabled is False
    assert s.worker.hang_s == 1.5
    assert s.server.allowed_origins == ("https://a.example", "http://b.example:81")
    assert s.server.ice_servers[0].credential == "c"
    assert s.speech.parameters == {"n": 3.0}
    assert s.speech.model is None


def test_paths_in_a_file_are_relative_to_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "[server]\ntoken_file = 'tokens'\n[ledger]\npath = '/var/l.jsonl'\n")
    s = load(file, {}, {})
    assert s.server.token_file == tmp_path / "tokens"
    assert s.ledger.path == Path("/var/l.jsonl")
    assert load(file, {}, {"ledger.path": Path("here.jsonl")}).ledger.path == Path("here.jsonl")


def test_example_shows_every_setting_and_its_lines_load_as_the_defaults(tmp_path: Path) -> None:
    text = example()
    assert load(write(tmp_path, text), {}, {}) == Settings()
    bare = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.M)
    assert bare != text
    assert load(write(tmp_path, bare), {}, {}) == Settings()
    for section in Settings.__struct_fields__:
        assert f"[{section}]" in text
        for name in getattr(Settings(), section).__struct_fields__:
            assert f"\n{name} = " in bare


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1", ["server.prot", "did you mean port?", "token_file"]),
        ("[sever]\nport = 1", ["[sever]", "did you mean server?"]),
        ("port = 1", ["[port]"]),
        ("server = 1", ["[server]"]),
        ("[server]\nport = 70000", ["server.port", "from 0 to 65535", "not 70000"]),
        ("[server]\nport = '80'", ["server.port", "whole number", "not '80'"]),
        ("[server]\nport = true", ["server.port", "not True"]),
        ("[view]\nbudget_ms = nan", ["view.budget_ms", "from 20 to 5000"]),
        ("[view]\ndevice = 'tpu'", ["view.device", "cuda:N"]),
        ("[log]\nlevel = 'loud'", ["log.level", "debug", "not 'loud'"]),
        ("[speech]\nsource = 'English'", ["speech.source", "language code", "auto"]),
        ("[speech]\nparameters = {n = 'x'}", ["speech.parameters", "names and numbers"]),
        ("[server]\nice_servers = [{url = 'stun:x'}]", ["server.ice_servers", "urls", "url"]),
        ("[server]\nallowed_origins = ['a.example/x']", ["server.allowed_origins", "https://example.org"]),
        ("[server]\ntls_cert = 'c.pem'", ["server.tls_cert", "server.tls_key"]),
        ("[server", ["not TOML"]),
    ],
)
def test_wrong_file_is_told_by_file_key_and_what_is_accepted(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as e:
        load(write(tmp_path, text), {}, {})
    told = str(e.value)
    assert "\n" not in told
    for word in words:
        assert word in told
    assert "tls" in text or "service.toml" in told


def test_wrong_variable_and_flag_are_named() -> None:
    with pytest.raises(ConfigError, match=r"STREAMSVC_SERVER_PORT.*from 0 to 65535.*'many'"):
        load(None, {"STREAMSVC_SERVER_PORT": "many"}, {})
    with pytest.raises(ConfigError, match=r"STREAMSVC_SERVER_PROT.*server\.prot.*port"):
        load(None, {"STREAMSVC_SERVER_PROT": "1"}, {})
    with pytest.raises(ConfigError, match=r"STREAMSVC_SERVR_PORT .*did you mean STREAMSVC_SERVER_PORT\?"):
        load(None, {"STREAMSVC_SERVR_PORT": "99"}, {})
    with pytest.raises(ConfigError, match=r"STREAMSVC_TOKN .*did you mean STREAMSVC_TOKEN\?"):
        load(None, {"STREAMSVC_TOKN": "t"}, {})
    with pytest.raises(ConfigError, match="STREAMSVC_ZZ is not known"):
        load(None, {"STREAMSVC_ZZ": ""}, {})
    with pytest.raises(ConfigError, match=r"STREAMSVC_SPEECH_PARAMETERS.*JSON"):
        load(None, {"STREAMSVC_SPEECH_PARAMETERS": "{n"}, {})
    with pytest.raises(ConfigError, match=r"command line: server\.port"):
        load(None, {}, {"server.port": -1})
    with pytest.raises(ConfigError, match="section"):
        load(None, {}, {"port": 1})


@pytest.mark.parametrize("url", ["garbage", "turn:", "http://turn.example", "stun.example:3478", "turn: x", "turn://x"])
def test_what_is_no_stun_or_turn_server_is_told_at_the_start(tmp_path: Path, url: str) -> None:
    file = write(tmp_path, f"[server]\nice_servers = [{{urls = ['stun:a.example', '{url}']}}]\n")
    with pytest.raises(ConfigError, match=rf"server\.ice_servers: {url!r} is no STUN or TURN server; one is like"):
        load(file, {}, {})


def test_stun_and_turn_servers_are_taken(tmp_path: Path) -> None:
    urls = ["stun:a.example", "stuns:a.example:5349", "turn:[2001:db8::1]:3478?transport=tcp", "turns:b.example"]
    assert load(write(tmp_path, f"[server]\nice_servers = [{{urls = {urls}}}]\n"), {}, {}).server.ice_servers


def test_missing_and_unreadable_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml can't be read: No such file"):
        load(tmp_path / "none.toml", {}, {})
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "binary", {}, {})


def test_credentials_are_not_repeated_in_errors() -> None:
    with pytest.raises(ConfigError) as e:
        load(None, {}, {"server.ice_servers": [{"urls": ["turn:x"], "credential": "hush", "user": "u"}]})
    assert "hush" not in str(e.value)


@given(
    st.dictionaries(
        st.sampled_from(["server.port", "speech.parameters", "server.ice_servers", "ledger.path", "x.y", "view"]),
        st.none()
        | st.integers()
        | st.floats()
        | st.text()
        | st.lists(st.text())
        | st.dictionaries(st.text(), st.text()),
    )
)
def test_any_flags_give_settings_or_a_config_error(flags: dict[str, object]) -> None:
    try:
        load(None, {}, flags)
    except ConfigError as e:
        assert str(e)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "[::1]", "localhost", "a.localhost")),
        *((host, False) for host in ("0.0.0.0", "localhost.example", "192.0.2.1", "")),
    ],
)
def test_loopback_is_recognised(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
