"""Frame sets to a novel view."""

from streamsvc.view.compose import View
from streamsvc.view.errors import ViewError
from streamsvc.view.synth import ViewSynthesizer

__all__ = ["View", "ViewError", "ViewSynthesizer"]
