"""An encoder from scratch: its block, its life in a pipeline; raw texts from files."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.cli import app
from spacy.language import Language
from spacy.tokens import DocBin
from typer.testing import CliRunner

from house_kit.pipelines import moved, network_of, pipeline, scores_of, shim_of, weights_of
from house_kit.repository import REPOSITORY
from house_kit.scratches import NAME, builder, classifier
from house_kit.slow import mostly_slow
from house_kit.texts import LABELS, TEXTS, examples_of, exclusive_examples, multilabel_examples, one_hot
from spacy_transfer.corpora.reading.raw_texts import read_raw_texts
from spacy_transfer.model.show import draw
from spacy_transfer.training.adamw import AdamW

LONG = " ".join(TEXTS[:6])
DROPPED = {"dropout": 0.1, "word_dropout": 0.1, "depth": 2}
# What configs/scratch.cfg changes.
FEW_TEXTS = {
    "char_ngrams": {"@misc": "spacy-transfer.CharNGrams.v1", "min_pieces": 1}, "norm_states": False,
    "zero_init_residual": True,
}  # fmt: skip


def train(nlp: Language, n_steps: int, rate: float = 1e-2) -> list[float]:
    """Losses of some steps."""
    examples, sgd = exclusive_examples(nlp), AdamW(learn_rate=rate)
    torch.manual_seed(1)
    return [nlp.update(examples, sgd=sgd)[NAME] for _ in range(n_steps)]


# ---- the block ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"width": 0}, {"depth": 0}, {"heads": 0}, {"feed_forward": 0}, {"max_pieces": 2}, {"dropout": 1.0},
        {"dropout": -0.1}, {"word_dropout": 1}, {"dropout": "1.5"}, {"dropout": float("nan")},
        {"norm_states": False, "norm_first": False},
    ],
)  # fmt: skip
def test_ranges_of_the_encoder(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"T005.*{next(iter(fields))}"):
        builder(**fields)


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"T130.*width = 18.*heads = 4.*\[1, 2, 3, 6, 9, 18\]"):
        builder(width=18, heads=4)


def test_pieces_are_a_block_of_their_own() -> None:
    with pytest.raises(ValueError, match=r"T133.*got str"):
        builder(tokenizer="words")


def test_numbers_in_quotes() -> None:
    assert builder(dropout="0.25").dropout == 0.25


def test_rows_longer_than_the_positions() -> None:
    with pytest.raises(ValueError, match=r"T022.*33.*32"):
        classifier(windows={"length": 33, "stride": 20})
    assert classifier(encoder={"positions": "sinusoidal"}, windows={"length": 80, "stride": 60})("card").cats


# ---- in a pipeline -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_scores_alone_and_beside_longer_texts(precision: str) -> None:
    nlp = classifier(precision=precision)
    train(nlp, 3)
    together = scores_of(nlp, [LONG, "card", "", "never heard words", *TEXTS])
    alone = torch.cat([scores_of(nlp, [text]) for text in [LONG, "card", "", "never heard words", *TEXTS]])
    assert (together - alone).abs().max() < (1e-5 if precision == "fp32" else 2e-2)
    assert together.isfinite().all()


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("pieces", mostly_slow(["WordLevel", "BPE", "Unigram"], but=["BPE"]))
def test_it_learns(pieces: str, multilabel: bool) -> None:
    block = {"@misc": f"spacy-transfer.{pieces}.v1"}
    nlp = classifier(multilabel=multilabel, encoder={**DROPPED, "tokenizer": block})
    examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
    sgd = AdamW(learn_rate=1e-2)
    torch.manual_seed(0)
    for _ in range(40):
        nlp.update(examples, sgd=sgd)
    scores = nlp.evaluate(examples)
    assert scores["cats_acc" if not multilabel else "cats_micro_f"] > 0.8


@pytest.mark.parametrize("frozen", [-1, 0, 1, 2, "all"])
def test_frozen_layers_do_not_move(frozen: Any) -> None:
    nlp = classifier(tuning={"frozen_depth": frozen}, encoder={"dropout": 0.1, "word_dropout": 0.2})
    before = weights_of(nlp)
    train(nlp, 2)
    changed = moved(before, weights_of(nlp))
    network = network_of(nlp)
    depth = network.n_layers if frozen == "all" else frozen
    assert changed == {name for name in before if network.depth_of(name) > depth}


def test_unfreezing_from_the_top_down() -> None:
    nlp = classifier(tuning={"frozen_depth": "all", "unfreeze_every": 1, "unfreeze_down_to": 1})
    boundaries = []
    for _ in range(4):
        boundaries.append(network_of(nlp).boundary)
        train(nlp, 1)
    assert boundaries == [3, 2, 1, 1]


@pytest.mark.parametrize("frozen", [1, 2, "all"])
@pytest.mark.parametrize("encoder", [None, FEW_TEXTS])
def test_cached_is_uncached(frozen: Any, encoder: dict[str, Any] | None) -> None:
    runs = []
    for memory in (0, 10**9):
        norm = {"norm": encoder is not None}
        nlp = classifier(encoder=encoder, head=norm, tuning={"frozen_depth": frozen}, cache={"memory": memory})
        losses = train(nlp, 3, rate=1e-3)
        runs.append((losses, weights_of(nlp), scores_of(nlp, TEXTS)))
    assert runs[0][0] == pytest.approx(runs[1][0], rel=1e-5)
    assert (runs[0][2] - runs[1][2]).abs().max() < 1e-5


def test_checkpointing_changes_nothing() -> None:
    for frozen in (-1, 1):
        runs = []
        for checkpointing in (False, True):
            nlp = classifier(
                gradient_checkpointing=checkpointing, tuning={"frozen_depth": frozen}, encoder={"dropout": 0.2}
            )
            train(nlp, 3)
            runs.append(weights_of(nlp))
        assert max(float((runs[0][name] - runs[1][name]).abs().max()) for name in runs[0]) < 1e-5


def test_it_starts_as_the_seed_says() -> None:
    one, two, other = classifier(seed=1), classifier(seed=1), classifier(seed=2)
    assert not moved(weights_of(one), weights_of(two))
    assert "encoder.body.layers.0.linear1.weight" in moved(weights_of(one), weights_of(other))


@pytest.fixture(scope="module")
def trained() -> Language:
    """A pipeline after two steps; tests leave it as it is."""
    nlp = classifier(encoder=FEW_TEXTS, head={"norm": True})
    train(nlp, 2)
    return nlp


def test_saved_and_loaded(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "pipeline")
    wanted = scores_of(trained, [*TEXTS, LONG, "unheard of"])
    before = torch.get_rng_state()
    loaded = spacy.load(tmp_path / "pipeline")
    assert torch.equal(before, torch.get_rng_state())
    again = spacy.util.load_model_from_config(trained.config, auto_fill=True).from_bytes(trained.to_bytes())
    for nlp in (loaded, again, copy.deepcopy(trained)):
        assert torch.equal(scores_of(nlp, [*TEXTS, LONG, "unheard of"]), wanted)
        assert shim_of(nlp).tokenizer.text == shim_of(trained).tokenizer.text
    # Training goes on as it would have.
    assert train(copy.deepcopy(trained), 2) == train(loaded, 2)


def test_its_config_is_filled_and_read_again(trained: Language) -> None:
    encoder = trained.config["components"][NAME]["model"]["encoder"]
    assert encoder["activation"] == "gelu"
    assert encoder["tokenizer"]["size"] == 30_000
    again = spacy.blank("en").from_config(spacy.util.load_config_from_str(trained.config.to_str()))
    assert again.config["components"] == trained.config["components"]


@pytest.mark.parametrize("wrong", [{"activation": "tanh"}, {"positions": "none"}, {"layers": 2}, {"width": "wide"}])
def test_the_config_system_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=next(iter(wrong))):
        classifier(encoder=wrong, initialize=False)


def test_another_task_takes_its_encoder(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "pipeline")
    for name in (tmp_path / "pipeline", tmp_path / "pipeline" / NAME):
        nlp = pipeline(name, tuning={"frozen_depth": 1}, head={"norm": True})
        encoder = {key for key in weights_of(nlp) if key.startswith("encoder.")}
        assert len(encoder) > 30
        assert not moved(weights_of(trained), weights_of(nlp)) & encoder
    nlp.to_disk(tmp_path / "second")
    assert torch.equal(scores_of(spacy.load(tmp_path / "second"), TEXTS), scores_of(nlp, TEXTS))


def test_a_new_label(trained: Language) -> None:
    nlp = copy.deepcopy(trained)
    nlp.get_pipe(NAME).add_label("thanks")
    examples = examples_of(nlp, TEXTS[:3], [one_hot("thanks", [*LABELS, "thanks"])] * 3)
    nlp.update(examples, sgd=AdamW(learn_rate=1e-3))
    assert set(nlp("card").cats) == {*LABELS, "thanks"}


def test_a_process_of_its_own(trained: Language) -> None:
    # A product of other shapes may round otherwise.
    alone = scores_of(trained, TEXTS)
    torch.testing.assert_close(scores_of(trained, TEXTS, n_process=2, batch_size=12), alone, atol=1e-5, rtol=0)


def test_initializing_without_words() -> None:
    nlp = classifier(initialize=False)
    examples = examples_of(nlp, [" ", "\n"], [one_hot("card"), one_hot("login")])
    with pytest.raises(ValueError, match=r"T131.*2 text"):
        nlp.initialize(lambda: examples)


def test_the_shipped_config_trains(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    docs = [example.reference for example in exclusive_examples(nlp)]
    for split in ("train", "dev"):
        DocBin(docs=docs).to_disk(tmp_path / f"{split}.spacy")
    (tmp_path / "labels.json").write_text(json.dumps(LABELS))
    files = {"train": "train.spacy", "dev": "dev.spacy", "labels": "labels.json"}
    options = [f"--paths.{key}={tmp_path / file}" for key, file in files.items()]
    options += ["--training.max_steps=2", "--training.eval_frequency=1"]
    config = REPOSITORY / "configs" / "scratch.cfg"
    done = CliRunner().invoke(app, ["train", str(config), "--output", str(tmp_path / "out"), *options])
    assert done.exit_code == 0, done.output
    assert set(spacy.load(tmp_path / "out" / "model-last")("card").cats) == set(LABELS)


def test_it_is_packaged(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "pipeline")
    (tmp_path / "packages").mkdir()
    args = ["--name", "tiny", "--version", "1.0.0", "--build", "none"]
    done = CliRunner().invoke(app, ["package", str(tmp_path / "pipeline"), str(tmp_path / "packages"), *args])
    assert done.exit_code == 0, done.output
    nlp = spacy.load(tmp_path / "packages" / "en_tiny-1.0.0" / "en_tiny" / "en_tiny-1.0.0")
    assert torch.equal(scores_of(nlp, TEXTS), scores_of(trained, TEXTS))


def test_it_is_drawn(trained: Language) -> None:
    picture = draw(NAME, trained)
    assert "spacy-transfer-scratch, width 16 (scratch)" in picture
    n_ngrams = shim_of(trained).record["config"]["char_ngrams"]["n_ngrams"]
    assert f"{shim_of(trained).tokenizer.n_pieces} in the vocabulary with {n_ngrams} shared n-grams" in picture


def test_raw_texts(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    (tmp_path / "a.txt").write_text("one\n\n  two ü\r\n", "utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "three", "label": 3}\n\n{"text": " "}\n', "utf-8")
    DocBin(docs=[nlp.make_doc("four and five")]).to_disk(tmp_path / "c.spacy")
    assert read_raw_texts([tmp_path / name for name in ("a.txt", "b.jsonl", "c.spacy")]) == [
        "one", "two ü", "three", "four and five",
    ]  # fmt: skip
    for name, data, code in (
        ("x.pdf", b"a", "T041"), ("x.jsonl", b'{"body": "a"}', "T136.*x.jsonl:1.*'text'"), ("x.jsonl", b"[1]", "T136"),
        ("x.jsonl", b'{"text": 3}', "T136.*not a str"), ("x.jsonl", b"{", "T136.*JSON"), ("x.txt", b"\xff", "T042"),
        ("x.spacy", b"junk", "T047"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=code):
            read_raw_texts([tmp_path / name])
    with pytest.raises(FileNotFoundError, match="T440"):
        read_raw_texts([tmp_path / "none.txt"])
