"""A plugin for tests: the workers it is in turn to the next file of usage events after some kilobytes."""

from __future__ import annotations

from msgspec import Struct

from gateway.dataplane import emit
from gateway.plugin.api import Plugin, PluginContext


class SegmentsConfig(Struct):
    """How long a file becomes, in bytes."""

    bytes: int


class Segments(Plugin):
    """Shortens the files of the worker that loads it."""

    name = "segments"
    Config = SegmentsConfig

    def __init__(self, config: SegmentsConfig, context: PluginContext) -> None:
        super().__init__(config, context)
        emit.SEGMENT_BYTES = config.bytes
