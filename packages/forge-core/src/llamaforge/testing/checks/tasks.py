"""Tasks: what a backend doesn't declare is refused by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from ...backends.basic import BasicBackendAdapter
from ...errors import UnsupportedError
from ..expect import expect, expect_equal, expect_refusal
from ..kit import Kit
from ..subject import Subject

TASKS: Final = frozenset({"generate", "embed", "rerank"})


class TaskChecks(Kit):
    """``Capabilities.tasks``."""

    def test_other_tasks_are_refused(self, subject: Subject) -> None:
        """A task that the loaded model doesn't have is refused by name, before anything is read. Its tasks are among
        those of the spec, and where it has one, it may be named when the model is loaded.

        Why: a text model's hidden states look like vectors. Look at: ``tasks`` in the spec's capabilities; a
        ``capabilities`` property of your own, where the loaded model decides.
        """
        backend = subject.backend if subject.full else BasicBackendAdapter(subject.backend)
        tasks = backend.capabilities.tasks
        expect(tasks and tasks <= TASKS, f"tasks among {sorted(TASKS)}", tasks)
        spec = type(subject.backend).spec
        able = TASKS if spec is None or not subject.full else spec.capabilities.tasks
        expect(tasks <= able <= TASKS, f"tasks among those of the spec, which are among {sorted(TASKS)}", (tasks, able))
        if len(tasks) == 1 and "task" in self.config_class().__struct_fields__:
            (task,) = tasks
            with self.fresh(task=task) as named:
                other = named.backend
                expect_equal(other.capabilities.tasks, tasks, "the tasks of a model that is loaded for one")
                works: dict[str, Callable[[], object]] = {
                    "generate": lambda: named.say(1),
                    "embed": lambda: other.embed(["fog"]),
                    "rerank": lambda: other.rerank("fog", ["fog"]),
                }
                named.answered(works[task], f"a model that is loaded with task={task!r} to do that")

        def texts() -> Iterator[str]:
            raise AssertionError("The texts were read.")
            yield ""

        calls = {
            "generate": lambda: backend.generate("Hello"),
            "embed": lambda: backend.embed(texts()),
            "rerank": lambda: backend.rerank("query", texts()),
        }
        for missing in sorted(TASKS - tasks):
            error = expect_refusal(UnsupportedError, calls[missing], f"{missing}, which is not declared")
            expect(missing in str(error), f"the error to name the task {missing}", error)
        if "embed" not in tasks:
            expect_refusal(UnsupportedError, lambda: asyncio.run(backend.aembed(texts())), "aembed, not declared")
