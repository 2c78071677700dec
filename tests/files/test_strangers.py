"""Encoder folders and saved pipelines may be a stranger's: they load as they are, or one coded error says why not."""

import hashlib
import json
import math
import os
import re
import shutil
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from safetensors.torch import load_file, save_file
from spacy.language import Language
from tokenizers import AddedToken, Tokenizer

from house_kit.encoders import write_encoder
from house_kit.pipelines import pipeline, read_json
from house_kit.runs import config_of, run, write_corpus
from house_kit.texts import exclusive_examples
from spacy_transfer.files import sha256_of
from spacy_transfer.files.strangers import UnusableFile, parse_object
from spacy_transfer.model.text.tokenizer import PieceTokenizer
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder
from spacy_transfer.repository.fetch import fetch
from spacy_transfer.repository.tokenizer_files import check_readable
from spacy_transfer.repository.weight_files import is_finite
from spacy_transfer.training.loop.position import Position
from spacy_transfer.training.state.checkpoint import Checkpoints
from spacy_transfer.training.state.random_state import RandomState

NAME = "transfer_textcat"
DEEP = "deep"
MISSING = "missing"
CODED = re.compile(r"\[T\d{3}\]")
VALUES: list[Any] = [
    None, True, "x", -1, 0, 3, 10**9, 10**400, 0.5, 1e300, float("nan"), [], [-1], {}, {"a": [None]}, DEEP, MISSING,
]  # fmt: skip


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT."""
    return shutil.copytree(bert, tmp_path / "encoder")


@pytest.fixture(scope="module")
def trained(bert: Path) -> Language:
    """A pipeline that was initialized."""
    return pipeline(bert)


@pytest.fixture
def saved(trained: Language, tmp_path: Path) -> Path:
    """The folder of its component."""
    trained.to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline" / NAME


def mutations(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[str, str]]:
    """A JSON value with every key's value replaced in turn: what was done, and the text."""
    inner = data
    for key in path:
        inner = inner[key]
    for key in list(inner) if isinstance(inner, dict) else []:
        for value in VALUES:
            changed = json.loads(json.dumps(data))
            holder = changed
            for step in path:
                holder = holder[step]
            if value is MISSING:
                del holder[key]
            else:
                holder[key] = value
            text = json.dumps(changed).replace(f'"{DEEP}"', "[" * 20_000 + "]" * 20_000)
            yield f"{'.'.join(map(str, (*path, key)))} = {value!r:.30}", text
        yield from mutations(data, (*path, key))


def try_all(file: Path, use: Callable[[], object], change: Callable[[], object] = lambda: None) -> dict[str, str]:
    """Every mutation of a file is used, or refused with a code, within a second. RETURNS (dict): What was refused."""
    refused, wrong = {}, []
    for what, text in list(mutations(read_json(file))):
        file.write_text(text, "utf-8")
        change()
        begin = time.process_time()
        try:
            use()
        except (ValueError, OSError) as error:
            refused[what] = str(error)
            if not CODED.match(str(error)):
                wrong.append(f"{what}: {error!r}")
        except Exception as error:
            wrong.append(f"{what}: {error!r}")
        if time.process_time() - begin > 2.0:
            wrong.append(f"{what}: {time.process_time() - begin:.1f} s")
    assert not wrong, "\n".join(wrong)
    return refused


def load(folder: Path) -> None:
    """Load an encoder and run it."""
    loaded = PretrainedEncoder(str(folder)).load()
    ids = torch.tensor([[2, 7, 8, 3], [2, 9, 3, 0]])
    with torch.no_grad():
        loaded.encoder.eval()(ids, (ids > 0).long())


# ---- every key ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_key_of_config_json(folder: Path) -> None:
    refused = try_all(folder / "config.json", lambda: load(folder))
    assert "hidden_size = 1000000000" in refused
    assert any("hidden_size = 3" in told for told in refused.values())
    assert "num_hidden_layers = 0" in refused


@pytest.mark.slow
def test_every_key_of_encoder_json_signed_anew(saved: Path, trained: Language) -> None:
    cfg = saved / "cfg"

    def sign() -> None:
        data = read_json(cfg)
        data["network"]["sha256"]["encoder.json"] = hashlib.sha256((saved / "encoder.json").read_bytes()).hexdigest()
        cfg.write_text(json.dumps(data))

    pipe = spacy.util.load_model_from_config(trained.config, auto_fill=True).get_pipe(NAME)
    refused = try_all(saved / "encoder.json", lambda: pipe.from_disk(saved), sign)
    assert "config.vocab_size = 1000000000" in refused


def test_every_key_of_cfg(saved: Path, trained: Language) -> None:
    pipe = spacy.util.load_model_from_config(trained.config, auto_fill=True).get_pipe(NAME)
    refused = try_all(saved / "cfg", lambda: pipe.from_disk(saved))
    for what in (
        "labels = 'x'",
        "labels = []",
        "network = []",
        "network.n_labels = 1000000000",
        "network.n_steps = 'x'",
    ):
        assert what in refused, what


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "encoder.lock.json"])
def test_every_key_of_index_and_lock(name: str, folder: Path, tmp_path: Path) -> None:
    if name == "encoder.lock.json":
        folder = fetch(folder, tmp_path / "fetched").folder
    else:
        (folder / "model.safetensors").rename(folder / "a-1.safetensors")
        names = load_file(folder / "a-1.safetensors")
        (folder / name).write_text(
            json.dumps({"metadata": {}, "weight_map": dict.fromkeys(list(names)[:2], "a-1.safetensors")})
        )
    try_all(folder / name, lambda: load(folder))


# ---- what would be loaded in another's place ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("_attn_implementation", "stranger/kernel:attention", "attention code"),
        ("_attn_implementation_internal", "stranger/kernel:attention", "attention code"),
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}, "unquantized weights"),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}, "unquantized weights"),
        ("auto_map", {"AutoModel": "modeling.Model"}, "never run"),
    ],
)
def test_no_key_makes_transformers_load_something_else(
    key: str, value: Any, said: str, folder: Path, saved: Path, trained: Language, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def get_kernel(*args: Any, **options: Any) -> Any:
        raise AssertionError(f"asked for the kernel {args}")

    monkeypatch.setitem(sys.modules, "kernels", types.SimpleNamespace(get_kernel=get_kernel))
    config = folder / "config.json"
    config.write_text(json.dumps({**read_json(config), key: value}))
    for use in (lambda: load(folder), lambda: fetch(folder, tmp_path / "fetched")):
        with pytest.raises(UnusableFile, match=rf"T016.*{said}"):
            use()
    record = read_json(saved / "encoder.json")
    record["config"][key] = value
    (saved / "encoder.json").write_text(json.dumps(record))
    with pytest.raises(UnusableFile, match=rf"T016.*{said}"):
        PretrainedEncoder(str(saved)).load()


def test_what_plays_no_part_is_not_taken(folder: Path) -> None:
    config = folder / "config.json"
    more = {"torch_dtype": "float9", "return_dict": False, "gradient_checkpointing": True, "id2label": [1]}
    config.write_text(json.dumps({**read_json(config), **more}))
    load(folder)
    with pytest.raises(ValueError, match=r"T005.*attention"):
        PretrainedEncoder(str(folder), attention="stranger/kernel")  # type: ignore[arg-type]


def test_an_adapter_beside_the_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "stranger/base"}')
    for use in (lambda: load(folder), lambda: fetch(folder, tmp_path / "fetched")):
        with pytest.raises(UnusableFile, match=r"T016.*merge_and_unload"):
            use()


def test_tokenizer_files_come_from_the_folder(folder: Path, tmp_path: Path) -> None:
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=lambda piece: vocabulary[piece])) + "\n")
    private = tmp_path / "private.txt"
    private.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nsecret\n")
    settings = {"tokenizer_class": "BertTokenizerFast", "vocab_file": str(private), "tokenizer_file": str(private)}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert "secret" not in PretrainedEncoder(str(folder)).load().tokenizer
    (folder / "vocab.txt").unlink()
    (folder / "vocab.txt").symlink_to(private)
    with pytest.raises(UnusableFile, match=r"T450.*vocab.txt.*leaves its folder"):
        load(folder)


@pytest.mark.parametrize("name", ["LICENSE", "README.md", "NOTICE", "tokenizer_config.json", "model.safetensors"])
def test_links_that_leave_the_folder(name: str, folder: Path, tmp_path: Path) -> None:
    private = tmp_path / "private.txt"
    private.write_text("secret")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(private)
    for use in (lambda: load(folder), lambda: fetch(folder, tmp_path / "fetched")):
        with pytest.raises(UnusableFile, match=f"T450.*{name}.*leaves its folder"):
            use()
    (folder / name).unlink()
    if name == "LICENSE":
        (folder / "text").write_text("free")
        (folder / name).symlink_to("text")
        load(folder)


# ---- weights -----------------------------------------------------------------------------------------------------

WEIGHT = "encoder.layer.1.output.dense.weight"
DAMAGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "NaN": lambda weight: weight.index_fill(0, torch.tensor([1]), float("nan")),
    "infinity": lambda weight: weight.index_fill(0, torch.tensor([1]), float("inf")),
    "int64": lambda weight: weight.long(),
    "bool": lambda weight: weight > 0,
    "fp16": lambda weight: weight.half(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_weights_of_wrong_values_or_types(damage: str, folder: Path, saved: Path, trained: Language) -> None:
    pipe = spacy.util.load_model_from_config(trained.config, auto_fill=True).get_pipe(NAME)
    for file, name in (
        (folder / "model.safetensors", WEIGHT),
        (saved / "weights.safetensors", f"encoder.body.{WEIGHT}"),
    ):
        weights = load_file(file)
        weights[name] = DAMAGES[damage](weights[name])
        save_file(weights, file)
    if damage != "fp16":
        # Encoders are handed out in fp16 too.
        with pytest.raises(UnusableFile, match=rf"T452.*{WEIGHT}"):
            load(folder)
    cfg = read_json(saved / "cfg")
    cfg["network"]["sha256"]["weights.safetensors"] = hashlib.sha256(
        (saved / "weights.safetensors").read_bytes()
    ).hexdigest()
    (saved / "cfg").write_text(json.dumps(cfg))
    for use in (lambda: pipe.from_disk(saved), lambda: PretrainedEncoder(str(saved)).load()):
        with pytest.raises(UnusableFile, match=rf"T452.*{WEIGHT}"):
            use()


def test_large_finite_values_are_no_infinity() -> None:
    assert is_finite(torch.full((4,), 3e38))
    assert not is_finite(torch.tensor([float("inf"), float("-inf"), 1.0]))
    assert is_finite(torch.zeros(0))


# ---- names and kinds of files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/dev/zero", "../x", "LICENSE.encoder"])
def test_only_files_that_we_write_are_read(name: str, saved: Path, trained: Language) -> None:
    pipe = spacy.util.load_model_from_config(trained.config, auto_fill=True).get_pipe(NAME)
    cfg = read_json(saved / "cfg")
    cfg["network"]["sha256"][name] = "0" * 64
    (saved / "cfg").write_text(json.dumps(cfg))
    with pytest.raises(OSError, match="T082"):
        pipe.from_disk(saved)


@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.json", "encoder.json"])
def test_a_file_that_is_not_listed_is_not_read(name: str, saved: Path, trained: Language) -> None:
    pipe = spacy.util.load_model_from_config(trained.config, auto_fill=True).get_pipe(NAME)
    cfg = read_json(saved / "cfg")
    del cfg["network"]["sha256"][name]
    (saved / "cfg").write_text(json.dumps(cfg))
    with pytest.raises(OSError, match=f"T082.*{name}"):
        pipe.from_disk(saved)


@pytest.mark.parametrize("name", ["cfg", "weights.safetensors", "tokenizer.json", "encoder.json"])
def test_pipes_are_no_files(name: str, saved: Path, trained: Language) -> None:
    pipe = spacy.util.load_model_from_config(trained.config, auto_fill=True).get_pipe(NAME)
    (saved / name).unlink()
    os.mkfifo(saved / name)
    with pytest.raises(OSError, match="T082"):
        pipe.from_disk(saved)


# ---- tokenizers --------------------------------------------------------------------------------------------------


def test_an_unreadable_tokenizer(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": {"type": "OfTomorrow"}}')
    with pytest.raises(ValueError, match=r"T454.*tokenizer.json.*pip install -U tokenizers"):
        fetch(folder, tmp_path / "fetched")
    with pytest.raises(ValueError, match=r"T4\d\d"):
        pipeline(folder)


def test_pieces_without_a_row(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken("[NEVER]", special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    nlp = pipeline(folder)
    nlp.update(exclusive_examples(nlp, 2))
    tokenizer.add_tokens(["sourdough"])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"T4\d\d.*sourdough"):
        pipeline(folder)


def test_layers_that_the_configuration_leaves_out(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder", "bert")
    config = read_json(folder / "config.json")
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    with pytest.raises(UnusableFile, match=r"T453.*num_hidden_layers = 2.*3 layers"):
        load(folder)


# ---- checkpoints -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_key_of_a_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    start = checkpoints.begin({"w": torch.ones(2)})
    none = {"python": None, "numpy": None, "torch": None, "cuda": []}
    network = {
        "n_steps": 1, "gradients": {"loss_scale": 1.0, "n_good": 0, "is_fitted": True}, "piece_limit": None,
        "epoch": 0, "label_weights": [1.0], "awaited": [], "n_draws": 1, "pathway": {
            "boundary": 0, "n_filled": 0, "n_predicted": 0, "batches": {"others": []},
            "cached": {"used": 0, "told_full": False, "seen": None},
        },
    }  # fmt: skip
    optimizer = {
        "settings": dict.fromkeys(("learn_rate", "grad_clip", "b1", "b2", "eps", "L2"), 0.1), "kinds": {},
        "radam": [[None] * 3] * 10, "nr_update": {"w": 1}, "last_seen": {},
    }  # fmt: skip
    begun = {"random": none, "positions": [], "place": 1, "foreign": [[0, none]]}
    state = {
        "identity": {key: {} for key in ("config", "data", "precision", "parts")} | {"dev": "x", "streamed": None},
        "versions": {"torch": "1"}, "threads": 1, "start": start, "log_size": 0, "log_sha256": "",
        "position": {**vars(Position()), "n_done": 1}, "random": RandomState.now().to_json(),
        "order": {"epoch": 0, "reading": none, "own": none, "begun": begun}, "networks": {"a": network},
        "optimizer": optimizer, "extras": {}, "performance": {"x": 0.5}, "score_weights": {"x": 1.0},
        "precision": None,
    }  # fmt: skip
    empty = {name: {"w": torch.ones(1)} for name in ("weights", "optimizer", "places")}
    assert checkpoints.write(1, state, empty)
    folder = checkpoints.read().folder
    signed = folder / "sha256.json"

    def sign() -> None:
        digest = hashlib.sha256((folder / "state.json").read_bytes()).hexdigest()
        signed.write_text(json.dumps({**read_json(signed), "state.json": digest}))

    refused = try_all(folder / "state.json", checkpoints.read, sign)
    assert {"position.n_done = 'x'", "position.n_done = 3", "order.begun.place = 3", "random.torch = 'x'"} <= set(
        refused
    )
    assert {"networks.a.pathway.batches.others = 'x'", "optimizer.settings.eps = 'missing'"} <= set(refused)
    (folder / "state.json").write_text(json.dumps(state))
    sign()
    save_file({"w": torch.tensor([float("nan")])}, folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    signed.write_text(json.dumps({**read_json(signed), "weights.safetensors": digest}))
    with pytest.raises(ValueError, match=r"T174.*T452.*NaN"):
        checkpoints.read()


def test_what_a_checkpoint_says_of_another_pipeline(bert: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path)
    config = config_of(bert, tmp_path, "frozen, by pieces", 2)
    run(config, tmp_path / "run", stop_at=1)
    folder = tmp_path / "run" / "checkpoints" / "step-00000001"
    shutil.rmtree(folder.with_name("step-00000000"))
    shutil.copytree(folder, tmp_path / "whole")
    moments = load_file(folder / "optimizer.safetensors")
    places = load_file(folder / "places.safetensors")
    state = read_json(folder / "state.json")
    (network,) = state["networks"]
    first = next(name for name in moments if name.startswith("adam.exp_avg|"))

    def write(name: str, tensors: dict[str, torch.Tensor]) -> None:
        save_file(tensors, folder / f"{name}.safetensors")

    changes: dict[str, Callable[[], None]] = {
        "NaN": lambda: write("optimizer", {**moments, first: torch.full_like(moments[first], math.nan)}),
        "no weight of this": lambda: write("optimizer", {**moments, "adam.exp_avg|x|y": torch.ones(1)}),
        "size or type": lambda: write("optimizer", {**moments, first: torch.ones(1, 1, 1)}),
        "lacks one of": lambda: write("optimizer", {k: v for k, v in moments.items() if k != first}),
        "'order'": lambda: write("places", {**places, "order": places["order"] + 1}),
        "'texts'": lambda: write("places", {**places, f"{network}|texts": places[f"{network}|texts"] + 1000}),
        "an object with": lambda: write_json({**state, "networks": {}}),
        "optimizer.nr_update": lambda: write_json(
            {**state, "optimizer": {**state["optimizer"], "nr_update": {"x|y": 1}}}
        ),
    }

    def write_json(changed: dict[str, Any]) -> None:
        (folder / "state.json").write_text(json.dumps(changed))

    for said, change in changes.items():
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "whole", folder)
        change()
        signed = {name: sha256_of(folder / name) for name in read_json(folder / "sha256.json")}
        (folder / "sha256.json").write_text(json.dumps(signed))
        with pytest.raises((ValueError, OSError), match=r"\[T45[12]\]") as caught:
            run(config, tmp_path / "run", resume=True)
        assert said in str(caught.value)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "whole", folder)
    assert run(config, tmp_path / "run", resume=True).n_steps == 2


def test_half_a_character_is_no_text(tmp_path: Path) -> None:
    for text in ('{"a": "\\ud800"}', '{"\\uDFFF": 1}'):
        with pytest.raises(UnusableFile, match="T450"):
            parse_object(text, "x.json")
    assert parse_object('{"a": "\\ud83d\\ude00"}', "x.json") == {"a": "\U0001f600"}


def test_a_piece_id_beyond_any_vocabulary_is_refused(folder: Path) -> None:
    """A table up to it would be made, and where there is no room for that the process ends."""
    file = folder / "tokenizer.json"
    whole = file.read_text("utf-8")
    model, added = json.loads(whole), json.loads(whole)
    model["model"]["vocab"]["e"] = 10**9
    added["added_tokens"][0]["id"] = 2**24
    for form in (model, added):
        text = json.dumps(form)
        file.write_text(text)
        for use in (lambda: load(folder), lambda: check_readable(file), lambda text=text: PieceTokenizer(text)):
            with pytest.raises(UnusableFile, match=r"T451.*piece id below"):
                use()
