"""The container image, as far as it can be held without building it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gateway import RunningGateway

ROOT = Path(__file__).resolve().parents[2]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line.strip()]


def last(name: str) -> str:
    return [value for found, value in instructions() if found == name][-1]


def kept(path: str) -> bool:
    """Whether .dockerignore lets a path through: everything is shut out but what is named."""
    named = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    return any(path.rstrip("/") == name or path.startswith(f"{name}/") for name in named)


def test_what_is_copied_is_there_and_reaches_the_build() -> None:
    copied = [value.split()[:-1] for name, value in instructions() if name == "COPY" and "--from" not in value]
    sources = [source for line in copied for source in line]
    assert "gateway/" in sources
    assert [source for source in sources if not (ROOT / source).exists() or not kept(source)] == []


def test_what_is_run_names_files_of_the_project() -> None:
    runs = " ".join(value for name, value in instructions() if name == "RUN")
    named = re.findall(r"(?:requirements|scripts)/[\w.-]+", runs)
    assert "requirements/image.lock" in named
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_it_runs_as_nobody_in_particular() -> None:
    assert int(last("USER")) > 0


def test_its_command_serves_a_usable_configuration(tmp_path: Path) -> None:
    command = json.loads(last("ENTRYPOINT")) + json.loads(last("CMD"))
    assert command == ["gateway", "serve", "--config", "/app/gateway.yaml"]
    for copied in ("config/container.yaml gateway.yaml", "config/plans.yaml plans.yaml"):
        assert ("COPY", copied) in instructions()
        source, name = copied.split()
        shutil.copy(ROOT / source, tmp_path / name)
    text = (tmp_path / "gateway.yaml").read_text()
    assert "host: 0.0.0.0" in text
    assert "data_dir: /data" in text
    for configuration in (tmp_path / "gateway.yaml", ROOT / "config" / "container.yaml"):
        checked = [str(Path(sys.executable).with_name("gateway")), "check", "--config", str(configuration), "--json"]
        result = subprocess.run(checked, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def test_it_has_the_extras_that_people_turn_on() -> None:
    lock = (ROOT / "requirements" / "image.lock").read_text()
    names = set(re.findall(r"^([\w-]+)==", lock, re.MULTILINE))
    assert names >= {"redis", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "uvicorn"}
    base = (ROOT / "requirements" / "base.lock").read_text()
    assert [line for line in re.findall(r"^\S+==\S+", base, re.MULTILINE) if line not in lock] == []


@pytest.mark.parametrize("alive", [True, False])
def test_its_health_check_tells_life_from_death(gateway: RunningGateway, alive: bool) -> None:
    found = re.search(r"CMD (\[.*\])", last("HEALTHCHECK"))
    assert found is not None, shlex.quote(last("HEALTHCHECK"))
    program, *arguments = json.loads(found.group(1))
    assert program == "python"
    port = gateway.address[1] if alive else 1
    result = subprocess.run(
        [sys.executable, *arguments], env={**os.environ, "GATEWAY_PORT": str(port)}, capture_output=True, check=False
    )
    assert (result.returncode == 0) is alive
