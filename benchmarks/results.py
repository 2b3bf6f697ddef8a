"""What a benchmark run found, as it is written to JSON."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from msgspec import Struct, field, json

from benchmarks import tools
from benchmarks.stats import Spread

LATEST = Path(__file__).parent / "results" / "latest.json"


class Load(Struct, frozen=True):
    """One closed-loop round of one peer."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


class Closed(Struct, frozen=True):
    """The rounds of every peer under one kind of load, and CPU per request over nginx's, pair by pair."""

    rounds: dict[str, list[Load]]
    ratio: dict[str, Spread]
    resident_mb: dict[str, float]


class Delay(Struct, frozen=True):
    """Milliseconds a peer adds over asking the upstream directly, the difference taken round by round."""

    p50: Spread
    p99: Spread


class Latency(Struct, frozen=True):
    """Open-loop delays by peer: the whole of a short answer, and the first event of a stream.

    ``client_ahead`` is whether the client was scheduled ahead of what it measured; ``awake`` is the same again with
    the processors kept awake, where that is allowed; see :mod:`benchmarks.openloop`.
    """

    rate: float
    stream_rate: float
    direct_p50_ms: float
    direct_p99_ms: float
    added: dict[str, Delay]
    added_first: dict[str, Delay]
    client_ahead: bool = False
    awake: Latency | None = None


class Memory(Struct, frozen=True):
    """Resident megabytes (10⁶ bytes) of the worker by requests served."""

    resident_mb: dict[int, float]
    growth_mb: float


class Start(Struct, frozen=True):
    """Seconds from starting the process to its first answered request."""

    seconds: Spread
    runs: int


class Crowd(Struct, frozen=True):
    """Many slow streams at once on one worker. Lateness is against the upstream's sending, in milliseconds."""

    streams: int
    events: int
    complete: int
    lateness_p50_ms: float
    lateness_p99_ms: float
    lateness_max_ms: float
    resident_mb: float


class Machine(Struct, frozen=True):
    """What it ran on."""

    cores: int
    processor: str
    system: str


class Results(Struct):
    """A whole run; what was not measured is empty."""

    made: str
    machine: Machine
    versions: dict[str, str]
    build: str = "plain"
    """What was measured as the gateway: ``compiled`` (``make compiled``) or ``plain``, just its sources."""
    closed: dict[str, Closed] = field(default_factory=dict)
    latency: Latency | None = None
    memory: Memory | None = None
    start: Start | None = None
    crowd: Crowd | None = None


def begin(versions: dict[str, str]) -> Results:
    """Empty results of a run that starts now on this machine; ``versions`` are those of the optional peers."""
    made = datetime.now(UTC).strftime("%Y-%m-%d")
    return Results(made=made, machine=machine(), versions={**_versions(), **versions})


def machine() -> Machine:
    """This one."""
    system = f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}"
    return Machine(cores=os.cpu_count() or 1, processor=_processor(), system=system)


def write(results: Results, path: Path) -> None:
    """Write them as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.format(json.encode(results), indent=2) + b"\n")


def read(path: Path) -> Results:
    """Read what :func:`write` wrote. Raises :class:`msgspec.ValidationError`."""
    return json.decode(path.read_bytes(), type=Results)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> dict[str, str]:
    found = {name: metadata.version(name) for name in ("llm-gateway", "uvloop", "httptools", "uvicorn", "orjson")}
    found["nginx"] = tools.version([tools.find("nginx"), "-v"]).rpartition("/")[2]
    found["wrk"] = tools.version([tools.find("wrk"), "-v"]).partition(" [")[0].removeprefix("wrk ")
    git = ["git", "-C", str(tools.ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {**found, "commit": commit} if commit else found
