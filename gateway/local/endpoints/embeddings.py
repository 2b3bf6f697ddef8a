"""``POST /v1/embeddings``. Shapes: https://platform.openai.com/docs/api-reference/embeddings"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from gateway.kernel.errors import GatewayError, Kind
from gateway.local.endpoints.common import Usage, check_length, fit
from gateway.local.engine import Engine
from gateway.local.http import Exchange
from gateway.local.native import Cancelled
from gateway.local.requests import EmbeddingRequest, invalid, parse, prompts_of
from gateway.local.residency import Resident
from gateway.local.scheduler import Job


class EmbeddingWork:
    """The work of one embedding request: yields a NumPy vector per input."""

    def __init__(self, request: EmbeddingRequest) -> None:
        self._request = request
        self._inputs = prompts_of(request.input, "input")
        self.usage = Usage()

    def __call__(self, resident: Resident, job: Job) -> Iterator[Any]:
        model = resident.model
        if not resident.spec.options.embeddings:
            message = "Embeddings are switched off for this model (llama_cpp.embeddings)."
            raise GatewayError(Kind.INVALID, "embeddings_not_supported", message, "model")
        if self._request.dimensions not in (None, model.n_embd):
            raise invalid(f"Expected {model.n_embd}, the only size this model gives.", "dimensions")
        texts = [
            fit(model, item, "input", add_special=True) if isinstance(item, str) else check_length(model, item, "input")
            for item in self._inputs
        ]
        self.usage.prompt = sum(len(tokens) for tokens in texts)
        for tokens in texts:
            if job.cancelled:
                raise Cancelled
            yield model.embed(tokens)


async def embeddings(engine: Engine, exchange: Exchange) -> None:
    """Answer an embedding request."""
    request = parse(await exchange.body(engine.settings.max_body_bytes), EmbeddingRequest)
    work = EmbeddingWork(request)
    data: list[dict[str, Any]] = []
    async for vector in engine.stream(exchange, request.model, work):
        encoded = base64.b64encode(vector.astype("<f4").tobytes()).decode()
        value = encoded if request.encoding_format == "base64" else vector.tolist()
        data.append({"object": "embedding", "index": len(data), "embedding": value})
    usage = {"prompt_tokens": work.usage.prompt, "total_tokens": work.usage.prompt}
    await exchange.json({"object": "list", "data": data, "model": request.model, "usage": usage})
