import numpy as np

from evaluators.data.similarity import background_news, lee_documents, word_pairs


def test_lee_documents_are_judged_pair_by_pair() -> None:
    lee = lee_documents()

    assert len(lee.texts) == 50
    assert lee.texts[0].startswith("The national executive of the strife-torn Democrats")
    assert lee.pairs.shape == (1225, 2)
    assert (lee.pairs[:, 0] < lee.pairs[:, 1]).all()
    assert len({tuple(pair) for pair in lee.pairs.tolist()}) == 1225
    # the first lines of the file: documents 1 and 2, 1 and 3
    assert lee.judged[:2].tolist() == [0.3, 0.24]
    assert lee.judged.min() >= 0.1
    assert lee.judged.max() <= 1


def test_word_pairs_are_those_of_the_file() -> None:
    words = word_pairs()

    said = [(words.texts[a], words.texts[b]) for a, b in words.pairs.tolist()]
    assert said[:3] == [("love", "sex"), ("tiger", "cat"), ("tiger", "tiger")]
    assert len(said) == 353
    assert len(set(words.texts)) == len(words.texts) == 437
    assert words.judged[:3].tolist() == [6.77, 7.35, 10.0]
    assert words.judged.dtype == np.float64


def test_background_news_are_other_documents() -> None:
    news = background_news()

    assert len(news) == 300
    assert all(news)
    assert not set(news) & set(lee_documents().texts)
