"""Scores of one answer against one reference. Pure; the definitions are explained in docs/evaluation.md.

An item is *unscored* (None) when the model gave no answer, because the prompt does not fit its context, or when the
metric is undefined for the reference. Neither depends on how good an answer is, so leaving such items out of the
pairing favours nobody, while counting them as 0 would.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from kubetune_contract import MetricName

CORPUS_METRICS = frozenset({MetricName.CHRF, MetricName.BLEU})
"""Metrics whose value is one statistic of the whole corpus rather than a mean over items."""
BINARY_METRICS = frozenset({MetricName.EXACT_MATCH})

_ARTICLES = re.compile(r"\b(a|an|the)\b")
# Thai, Lao, Myanmar, Khmer, kana, bopomofo and Han are written without spaces, so that each character counts.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u3400-\u9fff\uf900-\ufaff"
    r"\uff66-\uff9f\U00020000-\U0003ffff"
)
_ROUGE_TOKENS = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_SQUAD_TOKENS = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


@dataclass(frozen=True)
class Text:
    """A reference or an answer, with its length in tokens of the candidate's tokenizer."""

    text: str
    tokens: int


Score = float | None


def exact_match(reference: Text, answer: Text) -> Score:
    """1 when both are equal after normalisation: Unicode NFC, ``\\n`` line ends, no white space at either end."""
    return float(normalised(reference.text) == normalised(answer.text))


def normalised(text: str) -> str:
    return unicodedata.normalize("NFC", text).replace("\r\n", "\n").strip()


def token_f1(reference: Text, answer: Text) -> Score:
    """F1 of the overlap of words after SQuAD's normalisation; two empty texts match (1), one empty text does not (0).

    Rajpurkar et al. 2016; the empty case follows SQuAD 2.0's evaluation script.
    """
    expected, given = squad_words(reference.text), squad_words(answer.text)
    if not expected or not given:
        return float(expected == given)
    overlap = sum((Counter(expected) & Counter(given)).values())
    return 2 * overlap / (len(expected) + len(given))


def squad_words(text: str) -> list[str]:
    """Lower case, without punctuation of any script and the articles a, an, the; split at white space, and by character
    where a script is written without spaces (as MLQA's evaluation does; Lewis et al. 2020)."""
    kept = "".join(letter for letter in unicodedata.normalize("NFC", text).lower() if not _is_punctuation(letter))
    return _SQUAD_TOKENS.findall(_ARTICLES.sub(" ", kept))


@cache
def _is_punctuation(letter: str) -> bool:
    return letter in string.punctuation or unicodedata.category(letter).startswith("P")


def rouge_l(reference: Text, answer: Text) -> Score:
    """F-measure of the longest common subsequence of words (Lin 2004), unstemmed; None for a reference of no words."""
    if not rouge_words(reference.text):
        return None
    return float(_rouge().score(reference.text, answer.text)["rougeL"].fmeasure)


def rouge_words(text: str) -> list[str]:
    """Runs of letters and digits in lower case, in any script; rouge-score's own tokens where the text is ASCII."""
    return _ROUGE_TOKENS.findall(text.lower())


class _RougeTokenizer:
    """rouge-score's own tokenizer drops everything outside a-z and 0-9, so that Japanese would never match itself."""

    def tokenize(self, text: str) -> list[str]:
        return rouge_words(text)


@cache
def _rouge() -> Any:
    return RougeScorer(["rougeL"], tokenizer=_RougeTokenizer())


def sentence_chrf(reference: Text, answer: Text) -> Score:
    """chrF of one item, 0 to 100 (Popović 2015); None for a reference without characters."""
    if not reference.text.strip():
        return None
    return float(CHRF().sentence_score(answer.text, [reference.text]).score)


def sentence_bleu(reference: Text, answer: Text) -> Score:
    """BLEU of one item with effective order, 0 to 100; ranks items only, the reported value is corpus BLEU."""
    if not reference.text.strip():
        return None
    return float(BLEU(effective_order=True).sentence_score(answer.text, [reference.text]).score)


def length_ratio(reference: Text, answer: Text) -> Score:
    """Tokens of the answer for each token of the reference; None for a reference of no tokens."""
    return answer.tokens / reference.tokens if reference.tokens else None


def closeness(ratio: float) -> float:
    """1 at a length ratio of 1, falling by the distance from it, never below 0.

    The floor keeps one runaway answer, a hundred times too long, from outweighing every other item.
    """
    return 1.0 - min(abs(ratio - 1.0), 1.0)


_SCORERS: dict[MetricName, Callable[[Text, Text], Score]] = {
    MetricName.EXACT_MATCH: exact_match,
    MetricName.TOKEN_F1: token_f1,
    MetricName.ROUGE_L: rouge_l,
    MetricName.CHRF: sentence_chrf,
    MetricName.BLEU: sentence_bleu,
    MetricName.LENGTH_RATIO: length_ratio,
}


def score(metric: MetricName, references: Sequence[Text], answers: Sequence[Text | None]) -> list[Score]:
    """The metric of every item, in order; None where the item is unscored."""
    scorer = _SCORERS[metric]
    pairs = zip(references, answers, strict=True)
    return [None if answer is None else scorer(reference, answer) for reference, answer in pairs]
