"""What the pods of one kind say of themselves, and what of it a pass is to go by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .controller import Key
from .polls import Polls, Wish

Said = TypeVar("Said")
Status = TypeVar("Status")


@dataclass(eq=False)
class _Talk(Generic[Said, Status]):
    """``polls.Ear`` for one pod."""

    key: Key
    pod_ip: str
    of: Listener[Said, Status]
    said: Said | None = None
    stored: Status | None = None
    """What is on record; None while nothing that the pod says would be written."""
    is_overdue: bool = False
    """An answer since ``stored`` was worth a write; those after it are, too, so that each is compared but once."""
    handed: Said | None = None
    """What a pass was given last: whatever came of it, that very answer is not worth another pass."""

    def hear(self, text: str) -> None:
        said = self.of.read(text)
        if said is not None:
            self.said = said
            self.of.tell(self.key, said)

    def wish(self) -> Wish:
        if self.said is None or self.said is self.handed or self.stored is None:
            return Wish.NOTHING
        self.is_overdue = self.is_overdue or self.of.is_due(self.stored, self.said, self.of.interval)
        if not self.is_overdue:
            return Wish.NOTHING
        return Wish.NOW if self.of.is_due(self.stored, self.said, float("inf")) else Wish.PROGRESS


class Listener(Generic[Said, Status]):
    """A kind brings how to read an answer and when that is worth a write.

    ``is_due`` is given what is on record, what the pod says and an interval in seconds; with an infinite one only what
    decides something is due. ``tell`` is told of every answer that could be read.
    """

    def __init__(
        self,
        polls: Polls,
        interval: float,
        *,
        read: Callable[[str], Said | None],
        is_due: Callable[[Status, Said, float], bool],
        tell: Callable[[Key, Said], None] = lambda key, said: None,
    ) -> None:
        self._polls = polls
        self._talks: dict[Key, _Talk[Said, Status]] = {}
        self.interval = interval
        self.read = read
        self.is_due = is_due
        self.tell = tell

    def follows(self, key: Key) -> bool:
        """Whether a pod is asked for ``key``."""
        return key in self._talks

    async def listen(self, key: Key, pod_ip: str, *, at_once: bool = False) -> Said | None:
        """What the pod said last, if this pass is to write it; None leaves what is on record.

        ``at_once``: something is decided by it, so the pod is asked now and its answer is given in any case.
        """
        talk = self._talks.get(key)
        if talk is None or talk.pod_ip != pod_ip:
            talk = self._talks[key] = _Talk(key, pod_ip, self)
            self._polls.follow(key, pod_ip, talk)
        is_granted = self._polls.take(key)
        if is_granted:
            # What comes while the pass writes is compared with what it will have written.
            talk.stored = None
        if at_once:
            await self._polls.ask(key)
        if not at_once and not is_granted:
            return None
        talk.handed = talk.said
        return talk.said

    def record(self, key: Key, status: Status | None) -> None:
        """``status`` is on record: the next answers are compared with it. None: what the pod says is not written."""
        if talk := self._talks.get(key):
            talk.stored, talk.is_overdue = status, False
            self._polls.consider(key)

    def leave(self, key: Key) -> None:
        """Its pod works no more."""
        self._talks.pop(key, None)
        self._polls.leave(key)
