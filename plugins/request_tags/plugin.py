"""Tags from the configuration, a header and the body's ``metadata``, into ``request.tags``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.api import Plugin, PluginContext, Request

Key = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.\-]{1,64}$")]

_KEY = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


class TagsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """See the README for each field."""

    static: dict[Key, Annotated[str, Meta(max_length=256)]] = {}
    header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9\-]{1,64}$")] | Literal[False] = "x-gateway-tags"
    metadata: bool | tuple[Key, ...] = False
    allow: tuple[Key, ...] | None = None
    max_tags: Annotated[int, Meta(ge=1, le=64)] = 16
    max_length: Annotated[int, Meta(ge=1, le=1024)] = 128


class RequestTags(Plugin):
    """Puts labels on the usage event of a request."""

    name = "request_tags"
    Config = TagsConfig

    def __init__(self, config: TagsConfig, context: PluginContext) -> None:
        super().__init__(config, context)
        self._header = config.header.lower() if config.header else None
        self._allow = None if config.allow is None else frozenset(config.allow)
        self._keys = None if isinstance(config.metadata, bool) else frozenset(config.metadata)

    def on_request(self, request: Request) -> None:
        config: TagsConfig = self.config
        tags: dict[str, str] = {}
        if config.metadata and request.is_json and b'"metadata"' in request.raw:
            self._from_metadata(request.body.get("metadata"), tags)
        if self._header is not None:
            value = request.headers.get(self._header)
            if value:
                self._from_header(value, tags)
        # The operator's own tags come last: a client cannot pass itself off as another team.
        request.tags.update(tags)
        request.tags.update(config.static)

    def _from_metadata(self, metadata: Any, tags: dict[str, str]) -> None:
        # Metadata is the upstream's field with its own rules, so what does not fit is left out and not refused.
        if not isinstance(metadata, dict):
            return
        for key, value in metadata.items():
            if isinstance(value, bool):
                value = "true" if value else "false"
            elif isinstance(value, int | float):
                value = str(value)
            if (
                isinstance(value, str)
                and _KEY.fullmatch(key)
                and (self._keys is None or key in self._keys)
                and self._allowed(key)
                and len(value) <= self.config.max_length
                and len(tags) < self.config.max_tags
            ):
                tags[key] = value

    def _from_header(self, text: str, tags: dict[str, str]) -> None:
        found: dict[str, str] = {}
        for part in text.split(","):
            if not part.strip():
                continue
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or not _KEY.fullmatch(key):
                raise self._refusal("expected a=b,c=d with names of letters, digits, '_', '.' and '-', up to 64 long")
            if len(value) > self.config.max_length:
                raise self._refusal(f"the value of {key} is longer than {self.config.max_length} characters")
            if not self._allowed(key):
                known = ", ".join(sorted(self._allow or ()))
                raise self._refusal(f"{key} is not a known tag; expected one of {known}")
            found[key] = value
        if len(found) > self.config.max_tags:
            raise self._refusal(f"expected at most {self.config.max_tags} tags, got {len(found)}")
        for key in list(tags)[max(0, self.config.max_tags - len(found)) :]:
            del tags[key]
        tags.update(found)

    def _allowed(self, key: str) -> bool:
        return self._allow is None or key in self._allow

    def _refusal(self, expected: str) -> GatewayError:
        return GatewayError(Kind.INVALID, "invalid_tags", f"Header {self._header}: {expected}.", self._header)
