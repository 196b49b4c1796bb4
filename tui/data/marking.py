"""Marks, tags and notes as the app gives them, with undo and redo. Written in a thread, in the order given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from streamscope.core.errors import StreamscopeError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.store import Judgement, Marks, marks_folder
from streamscope.tui.advice import worded
from streamscope.tui.table.arrangement import Key

Judgements = Mapping[Key, Judgement]


@dataclass(frozen=True)
class JudgementsUpdate:
    """All judgements after a change, and a line that says what it was, or what failed."""

    judgements: Judgements
    message: str
    problems: tuple[str, ...] = ()
    failed: bool = False


@dataclass(frozen=True)
class _Change:
    """What one key did: judgements of channels before and after."""

    what: str
    before: Mapping[Key, Judgement]
    after: Mapping[Key, Judgement]


class Marking:
    """Judgements of one model. Every method is called in one thread."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._done: list[_Change] = []
        self._undone: list[_Change] = []

    def read(self) -> Judgements:
        return self._marks.all()

    def problems(self) -> tuple[str, ...]:
        """A line for each thing in the journals that could not be read."""
        return tuple(map(str, self._marks.problems))

    def refresh(self) -> bool:
        """Whether somebody else judged something since."""
        return self._marks.refresh()

    def mark(self, keys: Sequence[Key], mark: str) -> str:
        """Mark channels; "" takes their mark away."""
        # Agreeing with a mark that came with a bundle is a judgement too: it must not look like having said nothing.
        agreed = {key for key in keys if mark == self._of(key).mark and self._marks.is_given_mark(*key)}
        self._marks.mark_each(agreed, mark)
        what = f"mark {mark}" if mark else "clearing the mark"
        self._change(what, {key: replace(self._of(key), mark=mark) for key in keys})
        return f"{label(keys)}: {mark or 'mark cleared'}"

    def tag(self, keys: Sequence[Key], add: Sequence[str], remove: Sequence[str] = ()) -> str:
        """Give channels tags and take others from them."""
        after = {}
        for key in keys:
            judgement = self._of(key)
            tags = {*judgement.tags, *add} - set(remove)
            after[key] = replace(judgement, tags=tuple(sorted(tags)))
        words = " ".join([*add, *(f"-{tag}" for tag in remove)])
        self._change(f"tags {words}", after)
        return f"{label(keys)}: {words or 'the same tags'}"

    def note(self, keys: Sequence[Key], text: str) -> str:
        self._change("note" if text else "clearing the note", {key: replace(self._of(key), note=text) for key in keys})
        return f"{label(keys)}: note {'kept' if text else 'cleared'}"

    def undo(self) -> str:
        """Take the last change of this app back, whatever it was, where nobody judged otherwise since."""
        if not self._done:
            return "nothing to undo"
        change = self._done.pop()
        self._undone.append(change)
        kept = self._turn(change.after, change.before)
        return f"{label(list(change.before))}: {change.what} undone{_kept_note(kept)}"

    def redo(self) -> str:
        """Redo what was undone last."""
        if not self._undone:
            return "nothing to redo"
        change = self._undone.pop()
        self._done.append(change)
        kept = self._turn(change.before, change.after)
        return f"{label(list(change.after))}: {change.what} redone{_kept_note(kept)}"

    def _of(self, key: Key) -> Judgement:
        return self._marks.get(*key)

    def _change(self, what: str, after: Mapping[Key, Judgement]) -> None:
        before = {key: self._of(key) for key in after}
        self._say({key: (before[key], judgement) for key, judgement in after.items()})
        self._done.append(_Change(what, before, after))
        self._undone.clear()

    def _turn(self, old: Mapping[Key, Judgement], new: Mapping[Key, Judgement]) -> int:
        """From `old` to `new` wherever `old` still stands; of how many channels somebody said otherwise meanwhile."""
        standing = {key: judgement for key, judgement in new.items() if self._of(key) == old[key]}
        self._say({key: (old[key], judgement) for key, judgement in standing.items()})
        return len(new) - len(standing)

    def _say(self, changes: Mapping[Key, tuple[Judgement, Judgement]]) -> None:
        """All of them or none; only what differs is written, so that no word is put into another judge's mouth."""
        self._marks.say([(*key, said) for key, (old, new) in changes.items() if (said := _difference(old, new))])


def _difference(old: Judgement, new: Judgement) -> dict[str, Any]:
    """A journal's line for a change."""
    said: dict[str, Any] = {}
    if new.mark != old.mark:
        said["mark"] = new.mark
    if new.note != old.note:
        said["note"] = new.note
    if add := [tag for tag in new.tags if tag not in old.tags]:
        said["add"] = add
    if remove := [tag for tag in old.tags if tag not in new.tags]:
        said["remove"] = remove
    return said


def _kept_note(count: int) -> str:
    return f"; kept {count} that someone else has changed since" if count else ""


def label(keys: Sequence[Key]) -> str:
    """`2.1 · 108`, or how many channels."""
    return f"{keys[0][0]} · {keys[0][1]}" if len(keys) == 1 else f"{len(keys)} channels"


def open_marks(folder: Path | None, info: ModelInfo, given: Path | None = None) -> Marks:
    """The marks of a model in a folder, None standing for the user's own, over those that came with a bundle. Raises
    HomeError where that is not known."""
    return Marks(marks_folder() if folder is None else folder, info.identity, info.name, given)


class MarkingThread:
    """Runs changes one after another without holding up the keyboard; `tell` is called in its thread after each.

    Where the marks cannot be opened every change fails, and nothing else is told.
    """

    def __init__(self, open_marks: Callable[[], Marks], tell: Callable[[JudgementsUpdate], object]) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="marks")
        self._tell = tell
        self._marking: Future[Marking] = self._pool.submit(lambda: Marking(open_marks()))
        self._pool.submit(self._poll, True)

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
            marking.refresh()
            message = change(marking)
        except StreamscopeError as error:
            self._tell(JudgementsUpdate({}, worded(error), failed=True))
        else:
            self._tell(JudgementsUpdate(marking.read(), message, marking.problems()))

    def _poll(self, first: bool = False) -> None:
        if self._marking.exception() is not None:
            return
        marking = self._marking.result()
        if marking.refresh() or first:
            self._tell(JudgementsUpdate(marking.read(), "", marking.problems()))
