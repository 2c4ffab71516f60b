"""Value types that every room shares: pictures, sound, the rig, the viewpoint, clocks. numpy only."""

from streamsvc.frames.audio import OUTPUT_RATE, SPEECH_RATE, Samples
from streamsvc.frames.clockmap import ClockMap
from streamsvc.frames.picture import Frame, FrameSet, Pixels
from streamsvc.frames.rig import Camera, Rig, RigError, Screen, load_rig, load_views, parse_camera, parse_rig
from streamsvc.frames.viewpoint import Viewpoint, default_screen, off_axis_camera

__all__ = [
    "OUTPUT_RATE",
    "SPEECH_RATE",
    "Camera",
    "ClockMap",
    "Frame",
    "FrameSet",
    "Pixels",
    "Rig",
    "RigError",
    "Samples",
    "Screen",
    "Viewpoint",
    "default_screen",
    "load_rig",
    "load_views",
    "off_axis_camera",
    "parse_camera",
    "parse_rig",
]
