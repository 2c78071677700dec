"""Decides what a project trains and how long, with a reason for each choice."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from time import perf_counter

from spacy.tokens import Doc
from thinc.api import Config

from ..corpora.inspection.near_duplicates import group_near_duplicates
from ..errors import T616, T616_FORM, T616_NONE, T617, T617_EPOCH, require
from ..log import announce
from ..training.search.compare import Compared, compare_recipes, time_updates
from .budget import n_epochs_for, n_updates, shown_seconds
from .config_text import write_config
from .dividing import can_be_held_out, deal
from .encoder_facts import EncoderFacts
from .few.candidates import Candidate, Texts, candidates, clearly_best
from .recipes import RECIPES, Recipe

# Texts a label up to which they count as few: there a whole training costs little, and the recipes are compared.
FEW = 64
# Seconds for the comparison where no budget is given, and its share of one.
_COMPARING, _SHARE = 120.0, 0.5
_FOLDS = 3
# Of an update the share that only computes states, as a probe does.
_FORWARD = 1 / 3


@dataclass(frozen=True)
class Choice:
    """One decision.

    what (str): What was decided.
    value (str): How.
    reason (str): Why, in one line.
    """

    what: str
    value: str
    reason: str


@dataclass(frozen=True)
class Task:
    """What there is to train on.

    docs (list[Doc]): Training texts with their labels.
    strata (list[str]): Of each the label by which folds are kept alike.
    counts (dict[str, int]): Training texts of each label.
    exclusive (bool): Whether each text has exactly one label.
    lang (str): Language of the tokenizer.
    encoder (EncoderFacts): The encoder.
    seed (int): Of the training and the folds.
    gpu_id (int): -1 for the CPU.
    label_texts (Texts): Texts of labels that the user has given; empty without.
    has_dev (bool): Whether there are dev texts.
    """

    docs: list[Doc]
    strata: list[str]
    counts: dict[str, int]
    exclusive: bool
    lang: str
    encoder: EncoderFacts
    seed: int
    gpu_id: int
    label_texts: Texts = field(default_factory=dict)
    has_dev: bool = True

    @property
    def per_label(self) -> float:
        """Texts a label, the median of all labels."""
        return median(self.counts.values())

    @property
    def is_few(self) -> bool:
        """Whether recipes are compared on them."""
        return self.per_label <= FEW

    def config_text(self, recipe: Recipe, n_epochs: int, *, reads_names: bool = False) -> str:
        """Write the config of a recipe."""
        return write_config(
            recipe, exclusive=self.exclusive, lang=self.lang, encoder=self.encoder, n_texts=len(self.docs),
            n_epochs=n_epochs, seed=self.seed, label_texts=self.label_texts if reads_names else None,
            has_dev=self.has_dev,
        )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is trained, and how long.

    recipe (Recipe): What is trained.
    n_epochs (int): Passes over the texts.
    max_seconds (float): Limit of the training; 0 for none.
    choices (list[Choice]): Why.
    compared (list[Compared]): What a comparison gave, the best first; empty where there was none.
    reads_names (bool): Whether texts of the labels are learned from.
    candidates (dict[str, str]): The configs that may be chosen from on few texts, by the name of a file.
    seconds_to_choose (float): For comparing them.
    """

    recipe: Recipe
    n_epochs: int
    max_seconds: float
    choices: list[Choice] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)
    reads_names: bool = False
    candidates: dict[str, str] = field(default_factory=dict)
    seconds_to_choose: float = 0.0


def named_recipe(name: str, *, exclusive: bool) -> Recipe:
    """Find a recipe that the user named.

    name (str): Its name.
    exclusive (bool): Whether each text has exactly one label.
    RETURNS (Recipe): The recipe.
    RAISES (ValueError): T616 for a name that is none, or a recipe for the other kind of labels.
    RAISES (ImportError): T081 for an extra that it needs.
    """
    recipe = RECIPES.get(name)
    if recipe is None:
        raise ValueError(T616.format(problem=T616_NONE.format(name=name), names=", ".join(RECIPES)))
    forms = ("both", "exclusive" if exclusive else "multilabel")
    if recipe.form not in forms:
        fitting = [one.name for one in RECIPES.values() if one.form in forms]
        kind = "exactly one label" if exclusive else "any number of labels"
        raise ValueError(T616.format(problem=T616_FORM.format(name=name, kind=kind), names=", ".join(fitting)))
    if recipe.extra:
        require(recipe.extra, recipe.extra)
    return recipe


def make_plan(task: Task, *, name: str = "auto", budget: float = 0.0, compare: bool = True) -> Plan:
    """Decide what a project trains.

    task (Task): What there is to train on.
    name (str): A recipe, or "auto".
    budget (float): Seconds that a comparison and the training may take here; 0 for no limit.
    compare (bool): Whether recipes may be compared on few texts.
    RETURNS (Plan): The decision.
    RAISES (ValueError): T616 for a recipe that is none or does not fit, T617 for a budget in which a recipe that was
        named makes no pass over the texts.
    """
    if name != "auto":
        recipe = named_recipe(name, exclusive=task.exclusive)
        choices = [Choice("recipe", name, "as asked for")]
        if task.label_texts:
            choices.append(Choice("label texts", "learned from", "as asked for"))
        plan = Plan(
            recipe, n_epochs_for(recipe, len(task.docs)), 0.0, choices, reads_names=bool(task.label_texts)
        )  # fmt: skip
        return _within(task, plan, budget, None, is_named=True)
    if task.is_few:
        return _for_few(task, budget, compare=compare)
    return _for_many(task, budget)


def _for_many(task: Task, budget: float) -> Plan:
    """Tune all of the encoder, or its upper half where there is no time for all."""
    many = f"{task.per_label:.0f} texts a label (median) are enough to tune the encoder"
    began, n_texts = perf_counter(), len(task.docs)
    recipe, update = RECIPES["full" if task.exclusive else "multilabel"], None
    n_epochs = n_epochs_for(recipe, n_texts)
    if not task.exclusive:
        why = f"any number of labels per text; {many}"
    elif task.encoder.kind == "masked LM":
        why = (
            f"{many}; a masked LM was trained on pieces, not on texts, so all layers are tuned (a rule of thumb, not "
            "measured)"
        )
    else:
        why = f"{many}; tuning all of it was more accurate than its upper half (benchmarks/accuracy.md)"
        if budget:
            update = _timed(task, recipe, n_epochs)
            expected = n_epochs * n_updates(recipe, n_texts) * update
            if expected > _left(budget, began):
                recipe, update = RECIPES["half_frozen"], None
                n_epochs = n_epochs_for(recipe, n_texts)
                why = (
                    f"{many}; tuning all of it is more accurate (benchmarks/accuracy.md), but would take about "
                    f"{shown_seconds(expected)}, more than the budget"
                )
    plan = Plan(recipe, n_epochs, 0.0, [Choice("recipe", recipe.name, why)])
    return _within(task, plan, _left(budget, began), update, is_named=False)


# ---- few texts ---------------------------------------------------------------------------------------------------


def _for_few(task: Task, budget: float, *, compare: bool) -> Plan:
    """Compare probes with tuning, with texts of labels and without, as far as there is time for it."""
    began, n_texts = perf_counter(), len(task.docs)
    every = candidates(list(task.counts), task.label_texts, tokenizer=task.encoder.tokenizer)
    default = every[0]
    few = f"few texts, {task.per_label:.0f} a label (median, up to {FEW} count as few)"
    if not default.reads_names:
        few += "; the names of the labels say nothing to the encoder (--label-texts describes them)"
    if not compare or n_texts < 2 * _FOLDS or not can_be_held_out(task.strata):
        reason = "most labels have a single text, so none can be held out" if compare else "--no-compare says so"
        why = f"{few}; a rule, nothing was compared: {reason}"
        return _within(task, _chosen(task, default, why), budget, None, is_named=False)
    update = _timed(task, RECIPES["probe_then_tune"], 1)
    limit = budget * _SHARE if budget else _COMPARING
    seconds = {one.name: one.seconds(update, n_texts, _FOLDS) for one in every}
    # What is taken by rule, then the cheapest that still fit: without it there is nothing to say of it.
    fitting, expected = set[str](), 0.0
    for one in sorted(every, key=lambda one: (one is not default, seconds[one.name])):
        if expected + seconds[one.name] > limit:
            break
        fitting.add(one.name)
        expected += seconds[one.name]
    allowed = (
        f"{shown_seconds(limit)} are allowed for it (half of --budget, or {shown_seconds(_COMPARING)} without one)"
    )
    compared_ones = [one for one in every if one.name in fitting]
    if len(compared_ones) < 2:
        needed = seconds[default.name] + min(seconds[one.name] for one in every if one is not default)
        why = f"{few}; a rule: comparing it with another one would take about {shown_seconds(needed)}, and {allowed}"
        return _within(task, _chosen(task, default, why), _left(budget, began), update, is_named=False)
    left_out = [one.name for one in every if one.name not in fitting]
    names = ", ".join(one.name for one in compared_ones)
    announce(f"Comparing {names} on the training texts, {_FOLDS} folds, about {shown_seconds(expected)}")
    groups = group_near_duplicates([doc.text for doc in task.docs])
    texts = {
        one: task.config_text(one.recipe, n_epochs_for(one.recipe, n_texts), reads_names=one.reads_names)
        for one in compared_ones
    }
    configs = {one.name: Config().from_str(text, interpolate=False) for one, text in texts.items()}
    folds = deal(task.strata, groups, _FOLDS, seed=task.seed)
    compared = compare_recipes(configs, task.docs, folds, gpu_id=task.gpu_id, max_seconds=limit)
    chosen = clearly_best(compared, compared_ones[0].name)
    best = next(one for one in every if one.name == chosen.name)
    scores = ", ".join(f"{one.name} {one.score:.1%}" for one in compared)
    measure = "entirely right" if task.exclusive else "micro F"
    why = (
        f"{few}; compared on {compared[0].n_texts} held-out training texts, {measure}: {scores} "
        f"(standard error about {compared[0].standard_error:.1%})"
    )
    why += "; none is better than what is taken by rule by more than that" if chosen is not compared[0] else ""
    why += f"; no time for {', '.join(left_out)}: {allowed}" if left_out else ""
    plan = replace(
        _chosen(task, best, why), compared=compared, seconds_to_choose=limit,
        candidates={one.file: text for one, text in texts.items()},
    )  # fmt: skip
    return _within(task, plan, _left(budget, began), update, is_named=False)


def _chosen(task: Task, one: Candidate, why: str) -> Plan:
    choices = [Choice("recipe", one.name, why)]
    return Plan(one.recipe, n_epochs_for(one.recipe, len(task.docs)), 0.0, choices, reads_names=one.reads_names)


# ---- the limit ---------------------------------------------------------------------------------------------------


def _timed(task: Task, recipe: Recipe, n_epochs: int) -> float:
    """Seconds that an update takes on some of the texts."""
    some: Sequence[Doc] = task.docs[:: max(1, len(task.docs) // 200)][:200]
    config = Config().from_str(task.config_text(recipe, n_epochs), interpolate=False)
    return time_updates(config, some, gpu_id=task.gpu_id)


def _left(budget: float, began: float) -> float:
    """What measuring and comparing have left of a budget; 0 for none."""
    return max(1.0, budget - (perf_counter() - began)) if budget else 0.0


def _within(task: Task, plan: Plan, budget: float, update: float | None, *, is_named: bool) -> Plan:
    """Let a plan keep to a limit."""
    recipe, n_texts = plan.recipe, len(task.docs)
    if not recipe.trains:
        length = Choice("length", "one pass", "the head is solved on the vectors; there is nothing to train longer")
        return replace(plan, choices=[*plan.choices, length])
    per_pass = n_updates(recipe, n_texts)
    rule = (
        f"{plan.n_epochs * per_pass:,} updates of {recipe.docs} texts; a rule: about {recipe.n_steps} updates, "
        f"5 to {recipe.most_epochs} passes (fewer from 20,000 texts on)"
    )
    rule += f", at least {recipe.least_steps} updates" if recipe.least_steps else ""
    if not budget:
        length = Choice("length", f"{plan.n_epochs} passes", f"{rule}; no --budget was given")
        return replace(plan, choices=[*plan.choices, length])
    if update is None:
        began = perf_counter()
        seconds = _timed(task, recipe, plan.n_epochs)
        budget = _left(budget, began)
    else:
        # Of the whole encoder, measured for a comparison.
        seconds = update * recipe.cost
    one_pass = per_pass * seconds
    fitting = int(budget / one_pass)
    measured = (
        f"an update takes about {seconds:.2g} s here (measured, before anything is cached), a pass "
        f"{shown_seconds(one_pass)}"
    )
    if fitting >= plan.n_epochs:
        length = Choice("length", f"{plan.n_epochs} passes", f"{rule}; {measured}: within {shown_seconds(budget)}")
        return replace(plan, max_seconds=budget, choices=[*plan.choices, length])
    if fitting >= 1:
        reason = f"{measured}, so no more fit into {shown_seconds(budget)}; without a limit {plan.n_epochs} passes"
        length = Choice("length", f"{fitting} passes" if fitting > 1 else "one pass", reason)
        return replace(plan, n_epochs=fitting, max_seconds=budget, choices=[*plan.choices, length])
    if is_named:
        problem = T617_EPOCH.format(recipe=recipe.name, one_pass=shown_seconds(one_pass), budget=shown_seconds(budget))
        raise ValueError(T617.format(problem=problem))
    probe = RECIPES["linear_probe"]
    expected = one_pass * _FORWARD
    late = "" if expected <= budget else f": even that takes about {shown_seconds(expected)}, more than the budget"
    reason = (
        f"what is left of the budget, {shown_seconds(budget)}, is too small for one pass of {recipe.name} "
        f"({shown_seconds(one_pass)}){late}"
    )
    choices = [Choice("recipe", probe.name, reason), Choice("length", "one pass", "the head is solved on the vectors")]
    return replace(plan, recipe=probe, n_epochs=0, choices=choices)
