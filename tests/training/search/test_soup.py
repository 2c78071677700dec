"""The mean of several runs, taken where it is better."""

from pathlib import Path

import pytest
import spacy
import torch
from thinc.api import Config

from house_kit.runs import MODEL, config_of, run
from house_kit.studies import studied
from spacy_transfer.training.search import soup
from spacy_transfer.training.search.soup import mix
from spacy_transfer.training.search.study import Plan


@pytest.fixture(scope="module")
def halves(bert: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A good pipeline, and two that lie to both sides of it: each is bad, their mean is the good one."""
    folder = tmp_path_factory.mktemp("soup")
    known = {"dev": {"path": str(corpus / "train.spacy")}}
    run(config_of(bert, corpus, "half frozen, streamed", steps=60, corpora=known), folder / "out")
    good = folder / "out" / "model-best"
    drift = {}
    for name, sign in (("one", 1.0), ("other", -1.0)):
        nlp = spacy.load(good)
        network = nlp.get_pipe(MODEL).model.shims[0].network
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for key, weight in network.head.named_parameters():
                drift.setdefault(key, 50 * torch.randn(weight.shape, generator=generator))
                weight += sign * drift[key]
        nlp.to_disk(folder / name)
    return good, folder / "one", folder / "other"


@pytest.mark.slow
def test_a_soup_is_the_mean_where_that_is_better(halves: tuple[Path, Path, Path]) -> None:
    good, one, other = halves
    found = mix([one, other])
    assert found.is_better
    assert found.ingredients == [one, other]
    assert found.score > found.single
    whole = mix([good])
    assert not whole.is_better
    assert found.score == whole.single
    for path in (found.nlp, whole.nlp):
        assert path.pipe_names == [MODEL]
    mixed, wanted = (dict(nlp.get_pipe(MODEL).model.shims[0].network.named_parameters())
                     for nlp in (found.nlp, spacy.load(good)))  # fmt: skip
    for name, weight in mixed.items():
        torch.testing.assert_close(weight, wanted[name], atol=1e-4, rtol=0)
        if not name.startswith("head"):
            assert torch.equal(weight, wanted[name])


@pytest.mark.slow
def test_a_soup_that_is_not_better_is_not_taken(halves: tuple[Path, Path, Path]) -> None:
    good, one, _ = halves
    found = mix([good, one, good])
    assert found.ingredients == [good]
    assert not found.is_better
    doc, same = found.nlp("why pay twice?"), spacy.load(good)("why pay twice?")
    assert doc.cats == same.cats


def test_other_networks_are_passed_over(
    halves: tuple[Path, Path, Path], bert: Path, corpus: Path, tmp_path: Path
) -> None:
    good, _, other = halves
    config = config_of(bert, corpus, steps=1)
    config["components"][MODEL]["model"]["head"] = {"@layers": "spacy-transfer.Head.v1", "hidden": [7]}
    run(config, tmp_path / "out")
    found = mix([other, tmp_path / "out" / "model-best", good])
    assert tmp_path / "out" / "model-best" not in found.ingredients


def test_the_soup_becomes_model_best(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the scores are: here the later evaluation is always the better one."""
    count = iter(range(1000))
    with monkeypatch.context() as patch:
        patch.setattr(soup.Evaluation, "__call__", lambda self, tick: (float(next(count)), {}))
        plain = run(config, tmp_path / "plain")
        count = iter(range(1000))
        found = studied(config, tmp_path / "study", Plan(seeds=[1, 2, 3], soup=True))
    assert plain.score > 0
    assert found.soup["is_better"]
    assert found.soup["ingredients"][0] == found.run
    assert len(found.soup["ingredients"]) == 3
    weights = [spacy.load(tmp_path / "study" / name / "model-best").get_pipe(MODEL).model.shims[0].network.state_dict()
               for name in found.soup["ingredients"]]  # fmt: skip
    mixed = spacy.load(tmp_path / "study" / "model-best").get_pipe(MODEL).model.shims[0].network.state_dict()
    for name, value in mixed.items():
        mean = torch.stack([one[name] for one in weights]).double().mean(dim=0)
        torch.testing.assert_close(value, mean.to(value.dtype), atol=1e-6, rtol=0)
