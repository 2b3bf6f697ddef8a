"""One batch: its file is checked, each line is asked until it is answered, the answers are written to files.

What is known of a batch is in the database before anything follows from it, so that another process can go on after any
moment: a line that has an answer there is never asked again. One whose answer was on its way is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from gateway.dataplane.batching.asking import TAG, Asked
from gateway.dataplane.batching.database import Database
from gateway.dataplane.batching.finishing import write_answers
from gateway.dataplane.batching.judging import Judged, Verdict, judge, judge_credential
from gateway.dataplane.batching.lines import (
    Checked,
    Halted,
    Line,
    Spot,
    answer_line,
    check_file,
    read_line,
    spec_of,
    unanswered,
)
from gateway.dataplane.batching.records import Batch, Fault, File, Status
from gateway.dataplane.batching.yielding import give_way
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.dataplane.batching.runner import Runner

logger = logging.getLogger("gateway.batches")
T = TypeVar("T")

_AGAIN: Final = 1.0  # seconds until the disk is tried again


class _Model(msgspec.Struct):
    model: str


class Run:
    """A batch that this process works through. ``ending`` is what it becomes once nothing is under way any more; None
    while lines are asked, or when all were.
    """

    def __init__(self, runner: Runner, batch: Batch) -> None:
        self._runner = runner
        self._worker = runner.worker
        self._store = runner.store
        self._batch = batch
        self._spec = spec_of(batch.endpoint)
        self._path = self._store.path(batch.input_file)
        self._reading = asyncio.Lock()
        self._spots: Iterator[Spot] = iter(())
        self._under_way = 0
        self._not_before = 0.0  # loop time
        self._over = asyncio.Event()
        self.ending: Status | None = None
        self._fault: Fault | None = None

    async def go(self) -> None:
        """Work until the batch is over, or this process is leaving."""
        try:
            await self._go()
        except* Halted:
            pass  # another process goes on

    async def _go(self) -> None:
        if self._batch.status == "validating" and not await self._check():
            return
        batch = self._batch
        if batch.status == "in_progress":
            answered = await self._store.do(lambda database: database.answered(batch.id))
            self._spots = unanswered(self._path, self._longest, answered, self._runner.gentle())
            most = self._worker.runtime.settings.batches.concurrency
            async with asyncio.TaskGroup() as group:
                for _ in range(min(most, batch.total - len(answered))):
                    group.create_task(self._ask_lines())
        if not self._runner.leaving or self.ending is not None:
            await self._finish()

    def look(self, now: Batch | None) -> None:
        """Take notice of what has become of the batch; None: it is gone."""
        if now is None or now.status == "cancelling":
            self.stop("cancelled")
        elif time.time() >= self._batch.expires:
            self.stop("expired")

    def stop(self, ending: Status, fault: Fault | None = None) -> None:
        """Ask no further line; those under way are waited for."""
        if self.ending is None:
            self.ending, self._fault = ending, fault
        self._over.set()

    def wake(self) -> None:
        """The process is leaving: wait for nothing but what is under way."""
        self._over.set()

    @property
    def _is_over(self) -> bool:
        return self._over.is_set()

    @property
    def _longest(self) -> int:
        return self._worker.max_body_bytes

    # the file

    async def _check(self) -> bool:
        """Check the input file. False where that is the end of the batch."""
        limits = self._worker.runtime.settings.batches
        batch = self._batch
        try:
            gentle = self._runner.gentle()
            checked = await self._in_thread(
                lambda: check_file(self._path, batch.endpoint, limits, self._longest, gentle)
            )
        except FileNotFoundError:
            checked = Checked(0, [Fault("file_not_found", "The input file is gone.", "input_file_id")])

        def begin(now: Batch) -> None:
            if checked.faults and now.status == "validating":
                now.faults = checked.faults
                now.enter("failed", time.time())
            elif not checked.faults:
                now.total = checked.total
                if now.status == "validating":
                    now.enter("in_progress", time.time())

        changed = await self._store.do(lambda database: database.change(batch.id, begin))
        if changed is None or not changed.is_unfinished:
            return False
        self._batch = changed
        self.look(changed)
        return True

    async def _in_thread(self, act: Callable[[], T]) -> T:
        return await self._worker.loop.run_in_executor(self._runner.reading, act)

    async def _next(self) -> Spot | None:
        """Where the next line without an answer is; None where there is none, or none is to be asked."""
        async with self._reading:
            if self._is_over:
                return None
            return await self._in_thread(lambda: next(self._spots, None))

    # its lines

    async def _ask_lines(self) -> None:
        while (spot := await self._next()) is not None:
            await self._ask_until_answered(spot)

    async def _ask_until_answered(self, spot: Spot) -> None:
        tries = spent = 0
        while not self._is_over:
            await self._pause(self._not_before - self._worker.loop.time())
            judged, asked = await self._ask(spot, tries + 1, spent)
            if judged.verdict is Verdict.ANSWERED:
                return
            self._runner.retried += 1
            if asked is None or asked.was_admitted:
                tries += 1
            elif asked.refusal is not None and asked.refusal.kind in (Kind.QUOTA_EXCEEDED, Kind.PAYMENT_REQUIRED):
                spent += 1
            if judged.verdict is Verdict.WAIT:
                self._not_before = max(self._not_before, self._worker.loop.time() + judged.pause)
            elif judged.verdict is Verdict.AGAIN:
                await self._pause(judged.pause)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._over.wait()

    async def _ask(self, spot: Spot, tries: int, spent: int) -> tuple[Judged, Asked | None]:
        """Ask a line once, when its turn has come, and keep its answer where it is one."""
        worker, runner = self._worker, self._runner
        model = await self._in_thread(lambda: _model_of(read_line(self._path, spot)))
        try:
            caller = await runner.caller_of(self._batch)
            await give_way(worker, caller, model, self._spec.name, self._over.is_set)
            async with runner.places:  # without one nothing of the line is held
                await runner.pace()
                if self._is_over or worker.sink.failing:
                    return Judged(Verdict.WAIT, _AGAIN), None
                line = await self._in_thread(lambda: read_line(self._path, spot))
                asked = await self._ask_once(line)
                judged = judge(asked, tries, spent, alone=not self._under_way)
                if judged.verdict is Verdict.ANSWERED:
                    await self._record(spot, line, asked)
        except GatewayError as error:
            judged = judge_credential(error)
            if judged.verdict is Verdict.STOP:
                self.stop("failed", Fault(error.code, error.message))
            return judged, None
        if judged.verdict is Verdict.STOP and asked.refusal is not None:
            self.stop("failed", Fault(asked.refusal.code, asked.refusal.message))
        return judged, asked

    async def _ask_once(self, line: Line) -> Asked:
        """Raises :class:`GatewayError` where the credential may not be used now."""
        batch, runner = self._batch, self._runner
        caller = await runner.caller_of(batch)  # as it is now: some time may have gone by
        self._under_way += 1
        try:
            return await runner.asking.ask(caller, batch.author.address, self._spec, bytes(line.body), {TAG: batch.id})
        finally:
            self._under_way -= 1

    async def _record(self, spot: Spot, line: Line, asked: Asked) -> None:
        """Keep an answer; a disk that fails is tried until it doesn't."""
        batch = self._batch
        failed = not 200 <= asked.status < 300
        written = answer_line(batch, spot.number, line.custom_id, asked.status, asked.request_id, asked.body)

        def keep(database: Database) -> tuple[bool, int, int]:
            is_new = database.record(batch.id, spot.number, written, failed=failed)
            return is_new, database.used(batch.organization), database.used()

        while True:
            try:
                is_new, used, all_used = await self._store.do(keep)
                break
            except GatewayError:
                if self._runner.leaving:
                    return  # it will be asked again
                await asyncio.sleep(_AGAIN)
        self._runner.answered["failed" if failed else "completed"] += is_new
        limits = self._worker.runtime.settings.batches
        if used > limits.organization_bytes:
            message = f"The files of your organisation may take {limits.organization_bytes} bytes: there is no room."
            self.stop("failed", Fault("storage_quota_exceeded", message))
        elif all_used > limits.max_bytes:
            self.stop("failed", Fault("storage_full", "This gateway has no room for more answers."))

    # its end

    async def _finish(self) -> None:
        batch = await self._conclude()
        if batch is None:
            return
        now = int(time.time())
        seconds = int(self._worker.runtime.settings.batches.retention_days * 86_400)
        if batch.output_seconds is not None:
            seconds = min(seconds, batch.output_seconds)
        given: Any = (None, None)
        if batch.total:
            given = await self._in_thread(
                lambda: write_answers(self._store.folder, batch, now, seconds, self._longest, self._runner.gentle())
            )
        output, errors = given

        def end(last: Batch) -> None:
            last.output_file = output.id if output is not None else None
            last.error_file = errors.id if errors is not None else None
            last.enter(last.ends_as, now)

        files: list[File] = [file for file in (output, errors) if file is not None]
        await self._store.do(lambda database: database.finish(batch.id, files, end))
        logger.info("a batch is over", extra={"batch": batch.id, "status": batch.ends_as, "lines": batch.total})

    async def _conclude(self) -> Batch | None:
        """Settle what the batch becomes, for every process that may go on with it; None where it is gone."""
        ending, fault = self.ending or "completed", self._fault

        def conclude(now: Batch) -> None:
            if now.status == "finalizing" or not now.is_unfinished:
                return  # settled before, by a process that has died since
            now.ends_as = "cancelled" if now.status == "cancelling" else ending
            if now.status != "cancelling":
                now.enter("finalizing", time.time())
            if fault is not None and now.ends_as == "failed":
                now.faults = [fault]

        batch = await self._store.do(lambda database: database.change(self._batch.id, conclude))
        return batch if batch is not None and batch.is_unfinished else None


def _model_of(line: Line) -> str:
    return msgspec.json.decode(line.body, type=_Model).model
