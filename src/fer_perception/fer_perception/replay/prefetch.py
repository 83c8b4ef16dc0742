"""Reading ahead in a thread."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Generator
from typing import TypeVar

Item = TypeVar("Item")

AHEAD = 4  # an image can have 200 MB
POLL_S = 0.2
# Python lets a thread keep its lock for 5 ms unless told otherwise: as long as a whole frame takes.
SWITCH_S = 1e-4


def prefetch(items: Generator[Item, None, None]) -> Generator[Item, None, None]:
    """The same items; the next ones are made in a thread while the caller works on one."""
    made: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(AHEAD)
    left = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not left.is_set():
            try:
                made.put((item, error), timeout=POLL_S)
                return
            except queue.Full:
                continue

    def run() -> None:
        try:
            for item in items:
                put(item, None)
                if left.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:  # raised again in the caller's thread
            put(None, error)
        finally:
            items.close()

    thread = threading.Thread(target=run, name="prefetch", daemon=True)
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        left.set()
        thread.join()
        sys.setswitchinterval(interval_s)
