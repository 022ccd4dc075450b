"""How Kubernetes spells names, labels and resources, as patterns for CEL rules (RE2).

Whatever would be refused only when a child is made is refused with the field that the user wrote.
"""

from __future__ import annotations

from .model import Rule

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = f"{_LABEL}([.]{_LABEL})*"
"""Name of a Secret, claim or ConfigMap, and the part of a label's key before the slash."""
_QUALIFIED = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_KEY = f"({SUBDOMAIN}/)?{_QUALIFIED}"
LABEL_VALUE = f"({_QUALIFIED})?"
EXTENDED_RESOURCE = f"{SUBDOMAIN}/{_QUALIFIED}"
"""Beside the names that Kubernetes keeps for itself."""

_UNSEEN = r"[:cntrl:]\x{80}-\x{9f}\x{200b}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2066}-\x{2069}\x{feff}"
"""Inside brackets: characters that are not seen, or that change how the ones beside them are seen."""
_SEEN = rf"!self.matches(r'[{_UNSEEN}]')"
_UNBROKEN = rf"!self.matches(r'[[:space:]\pZ{_UNSEEN}]')"


def whole(pattern: str, value: str = "self") -> str:
    """CEL: whether ``value`` as a whole matches. The string is a raw one, so backslashes are RE2's."""
    return f"{value}.matches(r'^({pattern})$')"


SEEN_RULE = Rule(_SEEN, "must have no control characters nor others that are not seen")
UNBROKEN_RULE = Rule(_UNBROKEN, "must have neither spaces nor control characters nor others that are not seen")
NOT_BLANK_RULE = Rule("!self.matches('^[[:space:]]*$')", "must not be blank")


def same_folder(first: str, second: str) -> str:
    """CEL: whether two URIs are the same but for a slash at the end."""
    one, other = (f"({uri}.endsWith('/') ? {uri} : {uri} + '/')" for uri in (first, second))
    return f"{one} == {other}"
