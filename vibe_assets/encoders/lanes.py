"""Batches of photos go in, their vectors come out in the same order; on a CPU several forward passes run side by side, each on one core.

One pass on all cores waits at the end of every layer for its slowest thread, and that is the one whose core decodes a photo at this moment.
Passes of one core each wait for nobody. The vectors do not depend on how many lanes there are: a part is computed by one core in any case.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

PART = 4  # photos of one pass: enough rows for full speed, and small folders still fill the cores

Encode = Callable[[Sequence[np.ndarray]], np.ndarray]  # b preprocessed photos -> (b, d)


def side_by_side(encode: Encode, batches: Iterable[Sequence[np.ndarray]], *, lanes: int) -> Iterator[np.ndarray]:
    """The (b, d) of every batch, in order. `encode` is called in `lanes` threads, each with at most PART photos.

    Batches are taken as long as the lanes have no other work than the batch whose vectors are awaited.
    """
    window: deque[list[Future[np.ndarray]]] = deque()
    todo = iter(batches)
    pool = ThreadPoolExecutor(lanes, thread_name_prefix="lane", initializer=torch.set_num_threads, initargs=(1,))
    try:
        while True:
            while len(window) < 2 or sum(map(len, window)) - len(window[0]) < lanes:
                if (batch := next(todo, None)) is None:
                    break
                window.append([pool.submit(encode, batch[at : at + PART]) for at in range(0, max(len(batch), 1), PART)])
            if not window:
                return
            yield np.concatenate([part.result() for part in window.popleft()])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
