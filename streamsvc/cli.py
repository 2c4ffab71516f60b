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
from streamsvc.errors import StreamsvcError

Command = Callable[[argparse.Namespace], int]


class UsageError(StreamsvcError):
    """A flag that can't be taken."""


def _pairs(values: Sequence[str] | None, flag: str) -> dict[str, str]:
    """Return NAME=VALUE flags as a table; raises UsageError."""
    pairs: dict[str, str] = {}
    for text in values or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{flag} must be NAME=VALUE, got {text!r}")
        if name in pairs:
            raise UsageError(f"{flag} {name} is given twice")
        pairs[name] = value
    return pairs


def _parameters(values: Sequence[str] | None) -> dict[str, float]:
    """Return --set k=v flags as numbers; raises UsageError."""
    result = {}
    for name, text in _pairs(values, "--set").items():
        try:
            result[name] = float(text)
        except ValueError:
            raise UsageError(f"--set {name} must be a number, got {text!r}") from None
    return result


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(v) for v in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a size is WIDTHxHEIGHT, got {text!r}") from None
    if not (64 <= width <= 4096 and 64 <= height <= 4096):
        raise argparse.ArgumentTypeError("a size is 64 to 4096 pixels a side")
    return width, height


def _write_json(path: Path | None, document: Any) -> None:
    if path is not None:
        path.write_text(json.dumps(document, indent=2, default=str) + "\n", "utf-8")


def _settings(arguments: argparse.Namespace) -> config.Settings:
    flags = {
        "server.host": arguments.host,
        "server.port": arguments.port,
        "server.token_file": arguments.token_file,
        "server.tls_cert": arguments.tls_cert,
        "server.tls_key": arguments.tls_key,
        "ledger.path": arguments.ledger,
        "view.device": arguments.device,
        "speech.enabled": False if arguments.no_speech else None,
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
        _write_json(arguments.json, {"port": port, "urls": urls, "pid": os.getpid()})

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
        cameras=_pairs(arguments.camera, "--camera"),
        mic=arguments.mic,
        size=arguments.size,
        fps=arguments.fps,
        eye=arguments.eye,
        speech=SpeechSettings(
            policy=arguments.policy,
            parameters=_parameters(arguments.set) or None,
            source=arguments.source,
            glossary=list(read_glossary(arguments.glossary)) if arguments.glossary else None,
        ),
        view=ViewSettings(
            width=arguments.size[0], height=arguments.size[1], budget_ms=arguments.budget, mode=arguments.view_mode
        ),
        appearance=AppearanceSettings(backdrop=arguments.backdrop),
        save=arguments.save,
        insecure=arguments.insecure,
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
    _write_json(arguments.json, summary)
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
        progress=_progress("frame"),
    )
    _write_json(arguments.json, figures)
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
        parameters=_parameters(arguments.set),
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
        progress=_progress("second"),
    )
    _write_json(arguments.json, figures)
    print(json.dumps(figures, indent=2, default=str))
    return 0


def calibrate(arguments: argparse.Namespace) -> int:
    """Measure a rig from pictures of a chessboard or ChArUco board that was held before its cameras."""
    from streamsvc.calibrate import CalibrateOptions, render, run_calibrate

    options = CalibrateOptions(
        board=arguments.board,
        images=arguments.images,
        cameras=_pairs(arguments.camera, "--camera"),
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
    figures = run_calibrate(options, lambda line: print(line, file=sys.stderr, flush=True), _progress("picture"))
    _write_json(arguments.json, figures)
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
        _write_json(arguments.json, {name: s.title for name, s in scenarios.items()})
        return 0
    scenario = simulation.load_scenario(arguments.scenario)
    if arguments.costs is not None:
        scenario = simulation.with_costs(scenario, arguments.costs)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    rows = simulation.run(scenario, arguments.policy or list(POLICIES), seeds, _progress("run"))
    print(f"{scenario.title}: {arguments.seeds} x {scenario.seconds:g} s\n{simulation.table(rows)}")
    _write_json(arguments.json, simulation.document(scenario, rows, seeds))
    if arguments.plot is not None:
        arguments.plot.write_text(goodput_plot(scenario.title, rows), "utf-8")
    return 0


def _progress(unit: str) -> Callable[[float, float], None] | None:
    """Return a progress line for a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return None

    def show(done: float, total: float) -> None:
        end = "\n" if done >= total else ""
        print(f"\r{unit} {done:.0f} of {total:.0f}", end=end, file=sys.stderr, flush=True)

    return show


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
    _write_json(arguments.json, figures)
    return 0


def token(arguments: argparse.Namespace) -> int:
    """Print a token that opens a room for a while, signed with the key in the service's token file."""
    import time

    from streamsvc.signalling.auth import Grant, TokenBook, sign

    keys = TokenBook.read(arguments.token_file).keys
    if not keys:
        raise UsageError(
            f"{arguments.token_file} has no key to sign with; add a line key=SECRET (`openssl rand -hex 32` makes a "
            "secret) and start the service again"
        )
    grant = Grant(until=time.time() + arguments.valid, room=arguments.room)
    signed = sign(grant, keys[0])
    print(signed)
    _write_json(arguments.json, {"token": signed, "until": grant.until, "room": grant.room})
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Turn a ledger, of `serve --ledger`, a demo, a bench or a probe, into a page, and a trace for Perfetto."""
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
    _write_json(arguments.json, summary.to_dict())
    return 0


def bench(arguments: argparse.Namespace) -> int:
    """Measure what the README quotes."""
    return BENCHES[arguments.what][1](arguments)


def probe(arguments: argparse.Namespace) -> int:
    """Measure a server from outside: latency from a clock that the cameras themselves see, sound, speech, and where
    the time goes.

    Exit status: 0 measured, 1 below --require or refused, 2 for bad input.
    """
    from dataclasses import replace

    from streamsvc.probe import ProbeOptions, run_probe
    from streamsvc.probe.report import compare_table, table, write

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
        parameters=_parameters(arguments.set),
        role=arguments.role,
        eye=arguments.eye,
        insecure=arguments.insecure,
        browser=arguments.browser,
    )

    def tell(line: str) -> None:
        print(line, flush=True)

    probes = []
    for url in (arguments.url, *(arguments.compare or ())):
        probed = asyncio.run(run_probe(replace(options, url=url), tell))
        if arguments.role == "send":
            tell(f"{probed.figures['captured']} captures sent")
            _write_json(arguments.json, probed.figures)
            return 0
        for line in table(probed.figures):
            tell(line)
        probes.append(probed)
    if len(probes) > 1:
        for line in compare_table([p.figures for p in probes]):
            tell(line)
    tell(f"report: {write(arguments.out, probes)}")
    _write_json(arguments.json, probes[0].figures if len(probes) == 1 else [p.figures for p in probes])
    goodput = probes[0].figures["view"]["goodput"]
    kept = probes[0].figures["verdict"] != "refused" and (arguments.require is None or goodput >= arguments.require)
    return 0 if kept else 1


def _bench_session(arguments: argparse.Namespace) -> int:
    """Measure a whole session."""
    from streamsvc.bench.session import SessionBench, run_session

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options = SessionBench(
        seconds=arguments.duration,
        cameras=arguments.cameras,
        size=arguments.size,
        fps=arguments.fps,
        budget_ms=arguments.budget,
        speech=not arguments.no_speech,
        browser=arguments.browser,
        extra_stage_ms=arguments.extra_stage_ms,
        out=arguments.out,
    )
    figures = asyncio.run(run_session(options, lambda line: print(line, flush=True)))
    _write_json(arguments.json, figures)
    return 0


def _bench_edge(arguments: argparse.Namespace) -> int:
    """Measure our edge against stock aiortc: one-way latency of video, camera to decoded picture."""
    from streamsvc.bench.edge import SIZES, EdgeBench, run_edge

    options = EdgeBench(
        arguments.out,
        tuple(dict.fromkeys(arguments.size or SIZES)),
        arguments.codec,
        arguments.fps,
        arguments.seconds,
        arguments.repeats,
    )
    figures = asyncio.run(run_edge(options, lambda line: print(line, flush=True)))
    _write_json(arguments.json, figures)
    return 0


def _bench_budget(arguments: argparse.Namespace) -> int:
    """Measure dispatcher and planner live, beside other policies and the simulator."""
    from streamsvc.bench.budget import COMPARED, BudgetBench, run_budget

    options = BudgetBench(
        out=arguments.out,
        scenario=arguments.scenario,
        sessions=tuple(range(1, arguments.sessions + 1)),
        policies=tuple(arguments.policy or COMPARED),
        seconds=arguments.seconds,
        seed=arguments.seed,
    )
    _write_json(arguments.json, run_budget(options, lambda line: print(line, flush=True)))
    return 0


def _one_thread() -> None:
    """Let figures be those of one thread; comes before torch and numpy's BLAS are loaded."""
    for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(pool, "1")


def _bench_view(arguments: argparse.Namespace) -> int:
    """Measure the view: every rung's quality and cost."""
    _one_thread()
    from streamsvc.bench.view import ViewBench, quick, run_view

    rungs = tuple(filter(None, (arguments.rungs or "").split(",")))
    options = quick(arguments.out, rungs) if arguments.quick else ViewBench(arguments.out, rungs=rungs)
    if arguments.scenes is not None:
        options = replace(options, scenes=arguments.scenes)
    if arguments.size:
        options = replace(options, sizes=tuple(dict.fromkeys(arguments.size)))
    options = replace(options, weights=arguments.weights)
    figures = run_view(options, lambda line: print(line, flush=True), _progress("step"))
    _write_json(arguments.json, figures)
    return 0


def _bench_speech(arguments: argparse.Namespace) -> int:
    """Measure every speak policy: quality against lag."""
    _one_thread()
    if arguments.sessions is not None:
        return _bench_calls(arguments)
    from streamsvc.bench.speech import SpeechBench, run_speech

    options = SpeechBench(
        arguments.out,
        tuple(filter(None, arguments.languages.split(","))),
        tuple(filter(None, (arguments.policies or "").split(","))),
        tuple(filter(None, arguments.kinds.split(","))),
        arguments.limit,
        arguments.model,
    )
    figures = run_speech(options, lambda line: print(line, flush=True), _progress("second"))
    _write_json(arguments.json, figures)
    return 1 if figures["faults"] else 0


def _bench_calls(arguments: argparse.Namespace) -> int:
    from streamsvc.bench.speech_calls import CallsBench, run_calls

    options = CallsBench(
        arguments.out,
        arguments.sessions,
        arguments.minutes,
        tuple(filter(None, arguments.languages.split(","))),
        arguments.policy,
        _parameters(arguments.set),
        arguments.speed,
        arguments.model,
    )
    _write_json(arguments.json, run_calls(options, lambda line: print(line, flush=True), _progress("second")))
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Say what works here, and why not."""
    from dataclasses import asdict

    from streamsvc.doctor import diagnose, render

    checks = diagnose()
    _write_json(arguments.json, [asdict(c) for c in checks])
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
    p.add_argument("--device", choices=("cpu", "cuda"), help="where views are computed (cpu)")
    p.add_argument("--no-speech", action="store_true", help="do not translate; voices pass through")
    p.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="least severe message told")
    _add_extra_stage(p)


def _add_extra_stage(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--extra-stage-ms", type=float, default=0.0, metavar="MS", help="idle stage in every view, for load tests"
    )


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
    p.add_argument("--size", type=_size, default=(640, 480), help="of synthetic cameras and of the view (640x480)")
    p.add_argument("--fps", type=float, default=15.0, help="of synthetic cameras (%(default)s)")
    p.add_argument("--eye", default="still", help="still, sway, or x,y,z in world metres (%(default)s)")
    p.add_argument("--budget", type=float, metavar="MS", help="latency budget from capture to display")
    p.add_argument("--view-mode", metavar="MODE", help=MODES)
    p.add_argument("--backdrop", help="what others see behind you: room, blur or #rrggbb (room)")
    p.add_argument("--policy", help="speak policy")
    p.add_argument("--set", action="append", metavar="K=V", help="parameter of the policy; repeatable")
    p.add_argument("--source", help="spoken language, or auto")
    p.add_argument("--glossary", type=Path, metavar="F", help="names and terms to spell like this, one a line")
    p.add_argument("--save", type=Path, metavar="DIR", help="save view.mp4, speech.wav, captions and transcript there")
    p.add_argument("--duration", type=float, metavar="S", help="seconds to take part (until interrupted)")
    p.add_argument("--insecure", action="store_true", help="accept a self-signed certificate")


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"a share is 0 to 1, got {text!r}")
    return share


def _add_probe_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("url", metavar="URL", help="a service of ours, or an address that takes an SDP offer by POST")
    p.add_argument("--room", default="probe", help="name of the room (%(default)s)")
    p.add_argument("--token", help="token, where the service asks for one (or STREAMSVC_TOKEN)")
    p.add_argument("--budget", type=float, default=400.0, metavar="MS", help="capture to display (%(default)s)")
    p.add_argument("--duration", type=float, default=30.0, metavar="S", help="seconds, 5 of warm-up (%(default)s)")
    p.add_argument("--cameras", type=int, default=2, choices=(1, 2, 4), help="cameras (%(default)s)")
    p.add_argument("--size", type=_size, default=(320, 240), help="of cameras and view (320x240)")
    p.add_argument("--fps", type=float, default=15.0, help="of cameras (%(default)s)")
    p.add_argument("--eye", default="still", help="still, sway, or x,y,z in world metres (%(default)s)")
    p.add_argument("--speech", choices=("es", "fr"), help="say something to translate (chirps, not translated)")
    p.add_argument("--policy", help="speak policy")
    p.add_argument("--set", action="append", metavar="K=V", help="parameter of the policy; repeatable")
    p.add_argument("--browser", action="store_true", help="take part with our page in headless Chromium")
    p.add_argument("--compare", action="append", metavar="URL", help="probe this server too; repeatable")
    p.add_argument(
        "--role", choices=("both", "send", "watch"), default="both", help="halves on two hosts (%(default)s)"
    )
    p.add_argument("--require", type=_share, metavar="SHARE", help="exit with 1 when less is seen in time")
    p.add_argument("--out", type=Path, default=Path("out/probe"), metavar="DIR", help="report and plots (%(default)s)")
    p.add_argument("--insecure", action="store_true", help="accept a self-signed certificate")


def _duration(text: str) -> float:
    """Seconds of "90", "15m", "2h" or "7d"."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = -1.0
    if not 1 <= seconds <= 366 * 86_400:
        raise argparse.ArgumentTypeError(f"a time is like 90, 15m, 2h or 7d, at most a year, got {text!r}")
    return seconds


def _add_token_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--token-file", type=Path, required=True, metavar="F", help="the service's, with a line key=SECRET")
    p.add_argument("--room", help="the room it opens (every room)")
    p.add_argument("--valid", type=_duration, default=7200.0, metavar="TIME", help="90, 15m, 2h or 7d (2h)")


def _add_report_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("ledger", type=Path, metavar="LEDGER.jsonl", help="what serve --ledger, demo, bench or probe left")
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
    p.add_argument("--voice", help="name of a voice (the installed one)")
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
    p.add_argument("--size", type=_size, default=(640, 480), help="of devices' pictures (640x480)")
    p.add_argument("--fps", type=float, default=15.0, help="of devices (%(default)s)")
    p.add_argument("--views", type=int, default=20, help="views to collect from devices (%(default)s)")
    p.add_argument("--duration", type=float, default=180.0, metavar="S", help="longest wait for them (%(default)s)")


def _count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 1_000_000):
        raise argparse.ArgumentTypeError(f"a whole number from 1 to 1000000 is accepted, got {text!r}")
    return int(text)


def _add_simulate_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("scenario", type=Path, nargs="?", metavar="SCENARIO.toml", help="file, or name of one that ships")
    p.add_argument("--policy", action="append", metavar="NAME", help="only this policy; repeatable (all)")
    p.add_argument("--seeds", type=_count, default=8, metavar="N", help="runs of each policy (%(default)s)")
    p.add_argument("--first-seed", type=_count, default=1, metavar="N", help="seed of the first run (%(default)s)")
    p.add_argument("--costs", type=Path, metavar="ledger.jsonl", help="take rungs, costs and noise from a ledger")
    p.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the goodputs, as SVG")


def _add_demo_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for what is left behind (%(default)s)")
    p.add_argument("--duration", type=float, default=60.0, metavar="S", help="seconds of call (%(default)s)")
    p.add_argument("--language", default="es", help="spoken: es or fr (%(default)s)")
    p.add_argument("--cameras", type=int, default=2, choices=(2, 4), help="cameras (%(default)s)")
    p.add_argument("--size", type=_size, default=(320, 240), help="of cameras and view (320x240)")
    p.add_argument("--port", type=int, default=8080, help="port of the service; any free one if taken (%(default)s)")


def _add_bench_flags(p: argparse.ArgumentParser) -> None:
    kinds = p.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, (text, _, add) in BENCHES.items():
        kind = kinds.add_parser(name, help=text, description=text)
        add(kind)
        # Suppressed, so that it doesn't undo what was given before the name.
        kind.add_argument(
            "--json", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="write the figures there for machines"
        )


def _add_bench_session_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--duration", type=float, default=300.0, metavar="S", help="seconds (%(default)s)")
    p.add_argument("--cameras", type=int, default=2, choices=(2, 4))
    p.add_argument("--size", type=_size, default=(320, 240), help="of cameras and view (320x240)")
    p.add_argument("--fps", type=float, default=15.0)
    p.add_argument("--budget", type=float, default=400.0, metavar="MS", help="capture to display (%(default)s)")
    p.add_argument("--no-speech", action="store_true", help="cameras only")
    p.add_argument("--browser", action="store_true", help="the viewer is headless Chromium instead of our own peer")
    p.add_argument("--out", type=Path, default=Path("out/bench"), help="ledger and report (%(default)s)")
    _add_extra_stage(p)


def _video_size(text: str) -> tuple[int, int]:
    width, height = _size(text)
    if width < 160 or height < 120 or width % 2 or height % 2:
        raise argparse.ArgumentTypeError(f"even sides from 160x120 are accepted, got {text!r}")
    return width, height


def _within(low: float, high: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"a number from {low:g} to {high:g} is accepted, got {text!r}")
        return value

    return number


def _add_bench_edge_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--size", type=_video_size, action="append", help="of the video; repeatable (320x240, 640x480 and 1280x720)"
    )
    p.add_argument("--codec", choices=("VP8", "H264"), default="VP8", help="of both sides (%(default)s)")
    p.add_argument("--fps", type=_within(15, 60), default=30.0, help="15 to 60 (%(default)g)")
    p.add_argument("--seconds", type=_within(1, 120), default=20.0, metavar="S", help="of each run (%(default)g)")
    p.add_argument("--repeats", type=_count, default=2, metavar="N", help="runs of each side, in turn (%(default)s)")
    p.add_argument("--out", type=Path, default=Path("out/bench-edge"), help="figures and plot (%(default)s)")


def _add_bench_budget_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--scenario", type=Path, default=Path("one-session"), help="file, or one that ships (%(default)s)")
    p.add_argument("--sessions", type=_count, default=4, metavar="N", help="1 to N of its first session (%(default)s)")
    p.add_argument("--policy", action="append", metavar="NAME", help="only these; repeatable (the rivals and ours)")
    p.add_argument("--seconds", type=_within(2, 600), default=20.0, metavar="S", help="of each run (%(default)g)")
    p.add_argument("--seed", type=_count, default=1, help="of arrivals and noise (%(default)s)")
    p.add_argument("--out", type=Path, default=Path("out/bench-budget"), help="figures (%(default)s)")


def _add_bench_view_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--quick", action="store_true", help="one scene at 320x240 and few repeats: a check, not a figure")
    p.add_argument("--scenes", type=int, metavar="N", help="held-out scenes (8)")
    p.add_argument("--size", type=_size, action="append", help="of cameras and view; repeatable (320x240 and 640x480)")
    p.add_argument("--rungs", metavar="NAME,...", help="only these rungs, and the top classical one (all)")
    p.add_argument("--weights", type=Path, metavar="DIR", help="folder of the net's weights (those installed)")
    p.add_argument("--out", type=Path, default=Path("out/bench-view"), help="tables and pictures (%(default)s)")


def _add_bench_speech_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--policies", metavar="NAME,...", help="only these, and offline (all)")
    p.add_argument("--languages", default="es,fr", metavar="XX,...", help="spoken (%(default)s)")
    p.add_argument(
        "--kinds", default="prompts,streams", metavar="KIND,...", help="prompts alone, or joined (%(default)s)"
    )
    p.add_argument("--limit", type=int, metavar="N", help="prompts in each half of each language (all)")
    p.add_argument("--model", help="directory, or name of a model (the installed one)")
    p.add_argument("--out", type=Path, default=Path("out/bench-speech"), help="tables and plot (%(default)s)")
    calls = p.add_argument_group("calls in real time, in place of the curve")
    calls.add_argument("--sessions", type=int, metavar="N", help="this many speakers at once, and one alone")
    calls.add_argument("--minutes", type=float, default=2.0, help="of each call (%(default)s)")
    calls.add_argument("--speed", type=float, default=1.0, help="how much faster they speak (%(default)s)")
    calls.add_argument("--policy", default="agreement", help="speak policy (%(default)s)")
    calls.add_argument("--set", action="append", metavar="K=V", help="parameter of the policy; repeatable")


BENCHES: dict[str, tuple[str, Command, Callable[[argparse.ArgumentParser], None]]] = {
    "session": ("a whole call, cameras to display, with speech", _bench_session, _add_bench_session_flags),
    "edge": ("video over WebRTC: our edge's latency against stock aiortc's", _bench_edge, _add_bench_edge_flags),
    "budget": ("dispatcher and planner live, against other policies", _bench_budget, _add_bench_budget_flags),
    "view": ("the view alone: every rung's quality and cost on held-out scenes", _bench_view, _add_bench_view_flags),
    "speech": (
        "speech alone: every policy's quality and lag on recorded speech",
        _bench_speech,
        _add_bench_speech_flags,
    ),
}

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
    "bench": ("the figures that the README quotes", bench, _add_bench_flags),
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
