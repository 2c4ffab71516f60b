"""`bench network`: what loss, delay and narrow links do to video over WebRTC, our edge beside stock aiortc.

Films and sides are those of `bench edge`; between sender and receiver there is a network of rules, the same packets
lost by the same seed as far as the sides send alike. Under `out`: network.json, network.svg.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from streamsvc.bench.edge_camera import Drawing
from streamsvc.bench.edge_child import TAIL_S
from streamsvc.bench.edge_figures import OURS, STOCK
from streamsvc.bench.edge_run import Film, run_film
from streamsvc.bench.network_figures import network_row, network_table
from streamsvc.bench.network_plot import network_plot
from streamsvc.bench.network_voice import Listener, Speech, speak, word_error
from streamsvc.ledger.conditions import conditions
from streamsvc.shaper import parse_network

COMPARED = ("lost-twice", "lossy")


@dataclass(frozen=True, slots=True)
class NetworkBench:
    """What to run: each of `networks` for `seconds` after `warm_up_s`, on `sides` in turn. With `voice` somebody speaks
    beside the picture, and what arrives is written down; a consumer takes `consumer_ms` for each picture."""

    out: Path
    networks: tuple[str, ...] = COMPARED
    sides: tuple[str, ...] = (OURS, STOCK)
    size: tuple[int, int] = (640, 480)
    codec: Literal["VP8", "H264"] = "VP8"
    fps: float = 30.0
    seconds: float = 60.0
    warm_up_s: float = 5.0
    seed: int = 1
    voice: bool = False
    consumer_ms: float = 0.0


async def run_network(options: NetworkBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` is called with lines of progress and then the table.

    Raises ShaperError (a network that can't be), BenchError, SceneError, and SpeechError when there is no voice or no
    model to hear it.
    """
    networks = [parse_network(text) for text in options.networks]
    options.out.mkdir(parents=True, exist_ok=True)
    plan = [(network, side) for network in networks for side in options.sides]
    width, height = options.size
    video = f"{width}x{height} {options.codec} at {options.fps:g} fps"
    tell(f"{len(plan)} runs of {options.warm_up_s + options.seconds + TAIL_S:g} s, {video}")
    told, before = conditions(), os.getloadavg()[0]
    drawing = Drawing(options.size)
    speech = speak(options.seconds, tell) if options.voice else None
    listener = Listener() if options.voice else None
    voice = None if speech is None else options.out / "voice.npy"
    if speech is not None and voice is not None:
        np.save(voice, speech.samples)
    rows = []
    for number, (network, side) in enumerate(plan, 1):
        film = Film(
            size=options.size,
            codec=options.codec,
            fps=options.fps,
            seconds=options.seconds,
            warm_up_s=options.warm_up_s,
            network=network,
            voice=voice,
            consumer_ms=options.consumer_ms,
        )
        run = await run_film(film, side, drawing, options.seed)
        r = network_row(run, network)
        if speech is not None and listener is not None and run.heard is not None:
            heard = await asyncio.to_thread(listener.words, run.heard)
            r = replace(r, voice_word_error=word_error(speech.words, heard))
        rows.append(r)
        tell(
            f"{number:3} of {len(plan)}  {network.name}, {side}: missed {r.missed} of {r.captured}, "
            f"longest gap {r.longest_gap_ms:.0f} ms"
        )
    figures: dict[str, Any] = {
        "conditions": told
        | {
            "load average": f"{before:.2f} before, {os.getloadavg()[0]:.2f} after",
            "video": f"{video}, a rendered person with a clock card",
            "voice": _voice(speech, listener),
            "consumer": f"{options.consumer_ms:g} ms a picture",
            "run": f"{options.seconds:g} s after a warm-up of {options.warm_up_s:g} s, seed {options.seed}",
            "network": "rules in a UDP relay between two processes of one host, both directions alike; timers are up "
            "to 1 ms late",
        },
        "networks": {n.name: [{"at_s": at} | asdict(rules) for at, rules in n.stages] for n in networks},
        "rows": [asdict(r) for r in rows],
    }
    (options.out / "network.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    plot = network_plot(f"Video over networks of rules, {video}", rows, options.seconds)
    (options.out / "network.svg").write_text(plot, "utf-8")
    for line in network_table(rows):
        tell(line)
    for name, value in figures["conditions"].items():
        tell(f"{name}: {value}")
    tell(f"figures and plot: {options.out}")
    return figures


def _voice(speech: Speech | None, listener: Listener | None) -> str:
    if speech is None or listener is None:
        return "none"
    error = word_error(speech.words, listener.words(speech.samples))
    return f"{len(speech.words)} words in English; of what was sent the model gets {100 * (error or 0.0):.1f} % wrong"
