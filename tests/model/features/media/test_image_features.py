"""Pictures as features: they decide, learn, are stored and remembered, and may be missing."""

import logging
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Adam

from house_kit.features import ALL, layer_of, params, with_features
from house_kit.media import COLORS, PROBE, VISION, picture, png, with_pictures, write_vision
from house_kit.texts import LABELS
from spacy_transfer import export
from spacy_transfer.model.features.media.contents import Content
from spacy_transfer.model.features.media.settings import MediaSettings
from spacy_transfer.model.features.media.shim import MediaShim
from spacy_transfer.model.show import draw
from spacy_transfer.training.adamw import AdamW
from spacy_transfer.training.state.pipeline_state import all_weights


def block(encoder: Path, **fields: Any) -> dict[str, Any]:
    return {"@layers": "spacy-transfer.ImageFeatures.v1", "encoder": str(encoder), **fields}


def shim_of(nlp: Language) -> MediaShim:
    (shim,) = layer_of(nlp).layers[0].shims
    return shim


def scores(nlp: Language, values: list[Any], text: str = "the card") -> torch.Tensor:
    docs = []
    for value in values:
        docs.append(nlp.make_doc(text))
        docs[-1]._.image = value
    return torch.tensor([[doc.cats[label] for label in LABELS] for doc in nlp.pipe(docs)])


def solved(bert: Path, vit: Path, *, make: Any = with_pictures, **fields: Any) -> Language:
    return with_features(bert, block(vit, **fields), make, head_init=PROBE, **ALL)


@pytest.fixture(scope="module")
def frozen(quiet_bert: Path, vit: Path) -> Language:
    """Solved on pictures, and not to be changed."""
    Doc.set_extension("image", default=None, force=True)
    return solved(quiet_bert, vit)


PICTURES = [png(i % 3, 50 + i) for i in range(6)]


@pytest.mark.parametrize("text", ["the card", ""])
def test_a_task_that_only_the_picture_decides_is_learned(quiet_bert: Path, vit: Path, text: str) -> None:
    nlp = solved(quiet_bert, vit, make=lambda nlp: with_pictures(nlp, text=text))
    found = scores(nlp, PICTURES, text).argmax(dim=1).tolist()
    assert found == [0, 1, 2, 0, 1, 2]


@pytest.mark.slow
def test_it_is_learned_by_steps_too(quiet_bert: Path, vit: Path) -> None:
    nlp = with_features(quiet_bert, block(vit), with_pictures, **ALL)
    before = weights_of_shim(nlp)
    optimizer = AdamW(learn_rate=1e-2)
    for _ in range(30):
        nlp.update(with_pictures(nlp, text=""), sgd=optimizer)
    assert scores(nlp, PICTURES, "").argmax(dim=1).tolist() == [0, 1, 2, 0, 1, 2]
    assert all(torch.equal(before[name], now) for name, now in weights_of_shim(nlp).items())


def weights_of_shim(nlp: Language) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in shim_of(nlp).encoder.state_dict().items()}


@pytest.mark.parametrize("depth", [-1, 1, "all"])
def test_what_is_frozen_stays_and_what_is_tuned_moves(quiet_bert: Path, vit: Path, depth: Any) -> None:
    nlp = with_features(quiet_bert, block(vit, frozen_depth=depth), with_pictures, **ALL)
    encoder, before = shim_of(nlp).encoder, weights_of_shim(nlp)
    examples = with_pictures(nlp)
    for _ in range(2):
        nlp.update(examples, sgd=AdamW(learn_rate=1e-3))
    moved = {encoder.depth_of(name) for name, now in weights_of_shim(nlp).items() if not torch.equal(before[name], now)}
    assert moved == set(range(0 if depth == -1 else depth + 1, 3)) if depth != "all" else not moved


@pytest.mark.slow
def test_a_tuned_encoder_learns_by_the_mean_gradient(quiet_bert: Path, vit: Path) -> None:
    """However a batch is divided; and the rate is that of the features alone."""
    moves = []
    for sizes, rate in (([12], 1.0), ([5, 7], 1.0), ([12], 10.0)):
        nlp = with_features(quiet_bert, block(vit, frozen_depth=1, lr_factor=rate), with_pictures, **ALL)
        before, examples, at = weights_of_shim(nlp), with_pictures(nlp), 0
        for size in sizes:
            nlp.update(examples[at : at + size], sgd=False)
            at += size
        nlp.get_pipe("transfer_textcat").finish_update(Adam(1.0, eps=1e3, L2=0.0, grad_clip=0.0))
        moves.append(torch.cat([(now - before[name]).flatten() for name, now in weights_of_shim(nlp).items()]))
    assert float(moves[0].abs().max()) > 1e-6
    torch.testing.assert_close(moves[0], moves[1], atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(moves[0] * 10, moves[2], atol=1e-6, rtol=1e-3)


def test_the_gradient_is_that_of_finite_differences(quiet_bert: Path, vit: Path) -> None:
    nlp = with_features(quiet_bert, block(vit, frozen_depth=0), with_pictures, **ALL)
    examples, pipe = [*with_pictures(nlp, 5)], nlp.get_pipe("transfer_textcat")
    examples[1].predicted._.image = None
    nlp.update(examples, sgd=False)
    node, weight = layer_of(nlp).layers[0], shim_of(nlp).encoder.body.encoder.layer[1].output.dense.bias
    assert weight.grad is not None
    gradients = {"missing": node.get_grad("missing")[3], "weight": float(weight.grad[3])}

    def loss() -> float:
        logits = pipe.model.predict([example.predicted for example in examples])
        return pipe.get_loss(examples, logits)[0] * len(examples)

    for name, gradient in gradients.items():
        sides = []
        for step in (1e-2, -2e-2):
            if name == "weight":
                with torch.no_grad():
                    weight[3] += step
            else:
                value = node.get_param("missing").copy()
                value[3] += step
                node.set_param("missing", value)
            sides.append(loss())
        assert abs(gradient) > 1e-6
        assert gradient == pytest.approx((sides[0] - sides[1]) / 2e-2, rel=5e-2, abs=2e-4)


# ---- missing -----------------------------------------------------------------------------------------------------


def half_missing(nlp: Language) -> list[Any]:
    """Whether there is a picture decides."""
    examples = with_pictures(nlp)
    for i, example in enumerate(examples):
        there = i % 2
        example.predicted._.image = example.reference._.image = png(i // 2 % 3, i) if there else None
        example.reference.cats = {label: float(label == LABELS[there]) for label in LABELS}
    return examples


def test_where_there_is_none_a_vector_is_learned(quiet_bert: Path, vit: Path) -> None:
    nlp = with_features(quiet_bert, block(vit), half_missing, **ALL)
    node = layer_of(nlp).layers[0]
    assert not node.get_param("missing").any()
    optimizer = AdamW(learn_rate=3e-2)
    for _ in range(30):
        nlp.update(half_missing(nlp), sgd=optimizer)
    assert np.abs(node.get_param("missing")).min() > 0
    values = [None, "", b"", float("nan"), *PICTURES[::3]]
    assert scores(nlp, values).argmax(dim=1).tolist() == [0, 0, 0, 0, 1, 1]
    # Nobody has set it.
    assert nlp("the card").cats == pytest.approx(dict(zip(LABELS, scores(nlp, [None])[0].tolist(), strict=True)))


@pytest.mark.parametrize(("depth", "state"), [("all", "frozen"), (1, "trainable")])
def test_the_encoder_is_drawn(quiet_bert: Path, vit: Path, depth: Any, state: str) -> None:
    nlp = solved(quiet_bert, vit, frozen_depth=depth)
    (line,) = [one for one in draw("transfer_textcat", nlp).splitlines() if "image in _.image" in one]
    total = sum(weight.numel() for weight in shim_of(nlp).encoder.parameters())
    assert f"vit, 2 layers, width {shim_of(nlp).encoder.width}, {total:,} weights" in line
    assert state in line
    assert f"({vit.name})" in line


def test_missing_may_be_an_error(quiet_bert: Path, vit: Path) -> None:
    with pytest.raises(ValueError, match=r"T842.*image is missing or empty in this document: 'the card'"):
        with_features(quiet_bert, block(vit, missing="error"), half_missing, **ALL)
    nlp = solved(quiet_bert, vit, missing="error")
    with pytest.raises(ValueError, match="T842"):
        nlp("the card")

    def none(nlp: Language) -> list[Any]:
        examples = with_pictures(nlp)
        for example in examples:
            example.predicted._.image = example.reference._.image = None
        return examples

    with pytest.raises(ValueError, match=r"T842.*all training documents"):
        solved(quiet_bert, vit, make=none)


# ---- unreadable --------------------------------------------------------------------------------------------------


def with_bad(folder: Path) -> Any:
    def make(nlp: Language) -> list[Any]:
        examples = with_pictures(nlp)
        for i, name in ((1, "gone.png"), (4, "text.png"), (7, "gone.png")):
            examples[i].predicted._.image = examples[i].reference._.image = str(folder / name)
        return examples

    (folder / "text.png").write_text("no picture")
    return make


def test_what_cannot_be_read_stops(quiet_bert: Path, vit: Path, frozen: Language, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"T841.*gone.png.*as a picture.*No such file.*'skip'|T841.*gone.png"):
        solved(quiet_bert, vit, make=with_bad(tmp_path))
    nlp = frozen
    with pytest.raises(ValueError, match=r"T841.*text.png.*not a picture of a known format"):
        scores(nlp, [PICTURES[0], str(tmp_path / "text.png")])
    with pytest.raises(ValueError, match=r"T841.*regular"):
        scores(nlp, [str(tmp_path)])
    for value in (3, [1, 2], {"a": 1}, np.asarray(["a"])):
        with pytest.raises(ValueError, match=r"T848.*Expected a path"):
            scores(nlp, [value])


def test_what_cannot_be_read_is_named_once_and_missing_by_choice(
    quiet_bert: Path, vit: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    nlp = solved(quiet_bert, vit, make=with_bad(tmp_path), unreadable="skip")
    (said,) = [record.message for record in caplog.records if "T843" in record.message]
    assert "3 of 12 pictures" in said
    assert "gone.png" in said
    assert "text.png (it is not a picture of a known format)" in said
    cut = PICTURES[0][:200]
    found = scores(nlp, [None, str(tmp_path / "text.png"), str(tmp_path / "new.png"), cut, cut])
    assert torch.equal(found, found[:1].expand_as(found))
    new = [record.message for record in caplog.records if "T843" in record.message][1:]
    assert len(new) == 1
    assert "new.png" in new[0]
    assert "a value of 200 bytes (" in new[0]
    assert "text.png" not in new[0]


# ---- paths, bytes, arrays; what is remembered --------------------------------------------------------------------


def test_a_path_bytes_and_an_array_are_the_same(
    frozen: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = frozen
    monkeypatch.setattr(shim_of(nlp), "settings", replace(shim_of(nlp).settings, folder=str(tmp_path)))
    (tmp_path / "a.png").write_bytes(PICTURES[1])
    array = np.asarray(picture(1, 51))
    values = [PICTURES[1], bytearray(PICTURES[1]), "a.png", str(tmp_path / "a.png"), tmp_path / "a.png", array]
    found = scores(nlp, values)
    assert torch.equal(found, found[:1].expand_as(found))


def count_runs(nlp: Language, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pictures that go through the encoder from now on."""
    encoder, runs = shim_of(nlp).encoder, [0]
    forward = encoder.forward

    def counted(inputs: torch.Tensor, *rest: Any) -> torch.Tensor:
        runs[0] += len(inputs)
        return forward(inputs, *rest)

    monkeypatch.setattr(encoder, "forward", counted)
    return runs


def test_the_same_content_is_encoded_once_and_another_is_noticed(
    frozen: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = frozen
    runs = count_runs(nlp, monkeypatch)
    for _ in range(2):
        nlp.update(with_pictures(nlp), sgd=False)
    # Those of training are known since initialization.
    assert runs == [0]
    shim_of(nlp).memory.clear()
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    one.write_bytes(PICTURES[0])
    two.write_bytes(PICTURES[0])
    first = scores(nlp, [str(one), str(two), PICTURES[0], str(one)])
    assert runs == [1]
    one.write_bytes(PICTURES[1])
    torch.testing.assert_close(scores(nlp, [str(two)]), first[:1])
    assert not torch.allclose(scores(nlp, [str(one)]), first[:1])
    assert runs == [2]


def test_without_room_nothing_is_remembered(
    frozen: Language, quiet_bert: Path, vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_room, without = frozen, solved(quiet_bert, vit, memory=0)
    runs = count_runs(without, monkeypatch)
    assert torch.equal(scores(without, PICTURES), scores(with_room, PICTURES))
    assert torch.equal(scores(without, PICTURES[::-1]), scores(with_room, PICTURES).flip(0))
    assert runs == [12]


# ---- storage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [pytest.param(1, marks=pytest.mark.slow), "all"])
def test_stored_without_its_folder(quiet_bert: Path, tmp_path: Path, depth: Any) -> None:
    folder = write_vision(tmp_path / "vit")
    nlp = solved(quiet_bert, folder, frozen_depth=depth)
    nlp.update(with_pictures(nlp), sgd=AdamW(learn_rate=1e-3))
    values = [*PICTURES, None]
    wanted = scores(nlp, values)
    for file in folder.iterdir():
        file.unlink()
    nlp.to_disk(tmp_path / "saved")
    loaded = spacy.load(tmp_path / "saved")
    assert torch.equal(scores(loaded, values), wanted)
    assert set(shim_of(loaded).trainable) == set(shim_of(nlp).trainable)
    assert bool(shim_of(loaded).trainable) == (depth == 1)
    again = spacy.load(tmp_path / "saved").from_bytes(nlp.to_bytes())
    assert torch.equal(scores(again, values), wanted)
    copied = pickle.loads(pickle.dumps(nlp.get_pipe("transfer_textcat").model))
    docs = [nlp.make_doc("the card")]
    docs[0]._.image = PICTURES[0]
    np.testing.assert_array_equal(copied.predict(docs), nlp.get_pipe("transfer_textcat").model.predict(docs))
    copy = nlp.get_pipe("transfer_textcat").model.copy()
    np.testing.assert_array_equal(copy.predict(docs), copied.predict(docs))
    # It goes on learning.
    loaded.update(with_pictures(loaded), sgd=AdamW(learn_rate=1e-3))
    assert np.isfinite(params(layer_of(loaded))["1.missing"]).all()


@pytest.mark.parametrize("depth", [1, "all"])
def test_checkpoints_hold_what_is_trained(quiet_bert: Path, vit: Path, depth: Any) -> None:
    nlp = solved(quiet_bert, vit, frozen_depth=depth)
    found = {name.rpartition("|")[2] for name in all_weights(nlp, only_trainable=True)}
    assert found >= {"missing", "head.output.weight", *shim_of(nlp).trainable}
    assert not found & (set(weights_of_shim(nlp)) - set(shim_of(nlp).trainable))


@pytest.mark.parametrize("family", VISION)
def test_every_family_is_stored(family: str, tmp_path: Path) -> None:
    folder = write_vision(tmp_path, family)
    settings = MediaSettings("image", str(folder), "image", "all", "auto", "learned", "error", "", 0)
    shim, loaded = MediaShim(settings), MediaShim(settings)
    shim.load()
    loaded.from_bytes(shim.to_bytes())
    contents = [Content(f"{i}", png(i)) for i in range(3)]
    (_, wanted), (_, found) = (one.encode(contents, False) for one in (shim, loaded))
    assert torch.equal(found, wanted)
    assert loaded.to_bytes() == shim.to_bytes()


def test_no_export_leaves_the_picture_behind(frozen: Language, tmp_path: Path) -> None:
    frozen.to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"T560.*features"):
        export(tmp_path / "saved", tmp_path / "hub", to="huggingface")
    pytest.importorskip("onnx")
    with pytest.raises(ValueError, match=r"T542.*image_features"):
        export(tmp_path / "saved", tmp_path / "onnx", to="onnx")


def test_an_explanation_keeps_the_picture(frozen: Language) -> None:
    nlp = frozen
    doc = nlp.make_doc("the card is here")
    doc._.image = PICTURES[1]
    whole = scores(nlp, [PICTURES[1]], "the card is here")[0, 1]
    for method in ("occlusion", "gradients"):
        ((found,),) = nlp.get_pipe("transfer_textcat").explain([doc], labels=LABELS[1:2], method=method)
        assert found.score == pytest.approx(float(whole), abs=1e-4)


def test_altered_bytes_are_refused(frozen: Language) -> None:
    nlp = frozen
    shim, data = shim_of(nlp), shim_of(nlp).to_bytes()
    for wrong in (
        data.replace(b'"kind": "image"', b'"kind": "audio"'), data.replace(b'"vit"', b'"bit"'), b"\x80",
        data.replace(b'"hidden_size": 16', b'"hidden_size": 99'), data.replace(b'"source"', b'"quelle"'),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"T8\d\d|T45\d|T082|T016"):
            MediaShim(shim.settings).from_bytes(wrong)
    assert b"\x80\x02" not in data[:20]


@pytest.mark.slow
def test_two_processes(frozen: Language) -> None:
    nlp = frozen
    docs = [nlp.make_doc("the card") for _ in PICTURES]
    for doc, value in zip(docs, PICTURES, strict=True):
        doc._.image = value
    found = torch.tensor([[doc.cats[label] for label in LABELS] for doc in nlp.pipe(docs, n_process=2, batch_size=3)])
    assert torch.equal(found, scores(nlp, PICTURES))


@pytest.mark.slow
def test_averages_hold_for_a_tuned_encoder(quiet_bert: Path, vit: Path) -> None:
    nlp = with_features(quiet_bert, block(vit, frozen_depth=1), with_pictures, **ALL)
    optimizer = AdamW(learn_rate=1e-2, use_averages=True)
    for _ in range(3):
        nlp.update(with_pictures(nlp), sgd=optimizer)
    now = weights_of_shim(nlp)
    with nlp.use_params(optimizer.averages):
        averaged = weights_of_shim(nlp)
    assert any(not torch.equal(now[name], averaged[name]) for name in now)
    assert all(torch.equal(now[name], value) for name, value in weights_of_shim(nlp).items())


# ---- the block ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"frozen_depth": -2}, {"attribute": "_.no name"}, {"missing": "mean"}, {"unreadable": "ignore"}, {"memory": -1},
        {"lr_factor": 0.0}, {"encoder": ""},
    ],
)  # fmt: skip
def test_wrong_values_are_named(vit: Path, fields: dict[str, Any]) -> None:
    from spacy_transfer.model.features.media.image import make_image_features

    with pytest.raises(ValueError, match=f"T005.*{next(iter(fields))}"):
        make_image_features(**{"encoder": str(vit), **fields})


def test_a_depth_that_is_not_there(quiet_bert: Path, vit: Path) -> None:
    with pytest.raises(ValueError, match=r"T061.*3"):
        solved(quiet_bert, vit, frozen_depth=3)


def test_next_to_other_features(quiet_bert: Path, vit: Path) -> None:
    Doc.set_extension("photo", default=None, force=True)

    def make(nlp: Language) -> list[Any]:
        examples = with_pictures(nlp)
        for example in examples:
            example.predicted._.photo = example.reference._.photo = np.full((9, 9, 3), COLORS[1], dtype=np.uint8)
        return examples

    both = {"@layers": "spacy-transfer.JoinedFeatures.v1", "*": {"a": block(vit), "b": block(vit, attribute="_.photo")}}
    nlp = with_features(quiet_bert, both, make, head_init=PROBE, **ALL)
    assert layer_of(nlp).get_dim("nO") == 32
    assert scores(nlp, PICTURES[:3]).argmax(dim=1).tolist() == [0, 1, 2]
