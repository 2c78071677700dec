"""Configs as they are given: values and blocks put in, what nothing reads refused, in every command alike."""

import inspect
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.cli.init_config import fill_config
from spacy.util import load_config, load_model_from_config
from thinc.api import Config
from typer.testing import CliRunner

from house_kit.pipelines import pipeline
from house_kit.repository import REPOSITORY
from house_kit.runs import MODEL, config_of, run, write_corpus
from spacy_transfer.cli import transfer_cli
from spacy_transfer.config import values
from spacy_transfer.config.blocks import filled, function_of, keys_of
from spacy_transfer.config.keys import check_keys
from spacy_transfer.config.reading import read_config
from spacy_transfer.nn.tuning import Tuning

CONFIGS = sorted((REPOSITORY / "configs").glob("*.cfg"))
FULL = REPOSITORY / "configs" / "full.cfg"
BLOCK = f"components.{MODEL}.model"
FACTORIES = ["transfer_textcat", "transfer_textcat_multilabel", "transfer_masked_lm"]
FOCAL = {"@losses": "spacy-transfer.Focal.v1", "exclusive": True}


def at(config: Mapping[str, Any], key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = found[part]
    return found


def blocks_of(config: Mapping[str, Any], key: str = "") -> Iterator[str]:
    """Dotted keys of all blocks that name a function."""
    for name, part in config.items():
        if isinstance(part, Mapping):
            if function_of(part) is not None:
                yield f"{key}{name}"
            yield from blocks_of(part, f"{key}{name}.")


# ---- one place for each default ------------------------------------------------------------------------------------


def defaults_of(block: Mapping[str, Any]) -> dict[str, Any]:
    """What the function or dataclass that a block names says itself of its keys."""
    kind, name = function_of(block) or ("", "")
    parameters = inspect.signature(spacy.registry.get(kind, name)).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_factories_write_no_default_of_a_block(factory: str) -> None:
    default = spacy.blank("en").get_factory_meta(factory).default_config
    for key in blocks_of(default):
        block = at(default, key)
        # A block in the place of a None says which one is meant, not what stands in it.
        # A tuple is written as the list that it becomes in a config.
        written = [k for k, value in block.items() if function_of(value) is None and not isinstance(value, list)]
        assert not set(written) & set(defaults_of(block)), key


def assert_complete(config: Config, given: Config) -> None:
    """Every key of every block is there, with its own default where nobody has said otherwise."""
    seen = 0
    for key in blocks_of(config["components"]):
        block, said = at(config["components"], key), given["components"]
        for part in key.split("."):
            said = said.get(part) or {}
        for name, value in defaults_of(block).items():
            assert name in block, f"{key}.{name}"
            if name not in said and function_of(block[name]) is None:
                assert json.dumps(block[name]) == json.dumps(value), f"{key}.{name}"
            seen += 1
    assert seen > 10


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_new_component_has_every_key_in_its_config(factory: str) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe(factory)
    given = Config({"components": {factory: nlp.get_factory_meta(factory).default_config}})
    assert_complete(nlp.config.interpolate(), given)
    assert Config().from_str(nlp.config.to_str())["components"] == nlp.config["components"]
    tuning = {"@misc": "spacy-transfer.Tuning.v1"}
    filled_in = spacy.registry.fill({"tuning": tuning})["tuning"]
    assert filled_in == {**tuning, **{one.name: one.default for one in fields(Tuning)}}


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_fill_config_writes_every_key(path: Path, tmp_path: Path) -> None:
    if path.stem == "shared":
        pytest.importorskip("spacy_transformers")
    fill_config(tmp_path / "filled.cfg", path, silent=True)
    found = load_config(tmp_path / "filled.cfg")
    assert_complete(found, filled(load_config(path)))
    # Nothing is left to fill in.
    fill_config(tmp_path / "again.cfg", tmp_path / "filled.cfg", silent=True)
    assert (tmp_path / "again.cfg").read_text() == (tmp_path / "filled.cfg").read_text()


# ---- keys that nothing reads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_every_shipped_config_is_read_as_it_is(path: Path) -> None:
    if path.stem == "shared":
        pytest.importorskip("spacy_transformers")
    assert read_config(path).to_str() == load_config(path).to_str()
    check_keys(filled(read_config(path)))


def test_a_misspelled_key_in_a_block_of_any_kind_is_refused() -> None:
    """Each function that the shipped configs name, once, in the filled config and as the only thing written."""
    seen: set[tuple[str, str]] = set()
    for path in CONFIGS:
        if path.stem == "shared":
            continue
        whole = filled(read_config(path))
        for key in list(blocks_of(whole)):
            block = at(whole, key)
            if (function := function_of(block)) in seen or function is None or not keys_of(*function):
                continue
            seen.add(function)
            known = keys_of(*function)[0]  # type: ignore[index]
            broken = whole.copy()
            at(broken, key)[f"{known}x"] = 1
            message = rf"T420\] {key}\.{re.escape(known)}x: .*Did you mean {re.escape(known)}\?"
            with pytest.raises(ValueError, match=message):
                check_keys(broken)
    assert len({kind for kind, _ in seen}) > 6
    assert len(seen) > 25


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("nlp.langg", "en", r"T330.*Did you mean lang\?"),
        ("nlp.tokenizer.x", 1, r"T420.*spacy.Tokenizer.v1"),
        ("training.learning_rate", 1, "T330"),
        ("training.max_step", 1, r"T330.*Did you mean max_steps\?"),
        ("training.optimizer.betta1", 0.9, r"T420.*Did you mean beta1\?"),
        ("training.optimizer.learn_rate.peek", 0.9, r"T420.*Did you mean peak\?"),
        ("training.batcher.doc", 3, r"T420.*Did you mean docs\?"),
        ("training.logger.x", 3, "T420"),
        ("training.train_corpus", "corpora.trian", r"T425.*Did you mean train\?"),
        ("corpora.train.pathh", "x", r"T420.*Did you mean path\?"),
        ("corpora.trian.path", "x", r"T334.*Did you mean train\?"),
        ("initialize.vector", "x", r"T330.*Did you mean vectors\?"),
        (f"initialize.components.{MODEL}.label", [], r"T420.*Did you mean labels\?"),
        ("initialize.components.transfer_textca.labels", [], r"T422.*Did you mean transfer_textcat\?"),
        ("components.transfer_textca.threshold", 0.5, r"T422.*Did you mean transfer_textcat\?"),
        (f"components.{MODEL}.treshold", 0.5, r"T420.*Did you mean threshold\?"),
        (f"components.{MODEL}.factory", "transfer_textca", r"T421.*Did you mean transfer_textcat\?"),
        (f"components.{MODEL}.modle.head.hidden", [3], r"T420.*Did you mean model\?"),
        (f"{BLOCK}.encodr.name", "x", r"T420.*Did you mean encoder\?"),
        (f"{BLOCK}.tuning", {"frozen_dept": 1}, r"T420.*Did you mean frozen_depth\?"),
        (f"{BLOCK}.text.normalization.lowre", True, r"T420.*Did you mean lower\?"),
        ("paths.trian", "x", r"T334.*Did you mean paths.train\?"),
    ],
)  # fmt: skip
def test_a_value_that_nothing_reads_is_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_config(FULL, {key: value})


def test_a_section_that_looks_like_another_is_refused(tmp_path: Path) -> None:
    text = FULL.read_text("utf-8")
    for section, message in (("trainig", r"T334\] \[trainig\].*Did you mean training\?"), ("notes", "")):
        (tmp_path / "config.cfg").write_text(f"{text}\n[{section}]\nx = 1\n", "utf-8")
        if message:
            with pytest.raises(ValueError, match=message):
                read_config(tmp_path / "config.cfg")
        else:
            read_config(tmp_path / "config.cfg")


# ---- blocks --------------------------------------------------------------------------------------------------------


def written_out() -> Config:
    """As `init fill-config` writes it."""
    found: Config = load_model_from_config(load_config(FULL), auto_fill=True).config
    return found


def unfilled_and_filled() -> list[Config]:
    return [load_config(FULL), written_out()]


@pytest.mark.parametrize("config", unfilled_and_filled(), ids=["unfilled", "filled"])
def test_another_function_takes_the_place_of_a_block(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    values._told.clear()
    for _ in range(2):
        given = {f"{BLOCK}.loss.exclusive": True, f"{BLOCK}.loss.@losses": FOCAL["@losses"]}
        found = read_config(config, given)
        assert filled(found)["components"][MODEL]["model"]["loss"] == {
            **FOCAL, **({"class_weights": "none"} if "class_weights" in at(config, BLOCK).get("loss", {}) else {})
        }  # fmt: skip
    # What goes is said, and said once: a study reads the same config many times.
    assert caplog.text.count("T423") == 1
    assert "label_smoothing = 0.1" in caplog.text
    same = read_config(config, {f"{BLOCK}.loss.@losses": "spacy-transfer.CrossEntropy.v1"})
    assert filled(same) == filled(config)
    # A number in the place of a schedule, and a schedule in the place of a number.
    flat = read_config(config, {"training.optimizer.learn_rate": 1e-3})
    rate = {"@schedules": "constant.v1", "rate": 1e-3}
    for way in (rate, None):
        again = {"training.optimizer.learn_rate": way} if way else {
            f"training.optimizer.learn_rate.{key}": value for key, value in rate.items()
        }  # fmt: skip
        assert read_config(flat, again)["training"]["optimizer"]["learn_rate"] == rate


@pytest.mark.parametrize("config", unfilled_and_filled(), ids=["unfilled", "filled"])
def test_a_whole_block_is_one_value(config: Config) -> None:
    found = read_config(config, {f"{BLOCK}.loss": FOCAL, f"{BLOCK}.loss.gamma": 1.5})
    assert filled(found)["components"][MODEL]["model"]["loss"] == {**FOCAL, "gamma": 1.5}
    # Without the name of a function it sets only what it has.
    some = read_config(config, {f"{BLOCK}.tuning": {"frozen_depth": 2}})
    before = filled(config)["components"][MODEL]["model"]["tuning"]
    assert filled(some)["components"][MODEL]["model"]["tuning"] == {**before, "frozen_depth": 2}
    assert filled(config)["components"][MODEL]["model"]["tuning"]["frozen_depth"] != 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({f"{BLOCK}.pooling.@layers": "MaxPooling"}, r"T421.*Did you mean spacy-transfer\.MaxPooling\.v1\?"),
        ({f"{BLOCK}.loss.@layers": FOCAL["@losses"]}, "T421.*registered as @losses"),
        ({f"{BLOCK}.loss.@lossses": FOCAL["@losses"]}, "T421.*Did you mean losses"),
        ({f"{BLOCK}.loss.@losses": FOCAL["@losses"]}, "T424.*exclusive.*JSON"),
        ({f"{BLOCK}.pooling": "max"}, "T422.*as JSON"),
        ({f"{BLOCK}.loss": '{"@losses": "x",}'}, "T426.*JSON"),
        ({f"{BLOCK}.piece_budget.x": 1}, "T422.*'auto'.*JSON"),
        ({"paths.train.x": 1}, "T422|T334"),
        ({"max_steps": 1}, "T422.*max_steps"),
    ],
)  # fmt: skip
def test_what_is_no_block_is_told(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_config(written_out(), given)


def test_a_swapped_block_trains(bert: Path, tmp_path: Path) -> None:
    """And the pipeline says so: what it is loaded from has nothing of the old block."""
    config = config_of(bert, write_corpus(tmp_path), steps=2)
    given = {f"{BLOCK}.loss": FOCAL, f"{BLOCK}.pooling.@layers": "spacy-transfer.MaxPooling.v1"}
    run(config, tmp_path / "out", overrides=given)
    block = spacy.load(tmp_path / "out" / "model-last").config["components"][MODEL]["model"]
    assert block["loss"]["@losses"] == FOCAL["@losses"]
    assert "label_smoothing" not in block["loss"]
    assert block["pooling"] == {"@layers": "spacy-transfer.MaxPooling.v1"}


# ---- commands ------------------------------------------------------------------------------------------------------

CODE = """
from spacy import registry
from spacy_transfer.nn.losses.cross_entropy import CrossEntropy

@registry.losses("{name}")
def make_loss():
    return CrossEntropy()
"""


def command(*args: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(transfer_cli, [*map(str, args)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def saved(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    pipeline(bert).to_disk(folder)
    return folder


@pytest.mark.parametrize(
    "args",
    [
        ["train", FULL, "-o", "OUT"], ["show", FULL], ["augment", FULL], ["pretrain", FULL, FULL, "OUT"],
        ["evaluate", "SAVED", "x.spacy"], ["merge", "SAVED", "OUT"], ["detach", "SAVED", "OUT"],
        ["attach", "SAVED", "OUT"],
    ],
    ids=lambda args: args[0],
)  # fmt: skip
def test_every_command_takes_code_and_tells_a_mistake_alike(args: list[Any], saved: Path, tmp_path: Path) -> None:
    places = {"OUT": tmp_path / "out", "SAVED": saved}
    args = [places.get(one, one) for one in args]
    for text, reason in (("1 / 0", "ZeroDivisionError"), (None, "[T440]")):
        (tmp_path / "code.py").unlink(missing_ok=True)
        if text is not None:
            (tmp_path / "code.py").write_text(text)
        said = command(*args, "--code", tmp_path / "code.py", code=1)
        assert ("[T428]" in said) == (text is not None)
        assert reason in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("args", [["train", "-o", "OUT"], ["show"], ["augment"]], ids=lambda args: args[0])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--training.learning_rate", "1"], "[T330] training.learning_rate"),
        ([f"--{BLOCK}.tuning.frozen_dept", "1"], "Did you mean frozen_depth"),
        ([f"--{BLOCK}.pooling.@layers", "MaxPooling"], "Did you mean spacy-transfer.MaxPooling.v1"),
        (["--nlp.pipeline", '["x"]'], "[E956]"),
        (["--max_steps", "3"], "[T430] There is no option --max_steps"),
        (["training.max_steps=3"], "[T430]"),
    ],
)
def test_a_mistake_is_told_alike_wherever_a_config_is_read(
    args: list[str], given: list[str], said: str, tmp_path: Path
) -> None:
    where = [str(tmp_path / "out") if one == "OUT" else one for one in args]
    assert said in command(where[0], FULL, *where[1:], *given, code=1)
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.parametrize("name", ["train", "show", "augment", "pretrain"])
@pytest.mark.parametrize(
    ("text", "said"),
    [("[nlp\n", "[T427]"), ("[nlp]\nlang = ${a.b}\n", "[T427]"), ("[nlp]\nlang = \"en\"\n[nlp.x]\ny = 1\n", "[T330]")],
)  # fmt: skip
def test_a_broken_config_is_told_alike(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.cfg").write_text(text)
    (tmp_path / "raw.txt").write_text("some text\n")
    more: list[str | Path] = {
        "train": ["-o", tmp_path / "out"],
        "pretrain": [tmp_path / "raw.txt", tmp_path / "out"],
    }.get(name, [])
    assert said in command(name, tmp_path / "config.cfg", *more, code=1)


def test_own_code_goes_with_a_pipeline(bert: Path, tmp_path: Path) -> None:
    """Trained, shown and evaluated with a loss of one's own; without it, one line says where it comes from."""
    corpus = write_corpus(tmp_path)
    config = config_of(bert, corpus, steps=2)
    config["components"][MODEL]["model"]["loss"] = {"@losses": "test.own_loss.v1"}
    config.to_disk(tmp_path / "config.cfg")
    (tmp_path / "code.py").write_text(CODE.format(name="test.own_loss.v1"))
    said = command("train", tmp_path / "config.cfg", "-o", tmp_path / "out", "--show", "none", code=1)
    assert "[T421]" in said
    assert "--code" in said
    code = ("--code", tmp_path / "code.py")
    command("train", tmp_path / "config.cfg", "-o", tmp_path / "out", "--show", "none", *code)
    model = tmp_path / "out" / "model-best"
    assert "CrossEntropy" in command("show", model, *code)
    assert "accuracy" in command("evaluate", model, corpus / "dev.spacy", *code)
    assert "[T429]" in command("show", model, "--training.max_steps", "3", code=1)
