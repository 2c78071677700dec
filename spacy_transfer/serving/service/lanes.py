"""Dynamic batching: requests wait in a queue, and a thread scores what has come together meanwhile.

There is no fixed wait. A text that comes to an idle service is scored at once; while it is, others come together, and
they are the next batch. Only right after a batch of several requests the thread waits some milliseconds for those that
were in it: clients that ask again and again would otherwise fall into one small and one large batch in turn.
"""

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from time import perf_counter

import numpy as np

from ...errors import T594_SCORES
from ...pipeline.interface import Floats
from ..apply.reading.rows import TEXT, Row
from ..apply.scoring import Scoring

# After a batch of several requests, so long is waited for them to come again.
_LINGER = 0.004
# Characters that are scored together, beyond the first text: a batch of long texts would keep short ones waiting.
_MOST_CHARACTERS = 100_000


class LaneClosed(Exception):
    """The lane takes nothing more: another one is in its place, or the service stops."""


class QueueFull(Exception):
    """There is no place for so many texts.

    n_waiting (int): Texts that wait already.
    """

    def __init__(self, n_waiting: int) -> None:
        super().__init__(n_waiting)
        self.n_waiting = n_waiting


class ScoringFailed(Exception):
    """The pipeline failed at a request.

    error (BaseException): What it raised; some kinds cannot be handed to another thread as they are.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


class Job:
    """The texts of a request on their way to scores.

    rows (Sequence[Row]): At least one.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        # Scores, (n_rows, n_labels).
        self.done: Future[Floats] = Future()
        self.n_taken = 0
        self._n_left = len(rows)
        self._scores: Floats | None = None

    def take(self, places: Sequence[int], scores: Floats) -> None:
        """Take the scores of some rows; the last ones make it done.

        places (Sequence[int]): Of the rows.
        scores (Floats): (n_places, n_labels).
        """
        if self._scores is None:
            self._scores = np.zeros((len(self.rows), scores.shape[1]), dtype=np.float32)
        self._scores[places] = scores
        self._n_left -= len(places)
        if not self._n_left and self.done.set_running_or_notify_cancel():
            self.done.set_result(self._scores)

    def fail(self, error: BaseException) -> None:
        """Give up.

        error (BaseException): Why.
        """
        # An earlier part of it may have failed.
        if not self.done.done() and self.done.set_running_or_notify_cancel():
            self.done.set_exception(ScoringFailed(error))


# Rows of one batch: a job, and the place in it.
Batch = list[tuple[Job, int]]


class Lane:
    """A queue of texts, and a thread that scores them.

    scoring (Scoring): From rows to scores; used by this thread alone.
    warm_up (Callable): Called in the thread before anything else.
    name (str): Of the thread.
    most_texts (int): In a batch.
    most_waiting (int): Texts in the queue.
    watch (Callable): Told the texts of each batch and the seconds it took.
    """

    def __init__(
        self,
        scoring: Scoring,
        warm_up: Callable[[], None],
        *,
        name: str,
        most_texts: int,
        most_waiting: int,
        watch: Callable[[int, float], None],
    ) -> None:
        self._scoring, self._warm_up, self._watch = scoring, warm_up, watch
        self._most_texts, self._most_waiting = most_texts, most_waiting
        self._turn = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._n_waiting = 0
        self._is_closed = False
        self._n_expected, self._ended = 0, 0.0
        self._warm: Future[None] = Future()
        # Thinc keeps its device in a context variable, which a new thread does not have.
        context = contextvars.copy_context()
        # A process that is to end does not wait for what nobody will read.
        self._thread = threading.Thread(
            target=context.run, args=(self._work,), name=f"spacy-transfer serve, {name}", daemon=True
        )

    @property
    def n_waiting(self) -> int:
        """Texts in the queue."""
        return self._n_waiting

    def start(self) -> None:
        """Start the thread, and wait until it is warm.

        RAISES: What the warming up raised.
        """
        self._thread.start()
        self._warm.result()

    def submit(self, rows: Sequence[Row]) -> Job:
        """Put texts into the queue.

        rows (Sequence[Row]): Those of one request, at least one.
        RETURNS (Job): To wait for.
        RAISES (QueueFull): Where there is no place for them.
        RAISES (LaneClosed): After `close`.
        """
        job = Job(rows)
        with self._turn:
            if self._is_closed:
                raise LaneClosed
            if self._n_waiting + len(rows) > self._most_waiting:
                raise QueueFull(self._n_waiting)
            self._jobs.append(job)
            self._n_waiting += len(rows)
            self._turn.notify()
        return job

    def close(self) -> None:
        """Take nothing more. What is in the queue is still scored."""
        with self._turn:
            self._is_closed = True
            self._turn.notify()

    def join(self) -> None:
        """Wait until everything is scored, after `close`."""
        if self._thread.ident is not None:
            self._thread.join()

    # ---- in the thread -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._warm_up()
        except BaseException as error:
            self._warm.set_exception(error)
            return
        self._warm.set_result(None)
        while batch := self._next():
            begin = perf_counter()
            self._score(batch)
            self._ended = perf_counter()
            self._n_expected = len({id(job) for job, _ in batch})
            self._watch(len(batch), self._ended - begin)

    def _next(self) -> Batch:
        """Wait for texts.

        RETURNS (Batch): Empty when the lane is closed and there is nothing more.
        """
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._jobs or self._is_closed)
                if not self._jobs:
                    return []
                if self._n_expected > 1:
                    left = self._ended + _LINGER - perf_counter()
                    self._turn.wait_for(lambda: len(self._jobs) >= self._n_expected or self._is_closed, max(0.0, left))
                if batch := self._gather():
                    return batch

    def _gather(self) -> Batch:
        """One text of each request in turn, so that one with a few does not wait for all of one with a thousand."""
        batch: Batch = []
        n_characters = 0
        while self._jobs and len(batch) < self._most_texts and n_characters < _MOST_CHARACTERS:
            job = self._jobs.popleft()
            if job.done.done():
                # Nobody waits for it any more, or a part of it has failed.
                self._n_waiting -= len(job.rows) - job.n_taken
                continue
            batch.append((job, job.n_taken))
            n_characters += len(job.rows[job.n_taken].text)
            job.n_taken += 1
            self._n_waiting -= 1
            if job.n_taken < len(job.rows):
                self._jobs.append(job)
        return batch

    def _score(self, batch: Batch) -> None:
        by_job: dict[int, tuple[Job, list[int]]] = {}
        for job, place in batch:
            by_job.setdefault(id(job), (job, []))[1].append(place)
        parts = list(by_job.values())
        try:
            scores = self._scores([job.rows[place] for job, places in parts for place in places])
        except BaseException as error:
            # Whatever it is, the thread goes on: nobody else takes its place.
            if len(parts) == 1:
                parts[0][0].fail(error)
                return
            # Only the one that is to blame shall fail.
            for job, places in parts:
                self._score([(job, place) for place in places])
            return
        begin = 0
        for job, places in parts:
            job.take(places, scores[begin : begin + len(places)])
            begin += len(places)

    def _scores(self, rows: Sequence[Row]) -> Floats:
        """Score rows, the same text once."""
        first: dict[tuple[str, str], int] = {}
        keys = [(row.text, repr(row.cells)) for row in rows]
        for i, key in enumerate(keys):
            first.setdefault(key, i)
        places = {key: n for n, key in enumerate(first)}
        scores = self._scoring.score([rows[i] for i in first.values()])[0]
        if not np.isfinite(scores).all():
            raise ValueError(T594_SCORES)
        return scores[[places[key] for key in keys]]


def row_of(text: str, attributes: dict[str, object]) -> Row:
    """Make what is scored of a text.

    text (str): A text.
    attributes (dict[str, object]): Extension attributes of its document, by name.
    """
    return Row(0, 0, 0, attributes, text, TEXT)
