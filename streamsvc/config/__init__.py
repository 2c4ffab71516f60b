"""Every setting of the service: typed, in sections, from a TOML file, the environment and flags."""

from streamsvc.config.reading import load
from streamsvc.config.settings import ConfigError, IceServer, Limits, Recording, Server, Settings, is_loopback
from streamsvc.config.wording import example

__all__ = [
    "ConfigError",
    "IceServer",
    "Limits",
    "Recording",
    "Server",
    "Settings",
    "example",
    "is_loopback",
    "load",
]
