"""What a service answers, over HTTP."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import spacy
import torch
from spacy.language import Language
from typer.testing import CliRunner

from house_kit.pipelines import add_classifier, pipeline
from house_kit.services import Running, running
from house_kit.texts import LABELS, TEXTS, exclusive_examples
from spacy_transfer import ServiceLimits, make_app, serve
from spacy_transfer.cli import transfer_cli
from spacy_transfer.serving.apply.options import Options
from spacy_transfer.serving.apply.scoring import DirectScoring
from spacy_transfer.serving.service.messages import bodies
from spacy_transfer.serving.service.service import Service

KEY, OTHER_KEY = "0123456789abcdef", "fedcba9876543210-second"


@pytest.fixture(scope="module")
def single(bert: Path) -> Language:
    return pipeline(bert)


@pytest.fixture(scope="module")
def several(bert: Path) -> Language:
    """Two of our components, with another one around them."""
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    add_classifier(nlp, bert, name="topic")
    add_classifier(nlp, bert, name="tone", multilabel=True)
    examples = exclusive_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp


@pytest.fixture(scope="module")
def open_to_all(single: Language, several: Language) -> Iterator[Running]:
    with running({"one": single, "both": several}) as found:
        yield found


@pytest.fixture(scope="module")
def narrow(single: Language, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Keys are required, and little may come."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"# The web site\n{KEY}\n\n{OTHER_KEY}\n", "utf-8")
    keys.chmod(0o600)
    limits = ServiceLimits(body=1000, texts=3, length=200, queue=4, batch=2)
    with running({"one": single}, keys=keys, limits=limits, min_score=0.999, abstain="none", top=2) as found:
        found.client.headers["X-API-Key"] = KEY
        yield found


# ---- answers -----------------------------------------------------------------------------------------------------


def test_one_text_and_several(open_to_all: Running, single: Language) -> None:
    wanted = [max(doc.cats.items(), key=lambda pair: pair[1]) for doc in single.pipe(TEXTS)]
    found = open_to_all.ask(*TEXTS, pipeline="one")
    assert [one["label"] for one in found] == [label for label, _ in wanted]
    assert [one["score"] for one in found] == pytest.approx([score for _, score in wanted], abs=1e-5)
    answer = open_to_all.client.post("/pipelines/one/classify", json={"text": TEXTS[0]}).json()
    assert answer["pipeline"] == "one"
    assert answer["results"][0] == pytest.approx(found[0], abs=1e-5)


def test_which_scores_are_given(open_to_all: Running, narrow: Running, single: Language) -> None:
    cats = single(TEXTS[0]).cats
    (every,) = open_to_all.ask(TEXTS[0], pipeline="one", all_scores=True)
    assert every["scores"] == pytest.approx(cats, abs=1e-5)
    (best,) = open_to_all.ask(TEXTS[0], pipeline="one", top=2)
    assert list(best["scores"]) == sorted(cats, key=lambda label: -cats[label])[:2]
    least = sorted(cats.values())[1] - 1e-4
    (above,) = open_to_all.ask(TEXTS[0], pipeline="one", above=least)
    assert set(above["scores"]) == {label for label, score in cats.items() if score >= least}
    (unsure,) = open_to_all.ask(TEXTS[0], pipeline="one", min_score=1.0)
    assert unsure["label"] == "abstain"
    # As the service was started, and as a request changes it.
    assert narrow.ask(TEXTS[0])[0].keys() == {"label", "score", "scores"}
    assert narrow.ask(TEXTS[0])[0]["label"] == "none"
    assert narrow.ask(TEXTS[0], all_scores=False, min_score=0.0)[0].keys() == {"label", "score"}
    assert len(narrow.ask(TEXTS[0], all_scores=True)[0]["scores"]) == 3


def test_each_component_answers_by_name(open_to_all: Running, several: Language) -> None:
    (found,) = open_to_all.ask(TEXTS[0], path="/pipelines/both/classify", all_scores=True)
    assert found["components"].keys() == {"topic", "tone"}
    # The last one writes over `doc.cats`.
    assert found["components"]["tone"]["scores"] == pytest.approx(several(TEXTS[0]).cats, abs=1e-5)
    assert sum(found["components"]["topic"]["scores"].values()) == pytest.approx(1.0, abs=1e-4)
    shown = {one["name"]: one for one in open_to_all.client.get("/pipelines").json()["pipelines"]}
    assert [one["exclusive"] for one in shown["both"]["components"]] == [True, False]
    assert shown["one"]["components"][0]["labels"] == LABELS


def test_attributes_come_with_the_text(bert: Path) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, text={"sources": ["_.title", "text"], "missing": "skip"})
    spacy.tokens.Doc.set_extension("title", default="")
    examples = exclusive_examples(nlp)
    nlp.initialize(lambda: examples)
    doc = nlp.make_doc(TEXTS[0])
    doc._.title = "my card"
    with running({"titled": nlp}) as found:
        (answer,) = found.ask({"text": TEXTS[0], "title": "my card"}, all_scores=True)
        assert answer["scores"] == pytest.approx(nlp(doc).cats, abs=1e-5)
        assert "title" in found.error(400, json={"text": TEXTS[0]})["message"]
        assert "other" in found.error(400, json={"text": {"text": "a", "title": "b", "other": 1}})["message"]
        # What the network cannot read is the fault of the request.
        assert found.error(400, json={"text": {"text": "a", "title": {"b": 1}}})["code"] == "T111"


def test_32_clients_get_their_own_answers(open_to_all: Running, single: Language) -> None:
    texts = [[f"{TEXTS[(n + i) % len(TEXTS)]} {n} {i}" for i in range(3)] for n in range(32)]
    wanted = [[doc.cats for doc in single.pipe(some)] for some in texts]
    begin = threading.Barrier(32)

    def ask(some: list[str]) -> list[Any]:
        begin.wait(60)
        return [open_to_all.ask(text, pipeline="one", all_scores=True)[0]["scores"] for text in some]

    with ThreadPoolExecutor(32) as pool:
        for found, cats in zip(pool.map(ask, texts), wanted, strict=True):
            assert all(one == pytest.approx(two, abs=1e-5) for one, two in zip(found, cats, strict=True))
    # Fewer batches than texts: they came together.
    told = open_to_all.client.get("/metrics").text
    n_batches = float(re.search(r'batch_texts_count{pipeline="one"} (\S+)', told)[1])
    n_texts = float(re.search(r'batch_texts_sum{pipeline="one"} (\S+)', told)[1])
    assert n_texts >= 96
    assert n_batches < n_texts


# ---- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "field", "message"),
    [
        (b"", None, "JSON"), (b"{", None, "JSON"), (b'{"text": "\x00"}', None, "JSON"), (b"\xff", None, "JSON"),
        (b'{"text": NaN}', None, "JSON"), (b"[" * 900, None, "JSON"), (b"[]", None, "object"),
        (b"null", None, "object"),
        (b'{"text": "a", "text": "b"}', "text", "twice"), (b"{}", None, "text or texts"),
        (b'{"text": "a", "texts": ["b"]}', None, "text or texts"), (b'{"texts": []}', "texts", "empty"),
        (b'{"text": ""}', "text", "no text"), (b'{"texts": ["a", " \\n"]}', "texts.1", "no text"),
        (b'{"texts": ["a", "\\ud800"]}', "texts.1", "surrogate"), (b'{"texts": "a"}', "texts", "list"),
        (b'{"text": 3}', "text", "string"), (b'{"texts": ["a", null]}', "texts.1", "string"),
        (b'{"text": "a", "above": 2}', "above", "less than"), (b'{"text": "a", "top": 0}', "top", "greater"),
        (b'{"text": "a", "top": "3"}', "top", "integer"), (b'{"text": "a", "label": 3}', "label", "not permitted"),
        (b'{"text": "a", "\\ud800": 3}', None, "surrogate"),
        (b'{"text": "a", "top": 3, "above": 0.5}', None, "choose one"),
        (b'{"text": "a", "min_score": 0.5, "abstain": "card"}', "abstain", "label of the pipeline"),
        (b'{"text": {"text": "a", "title": "b"}}', "text", "title"),
        (b'{"text": {"title": "b"}}', "text.text", "required"),
    ],
)  # fmt: skip
def test_requests_that_cannot_be_used(narrow: Running, content: bytes, field: str | None, message: str) -> None:
    error = narrow.error(400, content=content, headers={"Content-Type": "application/json"})
    assert error["code"] == "T586"
    assert error["field"] == field
    assert message in error["message"]


def test_texts_that_are_strange_but_texts(open_to_all: Running, single: Language) -> None:
    texts = ["a\x00b", "\u202e\ufeff card", "💳 é", "card " * 4000]
    found = open_to_all.ask(*texts, pipeline="one", all_scores=True)
    for one, doc in zip(found, single.pipe(texts), strict=True):
        assert one["scores"] == pytest.approx(doc.cats, abs=1e-5)


def test_other_things_that_are_refused(open_to_all: Running) -> None:
    assert open_to_all.error(400, json={"text": "a"})["field"] == "pipeline"
    assert "one, both" in open_to_all.error(404, json={"text": "a", "pipeline": "x\x1b"})["message"]
    assert open_to_all.error(404, "/pipelines/x/classify", json={"text": "a"})["code"] == "T593"
    assert open_to_all.error(404, "/nothing")["code"] == "T587"
    assert "POST" in open_to_all.error(405, method="GET")["message"]
    assert open_to_all.error(415, content=b'{"text": "a"}', headers={"Content-Type": "text/plain"})["code"] == "T597"
    assert open_to_all.error(413, json={"text": "a" * 5_000_000, "pipeline": "one"})["code"] == "T590"


def test_limits(narrow: Running) -> None:
    assert narrow.error(413, json={"texts": ["a"] * 4})["code"] == "T589"
    assert narrow.error(413, json={"texts": ["a", "b" * 201]})["field"] == "texts.1"
    assert narrow.error(413, json={"text": "a" * 2000})["code"] == "T588"

    def parts() -> Iterator[bytes]:
        yield from [b"a" * 600] * 3

    # Without Content-Length.
    answer = narrow.client.post("/classify", content=parts(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert narrow.ask("a")


def test_who_asks_first_is_told_before_sending(narrow: Running) -> None:
    place = narrow.client.base_url
    with socket.create_connection((place.host, place.port), timeout=60) as connection:
        connection.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n"
            b"Expect: 100-continue\r\nX-API-Key: " + KEY.encode() + b"\r\n\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


@dataclass
class Blocked:
    """A scoring that waits."""

    inside: threading.Event
    go_on: threading.Event
    texts: list[str]


@pytest.fixture
def blocked(narrow: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Blocked]:
    scoring = narrow.service.served["one"].loaded.scoring
    score, found = scoring.score, Blocked(threading.Event(), threading.Event(), [])

    def wait(rows: Any) -> Any:
        found.texts.extend(row.text for row in rows)
        found.inside.set()
        assert found.go_on.wait(60)
        return score(rows)

    monkeypatch.setattr(scoring, "score", wait)
    yield found
    found.go_on.set()


def sent(narrow: Running, body: bytes, n_bytes: int | None = None) -> socket.socket:
    """A connection on which a request was sent, or a part of it."""
    connection = socket.create_connection((narrow.client.base_url.host, narrow.client.base_url.port), timeout=60)
    head = f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-API-Key: {KEY}\r\n"
    connection.sendall(f"{head}Content-Length: {n_bytes or len(body)}\r\n\r\n".encode() + body)
    return connection


def test_a_full_queue(narrow: Running, blocked: Blocked) -> None:
    with ThreadPoolExecutor(2) as pool:
        # Two texts are being scored, three wait.
        first = pool.submit(narrow.ask, "a", "b")
        assert blocked.inside.wait(60)
        second = pool.submit(narrow.ask, "c", "d", "e")
        while narrow.service.served["one"].n_waiting < 3:
            time.sleep(0.01)
        try:
            answer = narrow.client.post("/classify", json={"texts": ["f", "g"]})
        finally:
            blocked.go_on.set()
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "T591")
        assert answer.headers["retry-after"] == "1"
        assert (len(first.result(60)), len(second.result(60))) == (2, 3)


def test_who_leaves_is_not_waited_for(narrow: Running, blocked: Blocked) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(narrow.ask, "stays")
        assert blocked.inside.wait(60)
        with sent(narrow, b'{"text": "leaves"}'):
            while not narrow.service.served["one"].n_waiting:
                time.sleep(0.01)
        while 'status="499"' not in narrow.client.get("/metrics").text:
            time.sleep(0.01)
        blocked.go_on.set()
        assert len(first.result(60)) == 1
    assert narrow.ask("next")
    assert blocked.texts == ["stays", "next"]


def test_a_body_that_does_not_arrive(narrow: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_SECONDS", 0.1)
    with sent(narrow, b'{"te', 100) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_pipeline_that_fails(narrow: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    scoring = narrow.service.served["one"].loaded.scoring
    monkeypatch.setattr(scoring, "score", lambda rows: 1 / 0)
    error = narrow.error(500, json={"text": "a"})
    assert error["code"] == "T594"
    assert "ZeroDivisionError" in error["message"]


def test_keys(narrow: Running) -> None:
    for headers in ({"X-API-Key": OTHER_KEY}, {"Authorization": f"Bearer {OTHER_KEY}"}):
        assert narrow.client.post("/classify", json={"text": "a"}, headers=headers).status_code == 200
    for path, method in (("/classify", "POST"), ("/pipelines", "GET"), ("/metrics", "GET")):
        for wrong in ("", KEY[:-1], KEY + "0", "é"):
            error = narrow.error(401, path, method=method, headers={"X-API-Key": wrong.encode()}, json={"text": "a"})
            assert error["code"] == "T585"
    # What says nothing of the pipelines is open.
    for path in ("/health", "/ready", "/", "/docs", "/openapi.json"):
        assert narrow.client.get(path, headers={"X-API-Key": ""}).status_code == 200


def test_files_of_keys(tmp_path: Path, single: Language, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys"

    def service() -> Service:
        return Service(single, Options(), ServiceLimits(), file, 0)

    with pytest.raises(FileNotFoundError, match="T440"):
        service()
    for text, message in (("# nothing\n", "no key"), ("short\n", "line 1"), (f"\n{KEY} x\n", "line 2")):
        file.write_text(text, "utf-8")
        with pytest.raises(ValueError, match=f"T582.*{message}"):
            service()
    file.write_text(KEY, "utf-8")
    file.chmod(0o644)
    assert service().lets_in(KEY.encode())
    assert "chmod 600" in caplog.text
    file.chmod(0o600)
    caplog.clear()
    service()
    assert not caplog.text


# ---- watching ----------------------------------------------------------------------------------------------------


def test_metrics_and_the_description(open_to_all: Running) -> None:
    open_to_all.ask("a", "b", pipeline="one")
    open_to_all.error(400, json=[])
    answer = open_to_all.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    for wanted in ('requests_total{pipeline="one",status="200"}', 'requests_total{pipeline="",status="400"}',
                   'errors_total{code="T586"}', 'request_seconds_bucket{le="0.1",pipeline="one"}',
                   'queue_texts{pipeline="both"} 0.0', "transfer_ready 1.0"):  # fmt: skip
        assert wanted in answer.text
    document = open_to_all.client.get("/openapi.json").json()
    assert document["paths"]["/classify"]["post"]["requestBody"]["required"]
    # Every reference has its form.
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert {"Question", "Answered", "Refused"} <= names <= set(document["components"]["schemas"])
    assert "422" not in json.dumps(document["paths"])
    assert open_to_all.client.head("/ready").status_code == 200
    assert "/pipelines/{name}/classify" in open_to_all.client.get("/docs").text


def test_not_ready_before_it_is_loaded(single: Language) -> None:
    """As under another server, which starts the application in its own time."""
    app = make_app(single, all_scores=True)

    async def talk() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            assert (await client.get("/health")).status_code == 200
            for answer in (await client.get("/ready"), await client.post("/classify", json={"text": "a"})):
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "T592")
            async with app.router.lifespan_context(app):
                assert (await client.get("/ready")).status_code == 200
                answer = await client.post("/classify", json={"text": TEXTS[0]})
                assert answer.json()["results"][0]["scores"] == pytest.approx(single(TEXTS[0]).cats, abs=1e-5)
            assert (await client.post("/classify", json={"text": "a"})).status_code == 503

    asyncio.run(talk())


# ---- starting ----------------------------------------------------------------------------------------------------


def test_threads_are_those_of_the_one_that_computes(single: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = torch.get_num_threads(), set[int]()
    service = Service(single, Options(), ServiceLimits(), None, before + 1)
    score = DirectScoring.score
    monkeypatch.setattr(
        DirectScoring, "score", lambda self, rows: seen.add(torch.get_num_threads()) or score(self, rows)
    )
    try:
        service.load()
        service.close()
    finally:
        torch.set_num_threads(before)
    assert seen == {before + 1}


def test_what_cannot_be_served(single: Language, tmp_path: Path) -> None:
    for wrong in ([], ["a b=folder/x y"], {"..": single}, ["x=a", "x=b"], ["a/best", "b/best"]):
        with pytest.raises(ValueError, match="T581"):
            make_app(wrong)
    with pytest.raises(ValueError, match="T520"):
        make_app(single, top=1, all_scores=True)
    with pytest.raises(ValueError, match=r"T396.*--max-queue"):
        ServiceLimits(texts=10, queue=9)
    with pytest.raises(ValueError, match=r"T396.*--abstain"):
        serve(single, port=0, min_score=0.5, abstain="card")
    with pytest.raises(ValueError, match="T527"):
        serve(spacy.blank("xx"), port=0)
    with pytest.raises(OSError, match=r"T580.*no\.such\.host"):
        serve(single, host="no.such.host.invalid", port=0)


def test_a_port_in_use_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = CliRunner().invoke(transfer_cli, ["serve", str(tmp_path / "not-there"), "--port", str(port)])
    assert done.exit_code == 1
    assert "T580" in done.output
    assert "Choose another port" in " ".join(done.output.split())


def test_a_pipeline_that_is_not_there(tmp_path: Path) -> None:
    done = CliRunner().invoke(transfer_cli, ["serve", str(tmp_path / "not-there"), "--port", "0"])
    assert done.exit_code == 1
    assert "not-there" in done.output
    assert "T444" in done.output


def test_open_to_the_network_without_keys_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(OSError, match="E052"):
        serve(tmp_path / "not-there", host="0.0.0.0", port=0)
    assert "T584" in caplog.text
