"""One unit of work a request.

::

    async def handler(work: Reading)     authenticated; what is read is of one moment
    async def handler(work: Writing)     authenticated; commits before the answer goes out, rolls back on an error
    async def handler(work: PublicReading)   for what needs no credential

The actor is ``work.actor``. A handler that waits for something slow (a password's hash, another service) takes
:func:`works_of` instead and begins its work late: SQLite has one writer at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from gateway.dialects.common.authentication import Anonymous, Caller
from gateway.dialects.common.context import context_of
from gateway.domain.work import Work, Works


def works_of(request: Request) -> Works:
    """What makes units of work."""
    return context_of(request).works


async def _works(request: Request) -> Works:
    return works_of(request)  # what is no coroutine, FastAPI runs in a thread


WorksOf = Annotated[Works, Depends(_works)]


async def _reading(works: WorksOf, actor: Caller) -> AsyncIterator[Work]:
    async with works.read(actor) as work:
        yield work


async def _writing(works: WorksOf, actor: Caller) -> AsyncIterator[Work]:
    async with works.begin(actor) as work:
        yield work


async def _public_reading(works: WorksOf, actor: Anonymous) -> AsyncIterator[Work]:
    async with works.read(actor) as work:
        yield work


# "function": the transaction ends before the answer goes out, so that what was answered has been committed.
Reading = Annotated[Work, Depends(_reading, scope="function")]
Writing = Annotated[Work, Depends(_writing, scope="function")]
PublicReading = Annotated[Work, Depends(_public_reading, scope="function")]
