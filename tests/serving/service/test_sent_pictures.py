"""A service reads pictures that come with a request, and no file of its own machine."""

import base64
from pathlib import Path

import pytest
from spacy.tokens import Doc

from house_kit.features import ALL, with_features
from house_kit.media import PROBE, png, with_pictures, write_vision
from house_kit.texts import LABELS
from spacy_transfer import make_app

testclient = pytest.importorskip("fastapi.testclient")


def test_pictures_come_as_base64(quiet_bert: Path, tmp_path: Path) -> None:
    Doc.set_extension("image", default=None, force=True)
    folder = write_vision(tmp_path / "vit")
    block = {"@layers": "spacy-transfer.ImageFeatures.v1", "encoder": str(folder)}
    nlp = with_features(quiet_bert, block, with_pictures, head_init=PROBE, **ALL)
    (tmp_path / "secret.png").write_bytes(png(1))
    with testclient.TestClient(make_app(nlp)) as client:

        def ask(image: object, text: str = "the card") -> tuple[int, object]:
            """Send one document."""
            answer = client.post("/classify", json={"text": {"text": text, "image": image}})
            found = answer.json()
            return answer.status_code, found["results"][0]["label"] if answer.status_code == 200 else str(found)

        for i in range(3):
            data = base64.b64encode(png(i, 50 + i)).decode()
            assert ask(data) == (200, LABELS[i])
            assert ask(data, "")[0] == 200
        assert ask(None)[0] == 200
        for wrong in (str(tmp_path / "secret.png"), 3, ["a"]):
            status, said = ask(wrong)
            assert status == 400
            assert "T586" in str(said)
        status, said = ask(base64.b64encode(b"no picture").decode())
        assert status == 400
        assert "T841" in str(said)
        assert ask(None, "")[0] == 400
