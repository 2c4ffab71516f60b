"""Calibrate a rig from pictures of a flat board: intrinsics, poses, and how well everything fits."""

from streamsvc.calibrate.boards import Board, Detection, Detector, parse_board
from streamsvc.calibrate.command import CalibrateOptions, run_calibrate
from streamsvc.calibrate.errors import CalibrationError
from streamsvc.calibrate.report import render
from streamsvc.calibrate.solve import Calibration, View, calibrate

__all__ = [
    "Board",
    "CalibrateOptions",
    "Calibration",
    "CalibrationError",
    "Detection",
    "Detector",
    "View",
    "calibrate",
    "parse_board",
    "render",
    "run_calibrate",
]
