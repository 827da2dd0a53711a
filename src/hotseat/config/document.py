"""A YAML text as nodes that know where they stand: places, keys that stand twice, all that it may say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

At = tuple[int | str, ...]


class _Loader(yaml.SafeLoader):
    """What cannot be made of a value has its place, too."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            said = f"{node.value!r} cannot be read as what it looks like; write it in quotes"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark) from error


@dataclass(frozen=True, slots=True)
class Twice:
    """A key that stands in its mapping before."""

    at: At
    line: int
    """Of its first."""
    place: str


@dataclass(frozen=True, slots=True)
class Document:
    """`root` is None for an empty text."""

    root: yaml.Node | None
    name: str

    @property
    def data(self) -> Any:
        """The plain values; `yaml.YAMLError` has the place of what cannot be read."""
        return {} if self.root is None else _Loader("").construct_document(self.root)

    def find(self, at: Sequence[int | str]) -> tuple[str, str]:
        """The place of a setting as FILE:LINE:COLUMN, and its path as people write it. One that does not stand there
        has the place of what is around it."""
        shown, node, around = "", self.root, self.root
        for part in at:
            if isinstance(node, yaml.MappingNode):
                pair = next(((k, v) for k, v in reversed(node.value) if str(k.value) == str(part)), None)
                shown += f".{part}" if shown else str(part)
                if pair is None:
                    break
                around, node = pair
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                shown += f"[{part}]"
                around = node = node.value[part]
            else:
                break
        return _place(around, self.name), shown

    def readings(self) -> Iterator[Document]:
        """One for each time that the most repeated key stands there, the last first, which is YAML's own: together they
        leave nothing unread."""
        for turn in reversed(range(_most(self.root))):
            yield self if turn == 0 and _most(self.root) == 1 else Document(_only(self.root, turn, {}), self.name)

    def twice(self) -> list[Twice]:
        return list(_twice(self.root, (), self.name, set()))


def read(text: str, *, name: str) -> Document:
    """`yaml.YAMLError` for what is not YAML."""
    return Document(yaml.compose(text, Loader=_Loader), name)


def _place(node: yaml.Node | None, name: str) -> str:
    return name if node is None else f"{name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _keys(node: yaml.MappingNode) -> dict[Any, list[tuple[yaml.Node, yaml.Node]]]:
    """The pairs of each key; one that is not a plain value, and the merge key, stands for itself."""
    found: dict[Any, list[tuple[yaml.Node, yaml.Node]]] = {}
    for pair in node.value:
        plain = isinstance(pair[0], yaml.ScalarNode) and pair[0].value != "<<"
        found.setdefault(pair[0].value if plain else id(pair[0]), []).append(pair)
    return found


def _below(node: yaml.Node | None) -> list[tuple[int | str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        return [(str(key.value), value) for key, value in node.value]
    return list(enumerate(node.value)) if isinstance(node, yaml.SequenceNode) else []


def _most(root: yaml.Node | None) -> int:
    """How often the most repeated key stands in its mapping; 1 if none does twice."""
    most, seen, todo = 1, set(), [root]
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            most = max([most, *map(len, _keys(node).values())])
        todo += [value for _, value in _below(node)]
    return most


def _only(node: yaml.Node | None, turn: int, made: dict[int, yaml.Node]) -> Any:
    """A copy in which of keys that stand several times only the one whose `turn` it is stands, or the last."""
    if not isinstance(node, yaml.CollectionNode):
        return node
    if id(node) not in made:
        copy = made[id(node)] = type(node)(node.tag, [], node.start_mark, node.end_mark)
        if isinstance(node, yaml.MappingNode):
            pairs = (same[min(turn, len(same) - 1)] for same in _keys(node).values())
            copy.value += [(key, _only(value, turn, made)) for key, value in pairs]
        else:
            copy.value += [_only(item, turn, made) for item in node.value]
    return made[id(node)]


def _twice(node: yaml.Node | None, at: At, name: str, seen: set[int]) -> Iterator[Twice]:
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for same in _keys(node).values():
            first = same[0][0]
            for key, _ in same[1:]:
                yield Twice((*at, str(key.value)), first.start_mark.line + 1, _place(key, name))
    for part, value in _below(node):
        yield from _twice(value, (*at, part), name, seen)
