"""RTP header extensions that aiortc does not know, added beside those that it does (RFC 8285).

Playout delay (webrtc.org/experiments/rtp-hdrext/playout-delay, 12 bits minimum and 12 bits maximum in units of 10 ms):
zero for both tells a browser to show each picture as it comes, which takes 41-45 ms of its jitter buffer down to 12-21.
Colour space (webrtc.org/experiments/rtp-hdrext/color-space: primaries, transfer, matrix, range, one byte each as in
ITU-T H.273, then optional HDR data) is how a browser says that its VP8 is not BT.601 limited; it comes with keyframes.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap, pack_header_extensions, unpack_header_extensions

PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
COLOUR_SPACE = "http://www.webrtc.org/experiments/rtp-hdrext/color-space"
EXTRA_VIDEO = (PLAYOUT_DELAY, COLOUR_SPACE)
_NO_DELAY = bytes(3)


@dataclass(frozen=True, slots=True)
class ColourSpace:
    """`matrix` is the MatrixCoefficients of ITU-T H.273; `full` says that luma runs from 0 to 255."""

    matrix: int
    full: bool


class ExtensionsMap(HeaderExtensionsMap):
    """aiortc's map of extension ids, with ours: adds the playout delay to what is sent, reads the colour space."""

    def __init__(self) -> None:
        super().__init__()
        self._playout_delay: int | None = None
        self._colour_space: int | None = None

    def configure(self, parameters: RTCRtpParameters) -> None:
        """Learn the ids that were agreed."""
        super().configure(parameters)
        for extension in parameters.headerExtensions:
            if extension.uri == PLAYOUT_DELAY:
                self._playout_delay = extension.id
            elif extension.uri == COLOUR_SPACE:
                self._colour_space = extension.id

    def get(self, extension_profile: int, extension_value: bytes) -> HeaderExtensions:
        """Parse; a colour space lands in the attribute `colour_space`."""
        values = super().get(extension_profile, extension_value)
        if self._colour_space is not None:
            for number, value in unpack_header_extensions(extension_profile, extension_value):
                if number == self._colour_space and len(value) >= 4:
                    # Bits 4-5 of the fourth byte are the range: 1 limited, 2 full.
                    full = value[3] >> 4 & 3 == 2
                    values.colour_space = ColourSpace(value[2], full)  # type: ignore[attr-defined]
        return values

    def set(self, values: HeaderExtensions) -> tuple[int, bytes]:
        """Serialise, with a playout delay of zero where it was agreed."""
        profile, value = super().set(values)
        if self._playout_delay is None:
            return profile, value
        agreed = unpack_header_extensions(profile, value)
        return pack_header_extensions([*agreed, (self._playout_delay, _NO_DELAY)])


def agreed_extras(offered: list[RTCRtpHeaderExtensionParameters]) -> list[RTCRtpHeaderExtensionParameters]:
    """Return those of our extra video extensions that the other side offers, under its ids."""
    return [extension for extension in offered if extension.uri in EXTRA_VIDEO]
