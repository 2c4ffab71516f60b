"""Train the geometry net from scratch or go on where it stopped, in pieces of any length.

    python models/train_view.py --out DIR [--resume] [--minutes 60] [--steps N] [--batch 4] [--device cpu|cuda]
    python models/train_view.py --out DIR --resume --finest --rate 3e-4 --minutes 12
    python models/train_view.py --out DIR --evaluate
    python models/train_view.py --out DIR --average DIR1 DIR2 ...

Training pairs come from `make_view_data.py` (made beside this, or before); what appears while this runs is used too.
With `--fresh` they are made here instead, on the training's device, new ones for every batch: on a GPU, which is faster
at it than it learns; `--makers` threads draw scenes up on the CPU. Scores are always those of the held-out files.
DIR/checkpoint.pt holds everything that is needed to go on (weights, their running mean, optimiser, step), written
every few minutes and at the end; DIR/geometry.safetensors the mean of the weights in bfloat16, with its card beside it;
DIR/curve.jsonl the losses and scores, DIR/curve.png their plot. The learning rate falls to a tenth over the last
third of `--minutes` (or `--steps`), so each piece ends in weights that can be used. `--resume` without a checkpoint in
DIR goes on from the committed weights. `--levels 2` trains the first two levels alone, to see what they lose by being a
part of the whole; `--finest` trains the last level alone and leaves the others as they are, to the bit (a lower
`--rate` suits weights that are good already). `--average` writes the mean of the weights that several pieces of one
training ended in: it bears what no training pair shows (cameras that are off, noise) better than the last does
(Izmailov et al., UAI 2018).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from fresh_feed import FreshFeed
from make_view_data import load
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from view_feed import CROP, SHARE_OF_BODIES, Feed, Sample, batch_of, crop
from view_losses import losses

from streamsvc.cache import cache_dir
from streamsvc.scene import open_scene
from streamsvc.view.net.model import LEVELS, GeometryNet
from streamsvc.view.net.weights import load_net, read_card

RATE = 6e-4
MEAN = 0.998
LAST = ("to_finest", "finest", "edges")
"""What the names of the last level's weights begin with."""

SEED = 1
"""Of the first weights; batches are drawn by the step that training goes on from."""


def motorcycle() -> Sample:
    """The real pair at 368x240, never trained on or tuned to; only the left picture's disparity is known."""
    scene = open_scene("motorcycle")
    left, right = scene.rig(2, 368, 240).cameras
    seen = scene.render(left, 0.0)
    focal_baseline = left.K[0, 0] * np.linalg.norm(left.centre - right.centre)
    truth = (focal_baseline / seen.depth + left.K[0, 2] - right.K[0, 2]).astype(np.float32)
    none = np.full_like(truth, np.nan)
    return {
        "left": seen.rgb, "right": scene.render(right, 0.0).rgb, "left_d": truth, "right_d": none,
        "left_p": none, "right_p": none, "shift": np.float32(0),
    }  # fmt: skip


def evaluate(net: GeometryNet, folder: Path, device: str, levels: int = LEVELS) -> dict[str, dict[str, float]]:
    """Score every level, upsampled to the input: EPE in pixels, bad-1 and bad-2 in per cent, on what is held out."""
    net.eval()
    sets = {"motorcycle": [motorcycle()]}
    for kind in ("layers", "bodies"):
        sets[kind] = [crop(load(path), (320, 240), None) for path in sorted(folder.glob(f"{kind}-*.npz"))]
    scores: dict[str, dict[str, float]] = {}
    for name, samples in sets.items():
        rows = ("8", "4", "2")[:levels]
        scores |= {f"{name}/{row}": {"epe": 0.0, "bad1": 0.0, "bad2": 0.0} for row in rows}
        pixels = 0
        matte = []
        for sample in samples:
            batch = batch_of([sample], device)
            with torch.inference_mode():
                pictures = batch["left"], batch["right"], batch["shift"]
                answers = net(*pictures, levels)
            # The left direction alone for the real pair, whose right truth nobody has.
            truth = batch["d"]
            known = torch.isfinite(truth)
            pixels += int(known.sum())
            for what, answer in zip(rows, answers, strict=True):
                full = answer.upsampled
                if full.shape[-1] != truth.shape[-1]:
                    full = F.interpolate(full.unsqueeze(1), size=truth.shape[-2:], mode="bilinear").squeeze(1)
                error = (full - truth).abs()[known]
                row = scores[f"{name}/{what}"]
                row["epe"] += float(error.sum())
                row["bad1"] += 100 * float((error > 1).sum())
                row["bad2"] += 100 * float((error > 2).sum())
            told = torch.isfinite(batch["p"])
            if told.any():
                guess = torch.sigmoid(answers[-1].matte)
                if guess.shape != told.shape:
                    guess = F.interpolate(guess.unsqueeze(1), size=told.shape[-2:], mode="bilinear").squeeze(1)
                matte.append(float((guess[told] - batch["p"][told]).abs().mean()))
        for what in rows:
            row = scores[f"{name}/{what}"]
            scores[f"{name}/{what}"] = {k: round(v / max(pixels, 1), 4) for k, v in row.items()}
        if matte:
            scores[f"{name}/matte"] = {"mae": round(float(np.mean(matte)), 4)}
    net.train()
    return scores


def plot(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw loss and scores against steps, logarithmic."""
    picture = np.full((480, 900, 3), 255, np.uint8)
    evaluated = [r for r in rows if "scores" in r]
    lines: dict[str, list[tuple[float, float]]] = {"loss": [(r["step"], r["loss"]) for r in rows if "loss" in r]}
    for name in ("motorcycle", "layers", "bodies"):
        rows_of = (next((s for k in ("2", "4", "8") if (s := r["scores"].get(f"{name}/{k}"))), None) for r in evaluated)
        lines[f"{name} EPE"] = [(r["step"], s["epe"]) for r, s in zip(evaluated, rows_of, strict=True) if s]
    values = [v for line in lines.values() for _, v in line if v > 0]
    if not values:
        return
    steps = [s for line in lines.values() for s, _ in line]
    first, last = min(steps), max(steps)
    low, high = math.log(min(values)), math.log(max(values))
    colours = [(160, 160, 160), (40, 40, 220), (40, 160, 40), (200, 80, 40)]
    for i, (name, line) in enumerate(lines.items()):
        points = [
            (
                60 + round(820 * (s - first) / max(last - first, 1)),
                440 - round(400 * (math.log(max(v, 1e-6)) - low) / max(high - low, 1e-6)),
            )
            for s, v in line
        ]
        if points:
            cv2.polylines(picture, [np.array(points, np.int32)], False, colours[i], 2 if i else 1, cv2.LINE_AA)
            text = f"{name} {line[-1][1]:.2f}"
            cv2.putText(picture, text, (70 + 210 * i, 24), 0, 0.55, colours[i], 1, cv2.LINE_AA)
    for v in (0.25, 0.5, 1, 2, 4, 8, 16):
        if low <= math.log(v) <= high:
            y = 440 - round(400 * (math.log(v) - low) / (high - low))
            cv2.line(picture, (60, y), (880, y), (230, 230, 230), 1)
            cv2.putText(picture, f"{v:g}", (20, y + 5), 0, 0.45, (90, 90, 90), 1, cv2.LINE_AA)
    cv2.putText(picture, f"{first}", (60, 465), 0, 0.45, (90, 90, 90), 1, cv2.LINE_AA)
    cv2.putText(picture, f"{last} steps", (780, 465), 0, 0.45, (90, 90, 90), 1, cv2.LINE_AA)
    cv2.imwrite(str(path), picture)


class Training:
    """The net, the mean of its weights, the optimiser, and where they are kept."""

    def __init__(self, out: Path, device: str, resume: bool, levels: int = LEVELS, finest: bool = False) -> None:
        self.out, self.device, self.levels, self.finest = out, device, levels, finest
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(SEED)
        self.net = GeometryNet().to(device).to(memory_format=torch.channels_last)
        self.mean = GeometryNet().to(device).to(memory_format=torch.channels_last)
        self.mean.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=RATE, weight_decay=1e-4)
        self.step, self.seconds = 0, 0.0
        self.made: list[dict[str, Any]] = []
        self.mean_of: list[int] = []
        self.finest_steps = 0
        if resume and (out / "checkpoint.pt").exists():
            kept = torch.load(out / "checkpoint.pt", map_location=device, weights_only=True)
            self.net.load_state_dict(kept["net"])
            self.mean.load_state_dict(kept["mean"])
            self.optimiser.load_state_dict(kept["optimiser"])
            self.step, self.seconds, self.made = kept["step"], kept["seconds"], kept.get("made", [])
            self.finest_steps, self.mean_of = kept.get("finest_steps", 0), kept.get("mean_of", [])
        elif resume:
            card, state = read_card(), load_net().state_dict()
            self.net.load_state_dict(state)
            self.mean.load_state_dict(state)
            self.step, self.seconds = int(card["steps"]), 3600.0 * float(card["hours"])
            self.made, self.finest_steps = card.get("made", []), int(card.get("finest_steps", 0))
            self.mean_of = card.get("mean_of_steps", []) if finest else []
        if finest:
            for name, weights in self.net.named_parameters():
                weights.requires_grad_(name.startswith(LAST))

    def average(self, folders: list[Path]) -> None:
        """Take the mean of the weights in `folders`, and the last one's card."""
        cards = [read_card(folder) for folder in folders]
        weights = [load_net(folder).state_dict() for folder in folders]
        self.mean.load_state_dict({k: torch.stack([w[k] for w in weights]).mean(0) for k in weights[0]})
        self.step, self.seconds = int(cards[-1]["steps"]), 3600.0 * float(cards[-1]["hours"])
        self.made, self.finest_steps = cards[-1].get("made", []), int(cards[-1].get("finest_steps", 0))
        # What is a mean already stands for the ends that it is of.
        self.mean_of = [int(steps) for c in cards for steps in c.get("mean_of_steps", [c["steps"]])]

    def save(self, scores: dict[str, Any] | None) -> None:
        """Write the checkpoint, the mean weights and their card."""
        part = self.out / "checkpoint.part"
        torch.save(
            {
                "net": self.net.state_dict(), "mean": self.mean.state_dict(), "optimiser": self.optimiser.state_dict(),
                "step": self.step, "seconds": self.seconds, "made": self.made, "mean_of": self.mean_of,
                "finest_steps": self.finest_steps,
            },
            part,
        )  # fmt: skip
        part.replace(self.out / "checkpoint.pt")
        self.write(scores)

    def write(self, scores: dict[str, Any] | None) -> None:
        """Write the mean weights and their card."""
        weights = {k: v.to(torch.bfloat16).contiguous().cpu() for k, v in self.mean.state_dict().items()}
        part = self.out / "geometry.part"
        save_file(weights, str(part), metadata={"format": "1", "steps": str(self.step)})
        digest = hashlib.sha256(part.read_bytes()).hexdigest()
        card = {
            "sha256": digest,
            "net": "streamsvc.view.net.model.GeometryNet",
            "parameters": sum(p.numel() for p in self.net.parameters()),
            "steps": self.step,
            **({"finest_steps": self.finest_steps} if self.finest_steps else {}),
            "hours": round(self.seconds / 3600, 2),
            "device": torch.cuda.get_device_name()
            if self.device == "cuda"
            else f"CPU, {torch.get_num_threads()} threads",
            "data": "layers (some of nothing but waves) and bodies, from make_view_data.py or made fresh",
            "made": self.made,
            "seed": SEED,
            **({"mean_of_steps": self.mean_of} if self.mean_of else {}),
            "crop": list(CROP),
            "scores": scores,
        }
        described = self.out / "card.part"
        described.write_text(json.dumps(card, indent=1) + "\n")
        part.replace(self.out / "geometry.safetensors")
        described.replace(self.out / "geometry.json")

    def learn(self, batch: dict[str, Tensor], rate: float) -> dict[str, float]:
        """Take one step."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        # The last level costs as much as the others together: half of the steps teach only what it stands on.
        levels = LEVELS - self.step % 2 if self.levels == LEVELS and not self.finest else self.levels
        with torch.autocast(self.device, torch.bfloat16):
            answers = self.net(batch["left"], batch["right"], batch["shift"], levels)
        parts = losses(answers, batch)
        total = torch.stack(list(parts.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        if torch.isfinite(norm):
            self.optimiser.step()
        self.step += 1
        self.finest_steps += self.finest
        decay = min(MEAN, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for kept, now in zip(self.mean.parameters(), self.net.parameters(), strict=True):
                kept.lerp_(now, 1 - decay)
        return {"loss": float(total.detach())} | {k: round(float(v.detach()), 4) for k, v in parts.items()}


def train(
    training: Training, feed: Feed | FreshFeed, data: Path, minutes: float, steps: int | None, every: float, rate: float
) -> None:
    """Train for `minutes`, or for `steps` where these are given, evaluating and saving every `every` minutes."""
    made_before = training.made
    rows: list[dict[str, Any]] = []
    curve = training.out / "curve.jsonl"
    if curve.exists() and training.step:
        rows = [json.loads(line) for line in curve.read_text().splitlines()]
    start = saved = time.monotonic()
    before, recent = training.seconds, []
    first_step = training.step
    while True:
        spent, taken = time.monotonic() - start, training.step - first_step
        part = taken / steps if steps else spent / max(minutes * 60, 1e-9)
        if part >= 1:
            break
        fall = 1.0 if part < 0.65 else 0.1 + 0.45 * (1 + math.cos(math.pi * (part - 0.65) / 0.35))
        now = rate * fall * min(1.0, (training.step - first_step + 1) / 150)
        recent.append(training.learn(feed.next(), now))
        training.seconds = before + spent
        if training.step % 50 == 0:
            names = dict.fromkeys(k for r in recent for k in r)
            means = {k: round(float(np.mean([r[k] for r in recent if k in r])), 3) for k in names}
            rows.append({"step": training.step, **means})
            per = spent / (taken + 1)
            left = (steps - taken) * per / 60 if steps else minutes - spent / 60
            pairs = f"{feed.pairs / max(spent, 1e-9):.1f} pairs a second"
            print(f"step {training.step}, {per:.2f} s each, {pairs}, {left:.1f} min left: {means}", flush=True)
            recent.clear()
        if time.monotonic() - saved > every * 60:
            saved = time.monotonic()
            training.made = made_before + [m for m in feed.made() if m not in made_before]
            _keep(training, data, rows, curve)
    training.made = made_before + [m for m in feed.made() if m not in made_before]
    _keep(training, data, rows, curve)


def _keep(training: Training, data: Path, rows: list[dict[str, Any]], curve: Path) -> None:
    scores = evaluate(training.mean, data / "held-out", training.device, training.levels)
    rows.append({"step": training.step, "scores": scores})
    for name, score in scores.items():
        print(f"  {name:14} {score}", flush=True)
    curve.write_text("".join(json.dumps(r) + "\n" for r in rows))
    plot(training.out / "curve.png", rows)
    training.save(scores)


def main() -> None:
    """Parse flags and run."""
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--data", type=Path, default=cache_dir() / "view-data")
    p.add_argument("--resume", action="store_true")
    p.add_argument("--evaluate", action="store_true")
    p.add_argument("--average", type=Path, nargs="+", metavar="DIR")
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--steps", type=int, help="train for so many steps instead")
    p.add_argument("--levels", type=int, choices=range(1, LEVELS + 1), default=LEVELS)
    p.add_argument("--finest", action="store_true", help="train the last level alone")
    p.add_argument("--rate", type=float, default=RATE, help="of learning, until it falls")
    p.add_argument("--every", type=float, default=8, help="minutes between checkpoints")
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--fresh", action="store_true", help="make pairs on the device, new ones for every batch")
    p.add_argument("--share-of-bodies", type=float, default=SHARE_OF_BODIES, help="of fresh pairs")
    p.add_argument("--makers", type=int, default=1, help="threads that draw up scenes for fresh pairs")
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    cv2.setNumThreads(1)
    training = Training(a.out, a.device, a.resume or a.evaluate, a.levels, a.finest)
    if a.evaluate:
        for name, score in evaluate(training.mean, a.data / "held-out", a.device, a.levels).items():
            print(f"{name:14} {score}")
        return
    if a.average:
        training.average(a.average)
        training.write(evaluate(training.mean, a.data / "held-out", a.device, a.levels))
        return
    for folder in (a.data / "held-out", *(() if a.fresh else (a.data / "train",))):
        if not any(folder.glob("layers-*.npz")):
            sys.exit(f"{folder} holds no pairs; models/make_view_data.py makes them")
    feed: Feed | FreshFeed
    try:
        if a.fresh:
            feed = FreshFeed(a.batch, training.step, a.device, a.share_of_bodies, a.makers)
        else:
            feed = Feed(a.data / "train", a.batch, training.step, a.device)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    train(training, feed, a.data, a.minutes, a.steps, a.every, a.rate)


if __name__ == "__main__":
    main()
