"""The page to try a service, in a real browser."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import spacy

from house_kit.pipelines import add_classifier
from house_kit.services import Running, running
from house_kit.texts import TEXTS, examples_of, one_hot
from spacy_transfer.serving.service import pages

LABELS = ["card", "<img src=x onerror=alert(1)>", "money & more"]
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
FOLDER = Path(pages.__file__).parent / "page"


@pytest.fixture(scope="module")
def service(bert: Path) -> Iterator[Running]:
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert)
    examples = examples_of(nlp, TEXTS[:9], [one_hot(LABELS[i % 3], LABELS) for i in range(9)])
    nlp.initialize(lambda: examples)
    with running({"mail": nlp}) as found:
        yield found


def test_nothing_comes_from_another_host(service: Running) -> None:
    for path in ("/", "/docs", *(f"/{name}" for name in pages.ASSETS)):
        answer = service.client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert not re.search(
            r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w.-]+\.\w", answer.text.replace("http://service", "")
        )
        # The policy would not let them run.
        assert not re.search(r"<script>|\son\w+=|\sstyle=", answer.text)


def test_all_files_of_the_page_are_given() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"index.html", *pages.ASSETS}


@pytest.mark.skipif(not BROWSER, reason="no Chromium here: install the package chromium")
def test_in_a_browser(service: Running, tmp_path: Path) -> None:
    address = f"{service.client.base_url}#text={quote('my card <b>is</b> lost')}"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000", "--dump-dom", address]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    (results,) = re.findall(r'<section id="results".*?</section>', done.stdout, re.DOTALL)
    ((box,), shown) = re.findall(r"<ol>.*</ol>", results, re.DOTALL), re.findall(r'class="label">(.*?)</span>', results)
    assert sorted(shown) == sorted(["card", "&lt;img src=x onerror=alert(1)&gt;", "money &amp; more"])
    # Best first; a bar is as long as the score beside it says.
    shares = [float(share) for share in re.findall(r'class="share">([\d.]+) %', box)]
    widths = [float(width) for width in re.findall(r"width: ([\d.]+)%", box)]
    assert shares == sorted(shares, reverse=True)
    assert widths == pytest.approx(shares, abs=0.06)
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert "mail: 3 labels" in done.stdout
    assert "hidden" not in results.partition(">")[0]
    # In the order of the keyboard: text, button, and every control has a name.
    assert done.stdout.index("<textarea") < done.stdout.index('<button id="go"')
    assert set(re.findall(r'<(?:textarea|select|input)[^>]* id="(\w+)"', done.stdout)) <= set(
        re.findall(r'<label for="(\w+)"', done.stdout)
    )
