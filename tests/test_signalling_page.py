"""The page, figures and files that the port serves over HTTP, for real: uvicorn on loopback."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from fakehub import FakeHub
from port import fetch, serving

from streamsvc.config import ConfigError, Settings
from streamsvc.signalling.server import create_app


async def test_page_and_modules_come_with_their_types_and_strict_headers(web: Path) -> None:
    async with serving(web) as s:
        for path, kind in (
            ("/", "text/html; charset=utf-8"),
            ("/room/my%20lab", "text/html; charset=utf-8"),
            ("/lib/call.js", "text/javascript; charset=utf-8"),
            ("/lib/m.mjs", "text/javascript; charset=utf-8"),
            ("/lib/w.wasm", "application/wasm"),
        ):
            status, headers, _ = await fetch(s.url + path)
            assert (status, headers["content-type"]) == (200, kind)
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-cache"
            assert headers["server"] is None
        etag = (await fetch(s.url + "/lib/call.js"))[1]["etag"]
        assert (await fetch(s.url + "/lib/call.js", **{"If-None-Match": etag}))[0] == 304


async def test_only_the_trackers_worker_may_run_webassembly_and_its_package_comes_from_the_cache(
    web: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMSVC_CACHE", str(tmp_path / "cache"))
    (web / "faceworker.js").write_text("importScripts('/face_mesh/face_mesh.js')")
    async with serving(web) as s:
        _, headers, _ = await fetch(s.url + "/faceworker.js")
        policy = headers["content-security-policy"]
        assert "'wasm-unsafe-eval'" in policy and "'unsafe-eval'" not in policy and "default-src 'none'" in policy
        unchanged, headers, _ = await fetch(s.url + "/faceworker.js", **{"If-None-Match": headers["etag"]})
        assert (unchanged, headers["content-security-policy"]) == (304, policy)
        assert (await fetch(s.url + "/face_mesh/x.wasm"))[0] == 404
        package = tmp_path / "cache" / "face_mesh"
        package.mkdir(parents=True)
        (package / "x.wasm").write_bytes(b"\0asm")
        status, headers, _ = await fetch(s.url + "/face_mesh/x.wasm")
        assert (status, headers["content-type"]) == (200, "application/wasm")
        assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/lib/..%2f..%2foutside.txt",
        "/link.txt",
        "/.secret",
        "/lib/%00",
        "//etc/passwd",
        "/none.js",
        "/lib",
        "/" + "a" * 5000,
    ],
)
async def test_nothing_outside_the_folder_nor_hidden_is_served(web: Path, path: str) -> None:
    async with serving(web) as s:
        # By hand, because a client library tidies the path.
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert answer.split(b" ")[1] in (b"404", b"307"), answer[:200]
        assert b"outside" not in answer.partition(b"\r\n\r\n")[2] and b"hidden" not in answer and b"root:" not in answer
        assert b"nosniff" in answer


async def test_health_metrics_and_schema_are_served(web: Path) -> None:
    async with serving(web) as s:
        status, _, body = await fetch(s.url + "/healthz")
        assert (status, json.loads(body)) == (200, {"ok": True, "v": "1"})
        status, headers, body = await fetch(s.url + "/metrics")
        assert (status, body) == (200, b"streamsvc_up 1\n")
        assert headers["content-type"].startswith("text/plain; version=")
        status, _, body = await fetch(s.url + "/schema.json")
        assert status == 200 and "Join" in json.loads(body)["$defs"]
        assert (await fetch(s.url + "/healthz", "POST"))[0] == 405
    async with serving(web, health={"ok": False, "why": "no worker"}) as s:
        assert (await fetch(s.url + "/healthz"))[0] == 503


async def test_a_folder_without_a_page_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no index\.html"):
        create_app(FakeHub(), Settings(), web=tmp_path, metrics=lambda: b"", health=dict)
