"""Dynamic batching, with a scoring that computes nothing."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from spacy_transfer.serving.apply.scoring import Component
from spacy_transfer.serving.service.lanes import Job, Lane, LaneClosed, QueueFull, ScoringFailed, row_of


class Lengths:
    """Scores a text by its length, and waits where it is told to."""

    components = (Component("lengths", ("length", "one")),)

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def score(self, rows: Sequence[object]) -> tuple[np.ndarray, list[object]]:
        """See `Scoring`."""
        texts = [row.text for row in rows]
        self.batches.append(texts)
        self.inside.set()
        assert self.go_on.wait(60)
        if "bad" in texts:
            raise RuntimeError(f"cannot score {texts}")
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32), []


def rows(*texts: str) -> list[object]:
    return [row_of(text, {}) for text in texts]


def lengths(job: Job) -> list[float]:
    return job.done.result(60)[:, 0].tolist()


@contextmanager
def lane(
    scoring: Lengths, most_texts: int = 4, most_waiting: int = 100, watch: Callable[[int, float], None] = print
) -> Iterator[Lane]:
    """A lane that has started, and that has ended afterwards."""
    made = Lane(
        scoring, lambda: None, name="test", most_texts=most_texts, most_waiting=most_waiting, watch=watch
    )  # fmt: skip
    made.start()
    try:
        yield made
    finally:
        scoring.go_on.set()
        made.close()
        made.join()


@contextmanager
def held(scoring: Lengths, made: Lane) -> Iterator[None]:
    """Within: the thread is busy with a text; afterwards it goes on."""
    scoring.go_on.clear()
    scoring.inside.clear()
    first = made.submit(rows("first"))
    assert scoring.inside.wait(60)
    yield
    scoring.go_on.set()
    assert lengths(first) == [5]


def test_what_comes_together_meanwhile_is_one_batch() -> None:
    scoring, watched = Lengths(), list[int]()
    with lane(scoring, most_texts=3, watch=lambda n, seconds: watched.append(n)) as made:
        with held(scoring, made):
            jobs = [made.submit(rows("x" * n)) for n in (1, 2, 3, 4)]
            assert made.n_waiting == 4
        assert [lengths(job) for job in jobs] == [[1], [2], [3], [4]]
    assert scoring.batches == [["first"], ["x", "xx", "xxx"], ["xxxx"]]
    assert watched == [1, 3, 1]
    assert made.n_waiting == 0


def test_each_request_gets_its_own_scores_in_its_own_order() -> None:
    scoring = Lengths()
    with lane(scoring, most_texts=5) as made:
        with held(scoring, made):
            jobs = [made.submit(rows(*("y" * n for n in range(i + 7, i, -2)))) for i in range(4)]
        assert [lengths(job) for job in jobs] == [list(range(i + 7, i, -2)) for i in range(4)]


def test_a_short_request_does_not_wait_for_all_of_a_long_one() -> None:
    scoring = Lengths()
    with lane(scoring) as made:
        with held(scoring, made):
            long = made.submit(rows(*map(str, range(10))))
            short = made.submit(rows("short"))
        assert lengths(short) == [5]
        assert len(lengths(long)) == 10
    assert sorted(scoring.batches[1]) == ["0", "1", "2", "short"]


def test_the_same_text_is_scored_once_in_a_batch() -> None:
    scoring = Lengths()
    with lane(scoring) as made:
        with held(scoring, made):
            jobs = [made.submit(rows("same")), made.submit(rows("other", "same"))]
        assert [lengths(job) for job in jobs] == [[4], [5, 4]]
    assert scoring.batches[1] == ["same", "other"]


def test_long_texts_make_small_batches() -> None:
    scoring = Lengths()
    with lane(scoring) as made:
        with held(scoring, made):
            job = made.submit(rows("z" * 90_000, "a" * 90_000, "b"))
        assert lengths(job) == [90_000, 90_000, 1]
    assert [len(batch) for batch in scoring.batches] == [1, 2, 1]


def test_only_the_one_to_blame_fails() -> None:
    scoring = Lengths()
    with lane(scoring) as made:
        with held(scoring, made):
            jobs = [made.submit(rows("a")), made.submit(rows("bad", "b")), made.submit(rows("cc"))]
        assert lengths(jobs[0]) == [1]
        assert lengths(jobs[2]) == [2]
        with pytest.raises(ScoringFailed, match="cannot score"):
            lengths(jobs[1])
        # The thread goes on.
        assert lengths(made.submit(rows("ddd"))) == [3]


def test_scores_that_are_no_numbers_are_refused() -> None:
    scoring = Lengths()
    scoring.score = lambda rows: (np.full((len(rows), 2), np.nan, dtype=np.float32), [])
    with lane(scoring) as made, pytest.raises(ScoringFailed, match="T594"):
        lengths(made.submit(rows("a")))


def test_what_nobody_waits_for_is_not_scored() -> None:
    scoring = Lengths()
    with lane(scoring, most_texts=2) as made:
        with held(scoring, made):
            gone, kept = made.submit(rows("gone", "too")), made.submit(rows("kept"))
            assert gone.done.cancel()
        assert lengths(kept) == [4]
        assert made.n_waiting == 0
    assert scoring.batches[1:] == [["kept"]]


def test_a_full_queue_and_a_closed_lane_take_nothing() -> None:
    scoring = Lengths()
    with lane(scoring, most_waiting=3) as made:
        with held(scoring, made):
            job = made.submit(rows("a", "bb"))
            with pytest.raises(QueueFull) as full:
                made.submit(rows("c", "d"))
            assert full.value.n_waiting == 2
            last = made.submit(rows("ccc"))
            made.close()
            with pytest.raises(LaneClosed):
                made.submit(rows("e"))
        # What was accepted is still answered.
        assert lengths(job) + lengths(last) == [1, 2, 3]
        made.join()


def test_what_fails_at_the_warming_up_is_said() -> None:
    def fail() -> None:
        raise OSError("no memory")

    made = Lane(Lengths(), fail, name="test", most_texts=1, most_waiting=1, watch=print)
    with pytest.raises(OSError, match="no memory"):
        made.start()
    made.join()
