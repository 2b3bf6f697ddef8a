"""Clients: most read their answer to its end, some leave, send half a request, or read slowly. All by a seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct, field

from tests.faults.resilience.stage import Got
from tests.faults.soak.settings import HEAVY, KEY, RELAYED
from tests.faults.upstream.call import TEXT
from tests.support.native_streams import Message
from tests.support.wire import Answer, Wire, chat, post, wire

PATIENCE = 30.0
"""Seconds within which every answer must have ended; the gateway's own limit is half of that."""
WAYS = {"reads": 80, "leaves": 12, "half": 4, "slow": 4}
MOST = 6
"""Requests over one connection."""


class Told(Struct):
    """What the clients were told, in numbers. ``faults`` is what no client may ever be told."""

    requests: int = 0
    whole: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    """By status, and for errors their code."""
    faults: list[str] = field(default_factory=list)


class GotMessage:
    """The same of a streamed Message, or of an error in Anthropic's envelope."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.complete = answer.complete
        self.body = answer.body
        if answer.status == 200:
            message = Message(answer)
            self.text, self.code, self.is_whole = message.text, message.code, message.ended
        else:
            self.text, self.is_whole = "", False
            self.code = str(answer.json["error"]["details"]["error_code"])


class Callers:
    """``count`` clients at once, until :attr:`stopped`."""

    def __init__(self, address: tuple[str, int], models: Sequence[str], seed: int, count: int) -> None:
        self.told = Told()
        self.stopped = False
        self._address = address
        self._models = models
        self._weights = [0.1 if model.partition("-")[2] in HEAVY else 1.0 for model in models]
        self._seed = seed
        self._count = count

    async def run(self) -> None:
        """Ask until stopped."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._count):
                tasks.create_task(self._ask_on(random.Random(f"{self._seed} caller {number}")))

    async def _ask_on(self, chance: random.Random) -> None:
        while not self.stopped:
            async with wire(self._address) as client:
                for _ in range(chance.randint(1, MOST)):
                    if self.stopped or not await self._ask(client, chance):
                        break

    async def _ask(self, client: Wire, chance: random.Random) -> bool:
        """One request; whether the connection can be used further."""
        model = chance.choices(self._models, self._weights)[0]
        way = chance.choices(tuple(WAYS), tuple(WAYS.values()))[0]
        relayed = model.startswith(RELAYED)
        stream = relayed or chance.random() < 0.5
        path = "/v1/messages" if relayed else "/v1/chat/completions"
        request = post(path, chat(stream=stream, max_tokens=100) | {"model": model}, key=KEY)
        self.told.requests += 1
        self.told.ways[way] += 1
        if way == "half":
            await client.send(request[: chance.randrange(1, len(request))])
            return False
        await client.send(request)
        if way == "leaves":
            await asyncio.sleep(chance.uniform(0, 0.5))
            client.leave(reset=chance.random() < 0.5)
            return False
        what = f"{model} {'stream' if stream else 'whole'}"
        try:
            async with asyncio.timeout(PATIENCE):
                if way == "slow":
                    await asyncio.sleep(chance.uniform(0, 1.0))
                answer = await client.answer()
            got = GotMessage(answer) if relayed else Got(answer, 0.0)
            return self._judge(what, got) and answer.headers.get("connection") != "close"
        except TimeoutError:
            self.told.faults.append(f"{what}: no end of the answer")
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.told.faults.append(f"{what}: the connection ended without an answer: {error!r}")
        except (AssertionError, ValueError, KeyError) as error:
            self.told.faults.append(f"{what}: {error!r}")
        return False

    def _judge(self, what: str, got: Got | GotMessage) -> bool:
        """Whether the answer ended as one may; what looks whole must be."""
        if got.is_whole:
            self.told.whole += 1
            self.told.ends["whole"] += 1
            if got.text != TEXT:
                self.told.faults.append(f"{what}: looks whole and says {got.text!r}")
        elif got.code:
            self.told.ends[f"{got.status} {got.code}"] += 1
        else:
            self.told.faults.append(f"{what}: neither whole nor an error: {got.status} {got.body[-200:]!r}")
        return got.complete
