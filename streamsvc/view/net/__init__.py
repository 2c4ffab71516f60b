"""The learned geometry: disparity of both cameras of a pair, confidence, and who is the person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streamsvc.view.gpu import check_device

if TYPE_CHECKING:
    from streamsvc.view.net.geometry import NetGeometry


def open_net(folder: Path | None = None, device: str = "cpu") -> NetGeometry:
    """Return the net on `device` ("cpu" or "cuda"), ready for all streams of this process, which gets one torch thread
    a call.

    Raises ViewError, saying what to do, when torch or the weights aren't there or are damaged, or the device can't be
    used; views are then made on the classical rungs.
    """
    from streamsvc.view.net.weights import load_net

    on = device if device == "cpu" else check_device(device)
    net = load_net(folder)
    import torch

    from streamsvc.view.net.geometry import NetGeometry

    torch.set_num_threads(1)
    return NetGeometry(net, device=on)
