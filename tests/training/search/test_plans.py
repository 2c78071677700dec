"""What a study tries, read from the command line, and the tables of what it found."""

from itertools import pairwise
from typing import Any

import pytest

from spacy_transfer.training.output.result import Result
from spacy_transfer.training.search.sweep import Rung, grid, parse_sweep, rungs
from spacy_transfer.training.search.trials import Trial, describe, results_table, short_keys, statistics_table


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((1, 1000, 50, 2), [Rung(1, 0)]),
        ((2, 1000, 50, 2), [Rung(2, 501), Rung(1, 0)]),
        ((8, 1000, 25, 2), [Rung(8, 126), Rung(4, 251), Rung(2, 501), Rung(1, 0)]),
        ((9, 900, 10, 3), [Rung(9, 101), Rung(3, 301), Rung(1, 0)]),
        # None below a tenth: the first three are one, after which as many go on as after the third.
        ((64, 1000, 50, 2), [Rung(64, 101), Rung(8, 151), Rung(4, 251), Rung(2, 501), Rung(1, 0)]),
        # Evaluations too rare to judge by.
        ((4, 100, 200, 2), [Rung(4, 0)]),
        ((4, 300, 200, 2), [Rung(4, 201), Rung(1, 0)]),
        ((5, 0, 200, 1), [Rung(5, 0)]),
        ((5, 1000, 200, 1), [Rung(5, 0)]),
    ],
)
def test_rungs(given: tuple[int, int, int, int], found: list[Rung]) -> None:
    assert rungs(*given) == found


@pytest.mark.parametrize("n_trials", [2, 3, 7, 20])
@pytest.mark.parametrize("keep", [2, 3, 5])
@pytest.mark.parametrize("every", [1, 7, 300])
def test_rungs_climb(n_trials: int, keep: int, every: int) -> None:
    found = rungs(n_trials, 1000, every, keep)
    assert found[0].n_trials == n_trials
    assert found[-1].stop_at == 0
    for one, other in pairwise(found):
        assert one.n_trials > other.n_trials
        assert one.stop_at < (other.stop_at or 1001)
        # The last step of a rung is one that is evaluated.
        assert (one.stop_at - 1) % every == 0
        assert one.stop_at >= 100


@pytest.mark.parametrize(("n_steps", "keep"), [(0, 2), (100, 0)])
def test_rungs_need_steps(n_steps: int, keep: int) -> None:
    with pytest.raises(ValueError, match="T188"):
        rungs(4, n_steps, 10, keep)


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ("a.b=1e-4,3e-4", [1e-4, 3e-4]),
        ("a.b=0,3,all", [0, 3, "all"]),
        ('a.b=0,"all"', [0, "all"]),
        ("a.b=true,false,null", [True, False, None]),
        ("--a.b=x", ["x"]),
        ("a.b=[1,2],[3]", [[1, 2], [3]]),
        ("a.b=1,true", [1, True]),
        ("a.b=x=1,y", ["x=1", "y"]),
        ('a.b={"@x": "y", "z": [1, 2]},null', [{"@x": "y", "z": [1, 2]}, None]),
        ('a.b=all,{"@x": "y,z"},"t,u"', ["all", {"@x": "y,z"}, "t,u"]),
        ('a.b,a.c=[1,2],["all",null]', [[1, 2], ["all", None]]),
    ],
)
def test_values_of_a_sweep(spec: str, values: list[Any]) -> None:
    (found,) = parse_sweep([spec]).values()
    assert found == values
    assert [type(one) for one in found] == [type(one) for one in values]


@pytest.mark.parametrize(
    ("specs", "code"),
    [
        *((specs, "T187") for specs in (
            ["a.b"], ["a.b="], ["=1"], ["ab=1"], ["a.b=1,,2"], ["a.b=1,1"], ["a.b=1", "a.b=2"],
            ["a.b=1", "a.b,a.c=[1,2]"], ["a.b,a.b=[1,2]"], ['a.b={"x": 1, "y": 2},{"y": 2, "x": 1}'],
        )),
        (['a.b={"@x": "y",},{"@x": "z"}'], "T426.*JSON"), (["a.b=[1,x],[2]"], "T426"),
        (["a.b,a.c=1,2"], r"T432.*a\.b,a\.c"), (["a.b,a.c=[1,2,3]"], "T432.*list of 2"),
        (["nowhere.cfg,other.cfg"], "T435.*nowhere.cfg"),
    ],
)  # fmt: skip
def test_a_sweep_that_cannot_be_read(specs: list[str], code: str) -> None:
    with pytest.raises(ValueError, match=code):
        parse_sweep(specs)


def test_grid() -> None:
    values = {"a.b": [1, 2], "a.c": ["x", "y", "z"]}
    every = grid(values)
    assert len(every) == 6
    assert every[:2] == [{"a.b": 1, "a.c": "x"}, {"a.b": 1, "a.c": "y"}]
    assert grid({}) == [{}]
    some = grid(values, 4)
    assert len(some) == 4
    assert some == grid(values, 4)
    assert all(one in every for one in some)
    assert grid(values, 100) == every
    assert grid({"a.b,a.d": [[1, "p"], [2, "q"]], "a.c": ["x"]}) == [
        {"a.b": 1, "a.d": "p", "a.c": "x"}, {"a.b": 2, "a.d": "q", "a.c": "x"}
    ]  # fmt: skip


def test_short_keys() -> None:
    assert short_keys(["training.optimizer.learn_rate", "training.dropout"]) == ["learn_rate", "dropout"]
    assert short_keys(["a.x.depth", "a.y.depth"]) == ["x.depth", "y.depth"]
    assert short_keys([]) == []
    assert describe({"a.b": 1e-4, "a.c": "all"}) == "b=0.0001, c=all"


def test_tables() -> None:
    """A row a run; means and standard deviations apart from them."""

    def result(score: float, seed: int, test: float | None = None, **scores: float) -> Result:
        found = {} if test is None else {"f": test}
        return Result("finished", 10, 4, score, 4, scores, "x", 1.0, measure="macro F", seed=seed, test=found)

    focal = {"@losses": "spacy-transfer.Focal.v1", "gamma": 1}
    trials = [
        Trial(1, {"a.b": 1}, {"one": result(0.5, 1, 0.3, f=0.4), "two": result(0.7, 2, 0.4, f=0.6)}),
        Trial(2, {"a.b": focal}, {"three": result(0.9, 1)}, is_dropped=True),
        Trial(3, {"a.b": 3}, failed="no"),
    ]
    header, rows = results_table(trials)
    assert header == [
        "trial", "seed", "run", "b", "status", "steps", "best step", "seconds", "judged by", "score", "dev f", "test f"
    ]  # fmt: skip
    assert rows == [
        [1, 1, "one", 1, "finished", 10, 4, 1.0, "macro F", 0.5, 0.4, 0.3],
        [1, 2, "two", 1, "finished", 10, 4, 1.0, "macro F", 0.7, 0.6, 0.4],
        [2, 1, "three", focal, "dropped", 10, 4, 1.0, "macro F", 0.9, None, None],
        [3, None, "trial-003", 3, "failed: no", None, None, None, None, None, None, None],
    ]
    header, rows = statistics_table(trials)
    assert header[:6] == ["trial", "b", "runs", "judged by", "score mean", "score standard deviation"]
    assert [row[:3] for row in rows] == [[1, 1, 2], [2, focal, 1], [3, 3, 0]]
    assert rows[0][4:] == pytest.approx([0.6, 0.1414, 0.5, 0.1414, 0.35, 0.0707], abs=1e-4)
    assert rows[1][4:] == [0.9, None, None, None, None, None]
    assert describe(trials[1].values) == "b=Focal(gamma=1)"
