"""The language of texts, or that nothing can be said."""

import pytest

from spacy_transfer.corpora.inspection.language_guess import guess_language

TEXTS = {
    "en": ["Where is my parcel, and when will it be here?", "I was charged twice for the same order."],
    "de": ["Wo ist mein Paket und wann wird es da sein?", "Ich habe die Rechnung nicht von euch bekommen."],
    "fr": ["Où est mon colis et quand sera-t-il chez moi ?", "Je n'ai pas reçu la facture de cette commande."],
    "ru": ["Где моя посылка и когда она будет у меня?", "Я не получил счёт за этот заказ."],
    "ja": ["私の荷物はどこですか", "請求書がまだ届いていません"],
    "zh": ["我的包裹在哪里", "我还没有收到发票"],
    "ko": ["제 소포는 어디에 있나요"],
    "el": ["Πού είναι το δέμα μου;"],
    "xx": ["zrtl qwmp 123", "bxkz"],
}


@pytest.mark.parametrize("code", TEXTS)
def test_the_language_of_plain_sentences(code: str) -> None:
    guess = guess_language(TEXTS[code])
    assert guess.code == code
    assert guess.reason


def test_texts_without_letters_are_of_any_language() -> None:
    assert guess_language(["123", "!?"]).code == "xx"
    assert guess_language([]).code == "xx"
