"""The commands, nothing else: flags in, one call into the room that does the work, an exit status out.

Exit status 0 on success, 2 on bad input with one clear line on stderr. Everything heavy is imported by the command that
needs it, so that `streamsvc peer` runs where neither torch nor a speech model is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import streamsvc
from streamsvc import config
from streamsvc.bench import command as benches
from streamsvc.errors import StreamsvcError
from streamsvc.flags import (
    Command,
    UsageError,
    add_extra_stage,
    count,
    duration,
    pairs,
    parameters,
    progress,
    share,
    size,
    write_json,
)


def _settings(arguments: argparse.Namespace) -> config.Settings:
    flags = {
        "server.host": arguments.host,
        "server.port": arguments.port,
        "server.token_file": arguments.token_file,
        "server.tls_cert": arguments.tls_cert,
        "server.tls_key": arguments.tls_key,
        "ledger.path": arguments.ledger,
        "recording.folder": arguments.record,
        "view.device": arguments.device,
        "speech.enabled": False if arguments.no_speech else None,
        "limits.admission": False if arguments.no_admission else None,
        "log.level": arguments.log_level,
    }
    settings = config.load(arguments.config, os.environ, flags)
    logging.basicConfig(level=settings.log.level.upper(), format="%(levelname)s %(name)s: %(message)s")
    for talkative in ("aioice", "aiortc"):  # they log candidates, which are people's addresses
        logging.getLogger(talkative).setLevel(logging.WARNING)
    return settings


def serve(arguments: argparse.Namespace) -> int:
    """Run the service until it is told to stop."""
    from streamsvc import service

    settings = _settings(arguments)

    def announce(port: int) -> None:
        urls = service.addresses(settings, port)
        print(f"streamsvc is ready: {'  '.join(urls)}", flush=True)
        write_json(arguments.json, {"port": port, "urls": urls, "pid": os.getpid()})

    asyncio.run(service.serve(settings, announce, extra_stage_ms=arguments.extra_stage_ms))
    return 0


def peer(arguments: argparse.Namespace) -> int:
    """Take part in a call without a browser."""
    from streamsvc.frames import load_rig
    from streamsvc.frames.glossary import read_glossary
    from streamsvc.peer import HeadlessPeer, PeerOptions
    from streamsvc.signalling.messages import AppearanceSettings, SpeechSettings, ViewSettings

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options = PeerOptions(
        url=arguments.url,
        room=arguments.room,
        name=arguments.name,
        token=arguments.token or os.environ.get("STREAMSVC_TOKEN"),
        mirror=arguments.mirror,
        rig=None if arguments.rig is None else load_rig(arguments.rig),
        cameras=pairs(arguments.camera, "--camera"),
        mic=arguments.mic,
        size=arguments.size,
        fps=arguments.fps,
        eye=arguments.eye,
        speech=SpeechSettings(
            policy=arguments.policy,
            parameters=parameters(arguments.set) or None,
            source=arguments.source,
            glossary=list(read_glossary(arguments.glossary)) if arguments.glossary else None,
            voice=arguments.voice,
        ),
        view=ViewSettings(
            width=arguments.size[0], height=arguments.size[1], budget_ms=arguments.budget, mode=arguments.view_mode
        ),
        appearance=AppearanceSettings(backdrop=arguments.backdrop),
        save=arguments.save,
        insecure=arguments.insecure,
        agrees=arguments.agree_to_recording,
    )
    figures = asyncio.run(_until_signalled(HeadlessPeer(options, lambda c: print(c.text, flush=True)), arguments))
    latencies = sorted((shown - captured) / 1e6 for captured, shown in figures.views)
    summary = {
        "captured": len(figures.captures),
        "views": len(figures.views),
        "latency_p50_ms": latencies[len(latencies) // 2] if latencies else None,
        "latency_p95_ms": latencies[len(latencies) * 95 // 100] if latencies else None,
        "clock_error_ms": None if figures.clock_error_ns is None else figures.clock_error_ns / 1e6,
        "captions": [c.text for c in figures.captions],
        "notices": figures.notices,
    }
    write_json(arguments.json, summary)
    print(f"{summary['captured']} frame sets captured, {summary['views']} views seen", file=sys.stderr)
    return 0


async def _until_signalled(peer: Any, arguments: argparse.Namespace) -> Any:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await peer.run(arguments.duration, stop)


def synthesize(arguments: argparse.Namespace) -> int:
    """Make a novel view from a folder of pictures or frames."""
    from streamsvc.view.synthesize import synthesize as run

    figures = run(
        arguments.rig,
        arguments.images,
        arguments.view,
        arguments.out,
        rung=arguments.rung,
        device=arguments.device,
        geometry=arguments.geometry,
        truth=arguments.truth,
        mode=arguments.mode,
        eyes_apart_mm=arguments.ipd,
        backdrop=arguments.backdrop,
        progress=progress("frame"),
    )
    write_json(arguments.json, figures)
    print(json.dumps(figures, indent=2))
    for trouble in cast("list[str]", figures["troubles"]):
        print(f"warning: {trouble}", file=sys.stderr)
    print(f"wrote {arguments.out}", file=sys.stderr)
    return 0


def interpret(arguments: argparse.Namespace) -> int:
    """Interpret a recording."""
    from streamsvc.frames.glossary import read_glossary
    from streamsvc.speech.interpret import interpret as run
    from streamsvc.speech.interpret import read_reference

    figures = run(
        arguments.wav,
        policy=arguments.policy,
        parameters=parameters(arguments.set),
        preset=arguments.preset,
        source=arguments.source,
        target=arguments.target,
        glossary=read_glossary(arguments.glossary) if arguments.glossary else (),
        pace=arguments.pace,
        model=arguments.model,
        device=arguments.device,
        voice=arguments.voice,
        events=arguments.events,
        speech=arguments.speech,
        captions=arguments.captions,
        transcript=arguments.transcript,
        instances=arguments.instances,
        reference=read_reference(arguments.reference) if arguments.reference else None,
        progress=progress("second"),
    )
    write_json(arguments.json, figures)
    print(json.dumps(figures, indent=2, default=str))
    return 0


def calibrate(arguments: argparse.Namespace) -> int:
    """Measure a rig from pictures of a chessboard or ChArUco board that was held before its cameras."""
    from streamsvc.calibrate import CalibrateOptions, render, run_calibrate

    options = CalibrateOptions(
        board=arguments.board,
        images=arguments.images,
        cameras=pairs(arguments.camera, "--camera"),
        out=arguments.out,
        pairs=arguments.pairs,
        depth=arguments.depth,
        picture=arguments.picture,
        save_board=arguments.save_board,
        dpi=arguments.dpi,
        size=arguments.size,
        fps=arguments.fps,
        views=arguments.views,
        seconds=arguments.duration,
    )
    figures = run_calibrate(options, lambda line: print(line, file=sys.stderr, flush=True), progress("picture"))
    write_json(arguments.json, figures)
    if "cameras" in figures:
        print(render(figures))
    return 0


def simulate(arguments: argparse.Namespace) -> int:
    """Run a scenario under a mock clock and compare the policies; without one, list those that ship."""
    from streamsvc import simulate as simulation
    from streamsvc.budget import POLICIES
    from streamsvc.simulate_plot import goodput_plot

    if arguments.scenario is None:
        scenarios = simulation.shipped()
        width = max(map(len, scenarios))
        for name, scenario in scenarios.items():
            print(f"{name:{width}}  {scenario.title}")
        write_json(arguments.json, {name: s.title for name, s in scenarios.items()})
        return 0
    scenario = simulation.load_scenario(arguments.scenario)
    if arguments.costs is not None:
        scenario = simulation.with_costs(scenario, arguments.costs)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    rows = simulation.run(scenario, arguments.policy or list(POLICIES), seeds, progress("run"))
    print(f"{scenario.title}: {arguments.seeds} x {scenario.seconds:g} s\n{simulation.table(rows)}")
    write_json(arguments.json, simulation.document(scenario, rows, seeds))
    if arguments.plot is not None:
        arguments.plot.write_text(goodput_plot(scenario.title, rows), "utf-8")
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Show everything at once."""
    from streamsvc.demo import DemoOptions, run_demo

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options = DemoOptions(
        out=arguments.out,
        seconds=arguments.duration,
        language=arguments.language,
        cameras=arguments.cameras,
        size=arguments.size,
        port=arguments.port,
    )
    figures = asyncio.run(run_demo(options, lambda line: print(line, flush=True)))
    write_json(arguments.json, figures)
    return 0


def token(arguments: argparse.Namespace) -> int:
    """Print a token that opens a room for a while, signed with the key in the service's token file."""
    import time

    from streamsvc.signalling.auth import TokenBook, sign
    from streamsvc.signalling.grants import Grant
    from streamsvc.speech.languages import check_languages

    keys = TokenBook.read(arguments.token_file).keys
    if not keys:
        raise UsageError(
            f"{arguments.token_file} has no key to sign with; add a line key=SECRET (`openssl rand -hex 32` makes a "
            "secret) and start the service again"
        )
    for language in arguments.language or ():
        check_languages(language, "en")
    grant = Grant(
        until=time.time() + arguments.valid,
        room=arguments.room,
        watch=arguments.watch_only,
        cameras=arguments.cameras,
        pixels=None if arguments.view is None else arguments.view[0] * arguments.view[1],
        languages=None if not arguments.language else tuple(dict.fromkeys(arguments.language)),
    )
    signed = sign(grant, keys[0])
    print(signed)
    limits = {name: getattr(grant, name) for name in ("until", "room", "watch", "cameras", "pixels", "languages")}
    write_json(arguments.json, {"token": signed, **limits})
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Turn a ledger, of `serve --ledger`, demo, bench, probe or a capture of our page, into a page and a trace."""
    from streamsvc.ledger import read_ledger
    from streamsvc.ledger.report import write_report
    from streamsvc.ledger.trace import write_trace

    out = arguments.out or arguments.ledger.with_suffix(".html")
    summary = write_report(arguments.ledger, out, title=arguments.title)
    print(summary.in_one_line())
    print(f"report: {out}")
    if arguments.trace is not None:
        write_trace(list(read_ledger(arguments.ledger)), arguments.trace)
        print(f"trace for ui.perfetto.dev or chrome://tracing: {arguments.trace}")
    write_json(arguments.json, summary.to_dict())
    return 0


def probe(arguments: argparse.Namespace) -> int:
    """Measure a server from outside: latency from a clock that the cameras themselves see, sound, speech, and where
    the time goes.

    Exit status: 0 measured, 1 below --require or refused, 2 for bad input.
    """

    from streamsvc.probe import ProbeOptions, run_probe
    from streamsvc.probe.report import compare_table, table, write
    from streamsvc.shaper import parse_network

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options = ProbeOptions(
        url=arguments.url,
        out=arguments.out,
        room=arguments.room,
        token=arguments.token or os.environ.get("STREAMSVC_TOKEN"),
        seconds=arguments.duration,
        cameras=arguments.cameras,
        size=arguments.size,
        fps=arguments.fps,
        budget_ms=arguments.budget,
        speech=arguments.speech,
        policy=arguments.policy,
        parameters=parameters(arguments.set),
        role=arguments.role,
        eye=arguments.eye,
        insecure=arguments.insecure,
        browser=arguments.browser,
        network=None if arguments.network is None else parse_network(arguments.network),
        relay=arguments.relay,
    )

    def tell(line: str) -> None:
        print(line, flush=True)

    probes = []
    for url in (arguments.url, *(arguments.compare or ())):
        probed = asyncio.run(run_probe(replace(options, url=url), tell))
        if arguments.role == "send":
            tell(f"{probed.figures['captured']} captures sent")
            write_json(arguments.json, probed.figures)
            return 0
        for line in table(probed.figures):
            tell(line)
        probes.append(probed)
    if len(probes) > 1:
        for line in compare_table([p.figures for p in probes]):
            tell(line)
    tell(f"report: {write(arguments.out, probes)}")
    write_json(arguments.json, probes[0].figures if len(probes) == 1 else [p.figures for p in probes])
    goodput = probes[0].figures["view"]["goodput"]
    kept = probes[0].figures["verdict"] != "refused" and (arguments.require is None or goodput >= arguments.require)
    return 0 if kept else 1


def doctor(arguments: argparse.Namespace) -> int:
    """Say what works here, and why not."""
    from dataclasses import asdict

    from streamsvc.doctor import diagnose, render

    checks = diagnose()
    write_json(arguments.json, [asdict(c) for c in checks])
    print(render(checks))
    return 0


MODES = "window, stereo, anaglyph, packed, cutout, quilt, quilt:COLUMNSxROWS or quilt:COLUMNSxROWS:DEGREES (window)"


def _add_serve_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--host", help="address to listen on (127.0.0.1; 0.0.0.0 for every interface)")
    p.add_argument("--port", type=int, help="TCP port (8080; 0 takes any free one)")
    p.add_argument("--config", type=Path, metavar="F", help="settings file, TOML")
    p.add_argument("--token-file", type=Path, metavar="F", help="one token a line; nobody joins without one")
    p.add_argument("--tls-cert", type=Path, metavar="F", help="certificate chain, PEM: serves HTTPS")
    p.add_argument("--tls-key", type=Path, metavar="F", help="private key of the certificate, PEM")
    p.add_argument("--ledger", type=Path, metavar="F", help="append a JSON line for every frame set and speech pass")
    p.add_argument("--record", type=Path, metavar="DIR", help="let calls be recorded there, where everybody agrees")
    p.add_argument("--device", choices=("cpu", "cuda"), help="where views are computed (cpu)")
    p.add_argument("--no-speech", action="store_true", help="do not translate; voices pass through")
    p.add_argument("--no-admission", action="store_true", help="take everybody, even where calls then suffer")
    p.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="least severe message told")
    add_extra_stage(p)


def _add_peer_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("url", metavar="URL", help="address of the service, e.g. http://127.0.0.1:8080")
    p.add_argument("--room", required=True, help="name of the room")
    p.add_argument("--name", default="peer", help="name that others see (%(default)s)")
    p.add_argument("--token", help="token, where the service asks for one (or STREAMSVC_TOKEN)")
    p.add_argument("--mirror", action="store_true", help="a mirror room: see and hear yourself")
    p.add_argument("--rig", type=Path, metavar="F", help="rig.json of the cameras; a synthetic scene brings its own")
    p.add_argument(
        "--camera", action="append", metavar="NAME=SOURCE", help="file, device or synthetic:SCENE; repeatable"
    )
    p.add_argument("--mic", metavar="SOURCE", help="file, device, or synthetic:LANGUAGE[:SECONDS]")
    p.add_argument("--size", type=size, default=(640, 480), help="of synthetic cameras and of the view (640x480)")
    p.add_argument("--fps", type=float, default=15.0, help="of synthetic cameras (%(default)s)")
    p.add_argument("--eye", default="still", help="still, sway, or x,y,z in world metres (%(default)s)")
    p.add_argument("--budget", type=float, metavar="MS", help="latency budget from capture to display")
    p.add_argument("--view-mode", metavar="MODE", help=MODES)
    p.add_argument("--backdrop", help="what others see behind you: room, blur or #rrggbb (room)")
    p.add_argument("--policy", help="speak policy")
    p.add_argument("--set", action="append", metavar="K=V", help="parameter of the policy; repeatable")
    p.add_argument("--source", help="spoken language, or auto")
    p.add_argument("--glossary", type=Path, metavar="F", help="names and terms to spell like this, one a line")
    p.add_argument("--voice", help="voice that speaks for you, of those the service has (the one nearest to yours)")
    p.add_argument("--save", type=Path, metavar="DIR", help="save view.mp4, speech.wav, captions and transcript there")
    p.add_argument("--agree-to-recording", action="store_true", help="let others record the call; otherwise say no")
    p.add_argument("--duration", type=float, metavar="S", help="seconds to take part (until interrupted)")
    p.add_argument("--insecure", action="store_true", help="accept a self-signed certificate")


def _add_probe_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("url", metavar="URL", help="a service of ours, or an address that takes an SDP offer by POST")
    p.add_argument("--room", default="probe", help="name of the room (%(default)s)")
    p.add_argument("--token", help="token, where the service asks for one (or STREAMSVC_TOKEN)")
    p.add_argument("--budget", type=float, default=400.0, metavar="MS", help="capture to display (%(default)s)")
    p.add_argument("--duration", type=float, default=30.0, metavar="S", help="seconds, 5 of warm-up (%(default)s)")
    p.add_argument("--cameras", type=int, default=2, choices=(1, 2, 4), help="cameras (%(default)s)")
    p.add_argument("--size", type=size, default=(320, 240), help="of cameras and view (320x240)")
    p.add_argument("--fps", type=float, default=15.0, help="of cameras (%(default)s)")
    p.add_argument("--eye", default="still", help="still, sway, or x,y,z in world metres (%(default)s)")
    p.add_argument("--speech", choices=("es", "fr"), help="say something to translate (chirps, not translated)")
    p.add_argument("--policy", help="speak policy")
    p.add_argument("--set", action="append", metavar="K=V", help="parameter of the policy; repeatable")
    p.add_argument("--browser", action="store_true", help="take part with our page in headless Chromium")
    p.add_argument("--compare", action="append", metavar="URL", help="probe this server too; repeatable")
    p.add_argument(
        "--network",
        metavar="NAME|RULES",
        help="lead the call through a bad network: lossy, bursty, lost-twice, narrowing, mobile, or rules like "
        "delay=50,jitter=20,loss=5",
    )
    p.add_argument(
        "--relay", action="store_true", help="only through the TURN server that the service offers: does it work?"
    )
    p.add_argument(
        "--role", choices=("both", "send", "watch"), default="both", help="halves on two hosts (%(default)s)"
    )
    p.add_argument("--require", type=share, metavar="SHARE", help="exit with 1 when less is seen in time")
    p.add_argument("--out", type=Path, default=Path("out/probe"), metavar="DIR", help="report and plots (%(default)s)")
    p.add_argument("--insecure", action="store_true", help="accept a self-signed certificate")


def _add_token_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--token-file", type=Path, required=True, metavar="F", help="the service's, with a line key=SECRET")
    p.add_argument("--room", help="the room it opens (every room)")
    p.add_argument("--valid", type=duration, default=7200.0, metavar="TIME", help="90, 15m, 2h or 7d (2h)")
    p.add_argument("--watch-only", action="store_true", help="neither pictures nor sound may be sent")
    p.add_argument("--cameras", type=int, choices=range(17), metavar="N", help="at most so many are sent (any number)")
    p.add_argument("--view", type=size, metavar="WxH", help="a view has at most as many pixels (any size)")
    p.add_argument("--language", action="append", metavar="CODE", help="only it is interpreted; repeatable (any)")


def _add_report_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("ledger", type=Path, metavar="LEDGER.jsonl", help="of serve --ledger, demo, bench, probe or a page")
    p.add_argument("--out", type=Path, metavar="HTML", help="the page (beside the ledger)")
    p.add_argument("--trace", type=Path, metavar="JSON", help="every frame and stage, for Perfetto")
    p.add_argument("--title", default="streamsvc", help="heading of the page (%(default)s)")


def _add_synthesize_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--rig", type=Path, required=True)
    p.add_argument("--images", type=Path, required=True, help="<camera>.png, or <camera>/<000000>.png")
    p.add_argument("--view", type=Path, required=True, help="view.json: a camera, or a list of one a frame")
    p.add_argument("--out", type=Path, required=True, help="a picture, or a video where there are frames")
    p.add_argument("--rung", default="best", help="name of a rung, best, or classical: the best without nets")
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    p.add_argument("--geometry", type=Path, metavar="DIR", help="<camera>.npy: depth in metres, used for disparity")
    p.add_argument("--mode", default="window", metavar="MODE", help=MODES)
    p.add_argument("--ipd", type=float, default=63.0, metavar="MM", help="between the eyes of a pair (%(default)s)")
    p.add_argument(
        "--backdrop",
        default="room",
        help="behind the person: room, blur, #rrggbb, a picture's file, or transparent (%(default)s)",
    )
    p.add_argument(
        "--truth", type=Path, metavar="PNG", help="what a camera there took (opaque: foreground); scores the view"
    )


def _add_interpret_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("wav", type=Path, metavar="IN.wav", help="any sound file that FFmpeg reads")
    p.add_argument("--policy", default="agreement", help="speak policy (%(default)s)")
    p.add_argument("--set", action="append", metavar="K=V", help="parameter of the policy; repeatable")
    p.add_argument("--preset", default="default", choices=("default", "paper"), help="what parameters start from")
    p.add_argument("--source", default="auto", help="spoken language (%(default)s)")
    p.add_argument("--target", default="en", help="heard language (%(default)s)")
    p.add_argument("--glossary", type=Path, metavar="F", help="names and terms to spell like this, one a line")
    p.add_argument("--pace", default="asap", choices=("asap", "realtime"), help="virtual clock, or really wait")
    p.add_argument("--model", help="directory, or name of a model (the installed one)")
    p.add_argument("--device", default="cpu", help="cpu or cuda")
    p.add_argument("--voice", help="name of a voice, or auto: nearest to the speaker's pitch (Piper's)")
    p.add_argument("--events", type=Path, required=True, metavar="F", help="what was said and when, JSON lines")
    p.add_argument("--speech", type=Path, metavar="OUT.wav", help="speak the translation into this file")
    p.add_argument("--captions", type=Path, metavar="OUT", help=".srt, .vtt or .json")
    p.add_argument("--transcript", type=Path, metavar="OUT", help="the same, every phrase corrected by a second pass")
    p.add_argument("--instances", type=Path, metavar="DIR", help="instances.log and config.yaml for SimulEval")
    p.add_argument("--reference", type=Path, metavar="F", help="text of what should be said, for the lags")


def _add_calibrate_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--board",
        required=True,
        help="chessboard:COLSxROWS:SQUARE (inner corners) or charuco:COLSxROWS:SQUARE:MARKER[:DICT]",
    )
    p.add_argument("--images", type=Path, metavar="DIR", help="<camera>/<name>.png, <camera>01.jpg, or <camera>.mp4")
    p.add_argument("--camera", action="append", metavar="NAME=SOURCE", help="video file or device; repeatable")
    p.add_argument("--out", type=Path, metavar="rig.json", help="where the rig is written")
    p.add_argument("--pairs", nargs="+", default=(), metavar="A,B", help="pairs to match (proposed from the geometry)")
    p.add_argument("--depth", metavar="NEAR:FAR", help="depth range in metres (left out: estimated in use)")
    p.add_argument("--picture", type=Path, metavar="PNG", help="draw the rig, its boards and its errors")
    p.add_argument("--save-board", type=Path, metavar="PNG", help="write the board to be printed")
    p.add_argument("--dpi", type=int, default=300, help="resolution of the printed board (%(default)s)")
    p.add_argument("--size", type=size, default=(640, 480), help="of devices' pictures (640x480)")
    p.add_argument("--fps", type=float, default=15.0, help="of devices (%(default)s)")
    p.add_argument("--views", type=int, default=20, help="views to collect from devices (%(default)s)")
    p.add_argument("--duration", type=float, default=180.0, metavar="S", help="longest wait for them (%(default)s)")


def _add_simulate_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("scenario", type=Path, nargs="?", metavar="SCENARIO.toml", help="file, or name of one that ships")
    p.add_argument("--policy", action="append", metavar="NAME", help="only this policy; repeatable (all)")
    p.add_argument("--seeds", type=count, default=8, metavar="N", help="runs of each policy (%(default)s)")
    p.add_argument("--first-seed", type=count, default=1, metavar="N", help="seed of the first run (%(default)s)")
    p.add_argument("--costs", type=Path, metavar="ledger.jsonl", help="take rungs, costs and noise from a ledger")
    p.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the goodputs, as SVG")


def _add_demo_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for what is left behind (%(default)s)")
    p.add_argument("--duration", type=float, default=60.0, metavar="S", help="seconds of call (%(default)s)")
    p.add_argument("--language", default="es", help="spoken: es or fr (%(default)s)")
    p.add_argument("--cameras", type=int, default=2, choices=(2, 4), help="cameras (%(default)s)")
    p.add_argument("--size", type=size, default=(320, 240), help="of cameras and view (320x240)")
    p.add_argument("--port", type=int, default=8080, help="port of the service; any free one if taken (%(default)s)")


COMMANDS: dict[str, tuple[str, Command, Callable[[argparse.ArgumentParser], None]]] = {
    "demo": ("everything at once: no browser and no camera needed", demo, _add_demo_flags),
    "serve": ("the service", serve, _add_serve_flags),
    "peer": ("take part without a browser", peer, _add_peer_flags),
    "probe": ("measure a server: latency by a clock that the cameras see", probe, _add_probe_flags),
    "calibrate": ("a rig from pictures of a chessboard", calibrate, _add_calibrate_flags),
    "synthesize": ("a novel view from pictures or frames", synthesize, _add_synthesize_flags),
    "interpret": ("interpret a recording", interpret, _add_interpret_flags),
    "token": ("a token that opens a room for a while", token, _add_token_flags),
    "report": ("a page, and a trace for Perfetto, from a ledger", report, _add_report_flags),
    "simulate": ("what each policy makes of a load, under a mock clock", simulate, _add_simulate_flags),
    "bench": ("the figures that the README quotes", benches.bench, benches.add_flags),
    "doctor": ("what works here, and why not", doctor, lambda p: None),
}


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    p = argparse.ArgumentParser(prog="streamsvc", description=streamsvc.__doc__)
    p.add_argument("--version", action="version", version=f"streamsvc {streamsvc.__version__}")
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (text, run, add) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=(run.__doc__ or text))
        add(command)
        command.add_argument("--json", type=Path, metavar="FILE", help="write the figures there for machines")
        command.set_defaults(run=run)
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    arguments = parser().parse_args(argv)
    try:
        status = arguments.run(arguments)
    except StreamsvcError as e:
        print(f"streamsvc {arguments.command}: {e}", file=sys.stderr)
        status = 2
    except ImportError as e:
        print(f"streamsvc {arguments.command}: {e}; the extra that brings it is not installed", file=sys.stderr)
        status = 2
    except OSError as e:
        where = f"{e.filename}: " if e.filename else ""
        print(f"streamsvc {arguments.command}: {where}{e.strerror or e}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
