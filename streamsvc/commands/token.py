"""`streamsvc token`: tokens that open rooms."""

from __future__ import annotations

import argparse
from pathlib import Path

from streamsvc.flags import UsageError, check_files, duration, size, write_json


def run(arguments: argparse.Namespace) -> int:
    """Print a token that opens a room for a while, signed with the key in the service's token file."""
    import time

    from streamsvc.signalling.auth import TokenBook, sign
    from streamsvc.signalling.grants import Grant
    from streamsvc.signalling.rooms import check_room
    from streamsvc.speech.languages import check_languages

    if arguments.room is not None:
        check_room(arguments.room)
    check_files(arguments, reads=(arguments.token_file,))
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


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    p.add_argument("--token-file", type=Path, required=True, metavar="F", help="the service's, with a line key=SECRET")
    p.add_argument("--room", help="the room it opens (every room)")
    p.add_argument("--valid", type=duration, default=7200.0, metavar="TIME", help="90, 15m, 2h or 7d (2h)")
    sends = p.add_mutually_exclusive_group()
    sends.add_argument("--watch-only", action="store_true", help="neither pictures nor sound may be sent")
    sends.add_argument(
        "--cameras", type=int, choices=range(17), metavar="N", help="at most so many are sent (any number)"
    )
    p.add_argument("--view", type=size, metavar="WxH", help="a view has at most as many pixels (any size)")
    p.add_argument("--language", action="append", metavar="CODE", help="only it is interpreted; repeatable (any)")
