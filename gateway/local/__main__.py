"""``python -m gateway.local``: run the engine of local models on a Unix socket."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from gateway.kernel import logs
from gateway.local.server import serve
from gateway.local.specs import EngineSettings, engine_settings
from gateway.settings.faults import ConfigError
from gateway.settings.load import load


def main(arguments: list[str] | None = None) -> int:
    """Run until a signal; the exit code is 0 after one, 2 for settings or a socket that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m gateway.local", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, help="the gateway.yaml that lists the llama_cpp providers")
    source.add_argument("--default", action="store_true", help="use the settings of a gateway without a gateway.yaml")
    parser.add_argument("--socket", type=Path, required=True, help="where to listen")
    options = parser.parse_args(arguments)
    logs.configure()
    logging.getLogger("uvicorn").setLevel(logging.WARNING)

    def settings() -> EngineSettings:
        return engine_settings(load(options.config, os.environ), _base(options.config))

    try:
        asyncio.run(serve(options.socket, settings))
    except (ConfigError, OSError) as error:
        print(f"local engine: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    finally:
        options.socket.unlink(missing_ok=True)
    return 0


def _base(config: Path | None) -> Path:
    return config.resolve().parent if config else Path.cwd()


if __name__ == "__main__":
    sys.exit(main())
