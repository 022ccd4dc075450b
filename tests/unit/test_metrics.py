"""Metrics against values worked out by hand and against the libraries' own corpus scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score import tokenize
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from kubetune_contract import MetricName
from kubetune_evaluator import corpus, metrics
from kubetune_evaluator.metrics import Text


def text(value: str) -> Text:
    return Text(value, len(value.split()))


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        ("json", "json", 1.0),
        ("json", "  json\n", 1.0),
        ("a\r\nb", "a\nb", 1.0),
        ("é", "e\u0301", 1.0),
        ("json", "Json", 0.0),
        ("json", "json.", 0.0),
        ("", "", 1.0),
        ("x", "", 0.0),
    ],
)
def test_exact_match(reference: str, answer: str, expected: float) -> None:
    assert metrics.exact_match(text(reference), text(answer)) == expected


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        # 2 of 3 words of the answer and 2 of 2 of the reference: 2 * (2/3 * 1) / (2/3 + 1).
        ("The quick fox", "a quick brown fox!", 0.8),
        ("x = 1", "x=1", 0.0),
        ("dog dog", "dog", 2 / 3),
        ("the", "", 1.0),
        ("", "", 1.0),
        ("word", "", 0.0),
        ("", "word", 0.0),
        ("“Yes”", "yes", 1.0),
        ("don’t — stop…", "don't stop", 1.0),
        ("caf\u00e9", "cafe\u0301", 1.0),
        # 5 of 6 and 5 of 5 characters.
        ("今天天气很好", "今天天气好", 2 * (5 / 6) / (1 + 5 / 6)),
        ("東京です。", "東京です", 1.0),
        ("GPT 模型", "gpt模型", 1.0),
        ("สวัสดี", "สวัสดี", 1.0),
        ("좋은 아침", "좋은 저녁", 0.5),
    ],
)
def test_token_f1(reference: str, answer: str, expected: float) -> None:
    assert metrics.token_f1(text(reference), text(answer)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        # Longest common subsequence "the cat the mat": 4 of 6 and 4 of 5 words.
        ("the cat sat on the mat", "the cat is the mat", 2 * (4 / 6) * (4 / 5) / (4 / 6 + 4 / 5)),
        ("snake_case", "snake case", 1.0),
        ("running", "runs", 0.0),
        ("猫がいる", "猫がいる", 1.0),
        ("猫がいる", "猫いる", 2 * 1.0 * 0.75 / 1.75),
        ("naïve café", "naïve", 2 / 3),
        ("word", "", 0.0),
    ],
)
def test_rouge_l(reference: str, answer: str, expected: float) -> None:
    assert metrics.rouge_l(text(reference), text(answer)) == pytest.approx(expected)


@given(st.text(alphabet=st.characters(max_codepoint=126), max_size=40))
def test_rouge_words_are_the_librarys_own_for_ascii(value: str) -> None:
    assert metrics.rouge_words(value) == tokenize.tokenize(value, None)


def test_an_undefined_reference_or_a_missing_answer_is_unscored_never_zero() -> None:
    references = [text("+-"), text("  "), Text("", 0), text("word")]
    answers = [text("x"), text("x"), Text("x", 1), None]
    assert metrics.score(MetricName.ROUGE_L, references, answers) == [None, None, None, None]
    assert metrics.score(MetricName.CHRF, references[1:2], answers[1:2]) == [None]
    assert metrics.score(MetricName.BLEU, references[1:2], answers[1:2]) == [None]
    assert metrics.score(MetricName.LENGTH_RATIO, references[2:], answers[2:]) == [None, None]
    assert metrics.score(MetricName.EXACT_MATCH, references[3:], answers[3:]) == [None]


@pytest.mark.parametrize(
    ("ratio", "expected"), [(1.0, 1.0), (0.5, 0.5), (1.25, 0.75), (2.0, 0.0), (80.0, 0.0), (0.0, 0.0)]
)
def test_closeness_falls_with_the_distance_from_one_and_is_bounded(ratio: float, expected: float) -> None:
    assert metrics.closeness(ratio) == expected


WORDS = st.sampled_from(["the", "a", "cat", "dog", "sat", "on", "mat", "with,", "red", "green.", "x=", "1", "é"])
SENTENCES = st.lists(WORDS, min_size=0, max_size=9).map(" ".join)
CORPORA = st.lists(st.tuples(st.lists(WORDS, min_size=1, max_size=9).map(" ".join), SENTENCES), min_size=1, max_size=6)


@settings(deadline=None)
@given(CORPORA)
def test_corpus_formulas_equal_sacrebleu(pairs: list[tuple[str, str]]) -> None:
    references, answers = [r for r, _ in pairs], [a for _, a in pairs]
    for metric, scorer in ((MetricName.BLEU, BLEU()), (MetricName.CHRF, CHRF())):
        sums = corpus.counts(metric, references, answers).sum(axis=0)
        expected = scorer.corpus_score(answers, [references]).score
        assert float(corpus.formula(metric)(sums)) == pytest.approx(expected, abs=1e-9)


def test_corpus_formulas_take_many_corpora_at_once() -> None:
    counts = corpus.counts(MetricName.BLEU, ["a b c d e", "f g h i"], ["a b c d x", "f g h i"])
    many = np.stack([counts.sum(axis=0), counts[0], counts[1]])
    assert corpus.bleu(many).tolist() == [float(corpus.bleu(row)) for row in many]


def test_signature_names_the_settings() -> None:
    assert "tok:13a|smooth:exp" in corpus.signature(MetricName.BLEU)
    assert "nc:6" in corpus.signature(MetricName.CHRF)
