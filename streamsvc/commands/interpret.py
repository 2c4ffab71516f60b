"""`streamsvc interpret`: a recording interpreted."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from streamsvc.flags import UsageError, check_files, parameters, progress, sound_file, write_json


def run(arguments: argparse.Namespace) -> int:
    """Interpret a recording."""
    from streamsvc.frames.glossary import read_glossary
    from streamsvc.speech.interpret import interpret, read_reference

    check_files(
        arguments,
        writes=("events", "speech", "captions", "transcript"),
        folders=("instances",),
        reads=(arguments.wav, arguments.glossary, arguments.reference),
    )
    if arguments.wav.is_dir():
        raise UsageError(f"{arguments.wav} is a folder; the name of a sound file is needed")
    figures = interpret(
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


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    p.add_argument("wav", type=Path, metavar="IN.wav", help="any sound file that FFmpeg reads")
    p.add_argument("--policy", default="agreement", help="speak policy (%(default)s)")
    p.add_argument("--set", action="append", metavar="K=V", help="parameter of the policy; repeatable")
    p.add_argument(
        "--preset",
        default="default",
        metavar="NAME",
        help="where parameters start: fast, default, careful or paper",
    )
    p.add_argument("--source", default="auto", help="spoken language (%(default)s)")
    p.add_argument("--target", default="en", help="heard language (%(default)s)")
    p.add_argument("--glossary", type=Path, metavar="F", help="names and terms to spell like this, one a line")
    p.add_argument("--pace", default="asap", choices=("asap", "realtime"), help="virtual clock, or really wait")
    p.add_argument("--model", help="directory, or name of a model (the installed one)")
    p.add_argument("--device", default="cpu", help="cpu or cuda")
    p.add_argument("--voice", help="name of a voice, or auto: nearest to the speaker's pitch (Piper's)")
    p.add_argument("--events", type=Path, required=True, metavar="F", help="what was said and when, JSON lines")
    p.add_argument("--speech", type=sound_file, metavar="OUT.wav", help="speak the translation into this file")
    p.add_argument("--captions", type=Path, metavar="OUT", help=".srt, .vtt or .json")
    p.add_argument("--transcript", type=Path, metavar="OUT", help="the same, every phrase corrected by a second pass")
    p.add_argument("--instances", type=Path, metavar="DIR", help="instances.log and config.yaml for SimulEval")
    p.add_argument("--reference", type=Path, metavar="F", help="text of what should be said, for the lags")
