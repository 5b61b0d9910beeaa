"""A contender in a process of its own, driven call by call: a line of JSON each way.

Contenders do not share a process: idle threads of one library would disturb the next, peak memory would be the sum,
and JAX takes the number of threads from the cores that its process may use. They do share the clock: the parent waits
for each answer, so that exactly one works at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class ChildAgent:
    """The interface of :class:`~benchmarks._speed.agent.Agent`, at the other end of a pipe.

    :param contender: the algorithm
    :param case: sizes
    :param transitions: in the buffer before the first update
    :param threads: of torch, and cores that the process may use (all of them on a GPU machine)
    :param python: the interpreter; None: this one
    :raises RefusedError: as ``Agent`` does
    """

    def __init__(self, contender: Any, case: Any, transitions: int, threads: int, python: str | None = None) -> None:
        self._name = contender.name
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # closed in close()
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX shares the GPU with torch here
        command, pipe = [python or sys.executable, "-m", "benchmarks._speed.child"], subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self._errors, text=True, cwd=_ROOT, env=environment
        )
        pinned = None if case.device.startswith("cuda") else cores(threads)
        sizes = {"contender": asdict(contender), "case": asdict(case), "transitions": transitions}
        try:
            self._ask(sizes | {"threads": threads, "cores": pinned})
        except Exception:
            self.close()
            raise

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the agent and wait for what it returns."""
        return self._ask({"method": method, "arguments": arguments})

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # it may have died with a question unread
                stream.close()  # type: ignore[union-attr]
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _ask(self, question: dict[str, Any]) -> Any:
        from benchmarks._speed.contenders import RefusedError

        try:
            self._process.stdin.write(json.dumps(question) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
            line = self._process.stdout.readline()  # type: ignore[union-attr]
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            self._errors.seek(0)
            told = self._errors.read()[-4000:]
            raise RuntimeError(f"{self._name} ended with exit code {self._process.returncode}:\n{told}")
        answer = json.loads(line)
        if "refused" in answer:
            raise RefusedError(answer["refused"])
        return answer["result"]


def cores(number: int) -> list[int] | None:
    """The cores that a process with a number of threads may use; None where the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    return sorted(os.sched_getaffinity(0))[:number]


def serve() -> None:
    """Answer the questions on stdin until it is closed."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    first = json.loads(sys.stdin.readline())
    if first["cores"] is not None:  # before the libraries look at how many there are
        os.sched_setaffinity(0, first["cores"])
    import torch as th

    from benchmarks._speed.agent import Agent
    from benchmarks._speed.case import Case
    from benchmarks._speed.contenders import Contender, RefusedError

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    th.set_num_threads(first["threads"])
    try:
        agent = Agent(Contender(**first["contender"]), Case(**first["case"]), first["transitions"])
    except RefusedError as error:
        answer({"refused": str(error)})
        return
    answer({"result": None})
    for line in sys.stdin:
        question = json.loads(line)
        answer({"result": agent.call(question["method"], **question["arguments"])})


if __name__ == "__main__":
    serve()
