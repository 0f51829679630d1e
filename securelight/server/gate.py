"""What a stream waits at for its client."""

from __future__ import annotations

import trio


class Gate:
    """Parks one task until somebody opens the gate; costs no object a wait."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    @property
    def waiting(self) -> bool:
        """True while the task is parked."""
        return self._task is not None

    def open(self) -> None:
        """Let the task go on, if it waits."""
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        """Park the calling task; a checkpoint."""
        assert self._task is None, "one task at a time receives or sends on a stream"

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)
