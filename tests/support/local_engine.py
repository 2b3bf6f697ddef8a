"""Runs a real engine process for tests: its own directory and socket, ended by its pid."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

MODEL = "smollm2-135m-instruct"
START_SECONDS = 60.0
STOP_SECONDS = 40.0


class RunningEngine:
    """One ``python -m gateway.local`` process. ``http`` is a client of its socket."""

    def __init__(self, directory: Path, options: Mapping[str, Any], models: list[str] | None = None) -> None:
        self.directory = directory
        self.config_path = directory / "gateway.yaml"
        self.log_path = directory / "engine.log"
        self.socket_path = directory / "e.sock"
        self.write(options, models)
        command = [sys.executable, "-m", "gateway.local", "--config", str(self.config_path)]
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--socket", str(self.socket_path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        transport = httpx.HTTPTransport(uds=str(self.socket_path))
        self.http = httpx.Client(transport=transport, base_url="http://local", timeout=60)
        self._await_start()

    def write(self, options: Mapping[str, Any], models: list[str] | None = None) -> None:
        """Replace the configuration."""
        provider = {"name": "local", "kind": "llama_cpp", "models": models or [MODEL], "llama_cpp": dict(options)}
        config = {"server": {"drain": 30}, "providers": [provider]}
        self.config_path.write_text(yaml.safe_dump(config))

    def reload(self) -> None:
        """Have the configuration read again."""
        os.kill(self.process.pid, signal.SIGHUP)

    def chat(self, content: str = "Say hello.", **more: Any) -> httpx.Response:
        """One chat request."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}], **more}
        headers = {"x-gateway-organization": "tests"}
        return self.http.post("/v1/chat/completions", json=body, headers=headers)

    def events(self, path: str = "/v1/chat/completions", /, **body: Any) -> list[Any]:
        """The events of a streamed answer, the last one ``[DONE]``."""
        with self.http.stream("POST", path, json={"model": MODEL, "stream": True, **body}) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            data = [line[6:] for line in response.iter_lines() if line]
        return [event if event == "[DONE]" else json.loads(event) for event in data]

    def health(self) -> dict[str, Any]:
        """The engine's state."""
        found: dict[str, Any] = self.http.get("/health").json()
        return found

    def until(self, state: Any, what: str) -> dict[str, Any]:
        """Poll the health until ``state`` holds of it."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = self.health()
            if state(found):
                return found
            time.sleep(0.02)
        raise AssertionError(f"not {what} within {START_SECONDS} s: {self.health()}")

    def raw(self, body: Mapping[str, Any]) -> socket.socket:
        """A chat request on a bare connection that the caller may close at any moment."""
        data = json.dumps({"model": MODEL, **body}).encode()
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(str(self.socket_path))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: l\r\ncontent-length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data)
        return connection

    def stop(self) -> int:
        """End the process; gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(STOP_SECONDS)
        finally:
            self.http.close()

    def _await_start(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log_path.read_text()
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(self.socket_path)) == 0:
                    return
            time.sleep(0.02)
        self.process.kill()
        raise AssertionError(self.log_path.read_text())


@contextmanager
def running_engine(directory: Path, models: list[str] | None = None, **options: Any) -> Iterator[RunningEngine]:
    """An engine with the options of ``llama_cpp``, stopped at the end."""
    engine = RunningEngine(directory, {"threads": 1, "context_length": 1024, **options}, models)
    try:
        yield engine
    finally:
        engine.stop()
