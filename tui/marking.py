"""Marks, tags and notes as the app gives them, with undo. Written in a thread of their own, in the order given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from core.errors import StreamscopeError
from core.store import Judgement, Marks
from tui.view import Key

Judgements = Mapping[Key, Judgement]
NONE = Judgement()


@dataclass(frozen=True)
class Judged:
    """All judgements after a change, and a line that says what it was."""

    judgements: Judgements
    said: str
    problems: tuple[str, ...] = ()
    failed: bool = False


class Marking:
    """Judgements of one model. Every method is called in one thread."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._undo: list[tuple[str, dict[Key, Judgement]]] = []

    def read(self) -> Judgements:
        return dict(self._marks.all())

    def problems(self) -> tuple[str, ...]:
        """A line for each thing in the journals that could not be read."""
        return tuple(self._marks.problems)

    def refresh(self) -> bool:
        """Whether somebody else judged something since."""
        return self._marks.refresh()

    def mark(self, keys: Sequence[Key], mark: str) -> str:
        self._remember(keys, "the mark")
        for block, channels in _by_block(keys).items():
            self._marks.mark(block, channels, mark)
        return f"{_named(keys)}: {mark or 'mark cleared'}"

    def tag(self, key: Key, tags: Sequence[str]) -> str:
        """Give a channel these tags instead of those it has."""
        before = self._of(key)
        self._remember([key], "the tags")
        self._set_tags(key, before, tags)
        return f"{_named([key])}: {' '.join(tags) or 'no tags'}"

    def note(self, key: Key, text: str) -> str:
        self._remember([key], "the note")
        self._marks.note(*key, text)
        return f"{_named([key])}: note {'kept' if text else 'cleared'}"

    def undo(self) -> str:
        """Take the last change of this app back, whatever it was."""
        if not self._undo:
            return "nothing to undo"
        what, before = self._undo.pop()
        for key, judgement in before.items():
            now = self._of(key)
            if now.mark != judgement.mark:
                self._marks.mark(key[0], [key[1]], judgement.mark)
            if now.note != judgement.note:
                self._marks.note(*key, judgement.note)
            self._set_tags(key, now, judgement.tags)
        return f"{_named(list(before))}: {what} undone"

    def _of(self, key: Key) -> Judgement:
        return self._marks.get(*key)

    def _remember(self, keys: Sequence[Key], what: str) -> None:
        self._undo.append((what, {key: self._of(key) for key in keys}))

    def _set_tags(self, key: Key, before: Judgement, tags: Sequence[str]) -> None:
        add = [tag for tag in tags if tag not in before.tags]
        remove = [tag for tag in before.tags if tag not in tags]
        if add or remove:
            self._marks.tag(key[0], [key[1]], add=add, remove=remove)


class MarkingThread:
    """Runs changes one after another without holding up the keyboard; `tell` is called in its thread after each."""

    def __init__(self, open_marks: Callable[[], Marks], tell: Callable[[Judged], object]) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="marks")
        self._tell = tell
        self._marking: Future[Marking] = self._pool.submit(lambda: Marking(open_marks()))
        self._pool.submit(self._run, lambda marking: "")

    def change(self, change: Callable[[Marking], str]) -> None:
        self._pool.submit(self._run, change)

    def poll(self) -> None:
        """Look what others judged."""
        self._pool.submit(self._poll)

    def close(self) -> None:
        """Return when everything given is written."""
        self._pool.shutdown(wait=True)

    def _run(self, change: Callable[[Marking], str]) -> None:
        try:
            marking = self._marking.result()
            said = change(marking)
        except StreamscopeError as error:
            self._tell(Judged({}, str(error), failed=True))
        else:
            self._tell(Judged(marking.read(), said, marking.problems()))

    def _poll(self) -> None:
        try:
            marking = self._marking.result()
            if marking.refresh():
                self._tell(Judged(marking.read(), "", marking.problems()))
        except StreamscopeError as error:
            self._tell(Judged({}, str(error), failed=True))


def _by_block(keys: Sequence[Key]) -> dict[str, list[int]]:
    blocks: dict[str, list[int]] = {}
    for block, channel in keys:
        blocks.setdefault(block, []).append(channel)
    return blocks


def _named(keys: Sequence[Key]) -> str:
    return f"{keys[0][0]} · {keys[0][1]}" if len(keys) == 1 else f"{len(keys)} channels"
