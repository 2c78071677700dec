"""A search: several runs of one config with different seeds or values, and the best of them."""

import gc
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import spacy
import torch
from spacy.language import DEFAULT_CONFIG
from spacy.schemas import ConfigSchemaTraining
from spacy.training.loop import DIR_MODEL_BEST, DIR_MODEL_LAST, create_before_to_disk_callback
from spacy.util import load_model_from_config, registry, resolve_dot_names
from thinc.api import Config

from ...config.judging import judged_by
from ...config.reading import read_config
from ...docbins import find_docbins
from ...errors import T165, T166, T186, T189, T190, T194, T433, T434
from ...evaluation.evaluate import evaluate
from ...files import DiskFull, InUse, hold_folder, new_folder, repair, sync_tree, write_text
from ...files.fields import ANYTHING, FLAG, OBJECT, TEXT, dict_of, list_of, refuse, take, whole
from ...files.strangers import read_object
from ...json_types import ConfigBlock, ConfigMapping
from ...log import logger
from ...nn.devices.precision import recorded
from ...pipeline.length import measure
from ...redaction import without_secrets
from ..output.log_file import strict
from ..output.marker import RUN_NAMES, Marker, refuse_strange
from ..output.models import copy_folder
from ..output.result import Result, numbers_of
from ..state.checkpoint import Checkpoints
from ..state.fingerprint import differences, flat, refuse_others
from .soup import mix
from .sweep import CONFIG, Rung, rungs
from .trials import Trial, describe, results_table, statistics_table, write_csv

_STATE = {
    "identity": OBJECT, "trials": list_of(OBJECT), "soup": OBJECT, "best_run": TEXT, "precision": OBJECT,
    "replaced": dict_of(TEXT),
}  # fmt: skip
_TRIAL = {
    "number": whole(1), "values": dict_of(ANYTHING), "results": dict_of(OBJECT), "is_dropped": FLAG, "failed": TEXT,
}  # fmt: skip
# Values that may decide what is read.
_OF_TEXTS = (CONFIG, "paths.", "corpora.", "nlp.", "training.train_corpus")

# Trains in a folder with these values of the config, up to so many steps (0: to the end), resumed or not. Among the
# values may be "config": the file to take in place of the study's config.
Train = Callable[[Path, Mapping[str, object], int, bool], None]
Keep = Literal["all", "best", "none"]
# Says which run is next.
Tell = Callable[[str], object]


@dataclass(frozen=True)
class Plan:
    """What a study does.

    values (list[dict]): Values of the config for each trial; a single empty one for runs that differ in seed alone.
    seeds (list[int]): A run of each trial for each of them; none: the seed of the config.
    keep_one_in (int): Of so many trials one goes on after each rung; 1 keeps all.
    soup (bool): Mix the weights of the runs that went to the end, if the mean is better on the dev data.
    by (str): Score on the dev data that judges trials, and in each run which pipeline is the best; empty: the config's
        own, which is the macro F of a classifier.
    test (Path | None): A .spacy file, or a folder of them, on which the best pipeline of each run that went to the end
        is measured; it decides nothing.
    keep (str): Pipelines that stay: "all" of runs that went to the end, the "best" one alone, or "none".
    """

    values: Sequence[ConfigMapping] = ({},)
    seeds: Sequence[int] = ()
    keep_one_in: int = 2
    soup: bool = False
    by: str = ""
    test: Path | None = None
    keep: Keep = "all"


@dataclass(frozen=True)
class Studied:
    """What came of it.

    trials (list[Trial]): In the order of the plan.
    best (Trial): With the best mean score.
    run (str): Folder of its best run.
    soup (dict): Ingredients and scores of the soup, empty without one.
    """

    trials: list[Trial]
    best: Trial
    run: str
    soup: ConfigBlock


def study(
    config: Path | Config,
    output: Path,
    plan: Plan,
    train: Train,
    *,
    overrides: Mapping[str, object] | None = None,
    resume: bool = False,
    force: bool = False,
    tell: Tell = lambda text: None,
) -> Studied:
    """Train every trial of a plan with every seed; after each rung the better trials go on where they were.

    A trial is judged by the mean of its runs' best scores on the dev data; of equal ones the earlier is better. Every
    run is the one that `train` would make with these values. One that cannot be trained (a rate at which the loss is
    not finite, a batch that no memory holds) is reported and skipped. Trials that were dropped keep their logs alone.

    config (Path | Config): Of all runs.
    output (Path): Gets study.json, results.csv (a row for each run), statistics.csv (one for each trial), a folder for
        each run, and model-best: that of the best run of the best trial, or the soup.
    plan (Plan): Trials, seeds, halving.
    train (Callable): Makes a run or a part of it, and its result.json.
    overrides (Mapping | None): Values of the config for all runs.
    resume (bool): Go on where a study was interrupted.
    force (bool): Go on although config or plan are others; without `resume` throw away what is there.
    tell (Callable): Takes a line before each run.
    RETURNS (Studied): The trials and the best of them.
    RAISES (ValueError): T165 with nothing to resume, T166 where a single run would be lost, T167 where it is another
        study's, T186 where one would be lost, T188 for halving without a number of steps, T190 where no trial could be
        trained, T431 for an unknown measure, T434 for seeds that are given twice, T440 and T391 for test data that are
        none; what `read_config` finds in a config or values.
    RAISES (FileExistsError): T371 for what no run of ours has left, T380 for what another command has.
    RAISES (OSError): T370 while another process has the folder, T372 for a full disk.
    RAISES (Interrupted): By a signal.
    """
    work = _Study(config, output, plan, train, dict(overrides or {}), tell)
    with hold_folder(output):
        repair(output)
        work.begin(resume=resume, force=force)
        return work.go()


class _Study:
    """The work of `study`; all that it knows is in study.json after each run."""

    def __init__(
        self, config: Path | Config, output: Path, plan: Plan, train: Train, overrides: dict[str, object], tell: Tell
    ) -> None:
        self.output, self.plan, self.train, self.tell = output, plan, train, tell
        self.overrides = overrides
        self.trials = [Trial(i, dict(values)) for i, values in enumerate(plan.values, start=1)]
        self.soup: ConfigBlock = {}
        # What "auto" stood for in the first run holds for all.
        self.precision: ConfigBlock = {}
        self.best_run = ""
        # Runs that lay in our places when the study began, by their markers: each stays until its follower has begun.
        self.replaced: dict[str, str] = {}
        self._told_measures = False
        if plan.seeds and any("training.seed" in trial.values for trial in self.trials):
            raise ValueError(T434)
        if plan.test is not None:
            find_docbins(plan.test)
        self.config = config
        # Of each trial, what makes `by` its judge.
        self.judging = [
            judged_by(read_config(*self._given(trial.values)), plan.by) if plan.by else {} for trial in self.trials
        ]
        configs = [_checked(*self._given(trial.values)) for trial in self.trials]
        blocks = [one["training"] for one in configs]
        # Trials of different lengths are judged after the same number of steps.
        drops_trials = len(blocks) > 1 and plan.keep_one_in > 1
        n_steps = _shortest(configs) if drops_trials else 0
        self.rungs = rungs(len(blocks), n_steps, max(int(one["eval_frequency"]) for one in blocks), plan.keep_one_in)
        # Evaluations that the config's logger writes to a file: each run has its own.
        self.log_files = [str((block.get("logger") or {}).get("output_file") or "") for block in blocks]
        # Whether all trials learn from the same texts, as far as their values say.
        self.shares_texts = not any(key.startswith(_OF_TEXTS) for trial in self.trials for key in trial.values)
        files = dict.fromkeys(str(trial.values[CONFIG]) for trial in self.trials if CONFIG in trial.values)
        self.identity = {
            **flat(_checked(config, overrides)),
            **{
                f"{file}: {key}": value
                for file in files
                for key, value in flat(_checked(Path(file), overrides)).items()
            },
            "--sweep": [dict(values) for values in plan.values],
            "--seeds": list(plan.seeds),
            "--keep-one-in": plan.keep_one_in,
            "--by": plan.by,
            "--keep": plan.keep,
        }

    def _given(self, values: ConfigMapping) -> tuple[Path | Config, ConfigBlock]:
        """The config of a trial, and the values to put into it."""
        file = values.get(CONFIG)
        given = {**self.overrides, **{key: value for key, value in values.items() if key != CONFIG}}
        return (self.config if file is None else Path(file)), given

    # ---- state ---------------------------------------------------------------------------------------------------

    def begin(self, *, resume: bool, force: bool) -> None:
        """Take up what is in the folder, or clear it."""
        path = self.output / "study.json"
        if not resume:
            names = [name for trial in self.trials for name, _ in self._runs(trial)]
            if not force:
                if path.exists():
                    raise ValueError(T186.format(folder=self.output))
                if Checkpoints(self.output / "checkpoints").are_there:
                    raise ValueError(T166.format(folder=self.output / "checkpoints"))
                for name in names:
                    if Checkpoints(self.output / name / "checkpoints").are_there:
                        raise ValueError(T166.format(folder=self.output / name / "checkpoints"))
                    refuse_strange(self.output / name, RUN_NAMES)
                refuse_strange(self.output, ("results.csv", "statistics.csv", DIR_MODEL_BEST), "study")
            self.replaced = {
                name: _token(self.output / name) for name in names
                if Checkpoints(self.output / name / "checkpoints").are_there
            }  # fmt: skip
        else:
            if not path.exists():
                raise ValueError(T165.format(folder=self.output))
            state = take(path, read_object(path), _STATE)
            refuse_others(self.output, differences(state["identity"], self.identity), force=force)
            self._restore(state)
        self.output.mkdir(parents=True, exist_ok=True)
        if (marker := Marker.read(self.output)) is None or marker.kind != "study":
            Marker.write(self.output, "study")
        self._write()

    def _restore(self, state: ConfigBlock) -> None:
        path = self.output / "study.json"
        trials = [take(path, one, _TRIAL, within=f"trials.{i}.") for i, one in enumerate(state["trials"])]
        then = {json.dumps(one["values"]): one for one in trials}
        for trial in self.trials:
            # With --force the plan may be another: a trial that was made before counts.
            if (known := then.get(json.dumps(trial.values))) is not None and known["number"] == trial.number:
                trial.is_dropped, trial.failed = known["is_dropped"], known["failed"]
                names = {name for name, _ in self._runs(trial)}
                found = {name: one for name, one in known["results"].items() if name in names}
                trial.results = {
                    name: Result.from_json(one, path, f"trials.{trial.number - 1}.results.{name}.")
                    for name, one in found.items()
                }
        if (best := state["best_run"]) and not any(best in trial.results for trial in self.trials):
            # It names a folder.
            refuse(path, "best_run", best, "the name of a run of this search")
        self.soup, self.best_run, self.precision = state["soup"], best, state["precision"]
        self.replaced = state["replaced"]

    def _write(self) -> None:
        trials = [asdict(trial) for trial in self.trials]
        state = {
            "identity": self.identity, "trials": trials, "soup": self.soup, "best_run": self.best_run,
            "precision": self.precision, "replaced": self.replaced,
        }  # fmt: skip
        write_text(self.output / "study.json", json.dumps(strict(state), indent=2, ensure_ascii=False) + "\n")
        write_csv(results_table(self.trials), self.output / "results.csv")
        write_csv(statistics_table(self.trials), self.output / "statistics.csv")

    # ---- runs ----------------------------------------------------------------------------------------------------

    def _runs(self, trial: Trial) -> list[tuple[str, dict[str, object]]]:
        """Name of each run of a trial, which is its folder, and its values of the config."""
        at = f"trial-{trial.number:03d}" if len(self.trials) > 1 else ""
        if not self.plan.seeds:
            return [(at or "trial-001", trial.values)]
        return [(f"{at}/seed-{seed}".lstrip("/"), {**trial.values, "training.seed": seed}) for seed in self.plan.seeds]

    def go(self) -> Studied:
        """Train what is still to be trained."""
        with recorded(self.precision) as self.precision:
            return self._go()

    def _go(self) -> Studied:
        for rung, after in zip(self.rungs, [*self.rungs[1:], None], strict=True):
            for trial in self._alive():
                for name, values in self._runs(trial):
                    if not trial.failed:
                        self._advance(trial, name, values, rung)
            if not (alive := self._alive()):
                reason = next(trial.failed for trial in self.trials if trial.failed)
                raise ValueError(T190.format(n_trials=len(self.trials), reason=reason))
            self._compare_measures(alive)
            if after is not None:
                # Sorting keeps the order of equal ones.
                for trial in sorted(alive, key=lambda one: -one.score)[after.n_trials :]:
                    trial.is_dropped = True
                self._write()
                self._clear_dropped()
        return self._finish()

    def _alive(self) -> list[Trial]:
        return [trial for trial in self.trials if not trial.is_dropped and not trial.failed]

    def _advance(self, trial: Trial, name: str, values: ConfigBlock, rung: Rung) -> None:
        """Train a run to the end of a rung, unless it is there."""
        known = trial.results.get(name)
        if known is not None and (known.status == "finished" or 0 < rung.stop_at <= known.n_steps):
            self._test(trial, name)
            return
        folder, log_file = self.output / name, self.log_files[trial.number - 1]
        until = f"to step {rung.stop_at - 1}" if rung.stop_at else "to the end"
        self.tell(f"{name}, {until}: {describe(values)}")
        try:
            is_anothers = self.replaced.get(name) == _token(folder)
            has_begun = Checkpoints(folder / "checkpoints").are_there and not is_anothers
            own = {"training.logger.output_file": str(folder / Path(log_file).name)} if log_file else {}
            judging = self.judging[trial.number - 1]
            self.train(folder, {**self.overrides, **values, **judging, **own}, rung.stop_at, has_begun)
        except (DiskFull, InUse):
            # Not the trial's fault.
            raise
        except (ValueError, OSError, torch.OutOfMemoryError) as error:
            is_told = str(error).startswith("[T") or isinstance(error, torch.OutOfMemoryError)
            if len(self.trials) == 1 or not is_told:
                raise
            trial.failed = without_secrets(str(error).splitlines()[0])
            logger.warning(T194.format(run=name, reason=trial.failed))
        else:
            trial.results[name] = Result.read(folder)
            for key, choice in trial.results[name].precision.items():
                self.precision.setdefault(key, choice)
        finally:
            # The pipeline of a run is large, and there are many runs.
            gc.collect()
        peers = self.trials if self.shares_texts else [trial]
        if len({result.data for peer in peers for result in peer.results.values()}) > 1:
            logger.warning(T189.format(run=name))
        self._write()
        self._test(trial, name)
        if not self.plan.soup:
            self._clear_unwanted()

    def _test(self, trial: Trial, name: str) -> None:
        """Measure the best pipeline of a run that went to the end on the test data."""
        result, model = trial.results.get(name), self.output / name / DIR_MODEL_BEST
        if self.plan.test is None or result is None or result.status != "finished" or result.test or not model.is_dir():
            return
        numbers = numbers_of(evaluate(spacy.load(model), self.plan.test))
        # Of these, accuracy is among the components' own scores too.
        test = {key: value for key, value in numbers.items() if key not in ("accuracy", "docs_per_second", "n_docs")}
        trial.results[name] = replace(result, test=test)
        gc.collect()
        self._write()

    def _compare_measures(self, trials: Sequence[Trial]) -> None:
        measures = dict.fromkeys(result.measure for trial in trials for result in trial.results.values())
        if len(measures) > 1 and not self._told_measures:
            self._told_measures = True
            logger.warning(T433.format(measures=", ".join(measures)))

    def _clear_unwanted(self) -> None:
        """Remove pipelines that nothing can be made of any more, where not all are to stay."""
        if self.plan.keep == "all":
            return
        n_runs = max(1, len(self.plan.seeds))
        finished = {
            trial.number: {name: result for name, result in trial.results.items() if result.status == "finished"}
            for trial in self._alive()
        }
        whole = [trial for trial in self._alive() if len(finished[trial.number]) == n_runs]
        best = max(whole, key=lambda trial: trial.score, default=None)
        for trial in self._alive():
            runs = finished[trial.number]
            # Of a trial that is not at its end, and of the best one, the best run may become the best of all.
            stays = (
                max(runs, key=lambda name: runs[name].score, default="") if trial not in whole or trial is best else ""
            )
            for name in runs:
                shutil.rmtree(self.output / name / DIR_MODEL_LAST, ignore_errors=True)
                if name != stays or self.plan.keep == "none":
                    shutil.rmtree(self.output / name / DIR_MODEL_BEST, ignore_errors=True)

    def _clear_dropped(self) -> None:
        for trial in self.trials:
            if trial.is_dropped or trial.failed:
                for name, _ in self._runs(trial):
                    for part in ("checkpoints", DIR_MODEL_BEST, DIR_MODEL_LAST):
                        shutil.rmtree(self.output / name / part, ignore_errors=True)

    # ---- the best ------------------------------------------------------------------------------------------------

    def _finish(self) -> Studied:
        alive = self._alive()
        best = max(alive, key=lambda trial: trial.score)
        if not self.best_run:
            ranked = sorted(
                ((result.score, name) for trial in alive for name, result in trial.results.items()),
                key=lambda one: -one[0],
            )
            self.best_run = max(best.results, key=lambda name: best.results[name].score)
            if self.plan.soup and len(ranked) > 1:
                self._mix([name for _, name in ranked])
            source, target = self.output / self.best_run / DIR_MODEL_BEST, self.output / DIR_MODEL_BEST
            if self.plan.keep == "none":
                # Of an earlier study, whose place this one takes.
                shutil.rmtree(target, ignore_errors=True)
            elif not self.soup.get("is_better"):
                copy_folder(source, target)
            if target.is_dir():
                sync_tree(target)
            self._write()
        if self.plan.keep != "all":
            for name in (name for trial in alive for name in trial.results):
                for part in (DIR_MODEL_BEST, DIR_MODEL_LAST):
                    shutil.rmtree(self.output / name / part, ignore_errors=True)
        self._clear_dropped()
        for name in (name for trial in alive for name in trial.results):
            shutil.rmtree(self.output / name / "checkpoints", ignore_errors=True)
        return Studied(self.trials, best, self.best_run, self.soup)

    def _mix(self, names: list[str]) -> None:
        """Write the soup of some runs, best first, as model-best if it is better than the best run."""
        self.tell(f"averaging the weights of {len(names)} runs")
        mixed = mix([self.output / name / DIR_MODEL_BEST for name in names])
        ingredients = [path.parent.relative_to(self.output).as_posix() for path in mixed.ingredients]
        self.soup = {
            "ingredients": ingredients, "score": mixed.score, "single": mixed.single, "is_better": mixed.is_better
        }  # fmt: skip
        if mixed.is_better and self.plan.keep != "none":
            settings = registry.resolve(mixed.nlp.config.interpolate()["training"], schema=ConfigSchemaTraining)
            before_to_disk = create_before_to_disk_callback(settings["before_to_disk"])
            with new_folder(self.output / DIR_MODEL_BEST) as folder:
                before_to_disk(mixed.nlp).to_disk(folder)


def _token(folder: Path) -> str:
    """Of the run in a folder; empty where nothing says which one it is."""
    marker = Marker.read(folder)
    return "" if marker is None else marker.token


def _shortest(configs: Sequence[Config]) -> int:
    """Steps of the shortest of several trainings; 0 if one of them has no last step."""
    counted: dict[str, int] = {}
    for config in configs:
        block = config["training"]
        parts = {key: block[key] for key in ("max_steps", "max_epochs", "batcher", "train_corpus", "patience")}
        key = json.dumps({**parts, "corpora": config["corpora"]}, sort_keys=True, default=str)
        if key not in counted:
            examples: list[object] = []
            if block["max_epochs"] > 0:
                nlp = load_model_from_config(config, auto_fill=True)
                (corpus,) = resolve_dot_names(config, [block["train_corpus"]])
                examples = list(corpus(nlp))
            counted[key] = measure(block, examples).n_steps
    return min(counted.values())


def _checked(config: Path | Config, values: ConfigMapping) -> Config:
    """The config of a trial, interpolated.

    RAISES (ValueError): As `read_config`.
    """
    return DEFAULT_CONFIG.merge(read_config(config, values)).interpolate()
