"""Processes that work through a batch are killed: no line is lost, and none is answered twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.scenarios.conftest import gateway_config
from tests.support.fake_openai import FakeOpenAI
from tests.support.gateway import RunningGateway, children_of, running_gateway

LINES = 60
AT_ONCE = 4
LONG = 60.0


def said(number: int) -> str:
    """What a line says."""
    return f"this is line {number:03}"


def until(act: Callable[[], Any]) -> Any:
    """What ``act`` gives once that is something; a gateway that is just being killed may not answer."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        try:
            found = act()
        except httpx.TransportError:
            found = None
        if found:
            return found
        time.sleep(0.02)
    raise TimeoutError("it did not come about in time")


class Client:
    """Asks a gateway about its one batch."""

    def __init__(self, gateway: RunningGateway, batch_id: str = "") -> None:
        self.gateway = gateway
        self.batch_id = batch_id

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request, on a connection of its own."""
        headers = {"authorization": f"Bearer {self.gateway.key}"}
        answer = httpx.request(method, f"{self.gateway.base_url}{path}", headers=headers, timeout=LONG, **more)
        assert answer.status_code == 200, answer.text
        return answer

    def create(self) -> str:
        """A batch whose answers wait to be let go."""
        lines = [
            {
                "custom_id": str(i),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": "gated-head",
                    "metadata": {"gate": "batch"},
                    "messages": [{"role": "user", "content": said(i)}],
                },
            }
            for i in range(LINES)
        ]
        written = "\n".join(json.dumps(line) for line in lines).encode()
        file = self.ask("POST", "/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", written)}).json()
        body = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return str(self.ask("POST", "/batches", json=body).json()["id"])

    def answered(self, least: int) -> bool:
        """Whether so many lines are done."""
        counts: dict[str, int] = self.ask("GET", f"/batches/{self.batch_id}").json()["request_counts"]
        return counts["completed"] >= least

    def over(self) -> dict[str, Any] | None:
        """The batch, once it is over."""
        batch: dict[str, Any] = self.ask("GET", f"/batches/{self.batch_id}").json()
        return batch if batch["status"] in ("completed", "failed") else None


def kill_workers(gateway: RunningGateway) -> None:
    """End every process that the supervisor started, the one that holds the batch among them."""
    for pid in children_of(gateway.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_batch_outlives_the_processes_that_work_through_it(tmp_path: Path) -> None:
    with FakeOpenAI() as fake:
        config = gateway_config(fake)
        config["server"] |= {"workers": 2, "limits_per_worker": True}
        config["batches"] = {"concurrency": AT_ONCE}
        gateway = RunningGateway(config, tmp_path, command="proxy")
        try:
            client = Client(gateway)
            client.batch_id = client.create()
            fake.gates.release("batch", 12)
            until(lambda: client.answered(12))
            kill_workers(gateway)
            fake.gates.release("batch", 20)  # those under way were given up, and may take of these
            until(lambda: client.answered(20))
        finally:
            gateway.kill()
        fake.gates.open_all()
        with running_gateway(config, tmp_path, command="proxy") as again:
            client = Client(again, client.batch_id)
            batch = until(client.over)
            assert batch["status"] == "completed"
            assert batch["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
            written = client.ask("GET", f"/files/{batch['output_file_id']}/content").text
        lines = [json.loads(line) for line in written.splitlines()]
        assert [line["custom_id"] for line in lines] == [str(i) for i in range(LINES)]
        for number, line in enumerate(lines):
            assert said(number) in line["response"]["body"]["choices"][0]["message"]["content"]
        asked = Counter(each.json["messages"][-1]["content"] for each in fake.recording.since(0) if each.body)
        assert set(asked) == {said(i) for i in range(LINES)}
        assert asked.total() <= LINES + 2 * AT_ONCE  # only what was under way was asked again
