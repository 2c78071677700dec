"""Several runs by one call of `spacy transfer train`: its options --seeds and --sweep."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import T192, T193, T195
from ...json_types import ConfigMapping
from ...text_output import echo, msg

if TYPE_CHECKING:
    from thinc.api import Config

    from ...training.loop.loop import OnNan
    from ...training.output.progress import Show
    from ...training.search.study import Keep, Plan, Studied
    from ...training.session import Trained

# Scores shown in the terminal next to the main one, or else the first few; the files have them all.
_SHOWN, _MOST_SCORES = ("cats_acc", "cats_macro_f"), 3


@dataclass(frozen=True)
class Wish:
    """The options, each as the command line has it."""

    seeds: str | None
    sweep: Sequence[str]
    trials: int | None
    keep_one_in: int | None
    soup: bool
    by: str = ""
    test: Path | None = None
    keep: "Keep | None" = None
    stop_at: int = 0

    @property
    def is_there(self) -> bool:
        """Whether there are several runs.

        RAISES (ValueError): T195 for an option that does nothing without another one, T193 for one that does not go
            with them.
        """
        are_several = self.seeds is not None or bool(self.sweep)
        if are_several and self.stop_at:
            raise ValueError(T193)
        if not self.sweep:
            _refuse({"trials": self.trials, "keep-one-in": self.keep_one_in}, "--sweep")
        if not are_several:
            _refuse({"soup": self.soup or None, "test": self.test, "keep": self.keep}, "--seeds or --sweep")
        return are_several

    def plan(self) -> "Plan":
        """Read it.

        RAISES (ValueError): T187, T426, T432 and T435 for --sweep, T192 for --seeds.
        """
        from ...training.search.study import Plan
        from ...training.search.sweep import grid, parse_sweep

        seeds = [] if self.seeds is None else parse_seeds(self.seeds)
        keep = 2 if self.keep_one_in is None else self.keep_one_in
        values = grid(parse_sweep(self.sweep), self.trials)
        return Plan(values, seeds, keep, self.soup, self.by, self.test, self.keep or "all")


def _refuse(options: Mapping[str, object], needed: str) -> None:
    """RAISES (ValueError): T195 for the first option that is given."""
    for option, value in options.items():
        if value is not None:
            raise ValueError(T195.format(option=option, needed=needed))


def parse_seeds(text: str) -> list[int]:
    """Read a list of seeds.

    text (str): "1,2,3".
    RAISES (ValueError): T192 for anything else.
    """
    parts = [part.strip() for part in text.split(",")]
    seeds = [int(part) for part in parts if part.isdecimal()]
    if len(seeds) < len(parts) or len(set(seeds)) < len(seeds):
        raise ValueError(T192.format(value=text))
    return seeds


@dataclass(frozen=True)
class Runs:
    """How each run is made; the options of `spacy transfer train`.

    command (str): How to go on after a signal.
    """

    config: Path
    code: Path | None
    gpu_id: int
    ranks: int
    force: bool
    checkpoint_every: str
    on_nan: "OnNan"
    show: "Show"
    command: str
    deterministic: bool = False
    max_seconds: float = 0.0

    def __call__(self, folder: Path, values: ConfigMapping, stop_at: int, resume: bool) -> None:
        """Train in a folder, in this process or in several ranks.

        RAISES (Interrupted): By a signal.
        """
        from ...training.interrupted import Interrupted

        if self.ranks > 1:
            self._launch(folder, values, stop_at, resume)
            return
        # The search has checked the folder; files of an earlier run are removed after the first step.
        trained = self.train(folder, values, stop_at, resume=resume, force=self.force or not resume)
        if trained.status == "interrupted":
            raise Interrupted(trained.signal)

    def train(
        self, folder: Path, values: ConfigMapping, stop_at: int, *, resume: bool, force: bool,
        loaded: "Config | None" = None,
    ) -> "Trained":  # fmt: skip
        """Train in a folder, in this process."""
        from ...training.session import Stopped
        from ...training.train import train

        try:
            return self._train(train, folder, values, stop_at, resume, force, loaded)
        except Stopped as stopped:
            # The command ends with the exit status of the signal instead.
            return stopped.trained

    def _train(
        self, train: "Callable[..., Trained]", folder: Path, values: ConfigMapping, stop_at: int, resume: bool,
        force: bool, loaded: "Config | None",
    ) -> "Trained":  # fmt: skip
        config, own = self._given(values)
        return train(
            config if loaded is None else loaded, folder, overrides=own, gpu_id=self.gpu_id, resume=resume, force=force,
            checkpoint_every=self.checkpoint_every, on_nan=self.on_nan, show=self.show, command=self.command,
            stop_at=stop_at, deterministic=self.deterministic, max_seconds=self.max_seconds,
        )  # fmt: skip

    def _given(self, values: ConfigMapping) -> tuple[Path, dict[str, object]]:
        """The config of a trial, and the values to put into it."""
        from ...training.search.sweep import CONFIG

        return Path(values.get(CONFIG, self.config)), {key: one for key, one in values.items() if key != CONFIG}

    def _launch(self, folder: Path, values: ConfigMapping, stop_at: int, resume: bool) -> None:
        from ...training.distributed.launch import launch
        from ...training.interrupted import Interrupted
        from ...training.output.result import Result

        (folder / "result.json").unlink(missing_ok=True)
        config, own = self._given(values)
        resumed = ["--resume"] * resume + ["--force"] * (self.force or not resume)
        arguments = [
            "-m", "spacy", "transfer", "train", str(config), "--output", str(folder), "--gpu-id", str(self.gpu_id),
            "--checkpoint-every", self.checkpoint_every, "--on-nan", self.on_nan, "--show", self.show,
            "--stop-at", str(stop_at), *resumed, *(["--code", str(self.code)] if self.code else []),
            *["--deterministic"] * self.deterministic, "--max-seconds", str(self.max_seconds),
            *(f"--{key}={json.dumps(value)}" for key, value in own.items()),
        ]  # fmt: skip
        try:
            launch(self.ranks, arguments, gpu=self.gpu_id >= 0)
        except ChildProcessError:
            if (folder / "result.json").exists() and Result.read(folder).status == "interrupted":
                raise Interrupted(2) from None
            raise


def train_several(
    runs: Runs, output: Path, plan: "Plan", overrides: Mapping[str, object], *, resume: bool, force: bool
) -> None:
    """Train and print the table.

    RAISES (Exit): After a signal, with its status.
    """
    from ...training.search.study import study

    studied = study(runs.config, output, plan, runs, overrides=overrides, resume=resume, force=force, tell=msg.divider)
    _print(studied, output)


def _print(studied: "Studied", output: Path) -> None:
    from ...training.search.trials import describe, results_table, statistics_table

    _print_table(results_table(studied.trials))
    best, n_seeds = studied.best, len(studied.best.scores)
    if n_seeds > 1:
        _print_table(statistics_table(studied.trials))
    measure = next(iter(best.results.values())).measure or "score"
    score = f"Best: {measure} {best.score:.4f} on dev"
    if n_seeds > 1:
        score = f"Best: mean {measure} {best.score:.4f} on dev ({n_seeds} seeds, standard deviation "
        score += f"{best.deviation:.4f})"
    msg.good(f"{score}, with {describe(best.values)}" if best.values else score)
    model, soup = output / "model-best", studied.soup
    kept = f"{model} is from {studied.run}"
    if soup:
        mixed = f"soup of {', '.join(soup['ingredients'])}: {soup['score']:.4f}, best single run {soup['single']:.4f}"
        kept = f"{model} is a {mixed}" if soup["is_better"] else f"{kept}; no soup was better"
    if not model.is_dir():
        kept = f"No pipeline was kept; the best one was from {studied.run}"
    echo(f"{kept}\nAll results are in {output / 'results.csv'}, means are in {output / 'statistics.csv'}")


def _print_table(table: tuple[list[str], list[list[object]]]) -> None:
    """What fits on a terminal: without folders, and of further scores the first few."""
    header, rows = table
    scores = [i for i, name in enumerate(header) if name.startswith(("dev ", "test "))]
    chosen = [i for i in scores if any(name in header[i] for name in _SHOWN)] or scores[:_MOST_SCORES]
    hidden = {i for i, name in enumerate(header) if name == "run"} | {i for i in scores if i not in chosen}
    columns = [i for i in range(len(header)) if i not in hidden]
    cells = [[_cell(header[i], row[i]) for i in columns] for row in rows]
    msg.table(cells, header=[header[i] for i in columns], divider=True)


def _cell(name: str, value: object) -> str:
    from ...training.search.trials import shown

    if value is None:
        return ""
    is_score = name.startswith(("score", "dev ", "test "))
    return f"{value:.4f}" if is_score and isinstance(value, float) else shown(value)
