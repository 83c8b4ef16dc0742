"""Many streams at once: in this process, in several, or on a Dask cluster. The results do not depend on which."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from fer_perception.errors import FerError
from fer_perception.replay.offline import Task, run
from fer_perception.replay.results import StreamFacts

ATTEMPTS = 5

log = logging.getLogger(__name__)


def run_task(task: Task) -> StreamFacts | FerError:
    """What :func:`run` returns, or the error of this stream, which must not end the others."""
    try:
        return run(task)
    except FerError as error:
        return error
    except Exception as error:  # of a library, by one odd image
        log.debug("%s, %s", task.bag, task.topic, exc_info=True)
        return FerError(f"{task.bag}, {task.topic}: {type(error).__name__}: {error}")


def run_tasks(tasks: Sequence[Task], jobs: int = 1, scheduler: str = "") -> list[StreamFacts | FerError]:
    """Results in the order of the tasks.

    :param jobs: so many processes of this machine.
    :param scheduler: a Dask scheduler's address; its workers see bags and output folder under the same paths.
    :raises FerError: the scheduler is not reached.
    """
    if scheduler:
        return _on_cluster(tasks, scheduler)
    if jobs == 1:
        return [run_task(task) for task in tasks]
    return _in_processes(tasks, jobs)


def _in_processes(tasks: Sequence[Task], jobs: int) -> list[StreamFacts | FerError]:
    """A killed process takes the whole pool with it: what was not finished goes on in a new one."""
    results: dict[int, StreamFacts | FerError] = {}
    for _ in range(ATTEMPTS):
        waiting = [number for number in range(len(tasks)) if number not in results]
        # Threads of mediapipe and onnxruntime do not survive a fork.
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            futures = {pool.submit(run_task, tasks[number]): number for number in waiting}
            for future in as_completed(futures):
                try:
                    results[futures[future]] = future.result()
                except BrokenProcessPool:
                    continue
        if len(results) == len(tasks):
            return [results[number] for number in range(len(tasks))]
        log.warning("a worker process died; %d streams go on in new ones", len(tasks) - len(results))
    if jobs > 1:  # whichever kills its process, it shall not take the others with it
        left = [number for number in range(len(tasks)) if number not in results]
        results |= {number: _in_processes([tasks[number]], 1)[0] for number in left}
        return [results[number] for number in range(len(tasks))]
    return [
        FerError(f"{task.bag}, {task.topic}: its process died {ATTEMPTS} times. Is there too little memory?")
        for task in tasks
    ]


def _on_cluster(tasks: Sequence[Task], scheduler: str) -> list[StreamFacts | FerError]:
    try:
        from distributed import Client
    except ImportError as error:
        raise FerError("--scheduler needs Dask: pip install 'dask[distributed]'") from error
    try:
        client = Client(scheduler)
    except (OSError, TimeoutError, ValueError) as error:
        raise FerError(f"--scheduler {scheduler}: is not reached ({error}). Start one with 'dask scheduler'") from error
    with client:
        # Dask gives the tasks of a dead worker to another one.
        futures = client.map(run_task, tasks, pure=False)
        results: list[StreamFacts | FerError] = []
        for task, future in zip(tasks, futures, strict=True):
            failure = future.exception()
            results.append(FerError(f"{task.bag}, {task.topic}: {failure}") if failure else future.result())
        return results
