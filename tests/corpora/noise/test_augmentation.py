"""Augmentation: drawn anew in every step, the same from the same counter, label by label, and remembered nowhere."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex
import spacy
import torch
from spacy.language import Language

import spacy_transfer.cli  # noqa: F401  (adds the commands)
from house_kit.pipelines import moved, pipeline, scores_of, shim_of, weights_of
from house_kit.slow import mostly_slow
from house_kit.texts import TEXTS, exclusive_examples, multilabel_examples
from spacy_transfer.corpora.noise.augmentation import Augmentation
from spacy_transfer.corpora.noise.typing_errors import mistyped
from spacy_transfer.corpora.noise.words import Words, characters
from spacy_transfer.model.cache.cache import document_key, row_key
from spacy_transfer.model.features.joining import Inputs
from spacy_transfer.model.learning.augmentation import draw_texts
from spacy_transfer.training.adamw import AdamW

RATES = ("drop", "swap", "repeat", "mask", "typing", "casing", "mixing")
NOTHING: dict[str, Any] = dict.fromkeys((*RATES, "clean"), 0.0)
# Every kind at once, in every text.
MUCH: dict[str, Any] = {**dict.fromkeys(RATES, 0.4), "clean": 0.0}
NAME = "spacy-transfer.Augmentation.v1"
CORNERS = [
    "", " ", "\n\t", "a", "?", "word", " two  words ", "line one\nline two\r\n", "我的手机坏了，怎么办？",
    "買了iPhone 15後 壞了", "ฉันรักแมว", "👍🏽", "👨‍👩‍👧 great 👍🏽👍🏽 🇩🇪🇫🇷", "cafe\u0301 re\u0301sume\u0301 na\u00efve",
    "हिन्दी में लिखा", "مرحبا بالعالم", "Straße ǅ ﬁ İstanbul", "a\u200db", "\u0301x", "[MASK] </s>",
]  # fmt: skip


def block(**settings: Any) -> dict[str, Any]:
    """The config block."""
    return {"@misc": NAME, **NOTHING, **settings}


def only(**settings: Any) -> Augmentation:
    """One kind of change alone."""
    return Augmentation(**{**NOTHING, **settings})


def train(nlp: Language, n_steps: int = 6, examples: Any = None) -> list[float]:
    """Losses of some steps of four texts."""
    examples = examples or exclusive_examples(nlp)
    optimizer, found = AdamW(learn_rate=1e-2, eps=1e-3), []
    for step in range(n_steps):
        begin = step * 4 % (len(examples) - 3)
        found.append(nlp.update(examples[begin : begin + 4], sgd=optimizer)[nlp.pipe_names[0]])
    return found


def long_text(n_words: int = 8_000) -> list[str]:
    chance = random.Random(0)
    return ["".join(chance.choices("abcdefghij", k=chance.randint(4, 9))) for _ in range(n_words)]


# ---- drawing -----------------------------------------------------------------------------------------------------


def test_the_same_counter_gives_the_same_texts_and_another_others() -> None:
    builder, targets = Augmentation(**MUCH), np.eye(3, dtype=np.float32)[np.arange(24) % 3]
    first = builder.draw(TEXTS, targets, 5)
    random.seed(1)
    assert builder.draw(TEXTS, targets.copy(), 5) == first
    assert Augmentation(**MUCH).draw(list(TEXTS), targets, 5) == first
    for other in (builder.draw(TEXTS, targets, 6), Augmentation(**{**MUCH, "seed": 1}).draw(TEXTS, targets, 5)):
        assert sum(a != b for a, b in zip(first, other, strict=True)) > 20


def test_drawing_leaves_pythons_random_alone() -> None:
    before = random.getstate()
    Augmentation(**MUCH).draw(TEXTS, None, 0)
    assert random.getstate() == before


def test_like_texts_of_a_batch_are_drawn_apart() -> None:
    assert len(set(Augmentation(**MUCH).draw([" ".join(TEXTS[:4])] * 6, None, 0))) == 6


def test_the_share_of_clean_texts() -> None:
    builder = Augmentation(**{**MUCH, "clean": 0.3, "drop": 0.9})
    texts = [" ".join(long_text(12))] * 3000
    same = sum(new == old for new, old in zip(builder.draw(texts, None, 0), texts, strict=True))
    assert same / 3000 == pytest.approx(0.3, abs=0.03)
    assert Augmentation(**{**MUCH, "clean": 1.0}).draw(texts[:50], None, 0) == texts[:50]


@pytest.mark.parametrize("rate", [0.05, 0.3, 1.0])
def test_rates_are_those_asked(rate: float) -> None:
    words = long_text()
    text = " ".join(words)

    def drawn(**settings: Any) -> list[str]:
        return only(**settings).draw([text], None, 0)[0].split(" ")

    def changed(new: list[str]) -> float:
        return sum(a != b for a, b in zip(new, words, strict=True)) / len(words)

    near = {"abs": 0.018}
    assert 1 - len(drawn(drop=rate)) / len(words) == pytest.approx(rate, **near)
    assert len(drawn(repeat=rate)) / len(words) - 1 == pytest.approx(rate, **near)
    assert changed(drawn(swap=rate)) == pytest.approx(rate, **near)
    assert sorted(drawn(swap=rate)) == sorted(words)
    masked = drawn(mask=rate, mask_text="<?>")
    assert changed(masked) == pytest.approx(rate, **near)
    assert masked.count("<?>") / len(words) == changed(masked)
    assert changed(drawn(typing=rate)) == pytest.approx(rate, **near)
    cased = drawn(casing=rate)
    assert changed(cased) == pytest.approx(rate, **near)
    assert [word.lower() for word in cased] == words


def test_rates_of_nothing_change_nothing() -> None:
    assert only().draw(CORNERS, np.ones((len(CORNERS), 2), dtype=np.float32), 3) == CORNERS


# ---- words and characters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", CORNERS)
def test_words_put_together_are_the_text(text: str) -> None:
    words = Words(text)
    assert words.text == text
    assert all(word.strip() == word != "" for word in words.words)
    assert bool(words.words) == bool(text.strip())
    assert "".join(characters(text)) == text


def test_words_are_divided_by_spaces_and_in_scripts_without_them_by_character() -> None:
    assert Words(" Two  words.\n").words == ["Two", "words."]
    assert Words("買了iPhone 15後").words == ["買", "了", "iPhone", "15", "後"]
    assert Words("坏了。ok").words == ["坏", "了", "。ok"]
    assert only(repeat=1.0).draw(["坏了 ok"], None, 0) == ["坏坏了了 ok ok"]
    assert sorted(only(swap=1.0).draw(["我坏"], None, 0)[0]) == sorted("我坏")


@pytest.mark.parametrize("text", CORNERS)
def test_no_text_becomes_empty_and_no_character_is_cut(text: str) -> None:
    targets = np.zeros((2, 1), dtype=np.float32)
    whole = set(characters(text)) | set(characters(TEXTS[0]))
    for n_draws in range(60):
        settings = {**MUCH, "casing": 0.0, "drop": 0.8, "keyboard": ("qwerty", "jcuken")[n_draws % 2]}
        new = Augmentation(**settings).draw([text, TEXTS[0]], targets, n_draws)[0]
        assert bool(new.strip()) == bool(text.strip())
        new.encode("utf-8")
        # Marks stay with their letter: every character that has some was there before. A mark without one may move.
        assert {c for c in characters(new) if regex.match(r"\S\p{M}", c)} <= whole | {"\u0301\u0301"}
    assert only(drop=1.0).draw([text], None, 0)[0].strip() in (Words(text).words or [""])


@pytest.mark.parametrize(
    "word", ["ab", "late", "late!", "Cafe\u0301", "привет", "1a2b", "Ärger", "aa", "e\u0301e\u0301"]
)
def test_a_typing_error_is_one_error(word: str) -> None:
    chance = random.Random(0)
    for keyboard in ("qwerty", "qwertz", "azerty", "jcuken"):
        for _ in range(50):
            new = mistyped(word, keyboard, chance)
            assert new != word
            old_parts, new_parts = characters(word), characters(new)
            assert abs(len(new_parts) - len(old_parts)) <= 1
            assert sum(c.isdigit() for c in new) == sum(c.isdigit() for c in word)
            if len(new_parts) == len(old_parts):
                differ = [i for i, (a, b) in enumerate(zip(old_parts, new_parts, strict=True)) if a != b]
                turned = len(differ) == 2 and differ[1] == differ[0] + 1
                assert len(differ) == 1 or (turned and sorted(old_parts) == sorted(new_parts))


@pytest.mark.parametrize("word", ["", "a", "?", "14", "👍🏽", "坏", "e\u0301"])
def test_words_of_fewer_than_two_letters_are_typed_rightly(word: str) -> None:
    assert mistyped(word, "qwerty", random.Random(0)) == word


def test_neighboring_keys() -> None:
    found = {mistyped("gg", "qwerty", random.Random(i)).replace("g", "", 1) for i in range(400)}
    # With "g" left out, doubled, or one of its six neighbors in its place.
    assert found == {"", "gg", "f", "h", "t", "y", "v", "b"}


# ---- mixing ------------------------------------------------------------------------------------------------------


def test_spans_come_from_texts_with_the_same_labels_only() -> None:
    """Each text has words of its own; NaN is a missing annotation, and soft labels must be the same too."""
    rows = [[1, 0], [1, 0], [0, 1], [0, 1], [1, np.nan], [1, np.nan], [0.5, 0.5], [0.5, 0.5], [0, 0], [1, 1]]
    targets = np.array(rows, dtype=np.float32)
    texts = [" ".join(f"t{i}w{k}" for k in range(8)) for i in range(len(rows))]
    partner = {0: 1, 1: 0, 2: 3, 3: 2, 4: 5, 5: 4, 6: 7, 7: 6}
    mixed = 0
    for n_draws in range(40):
        for i, new in enumerate(only(mixing=1.0, mixed_words=0.5).draw(texts, targets, n_draws)):
            words = new.split()
            foreign = [k for k, word in enumerate(words) if not word.startswith(f"t{i}w")]
            assert len(words) == 8
            assert {words[k].split("w")[0] for k in foreign} <= {f"t{partner.get(i)}"}
            assert foreign == list(range(foreign[0], foreign[-1] + 1)) if foreign else i > 7
            assert len(foreign) <= 4
            taken = [int(words[k].split("w")[1]) for k in foreign]
            assert taken == list(range(taken[0], taken[-1] + 1)) if taken else True
            mixed += bool(foreign)
    assert mixed == 40 * 8
    assert only(mixing=1.0).draw(texts, None, 0) == texts


def test_the_share_of_mixed_texts_and_what_stays() -> None:
    texts, targets = [" ".join(long_text(10)), " ".join(long_text(20)[10:])] * 500, np.zeros((1000, 1), np.float32)
    new = only(mixing=0.25).draw(texts, targets, 0)
    assert sum(a != b for a, b in zip(new, texts, strict=True)) / 1000 == pytest.approx(0.25, abs=0.05)
    # A text of one word keeps it, one of two keeps one.
    for n_draws in range(20):
        one, two, _ = only(mixing=1.0, mixed_words=1.0).draw(["x", "y z", "a b c"], targets[:3], n_draws)
        assert one == "x"
        assert set(two.split()) & {"y", "z"}
    assert only(mixing=1.0, mixed_words=0.0).draw(texts[:2], targets[:2], 0) == texts[:2]


# ---- training ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", mostly_slow([-1, 2, "all"], but=[2]))
@pytest.mark.parametrize("multilabel", [False, True])
def test_rates_of_nothing_train_as_without_the_block(quiet_bert: Path, frozen: Any, multilabel: bool) -> None:
    blocks: dict[str, Any] = {"tuning": {"frozen_depth": frozen}, "multilabel": multilabel}
    plain, still = pipeline(quiet_bert, **blocks), pipeline(quiet_bert, **blocks, augmentation=block())
    full = pipeline(quiet_bert, **blocks, augmentation={**block(**MUCH), "clean": 1.0})
    make = multilabel_examples if multilabel else exclusive_examples
    losses = [train(nlp, examples=make(nlp)) for nlp in (plain, still, full)]
    assert losses[0] == losses[1] == losses[2]
    assert not moved(weights_of(plain), weights_of(still))


def _texts_read(nlp: Language) -> list[list[str]]:
    seen: list[list[str]] = []
    reader = shim_of(nlp).reader
    original = reader.read

    def read(texts: Sequence[str], *, remember: Any) -> Any:
        seen.append(list(texts))
        return original(texts, remember=remember)

    reader.read = read
    return seen


def test_every_step_and_every_epoch_differ_and_initialize_sees_clean_texts(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, augmentation=block(**MUCH), head_init={"@misc": "spacy-transfer.LinearProbe.v1"})
    assert set(shim_of(nlp).reader._known) <= set(TEXTS)
    assert shim_of(nlp).n_draws == 0
    seen = _texts_read(nlp)
    examples = exclusive_examples(nlp)
    optimizer = AdamW(learn_rate=1e-3)
    for _ in range(3):
        for begin in (0, 12):
            nlp.update(examples[begin : begin + 12], sgd=optimizer)
    assert len(seen) == 6
    epochs = [seen[i] + seen[i + 1] for i in (0, 2, 4)]
    assert all(epoch != TEXTS for epoch in epochs)
    assert sum(a == b for a, b in zip(epochs[0], epochs[1], strict=True)) < 8
    assert epochs[1] != epochs[2]
    seen.clear()
    nlp.evaluate(examples)
    list(nlp.pipe(TEXTS))
    assert {text for texts in seen for text in texts} == set(TEXTS)


@pytest.mark.parametrize("pooling", ["MeanPooling", "AttentionPooling"])
@pytest.mark.parametrize("frozen", [1, "all"])
def test_the_cache_holds_clean_texts_only_and_changes_nothing(quiet_bert: Path, frozen: Any, pooling: str) -> None:
    blocks = {
        "tuning": {"frozen_depth": frozen}, "pooling": {"@layers": f"spacy-transfer.{pooling}.v1"},
        "augmentation": block(**{**MUCH, "clean": 0.4}),
    }  # fmt: skip
    cached = pipeline(quiet_bert, **blocks)
    uncached = pipeline(quiet_bert, **blocks, cache={"memory": 0})
    seen = _texts_read(cached)
    torch.testing.assert_close(train(cached, 12), train(uncached, 12), atol=1e-5, rtol=1e-4)
    shim = shim_of(cached)
    # What is expected is read in one call by the cache; what is learned, four texts at a time.
    drawn = [text for texts in seen for text in texts if len(texts) == 4]
    assert 10 < sum(text not in TEXTS for text in drawn) < 44
    kept = shim.pathway.cached._memory
    clean = shim.reader.read(TEXTS, remember=False)
    keys = {document_key(d) for d in clean} if "vectors" in shim.pathway.cached.namespace else set()
    keys = keys or {row_key(row) for document in clean for row in document}
    assert set(kept) == keys
    assert set(shim.reader._known) == set(TEXTS)
    assert shim.current_pathway.expected.texts == list(dict.fromkeys(TEXTS))


def test_without_clean_texts_nothing_is_computed_for_the_cache(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, tuning={"frozen_depth": "all"}, augmentation=block(mask=1.0, mask_text="zzz"))
    train(nlp)
    assert not shim_of(nlp).pathway.cached._memory
    assert not shim_of(nlp).reader._known


def test_another_case_of_an_uncased_encoder_comes_from_the_cache(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, tuning={"frozen_depth": 2}, augmentation=block(casing=1.0, clean=0.5))
    seen: list[int] = []
    network = shim_of(nlp).network
    original = network.prefix
    network.prefix = lambda batch: seen.append(len(batch.ids)) or original(batch)
    train(nlp, 2)
    seen.clear()
    train(nlp, 10)
    assert not seen


def test_a_second_pass_over_a_step_takes_the_same_ways(bert: Path) -> None:
    """As losses need that couple documents: in between, the cache may learn the clean form of a changed text."""
    spacy.registry.misc("test.loud.v1", func=lambda: Own(lambda texts: [texts[0].upper(), *texts[1:3], "late thanks"]))
    nlp = pipeline(bert, tuning={"frozen_depth": 1}, augmentation={"@misc": "test.loud.v1"})
    shim, texts = shim_of(nlp), [TEXTS[0], TEXTS[0], TEXTS[3], TEXTS[6]]
    shim._training()
    batch = shim._draw(Inputs(texts), None)
    assert batch.lasting == [False, True, True, False]

    def learn(group: list[int]) -> torch.Tensor:
        torch.manual_seed(0)
        return shim.pathway.learn(batch.of(group))

    first = learn([0, 3, 2])
    learn([1])
    assert torch.equal(learn([0, 3, 2]), first)
    # At the next step it is known.
    assert shim._draw(Inputs(texts), None).lasting == [True, True, True, False]


@pytest.mark.parametrize("frozen", [1, "all"])
def test_losses_that_couple_documents(quiet_bert: Path, frozen: Any) -> None:
    base = {"@losses": "spacy-transfer.CrossEntropy.v1", "label_smoothing": 0.0, "class_weights": "none"}
    blocks: dict[str, Any] = {
        "loss": {"@losses": "spacy-transfer.SupervisedContrastive.v1", "loss": base, "weight": 0.5},
        "tuning": {"frozen_depth": frozen}, "augmentation": block(**{**MUCH, "clean": 0.4}),
    }  # fmt: skip
    small, whole = pipeline(quiet_bert, **blocks, piece_budget=32), pipeline(quiet_bert, **blocks, cache={"memory": 0})
    torch.testing.assert_close(train(small), train(whole), atol=1e-4, rtol=1e-4)


def test_a_batch_larger_than_a_micro_batch_is_drawn_once(quiet_bert: Path) -> None:
    blocks: dict[str, Any] = {"augmentation": block(**MUCH), "windows": {"length": 8, "stride": 4}}
    small = pipeline(quiet_bert, **blocks, piece_budget=8)
    torch.testing.assert_close(train(small), train(pipeline(quiet_bert, **blocks)), atol=1e-5, rtol=1e-4)
    assert shim_of(small).n_draws == 6


def test_begin_update_draws_too_without_labels(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, augmentation=block(drop=0.5, mixing=1.0))
    pipe, seen = nlp.get_pipe("transfer_textcat"), _texts_read(nlp)
    docs = [nlp.make_doc(text) for text in TEXTS[:6]]
    for _ in range(2):
        logits, backprop = pipe.model.begin_update(docs)
        backprop(np.ones_like(logits))
    assert seen[0] != seen[1] != TEXTS[:6]
    assert all(set(new.split()) <= set(old.split()) for texts in seen for new, old in zip(texts, TEXTS, strict=False))
    assert shim_of(nlp).n_draws == 2


# ---- storage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["disk", "bytes"])
def test_training_goes_on_where_it_stopped(quiet_bert: Path, tmp_path: Path, way: str) -> None:
    nlp = pipeline(quiet_bert, augmentation=block(**MUCH), head={"dropout": 0.0})
    train(nlp, 3)
    nlp.to_disk(tmp_path / "p")
    other = spacy.load(tmp_path / "p") if way == "disk" else pipeline(quiet_bert, augmentation=block(**MUCH))
    if way == "bytes":
        other.from_bytes(nlp.to_bytes())
    assert shim_of(other).n_draws == 3
    # The same blocks: seed and rates are in the config.
    assert shim_of(other).settings.augmentation == shim_of(nlp).settings.augmentation
    one, two = _texts_read(nlp), _texts_read(other)
    train(nlp, 4)
    train(other, 4)
    assert one == two
    assert shim_of(nlp).n_draws == 7


def test_initializing_again_starts_the_count_again(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, augmentation=block(**MUCH))
    train(nlp, 2)
    nlp.initialize(lambda: exclusive_examples(nlp))
    assert shim_of(nlp).n_draws == 0


def test_a_pipeline_saved_before_there_was_augmentation_loads(quiet_bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(quiet_bert)
    nlp.to_disk(tmp_path / "p")
    config = spacy.util.load_config(tmp_path / "p" / "config.cfg")
    del config["components"]["transfer_textcat"]["model"]["augmentation"]
    config.to_disk(tmp_path / "p" / "config.cfg")
    cfg = json.loads((tmp_path / "p" / "transfer_textcat" / "cfg").read_text())
    del cfg["network"]["n_draws"]
    (tmp_path / "p" / "transfer_textcat" / "cfg").write_text(json.dumps(cfg))
    old = spacy.load(tmp_path / "p")
    assert torch.equal(scores_of(old, TEXTS), scores_of(nlp, TEXTS))
    assert train(old, 2)


# ---- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [*RATES, "clean", "mixed_words", "joining", "lookalikes", "emoji"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), "much", None])
def test_rates_outside_0_to_1_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"T005.*augmentation: {field} = "):
        Augmentation(**{field: value})


def test_numbers_in_quotes_and_texts_for_a_mask() -> None:
    assert Augmentation(drop="0.2").drop == 0.2  # type: ignore[arg-type]
    for value in ("", " ", "\n"):
        with pytest.raises(ValueError, match="T124"):
            Augmentation(mask_text=value)


class Own:
    """An augmenter of the user's own."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def draw(self, texts: Sequence[str], targets: Any, n_draws: int) -> Any:
        return self.found(texts)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (lambda texts: texts[:-1], r"T120.*Own.draw.* 2 text"), (lambda texts: [*texts, "x"], "T120"),
        (lambda texts: None, "T120.*None"), (lambda texts: "abc", "T120"), (lambda texts: iter(texts), "T120"),
        (lambda texts: [None, "b", "c"], r"T121.*None.*'one'"), (lambda texts: [b"x", "b", "c"], "T121"),
        (lambda texts: ["one", "", "three"], r"T122.*'two'"), (lambda texts: ["one", " \n", "three"], r"T122.*'two'"),
        (lambda texts: ["one", "b", "x\ud83d"], r"T123.*ud83d.*character 1.*'three'"),
    ],
)  # fmt: skip
def test_what_an_augmenter_gives_is_checked(found: Any, code: str) -> None:
    with pytest.raises(ValueError, match=code):
        draw_texts(Own(found), ["one", "two", "three"], None, 0)


def test_an_augmenter_of_ones_own(quiet_bert: Path) -> None:
    upper = Own(lambda texts: tuple(text.upper() for text in texts))
    assert draw_texts(upper, ["", "a", "B"], None, 0) == (["", "A", "B"], [True, False, True])
    spacy.registry.misc("test.own_augmenter.v1", func=lambda: Own(lambda texts: [f"{t} thanks" for t in texts]))
    nlp = pipeline(quiet_bert, augmentation={"@misc": "test.own_augmenter.v1"})
    seen = _texts_read(nlp)
    train(nlp, 1)
    assert seen == [[f"{text} thanks" for text in TEXTS[:4]]]


def test_a_block_of_another_kind_is_refused(quiet_bert: Path) -> None:
    with pytest.raises(ValueError, match=r"T001.*'augmentation'"):
        pipeline(quiet_bert, augmentation={"@misc": "spacy-transfer.RandomInit.v1"})
