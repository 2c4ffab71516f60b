"""Frame sets to a novel view."""

from streamsvc.view.compose import View
from streamsvc.view.errors import ViewError
from streamsvc.view.synth import ViewSynthesizer
from streamsvc.view.warmup import warm_up

__all__ = ["View", "ViewError", "ViewSynthesizer", "warm_up"]
