"""The hooks of ``prompt_template``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.api import Plugin, PluginContext, Request
from plugins.prompt_template.template import Template, check, fill, values_of

CHAT, TEXT = "chat.completions", "completions"


class System(Struct, frozen=True, forbid_unknown_fields=True):
    """A text that is put before or after the system prompt of every chat with these models."""

    text: Annotated[str, Meta(min_length=1)]
    models: Annotated[tuple[str, ...], Meta(min_length=1)] = ("*",)
    place: Literal["prepend", "append"] = "prepend"


class TemplateConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """See the README for each field."""

    templates: dict[Annotated[str, Meta(min_length=1, max_length=200)], Template] = {}
    system: tuple[System, ...] = ()
    header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9\-]{1,64}$")] = "x-gateway-template"


class PromptTemplate(Plugin):
    """Builds messages from named templates, and adds system prompts per model."""

    name = "prompt_template"
    Config = TemplateConfig

    def __init__(self, config: TemplateConfig, context: PluginContext) -> None:
        super().__init__(config, context)
        for name, template in config.templates.items():
            check(template, f"templates.{name}")
        self._header = config.header.lower()

    def on_request(self, request: Request) -> None:
        if not request.is_json:
            return
        config: TemplateConfig = self.config
        if config.templates and (self._header in request.headers or b'"template"' in request.raw):
            self._apply_template(request)
        if request.endpoint == CHAT:
            for system in config.system:
                if any(fnmatchcase(request.model, model) for model in system.models):
                    _add_system(request.body, system)
                    request.changed()

    def _apply_template(self, request: Request) -> None:
        body = request.body
        name = request.headers.get(self._header) or body.get("template")
        if name is None:
            return
        template = self.config.templates.get(name) if isinstance(name, str) else None
        if template is None:
            message = f"There is no template of this name; known here: {', '.join(sorted(self.config.templates))}."
            raise GatewayError(Kind.INVALID, "template_not_found", message, "template")
        values = values_of(body.get("variables"), template)
        if request.endpoint == CHAT and template.messages:
            messages = body.get("messages", [])
            if not isinstance(messages, list):
                raise GatewayError(Kind.INVALID, "invalid_request", "messages: expected a list.", "messages")
            made = [{"role": each.role, "content": fill(each.content, values)} for each in template.messages]
            body["messages"] = made + messages
        elif request.endpoint == TEXT and template.prompt is not None:
            body["prompt"] = fill(template.prompt, values)
        else:
            message = f"The template {name!r} is not for {request.endpoint}."
            raise GatewayError(Kind.INVALID, "template_not_found", message, "template")
        body.pop("template", None)
        body.pop("variables", None)
        if template.model is not None:
            request.model = body["model"] = template.model
        request.changed()


def _add_system(body: dict[str, Any], system: System) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list):
        return  # what is wrong with it is told where requests are checked
    first = messages[0] if messages else None
    if not isinstance(first, dict) or first.get("role") not in ("system", "developer"):
        messages.insert(0, {"role": "system", "content": system.text})
        return
    content = first.get("content")
    before = system.place == "prepend"
    if isinstance(content, list):
        content.insert(0 if before else len(content), {"type": "text", "text": system.text})
    elif isinstance(content, str):
        first["content"] = f"{system.text}\n\n{content}" if before else f"{content}\n\n{system.text}"
