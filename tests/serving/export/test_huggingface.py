"""Pipelines as folders of transformers: same pieces, same scores, by the family's class or by README.md's lines."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
import transformers
from spacy.language import Language

from house_kit.commands import run
from house_kit.encoders import WIDTH, knows
from house_kit.pipelines import network_of, pipeline, read_json, scores_of, shim_of
from house_kit.texts import LABELS, TEXTS
from spacy_transfer.nn.sentence_pooling import read_modules
from spacy_transfer.serving.export.export import export
from spacy_transfer.serving.export.huggingface import write_huggingface
from spacy_transfer.serving.importing.import_classifier import import_classifier

FAMILIES = ["bert", "roberta", "distilbert", "albert", "electra", "mpnet", "deberta-v3", "modernbert", "gpt2", "gemma"]
SIX = TEXTS[:6]


def shown_scores(folder: Path, texts: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """What the lines in README.md give, run in the folder."""
    readme = (folder / "README.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", readme, re.M | re.S)
    asked = 'texts = ".", ["The first text.", "The second text."]'
    assert asked in code
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(code.replace(asked, f'texts = ".", {list(texts)!r}'), names)
    scores: torch.Tensor = names["scores"]
    return scores


@pytest.mark.parametrize("family", [family for family in FAMILIES if knows(family)])
def test_a_linear_head_on_the_mean(
    family: str, encoder_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No class of transformers has it, so it lies beside the encoder; read again, it is the same classifier."""
    pooling = "LastPooling" if family == "gemma" else "MeanPooling"
    blocks = {"pooling": {"@layers": f"spacy-transfer.{pooling}.v1"}}
    nlp = pipeline(encoder_folder(family), multilabel=family in ("roberta", "electra"), **blocks)
    with torch.no_grad():
        network_of(nlp).head.output.weight.normal_()
    wanted = scores_of(nlp, SIX)
    folder = tmp_path / "hf"
    folder.mkdir()
    done = write_huggingface(nlp, folder)
    assert (done.loads_with, done.max_length) == ("AutoModel", 32)
    torch.testing.assert_close(shown_scores(folder, SIX, monkeypatch), wanted, atol=1e-5, rtol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    own = shim_of(nlp).tokenizer
    texts = [*SIX, "", "a [SEP] </s> b", "the card " * 3]
    ids = [[*own.prefix, *pieces, *own.suffix] for pieces in own.encode(texts)]
    assert tokenizer(texts)["input_ids"][:-3] == ids[:-3]
    assert tokenizer(texts)["input_ids"][-1] == ids[-1]
    assert (tokenizer.model_max_length, len(tokenizer("card " * 50, truncation=True)["input_ids"])) == (32, 32)
    assert tokenizer.pad_token_id == network_of(nlp).encoder.pad_id
    import_classifier(folder, tmp_path / "nlp", lang="xx")
    again = spacy.load(tmp_path / "nlp")
    assert again.pipe_names == nlp.pipe_names
    assert again.get_pipe(again.pipe_names[0]).labels == nlp.get_pipe(nlp.pipe_names[0]).labels
    torch.testing.assert_close(scores_of(again, SIX), wanted, atol=1e-5, rtol=1e-4)


BLOCKS: dict[str, dict[str, Any]] = {
    "first piece": {"pooling": {"@layers": "spacy-transfer.ClsPooling.v1"}},
    "maximum": {"pooling": {"@layers": "spacy-transfer.MaxPooling.v1"}},
    "attention": {"pooling": {"@layers": "spacy-transfer.AttentionPooling.v1"}},
    "hidden layers": {"head": {"hidden": [12, 10], "activation": "relu", "norm": True, "hidden_norm": True}},
    "an adapter": {"tuning": {"adapter": {"@misc": "spacy-transfer.LoRA.v1", "rank": 2}, "frozen_depth": 0}},
}


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_other_heads_and_poolings(
    blocks: dict[str, Any], bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "tuning" in blocks:
        pytest.importorskip("peft")
    nlp = pipeline(bert, **blocks)
    with torch.no_grad():
        for weight in network_of(nlp).parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    wanted = scores_of(nlp, SIX)
    folder = tmp_path / "hf"
    folder.mkdir()
    write_huggingface(nlp, folder)
    torch.testing.assert_close(shown_scores(folder, SIX, monkeypatch), wanted, atol=1e-5, rtol=1e-4)
    import_classifier(folder, tmp_path / "nlp", lang="xx")
    torch.testing.assert_close(scores_of(spacy.load(tmp_path / "nlp"), SIX), wanted, atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def trained(bert: Path) -> Language:
    """As BERT's own classifier: first piece, one hidden layer of its width, tanh."""
    pooling = {"@layers": "spacy-transfer.ClsPooling.v1"}
    nlp = pipeline(bert, pooling=pooling, head={"hidden": [WIDTH], "activation": "tanh"})
    with torch.no_grad():
        network_of(nlp).head.output.weight.normal_()
    return nlp


def test_the_class_of_the_family(trained: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained.get_pipe("transfer_textcat").add_label("new")
    wanted = scores_of(trained, SIX)
    assert not wanted[:, 3].any()
    trained.to_disk(tmp_path / "nlp")
    printed = " ".join(run("transfer", "export", tmp_path / "nlp", tmp_path / "hf", "--to", "huggingface").split())
    assert "longer than 32 pieces are cut off" in printed
    assert "Load it with AutoModelForSequenceClassification" in printed
    done = export(tmp_path / "nlp", tmp_path / "hf", to="huggingface", force=True).huggingface
    assert done is not None
    assert (done.folder, done.loads_with) == (tmp_path / "hf", "AutoModelForSequenceClassification")
    assert done.labels == [*LABELS, "new"]
    torch.testing.assert_close(shown_scores(done.folder, SIX, monkeypatch), wanted, atol=1e-5, rtol=1e-4)
    # It is a sentence-transformers model too.
    said, _ = read_modules(done.folder)
    assert said is not None
    assert (said.modes, said.after, said.max_length, said.unknown) == (["cls"], [], 32, [])
    with pytest.raises(ValueError, match=r"T207.*'other'"):
        export(tmp_path / "nlp", tmp_path / "other", to="huggingface", component="other")
    assert not (tmp_path / "other").exists()


def test_what_differs_is_said(bert: Path, tmp_path: Path) -> None:
    text = {"sources": ["text"], "normalization": {"lower": True}}
    nlp = pipeline(bert, text=text, windows={"keep": "head_tail"})
    done = write_huggingface(nlp, tmp_path)
    told = " ".join(done.differences)
    assert "longer than 32 pieces" in told
    assert "beginning and their end" in told
    assert "cleans it first" in told
    assert all(one in (tmp_path / "README.md").read_text("utf-8") for one in done.differences)


def test_a_folder_of_sentence_transformers(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense layers and normalization go along."""
    import json
    import shutil

    from safetensors.torch import save_file

    folder = shutil.copytree(bert, tmp_path / "e")
    kinds = ["Transformer", "Pooling", "Dense", "Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for place in ("1_Pooling", "2_Dense"):
        (folder / place).mkdir()
    modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    (folder / "2_Dense" / "config.json").write_text(json.dumps({"in_features": 2 * WIDTH, "out_features": 6}))
    save_file(
        {"linear.weight": torch.randn(6, 2 * WIDTH), "linear.bias": torch.ones(6)},
        folder / "2_Dense" / "model.safetensors",
    )
    nlp = pipeline(folder, pooling={"@layers": "spacy-transfer.AutoPooling.v1"})
    wanted = scores_of(nlp, SIX)
    out = tmp_path / "hf"
    out.mkdir()
    write_huggingface(nlp, out)
    torch.testing.assert_close(shown_scores(out, SIX, monkeypatch), wanted, atol=1e-5, rtol=1e-4)
    import_classifier(out, tmp_path / "nlp", lang="xx")
    torch.testing.assert_close(scores_of(spacy.load(tmp_path / "nlp"), SIX), wanted, atol=1e-5, rtol=1e-4)


def test_what_transformers_cannot_hold(bert: Path, encoder_folder: Callable[[str], Path], tmp_path: Path) -> None:
    label_query = {"@layers": "spacy-transfer.LabelQueryHead.v1", "heads": 2}
    for nlp, match in (
        (pipeline(bert, head=label_query), r"T560.*LabelQueryHead.*Head.v1"),
        (pipeline(encoder_folder("t5")), r"T560.*encoder-decoder 't5'"),
        (pipeline(bert, multilabel=True, loss={"@losses": "spacy-transfer.SquaredError.v1"}), r"T560.*SquaredError"),
        (spacy.blank("xx"), r"T207.*none"),
    ):
        with pytest.raises(ValueError, match=match):
            write_huggingface(nlp, tmp_path)
    assert not any(tmp_path.iterdir())


def test_config_names_what_it_is(trained: Language, tmp_path: Path) -> None:
    write_huggingface(trained, tmp_path)
    config = read_json(tmp_path / "config.json")
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["problem_type"] == "single_label_classification"
    settings = read_json(tmp_path / "tokenizer_config.json")
    assert {settings[f"{role}_token"] for role in ("cls", "sep", "pad", "mask", "unk")} == {
        "[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"
    }  # fmt: skip
