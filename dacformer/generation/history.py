"""Tree of all takes of a session that have the same root, shown in a notebook with players."""

import html
from collections.abc import Callable, Iterator

from dacformer.generation.take import Take


class History:
    """Tree of takes. `take.history[2]` is the take that is shown with the number 2.

    Attributes:
        takes: All takes of the tree, depth first: each parent before its children.
        current: The take whose history it is.
    """

    def __init__(self, current: Take, children_of: Callable[[Take], list[Take]]) -> None:
        """Finds the root of a take and lists the tree below it.

        Args:
            current: The take.
            children_of: Returns the takes that were made from a take.
        """
        root, seen = current, {current.id}
        while (parent := root.parent) is not None and parent.id not in seen:  # a damaged store may go in a circle
            root = parent
            seen.add(root.id)
        self.current = current
        self._depths = list(_walk(root, children_of))
        self.takes = [take for take, _ in self._depths]

    def __len__(self) -> int:
        return len(self.takes)

    def __getitem__(self, number: int) -> Take:
        return self.takes[number]

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        return [
            f"{'   ' * depth}{number}: {_last_edit(take)}, {take.seconds:.2f} s{' ◀' * (take is self.current)}"
            for number, (take, depth) in enumerate(self._depths)
        ]

    def _repr_html_(self) -> str:
        label = "flex: 0 0 auto; min-width: 24em; margin: auto 0; white-space: pre"
        rows = [
            f'<div style="display: flex; gap: 1em"><pre style="{label}">{html.escape(line)}</pre>'
            f'<div style="flex: 0 0 20em">{take._repr_html_()}</div></div>'
            for line, take in zip(self._lines(), self.takes, strict=True)
        ]
        return "".join(rows)


def _walk(root: Take, children_of: Callable[[Take], list[Take]]) -> Iterator[tuple[Take, int]]:
    """Yields takes and their depths, depth first. Not recursive, because a session may be a thousand edits deep."""
    waiting, seen = [(root, 0)], set()
    while waiting:
        take, depth = waiting.pop()
        if take.id in seen:
            continue
        seen.add(take.id)
        yield take, depth
        waiting += [(child, depth + 1) for child in reversed(children_of(take))]


def _last_edit(take: Take) -> str:
    edit = take.recipe.edits[-1]
    fields = {name: getattr(edit, name, None) for name in ("seconds", "at_seconds", "seed")}
    shown = [
        f"{name}={value if name == 'seed' else f'{value:g}'}" for name, value in fields.items() if value is not None
    ]
    return " ".join([edit.edit, *shown])
