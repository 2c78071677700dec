"""Loading again, and stopping, while requests go on."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy

from house_kit.pipelines import pipeline
from house_kit.services import running
from house_kit.texts import TEXTS

KEY, NEW_KEY = "0123456789abcdef", "new-0123456789abcdef"


def until(condition: Callable[[], Any]) -> Any:
    """What a condition gives when it holds."""
    end = time.monotonic() + 300
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_a_new_pipeline_takes_over_without_a_lost_request(
    bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys, folder = tmp_path / "keys", tmp_path / "pipeline"
    keys.write_text(KEY, "utf-8")
    keys.chmod(0o600)
    old, new = pipeline(bert), pipeline(bert, multilabel=True, seed=1)
    wanted = [nlp(TEXTS[0]).cats for nlp in (old, new)]
    old.to_disk(folder)
    with running(folder, keys=keys, all_scores=True) as found:
        found.client.headers["X-API-Key"] = KEY
        done, answers = threading.Event(), list[Any]()

        def ask() -> None:
            while not done.is_set():
                answers.extend(found.ask(TEXTS[0]))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: answers)
        first = found.service.served["pipeline"].loaded
        new.to_disk(folder)
        found.service.reload()
        n_old = len(answers)
        until(lambda: len(answers) > n_old + 20)
        done.set()
        for thread in threads:
            thread.join(60)
        # Each has all scores of one of the two.
        for one in answers:
            assert any(one["scores"] == pytest.approx(cats, abs=1e-5) for cats in wanted)
        assert found.ask(TEXTS[0])[0]["scores"] == pytest.approx(wanted[1], abs=1e-5)
        until(lambda: not first.lane._thread.is_alive())
        # A broken one, and a broken file of keys, change nothing.
        weights = next(folder.rglob("weights.safetensors"))
        weights.write_bytes(weights.read_bytes()[:-1])
        keys.write_text("", "utf-8")
        found.service.reload()
        assert found.ask(TEXTS[0])[0]["scores"] == pytest.approx(wanted[1], abs=1e-5)
        assert re.search(r"T595.*pipeline.*T082", caplog.text)
        assert re.search(r"T595.*keys.*T582", caplog.text)
        assert 'reloads_total{pipeline="pipeline",result="failure"} 1.0' in found.client.get("/metrics").text
        # Of keys alone.
        keys.write_text(NEW_KEY, "utf-8")
        found.service.reload()
        assert found.error(401, json={"text": "a"})["code"] == "T585"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_signals(bert: Path, tmp_path: Path) -> None:
    """One process: loads again on SIGHUP, answers everything that it accepted after SIGTERM, and ends with 0."""
    pipeline(bert).to_disk(tmp_path / "pipeline")
    command = [sys.executable, "-m", "spacy", "transfer", "serve", f"name={tmp_path / 'pipeline'}", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    reading = threading.Thread(target=lambda: [said.append(line) for line in process.stderr or ()])
    reading.start()
    try:
        found = until(lambda: re.search(r"Serving name on http://127\.0\.0\.1:(\d+)", "".join(said)))
        port = int(found[1])
        nlp = spacy.load(tmp_path / "pipeline")
        assert nlp.get_pipe("transfer_textcat").add_label("new")
        nlp.to_disk(tmp_path / "pipeline")
        os.kill(process.pid, signal.SIGHUP)
        until(lambda: "loaded again" in "".join(said))
        answers, failed = list[Any](), list[str]()

        def ask() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            while True:
                try:
                    connection.request("POST", "/classify", json.dumps({"text": "a", "all_scores": True}),
                                       {"Content-Type": "application/json"})  # fmt: skip
                except ConnectionRefusedError:
                    # Nobody listens any more: it was not accepted.
                    return
                try:
                    answer = connection.getresponse()
                    answers.append((answer.status, json.loads(answer.read())))
                except Exception as error:
                    failed.append(repr(error))
                    return

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: len(answers) > 20)
        process.terminate()
        for thread in threads:
            thread.join(60)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(60)
        reading.join(60)
    assert not failed
    assert {status for status, _ in answers} == {200}
    assert all("new" in answer["results"][0]["scores"] for _, answer in answers)
