"""Adapters: what moves, that the rest does not, storage with and without the encoder, merging."""

import copy
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from house_kit.adapters import LORA, adapted

pytest.importorskip("peft")

import spacy
import torch
from safetensors.torch import load_file, save_file
from spacy.language import Language

import spacy_transfer.cli
from house_kit.commands import run
from house_kit.encoders import write_encoder
from house_kit.pipelines import add_classifier, moved, network_of, pipeline, read_json, scores_of, shim_of, weights_of
from house_kit.slow import mostly_slow
from house_kit.texts import LABELS, TEXTS, exclusive_examples, multilabel_examples
from spacy_transfer.model.features.joining import Inputs
from spacy_transfer.nn.encoders.adapters import IA3, LoRA, fingerprint, is_adapter_weight
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder
from spacy_transfer.nn.tuning import Tuning
from spacy_transfer.serving.merge import merge, merge_adapters
from spacy_transfer.training.adamw import AdamW

NAME = "transfer_textcat"
ROOT = Path(spacy_transfer.__file__).parent
BLOCKS: dict[str, dict[str, Any]] = {
    "lora": LORA,
    "everywhere": {**LORA, "targets": "all_linear", "scaling": "root"},
    "dora": {**LORA, "variant": "dora"},
    "ia3": {"@misc": "spacy-transfer.IA3.v1"},
}


def train(nlp: Language, n_steps: int = 3, rate: float = 5e-3) -> Language:
    """A few steps on all texts."""
    examples = multilabel_examples(nlp) if "multilabel" in nlp.pipe_names[0] else exclusive_examples(nlp)
    sgd = AdamW(learn_rate=rate)
    for _ in range(n_steps):
        nlp.update(examples, sgd=sgd)
    return nlp


@pytest.fixture(scope="module")
def trained(bert: Path) -> Language:
    """With LoRA, after three steps; tests leave it as it is."""
    return train(adapted(bert))


@pytest.fixture(scope="module")
def saved(trained: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    folder = tmp_path_factory.mktemp("saved")
    trained.to_disk(folder)
    return folder


@pytest.fixture
def lean(bert: Path, tmp_path: Path) -> tuple[Language, Path, Path]:
    """A trained pipeline that was saved without its encoder, its folder, and the folder of the encoder."""
    encoder = shutil.copytree(bert, tmp_path / "encoder")
    nlp = train(adapted(encoder, {**LORA, "save": "adapter"}))
    nlp.to_disk(tmp_path / "lean")
    return nlp, tmp_path / "lean", encoder


# ---- what moves --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "multilabel"), [*((block, False) for block in BLOCKS.values()), (LORA, True)], ids=[*BLOCKS, "multilabel"]
)
def test_adapter_and_head_move_and_nothing_else(bert: Path, block: dict[str, Any], multilabel: bool) -> None:
    nlp = adapted(bert, block, multilabel=multilabel)
    before = weights_of(nlp)
    plain = dict(PretrainedEncoder(str(bert)).load().encoder.named_parameters())
    went = moved(before, weights_of(train(nlp)))
    assert went == {name for name in before if is_adapter_weight(name) or name.startswith("head.")}
    assert {network_of(nlp).depth_of(name) for name in went} == {2, 3, 4}
    for name, weight in weights_of(nlp).items():
        if name.startswith("encoder.") and not is_adapter_weight(name):
            assert torch.equal(weight, plain[name.removeprefix("encoder.").replace(".base_layer.", ".")])


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_a_new_adapter_changes_no_score(bert: Path, block: dict[str, Any]) -> None:
    plain, nlp = pipeline(bert), adapted(bert, block)
    network_of(plain).head.load_state_dict(network_of(nlp).head.state_dict())
    torch.testing.assert_close(scores_of(nlp, TEXTS), scores_of(plain, TEXTS), atol=1e-6, rtol=0)


def test_without_an_adapter_nothing_changes(bert: Path) -> None:
    with_none = train(pipeline(bert, tuning={"frozen_depth": 1, "adapter": None}))
    assert not moved(weights_of(with_none), weights_of(train(pipeline(bert, tuning={"frozen_depth": 1}))))


def test_rates_and_the_table(bert: Path) -> None:
    nlp = adapted(bert, {**LORA, "lr_factor": 20.0}, frozen_depth=1, lr_decay=0.5, head_lr_factor=3.0)
    shim = shim_of(nlp)
    by_depth = {shim.network.depth_of(name): rate for name, rate in shim._rates.items()}
    assert by_depth == {4: 3.0, 3: 20.0, 2: 10.0}
    # Rank 2, width 16, four linear maps in attention.
    assert [row.n_trainable for row in shim.describe()] == [3 * 16 + 3, 4 * 2 * 2 * 16, 4 * 2 * 2 * 16, 0, 0]


def test_the_rate_counts(bert: Path) -> None:
    """Adam's first step is as long as its rate: ten times the rate, ten times the way."""
    ways = []
    for rate in (1.0, 10.0):
        nlp = adapted(bert, {**LORA, "lr_factor": rate})
        before = weights_of(nlp)
        after = weights_of(train(nlp, n_steps=1, rate=1e-4))
        name = next(name for name in before if ".lora_B." in name)
        ways.append((after[name] - before[name]).abs().max())
    torch.testing.assert_close(ways[1], 10 * ways[0], rtol=1e-2, atol=0)


def test_factors_do_not_decay(bert: Path) -> None:
    """A decay would pull IA3's factors from one, where they change nothing, to zero."""
    nlp = adapted(bert, BLOCKS["ia3"])
    shim, sgd = shim_of(nlp), AdamW(learn_rate=0.1, weight_decay=0.5)
    for weight in shim._trainable.values():
        weight.grad = torch.zeros_like(weight)
    before = weights_of(nlp)
    shim.gradients.n_docs = 1
    shim.finish_update(sgd)
    assert moved(before, weights_of(nlp)) == {"head.output.weight"}


def test_unfreezing_reaches_adapters_that_were_neutral(bert: Path) -> None:
    nlp = adapted(bert, frozen_depth=3, unfreeze_every=2, unfreeze_down_to=1)
    depth_of = network_of(nlp).depth_of
    depths = []
    for _ in range(3):
        before = weights_of(nlp)
        sgd = AdamW(learn_rate=5e-3)
        for _ in range(2):
            nlp.update(exclusive_examples(nlp), sgd=sgd)
        went = moved(before, weights_of(nlp))
        assert all(is_adapter_weight(name) or name.startswith("head.") for name in went)
        depths.append({depth_of(name) for name in went})
    assert depths == [{4}, {3, 4}, {2, 3, 4}]


@pytest.mark.parametrize("block", mostly_slow(BLOCKS.values(), but=[LORA]), ids=BLOCKS)
def test_cached_equals_uncached(quiet_bert: Path, block: dict[str, Any]) -> None:
    results = []
    for memory in (0, 2_000_000_000):
        tuning = {"frozen_depth": 1, "adapter": block}
        nlp = train(pipeline(quiet_bert, tuning=tuning, cache={"memory": memory}))
        assert (shim_of(nlp).pathway is not shim_of(nlp).current_pathway.direct) == (memory > 0)
        assert network_of(nlp).boundary == 1
        results.append(weights_of(nlp))
    for name, weight in results[0].items():
        torch.testing.assert_close(results[1][name], weight, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("changes", [{"gradient_checkpointing": True}, {"precision": "bf16"}, {"piece_budget": 64}])
def test_goes_with(quiet_bert: Path, changes: dict[str, Any]) -> None:
    """Checkpointing and small micro-batches change nothing, bf16 little."""
    tuning = {"frozen_depth": 1, "adapter": LORA}
    plain, other = (train(pipeline(quiet_bert, tuning=tuning, **blocks)) for blocks in ({}, changes))
    tolerance = 0.05 if "precision" in changes else 1e-4
    torch.testing.assert_close(scores_of(other, TEXTS), scores_of(plain, TEXTS), atol=tolerance, rtol=0)


def test_training_learns(quiet_bert: Path) -> None:
    losses = []
    nlp = adapted(quiet_bert, frozen_depth=-1)
    # 0.42 on an AMD EPYC; at a higher rate it no longer learns steadily.
    sgd = AdamW(learn_rate=2e-3)
    for _ in range(60):
        losses.append(nlp.update(exclusive_examples(nlp), sgd=sgd)[NAME])
    assert losses[-1] < 0.75 * losses[0]


def test_a_new_label_leaves_the_adapter_alone(trained: Language) -> None:
    nlp = copy.deepcopy(trained)
    logits = shim_of(nlp).logits(Inputs(TEXTS))
    nlp.get_pipe(NAME).add_label("other")
    assert abs(shim_of(nlp).logits(Inputs(TEXTS))[:, :3] - logits).max() < 1e-6
    before = weights_of(nlp)
    assert all(is_adapter_weight(n) or n.startswith("head.") for n in moved(before, weights_of(train(nlp))))


# ---- storage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", mostly_slow(BLOCKS.values(), but=[LORA]), ids=BLOCKS)
def test_saved_and_loaded(bert: Path, tmp_path: Path, block: dict[str, Any]) -> None:
    nlp = train(adapted(shutil.copytree(bert, tmp_path / "encoder"), block))
    nlp.to_disk(tmp_path / "saved")
    shutil.rmtree(tmp_path / "encoder")
    fresh = spacy.util.load_model_from_config(nlp.config, auto_fill=True)
    for other in (
        spacy.load(tmp_path / "saved"), fresh.from_bytes(nlp.to_bytes()), pickle.loads(pickle.dumps(nlp)),
        copy.deepcopy(nlp),
    ):  # fmt: skip
        assert torch.equal(scores_of(other, TEXTS), scores_of(nlp, TEXTS))
        before = weights_of(other)
        assert moved(before, weights_of(train(other))) == set(shim_of(nlp)._trainable)


def test_training_goes_on_as_if_uninterrupted(quiet_bert: Path, tmp_path: Path) -> None:
    """With the moments, kept under the weights' names: what a loop of one's own stores."""
    through = train(adapted(quiet_bert), n_steps=2)
    through.to_disk(tmp_path / "saved")
    loaded = spacy.load(tmp_path / "saved")
    sgd, other = AdamW(learn_rate=1e-3), AdamW(learn_rate=1e-3)
    through.update(exclusive_examples(through), sgd=sgd)
    loaded.update(exclusive_examples(loaded), sgd=other)
    assert not moved(weights_of(through), weights_of(loaded))


def test_fields_that_shape_the_weights_must_agree(saved: Path) -> None:
    def load(**fields: Any) -> Language:
        config = {"components": {NAME: {"model": {"tuning": {"adapter": fields}}}}}
        return spacy.load(saved, config=config)

    with pytest.raises(ValueError, match=r"T160.*'rank': 2.*'rank': 4"):
        load(rank=4)
    nlp = load(lr_factor=3.0, dropout=0.5)
    assert shim_of(nlp).settings.tuning.adapter.dropout == 0.5
    dropouts = [m.p for name, m in network_of(nlp).named_modules() if "lora_dropout." in name]
    assert set(dropouts) == {0.5}


def test_an_adapter_for_a_pipeline_saved_without(bert: Path, tmp_path: Path) -> None:
    pipeline(bert).to_disk(tmp_path)
    with pytest.raises(ValueError, match=r"T160.*none"):
        spacy.load(tmp_path, config={"components": {NAME: {"model": {"tuning": {"adapter": LORA}}}}})


def test_the_adapter_alone_is_small_and_needs_its_encoder(
    lean: tuple[Language, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp, folder, encoder = lean
    kept = load_file(folder / NAME / "weights.safetensors")
    assert set(kept) == set(shim_of(nlp)._trainable)
    assert read_json(folder / NAME / "encoder.json")["base"]["sha256"] == fingerprint(network_of(nlp).encoder)
    assert torch.equal(scores_of(spacy.load(folder), TEXTS), scores_of(nlp, TEXTS))
    # Saved again from what was loaded, and again loaded.
    spacy.load(folder).to_disk(folder.parent / "again")
    other = spacy.load(folder.parent / "again")
    assert torch.equal(scores_of(other, TEXTS), scores_of(nlp, TEXTS))
    # Copies are whole, with the encoder gone too.
    encoder.rename(encoder.with_name("elsewhere"))
    for one in (pickle.loads(pickle.dumps(other)), copy.deepcopy(other)):
        assert torch.equal(scores_of(one, TEXTS), scores_of(nlp, TEXTS))
    with pytest.raises(OSError, match=r"T157.*encoder"):
        spacy.load(folder)
    block = {"name": str(encoder.with_name("elsewhere"))}
    moved_away = spacy.load(folder, config={"components": {NAME: {"model": {"encoder": block}}}})
    assert torch.equal(scores_of(moved_away, TEXTS), scores_of(nlp, TEXTS))


def test_another_encoder_is_refused(lean: tuple[Language, Path, Path]) -> None:
    _, folder, encoder = lean
    shutil.rmtree(encoder)
    write_encoder(encoder, "bert", hidden_dropout_prob=0.0)
    network_of(spacy.load(folder))  # the same random weights
    weights = load_file(encoder / "model.safetensors")
    weights["encoder.layer.0.output.dense.bias"][0] += 1e-3
    save_file(weights, encoder / "model.safetensors", {"format": "pt"})
    with pytest.raises(OSError, match="T158"):
        spacy.load(folder)


def test_loading_never_asks_the_hub(lean: tuple[Language, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("asked the hub")

    monkeypatch.setattr(huggingface_hub, "HfApi", refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    block = {"name": "no-such-owner/no-such-encoder"}
    with pytest.raises(OSError, match=r"(?s)T157.*no-such-owner.*Tried:.*cache"):
        spacy.load(lean[1], config={"components": {NAME: {"model": {"encoder": block}}}})


# ---- merging -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", mostly_slow(BLOCKS.values(), but=[LORA]), ids=BLOCKS)
def test_merged_equals_unmerged(bert: Path, tmp_path: Path, block: dict[str, Any]) -> None:
    nlp = train(adapted(bert, block))
    nlp.to_disk(tmp_path / "saved")
    n_weights = sum(w.numel() for name, w in weights_of(nlp).items() if is_adapter_weight(name))
    assert merge(tmp_path / "saved", tmp_path / "deep" / "merged") == {NAME: n_weights}
    loaded = spacy.load(tmp_path / "deep" / "merged")
    torch.testing.assert_close(scores_of(loaded, TEXTS), scores_of(nlp, TEXTS), atol=1e-5, rtol=0)
    plain = dict(pipeline(bert).get_pipe(NAME).model.shims[0].network.named_parameters())
    assert set(weights_of(loaded)) == set(plain)
    assert loaded.config["components"][NAME]["model"]["tuning"]["adapter"] is None
    # The same bits, however often.
    loaded.to_disk(tmp_path / "again")
    again = spacy.load(tmp_path / "again")
    assert not moved(weights_of(loaded), weights_of(again))
    assert torch.equal(scores_of(again, TEXTS), scores_of(loaded, TEXTS))
    # And now it is the encoder that learns.
    assert moved(weights_of(again), weights_of(train(again))) >= {"encoder.body.encoder.layer.2.output.dense.weight"}


def test_merging_in_place(trained: Language) -> None:
    nlp = copy.deepcopy(trained)
    scores = scores_of(nlp, TEXTS)
    assert list(merge_adapters(nlp)) == [NAME]
    torch.testing.assert_close(scores_of(nlp, TEXTS), scores, atol=1e-5, rtol=0)
    assert merge_adapters(nlp) == {}
    assert merge_adapters(spacy.blank("xx")) == {}


def test_merging_follows_the_cache_and_the_bf16_copy(bert: Path) -> None:
    """Frozen depths are run from a copy and features are stored: both are made anew."""
    nlp = pipeline(bert, precision="bf16", tuning={"frozen_depth": 1, "adapter": LORA})
    train(nlp, rate=2e-2)
    scores = scores_of(nlp, TEXTS)
    merge_adapters(nlp)
    torch.testing.assert_close(scores_of(nlp, TEXTS), scores, atol=0.02, rtol=0)


def test_the_command(saved: Path, lean: tuple[Language, Path, Path], bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    # Rank 2, width 16, four linear maps in attention, two layers.
    assert f"{NAME}: {2 * 4 * 2 * 2 * 16} adapter weights merged" in run("transfer", "merge", saved, out)
    assert "T163" in run("transfer", "merge", saved, out, code=1)
    run("transfer", "merge", lean[1], out, "--force")
    shutil.rmtree(lean[2])
    torch.testing.assert_close(scores_of(spacy.load(out), TEXTS), scores_of(lean[0], TEXTS), atol=1e-5, rtol=0)
    assert "T162" in run("transfer", "merge", out, tmp_path / "twice", code=1)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".") or "twice" in path.name) == []


@pytest.mark.slow
def test_merged_needs_no_peft_and_unmerged_says_what_it_needs(saved: Path, tmp_path: Path) -> None:
    merge(saved, tmp_path / "merged")
    code = """
import sys
sys.modules["peft"] = None
import spacy
assert spacy.load(sys.argv[1])("my card").cats
try:
    spacy.load(sys.argv[2])
except ImportError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "merged"), str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    assert "T081" in done.stdout
    assert "spacy-transfer[peft]" in done.stdout


def test_training_without_peft(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"T081.*spacy-transfer\[peft\]"):
        adapted(bert)


@pytest.mark.parametrize("save", ["all", "adapter"])
def test_the_next_task_takes_over_the_merged_encoder(bert: Path, tmp_path: Path, save: str) -> None:
    nlp = train(adapted(bert, {**LORA, "save": save}))
    nlp.to_disk(tmp_path)
    taken = PretrainedEncoder(str(tmp_path)).load()
    assert not {"adapter", "base"} & set(taken.record)
    merge_adapters(nlp)
    assert fingerprint(taken.encoder) == fingerprint(network_of(nlp).encoder)
    after = train(adapted(tmp_path, {**LORA, "rank": 3}))
    assert shim_of(after).record["adapter"]["rank"] == 3


def test_sourced_into_another_pipeline(saved: Path, trained: Language, tmp_path: Path) -> None:
    nlp = spacy.blank("xx")
    nlp.add_pipe(NAME, source=spacy.load(saved))
    nlp.to_disk(tmp_path)
    assert torch.equal(scores_of(spacy.load(tmp_path), TEXTS), scores_of(trained, TEXTS))


# ---- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: LoRA(rank=0), "rank"), (lambda: LoRA(alpha=0.0), "alpha"), (lambda: LoRA(dropout=1.0), "dropout"),
        (lambda: LoRA(lr_factor=0.0), "lr_factor"), (lambda: IA3(lr_factor=-1.0), "lr_factor"),
    ],
)  # fmt: skip
def test_values_out_of_range(make: Callable[[], Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"T005.*adapter: {field}"):
        make()


def test_numbers_in_quotes() -> None:
    block = LoRA(rank="4", alpha="8", dropout="0.5", lr_factor="2")  # type: ignore[arg-type]
    assert (block.rank, block.alpha, block.dropout, block.lr_factor) == (4, 8.0, 0.5, 2.0)


def test_a_target_that_matches_nothing(bert: Path) -> None:
    for target in ("querry", "uery", "layer.0.attention.self.query"):
        with pytest.raises(ValueError, match=rf"T155.*\['{target}'\].*attention\.self\.query, .*output\.dense"):
            adapted(bert, {**LORA, "targets": ["value", target]})
    with pytest.raises(ValueError, match=r"T155.*\[\]"):
        adapted(bert, {**LORA, "targets": []})


@pytest.mark.parametrize("depth", ["all", 3])
def test_no_layer_for_the_adapter(bert: Path, depth: Any) -> None:
    with pytest.raises(ValueError, match="T156"):
        adapted(bert, frozen_depth=depth)
    adapted(bert, frozen_depth=depth, unfreeze_every=1)


def test_albert_shares_one_adapter(encoder_folder: Callable[[str], Path]) -> None:
    folder = encoder_folder("albert")
    nlp = adapted(folder, frozen_depth=0)
    assert network_of(nlp).boundary == 0
    with pytest.raises(ValueError, match="T156"):
        adapted(folder, frozen_depth=1)


def test_what_does_not_go_together(bert: Path) -> None:
    with pytest.raises(ValueError, match=r"T159.*bias_and_norm"):
        adapted(bert, trainable="bias_and_norm")
    with pytest.raises(ValueError, match=r"T001.*adapter"):
        Tuning(adapter="lora")
    with pytest.raises(ValueError, match=r"T001.*adapter"):
        adapted(bert, {"@layers": "spacy-transfer.MeanPooling.v1"})


def test_an_encoder_that_cannot_be_loaded_again(bert: Path) -> None:
    class Own:
        load = rebuild = None

    settings = add_classifier(spacy.blank("xx"), bert).model.shims[0].settings
    with pytest.raises(ValueError, match=r"T161.*Own"):
        replace(settings, encoder=Own(), tuning=Tuning(adapter=LoRA(save="adapter")))
    replace(settings, encoder=Own(), tuning=Tuning(adapter=LoRA()))


def test_fill_config_writes_the_block_out(bert: Path) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, tuning={"adapter": {"@misc": "spacy-transfer.LoRA.v1"}})
    block = nlp.config["components"][NAME]["model"]["tuning"]["adapter"]
    assert block["rank"] == 8
    assert block["targets"] == "auto"
    text = nlp.config.to_str()
    assert spacy.util.load_model_from_config(spacy.util.load_config_from_str(text)).config.to_str() == text


def test_one_door_to_peft() -> None:
    doors = [file.name for file in ROOT.rglob("*.py") if 'require("peft' in file.read_text("utf-8")]
    assert doors == ["adapters.py"]


def test_the_shipped_config_trains_a_step(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(LABELS), "utf-8")
    paths = {"paths.encoder": str(bert), "paths.labels": str(tmp_path / "labels.json")}
    config = spacy.util.load_config(ROOT.parent / "configs" / "lora.cfg", overrides=paths, interpolate=True)
    windows = {"@misc": "spacy-transfer.Windows.v1", "length": 32, "stride": 20}
    config = config.merge({"components": {NAME: {"model": {"windows": windows}}}})
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    nlp.initialize(lambda: exclusive_examples(nlp))
    before = weights_of(nlp)
    assert {network_of(nlp).depth_of(name) for name in moved(before, weights_of(train(nlp)))} == {1, 2, 3, 4}
