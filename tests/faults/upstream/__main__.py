"""``python -m tests.faults.upstream [PORT]``: the faulty provider by itself, until it is interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from tests.faults.upstream.provider import faulty_provider
from tests.faults.upstream.registry import every


async def main(port: int) -> None:
    """Serve, and print where and what."""
    async with faulty_provider(port) as provider:
        print(f"base_url: {provider.base_url}")
        for fault in every().values():
            print(f"  {fault.name:32} The upstream {fault.about}.")
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
