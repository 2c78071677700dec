"""Classifiers of transformers and SetFit as pipelines: same head, same labels, same scores; and back."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from house_kit.classifiers import logits_of, write_classifier, write_head
from house_kit.commands import run
from house_kit.encoders import WIDTH, knows
from house_kit.pipelines import moved, network_of, pipeline, scores_of, shim_of, weights_of
from house_kit.runs import config_of, write_corpus
from house_kit.runs import run as train_on
from house_kit.texts import LABELS, TEXTS
from spacy_transfer.nn.heads.sequence_classifiers import CLASSIFIERS
from spacy_transfer.serving.export.export import export
from spacy_transfer.serving.importing.import_classifier import import_classifier

FAMILIES = ["bert", "roberta", "distilbert", "albert", "electra", "mpnet", "deberta-v3", "modernbert"]
SIX = TEXTS[:6]
NAME = "transfer_textcat"


@pytest.mark.parametrize("family", [family for family in FAMILIES if knows(family)])
def test_there_and_back(family: str, tmp_path: Path) -> None:
    """The head as the family has it, exact both ways."""
    changes: dict[str, Any] = {"classifier_pooling": "mean", "classifier_bias": True} if family == "modernbert" else {}
    problem = "multi_label_classification" if family in ("roberta", "albert") else "single_label_classification"
    folder = write_classifier(tmp_path / "hf", family, problem=problem, **changes)
    done = import_classifier(folder, tmp_path / "nlp", lang="xx")
    assert (done.labels, done.exclusive, done.length) == (LABELS, problem.startswith("single"), 36)
    nlp = spacy.load(tmp_path / "nlp")
    assert nlp.pipe_names == [done.component]
    logits = logits_of(folder, SIX)
    wanted = logits.softmax(dim=1) if done.exclusive else logits.sigmoid()
    torch.testing.assert_close(scores_of(nlp, SIX), wanted, atol=1e-5, rtol=1e-4)
    back = export(tmp_path / "nlp", tmp_path / "back", to="huggingface").huggingface
    assert back is not None
    assert back.loads_with == "AutoModelForSequenceClassification"
    torch.testing.assert_close(logits_of(tmp_path / "back", SIX), logits, atol=1e-5, rtol=1e-4)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "back")
    assert (config.problem_type, list(config.id2label.values())) == (problem, LABELS)
    assert config.architectures == [CLASSIFIERS[config.model_type].architecture]


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "gemma2"])
def test_decoders(family: str, tmp_path: Path) -> None:
    """One linear map on the last piece; back it goes as encoder and head, with the same scores."""
    changes: dict[str, Any] = {} if "gemma" in family else {"pad_token_id": 0}
    if family == "gemma2":
        # transformers leaves the cap out by default.
        changes["attn_logit_softcapping"] = None
    folder = write_classifier(tmp_path / "hf", family, problem="single_label_classification", **changes)
    done = import_classifier(folder, tmp_path / "nlp", lang="xx")
    assert (done.labels, done.exclusive, done.length) == (LABELS, True, 36)
    nlp, wanted = spacy.load(tmp_path / "nlp"), logits_of(folder, SIX).softmax(dim=1)
    torch.testing.assert_close(scores_of(nlp, SIX), wanted, atol=1e-5, rtol=1e-4)
    back = export(tmp_path / "nlp", tmp_path / "back", to="huggingface").huggingface
    assert back is not None
    assert back.loads_with == "AutoModel"
    import_classifier(tmp_path / "back", tmp_path / "again", lang="xx")
    torch.testing.assert_close(scores_of(spacy.load(tmp_path / "again"), SIX), wanted, atol=1e-5, rtol=1e-4)


def test_a_last_piece_that_is_padding_is_refused(tmp_path: Path) -> None:
    """transformers would read the piece before it."""
    folder = write_classifier(tmp_path / "hf", "llama", pad_token_id=2)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"T562.*piece 2.*pad_token_id"):
        import_classifier(folder, tmp_path / "nlp", lang="xx")


def test_the_other_modernbert(tmp_path: Path) -> None:
    """First piece, relu, biases in every norm."""
    if not knows("modernbert"):
        pytest.skip("this version of transformers has no ModernBERT")
    folder = write_classifier(tmp_path / "hf", "modernbert", classifier_activation="relu", norm_bias=True)
    import_classifier(folder, tmp_path / "nlp", lang="xx")
    export(tmp_path / "nlp", tmp_path / "back", to="huggingface")
    wanted = logits_of(folder, SIX)
    torch.testing.assert_close(logits_of(tmp_path / "back", SIX), wanted, atol=1e-5, rtol=1e-4)
    found = scores_of(spacy.load(tmp_path / "nlp"), SIX)
    torch.testing.assert_close(found, wanted.softmax(dim=1), atol=1e-5, rtol=1e-4)


def test_it_is_trained_further(tmp_path: Path) -> None:
    """By `spacy transfer train`, the folder of transformers being gone."""
    folder = write_classifier(tmp_path / "hf", "distilbert")
    import_classifier(folder, tmp_path / "nlp", lang="xx")
    shutil.rmtree(folder)
    config = config_of(folder, write_corpus(tmp_path), "frozen, by pieces", steps=2)
    config["components"] = {NAME: {"source": str(tmp_path / "nlp")}}
    config["initialize"] = {}
    train_on(config, tmp_path / "out")
    before, after = (weights_of(spacy.load(place)) for place in (tmp_path / "nlp", tmp_path / "out" / "model-last"))
    assert {name for name in moved(before, after) if name.startswith("head.")} == {
        "head.hidden.1.weight", "head.hidden.1.bias", "head.output.weight", "head.output.bias"
    }  # fmt: skip


# ---- one logit ---------------------------------------------------------------------------------------------------


def test_one_logit(tmp_path: Path) -> None:
    """A yes or no under one label, or a choice between two; never guessed."""
    folder = write_classifier(tmp_path / "hf", "bert", labels=["spam"])
    wanted = logits_of(folder, SIX).sigmoid()
    with pytest.raises(ValueError, match=r"T562.*one logit.*--problem multi-label"):
        import_classifier(folder, tmp_path / "nlp")
    assert not (tmp_path / "nlp").exists()
    import_classifier(folder, tmp_path / "many", problem="multi-label", lang="xx")
    many = spacy.load(tmp_path / "many")
    torch.testing.assert_close(scores_of(many, SIX), wanted, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"T562.*NO,YES"):
        import_classifier(folder, tmp_path / "nlp", problem="single-label")
    import_classifier(folder, tmp_path / "two", problem="single-label", labels=["ham", "spam"], lang="xx")
    two = spacy.load(tmp_path / "two")
    assert two.pipe_names == ["transfer_textcat"]
    torch.testing.assert_close(scores_of(two, SIX)[:, 1:], wanted, atol=1e-5, rtol=1e-4)


# ---- SetFit ------------------------------------------------------------------------------------------------------


def setfit_folder(bert: Path, folder: Path, *, normalize: bool = False, labels: list[str] | None = None) -> Path:
    """The tiny BERT as SetFit saves it, but for the head."""
    shutil.copytree(bert, folder)
    kinds = ["Transformer", "Pooling"]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24, "do_lower_case": False}))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (folder / "config_setfit.json").write_text(json.dumps({"labels": labels, "normalize_embeddings": normalize}))
    return folder


@pytest.fixture(scope="module")
def vectors(bert: Path) -> torch.Tensor:
    """The means that SetFit's head reads."""
    nlp = pipeline(bert)
    return torch.from_numpy(nlp.get_pipe("transfer_textcat").vectors([nlp.make_doc(text) for text in SIX]))


@pytest.mark.parametrize("normalize", [False, True])
def test_setfit(bert: Path, vectors: torch.Tensor, normalize: bool, tmp_path: Path) -> None:
    folder = setfit_folder(bert, tmp_path / "setfit", normalize=normalize, labels=["a", "b", "c"])
    weight, bias = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1)), torch.tensor([0.1, 0.2, 0.3])
    # Of scikit-learn, whose classes are the numbers of the labels here, and names elsewhere.
    write_head(folder, weight, bias, classes=json.dumps(["0", "1", "2"]), problem="single-label")
    done = import_classifier(folder, tmp_path / "nlp", lang="xx")
    assert (done.labels, done.length) == (["a", "b", "c"], 24)
    read = torch.nn.functional.normalize(vectors) if normalize else vectors
    found = scores_of(spacy.load(tmp_path / "nlp"), SIX)
    torch.testing.assert_close(found, (read @ weight.T + bias).softmax(dim=1), atol=1e-5, rtol=1e-4)
    write_head(folder, weight, bias, classes=json.dumps(["x", "y", "z"]), problem="multi-label")
    assert import_classifier(folder, tmp_path / "nlp", force=True, lang="xx").labels == ["x", "y", "z"]
    found = scores_of(spacy.load(tmp_path / "nlp"), SIX)
    torch.testing.assert_close(found, (read @ weight.T + bias).sigmoid(), atol=1e-5, rtol=1e-4)


def test_setfit_with_two_labels_has_one_logit(bert: Path, vectors: torch.Tensor, tmp_path: Path) -> None:
    """As scikit-learn's logistic regression has it."""
    folder = setfit_folder(bert, tmp_path / "setfit", labels=["no", "yes"])
    weight, bias = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(2)), torch.tensor([0.1])
    write_head(folder, weight, bias, classes=json.dumps(["0", "1"]), problem="single-label")
    assert import_classifier(folder, tmp_path / "nlp", lang="xx").labels == ["no", "yes"]
    found = scores_of(spacy.load(tmp_path / "nlp"), SIX)[:, 1:]
    torch.testing.assert_close(found, (vectors @ weight.T + bias).sigmoid(), atol=1e-5, rtol=1e-4)


def test_the_lines_for_a_pickle(bert: Path, tmp_path: Path) -> None:
    """A pickle is not opened; the lines that the message gives write the head that is read."""
    linear = pytest.importorskip("sklearn.linear_model")
    import joblib

    folder = setfit_folder(bert, tmp_path / "setfit", labels=LABELS)
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(30, WIDTH, generator=generator).numpy()
    head = linear.LogisticRegression().fit(features, [i % 3 for i in range(30)])
    joblib.dump(head, folder / "model_head.pkl")
    with pytest.raises(ValueError, match=r"T563.*model_head.pkl.*never loaded") as refused:
        import_classifier(folder, tmp_path / "nlp")
    lines = str(refused.value).partition("again:\n")[2]
    assert len(lines.splitlines()) == 3
    exec(lines, {})
    assert set(load_file(folder / "model_head.safetensors")) == {"weight", "bias"}
    assert import_classifier(folder, tmp_path / "nlp", lang="xx").labels == LABELS
    found = network_of(spacy.load(tmp_path / "nlp")).head.output.weight
    torch.testing.assert_close(found, torch.tensor(head.coef_, dtype=torch.float32))


def test_nothing_is_unpickled(bert: Path, tmp_path: Path) -> None:
    folder = setfit_folder(bert, tmp_path / "setfit")

    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    for name in ("model_head.pkl", "model_head.pt"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(ValueError, match=r"T563"):
            import_classifier(folder, tmp_path / "nlp")
        (folder / name).unlink()
    assert not (tmp_path / "sprung").exists()


# ---- refusals ----------------------------------------------------------------------------------------------------


def _config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **changes}))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"problem_type": "regression"}, r"T562.*predicts a number"),
        ({"problem_type": "ranking"}, r"T562.*'ranking'.*--problem"),
        ({"architectures": ["BertForMaskedLM"]}, r"T562.*BertForMaskedLM.*model_head.safetensors"),
        ({"id2label": {"0": "a", "2": "b"}}, r"T451.*id2label"),
        ({"id2label": {"0": "a", "1": "b"}}, r"T562.*3 labels, but 2 names: a, b"),
        ({"id2label": {"0": "a", "1": "b", "2": "a"}}, r"T562.*called 'a'"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], match: str, classifier: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(classifier, tmp_path / "hf")
    _config(folder, **changes)
    with pytest.raises((ValueError, OSError), match=match):
        import_classifier(folder, tmp_path / "nlp")
    assert not (tmp_path / "nlp").exists()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classifier(tmp_path_factory.mktemp("hf"), "bert")


def test_weights_and_families_that_are_refused(bert: Path, classifier: Path, tmp_path: Path) -> None:
    other = write_classifier(tmp_path / "gelu", "deberta-v3", pooler_hidden_act="silu")
    with pytest.raises(ValueError, match=r"T566.*'silu'"):
        import_classifier(other, tmp_path / "nlp")
    _config(other, model_type="bart", architectures=["BartForSequenceClassification"])
    with pytest.raises(ValueError, match=r"T566.*'bart'.*roberta"):
        import_classifier(other, tmp_path / "nlp")
    folder = shutil.copytree(classifier, tmp_path / "hf")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"T564.*(?s:.)*ForSequenceClassification"):
        import_classifier(folder, tmp_path / "nlp")
    headless = shutil.copytree(bert, tmp_path / "headless")
    _config(headless, architectures=["BertForSequenceClassification"])
    with pytest.raises(ValueError, match=r"T566.*pooler.dense.weight' is missing"):
        import_classifier(headless, tmp_path / "nlp")
    write_head(headless, torch.zeros(2, WIDTH + 1), torch.zeros(2))
    with pytest.raises(ValueError, match=rf"T562.*width {WIDTH + 1}, but its pooling gives {WIDTH}"):
        import_classifier(headless, tmp_path / "nlp")
    write_head(headless, torch.zeros(2, WIDTH), torch.zeros(3))
    with pytest.raises(ValueError, match=r"T567.*the last layer"):
        import_classifier(headless, tmp_path / "nlp")
    for weight in (torch.zeros(()), torch.zeros(WIDTH), torch.zeros(0, WIDTH), torch.zeros(2, WIDTH, 1)):
        write_head(headless, weight, torch.zeros(2))
        with pytest.raises(ValueError, match=r"T567.*rows, columns"):
            import_classifier(headless, tmp_path / "nlp")
    write_head(headless, torch.zeros(2, WIDTH), torch.tensor([0.0, torch.nan]))
    with pytest.raises(ValueError, match=r"T452.*'bias'.*NaN"):
        import_classifier(headless, tmp_path / "nlp")
    write_head(headless, torch.zeros(2, WIDTH), torch.zeros(2), problem="ranking")
    with pytest.raises(ValueError, match=r"T567.*'problem'.*'ranking'"):
        import_classifier(headless, tmp_path / "nlp")
    write_head(headless, torch.zeros(2, WIDTH), torch.zeros(2), classes="[1]")
    with pytest.raises(ValueError, match=r"T567.*'classes'"):
        import_classifier(headless, tmp_path / "nlp")
    assert not (tmp_path / "nlp").exists()


def test_the_command(classifier: Path, tmp_path: Path) -> None:
    printed = run("transfer", "import", classifier, tmp_path / "nlp", "--labels", "a,b,c", "--lang", "xx")
    assert "transfer_textcat, 3 labels, exactly one per text" in " ".join(printed.split())
    nlp = spacy.load(tmp_path / "nlp")
    assert nlp.get_pipe("transfer_textcat").labels == ("a", "b", "c")
    assert shim_of(nlp).windows.length == 36
    assert "T163" in run("transfer", "import", classifier, tmp_path / "nlp", code=1)
    assert "T562" in run("transfer", "import", tmp_path / "nlp", tmp_path / "other", code=1)
    assert "T562" in run("transfer", "import", classifier, tmp_path / "other", "--labels", "a,b", code=1)
    assert "T373" in run("transfer", "import", classifier, classifier, "--force", code=1)
