"""YAML text to a tree that remembers where everything was written.

Scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/ section 10.3.2), as editors read them: ``no``
and ``on`` are strings, ``012`` is twelve. Anchors, aliases and ``<<`` merges work; other tags are refused. Size, depth
and the number of values are bounded, so that no input can exhaust memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import yaml

from gateway.settings.faults import Fault, Path, dotted
from gateway.settings.syntax import complaint

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
MAX_VALUES = 200_000

# The C parser is several times faster; PyYAML built without libyaml has only the other.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INT = re.compile(r"[-+]?[0-9]{1,300}\Z")
_BASED = re.compile(r"0o[0-7]{1,300}\Z|0x[0-9a-fA-F]{1,300}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?\Z")
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_STRING_TAG = "tag:yaml.org,2002:str"

# YAML gives braces, brackets and commas a meaning inside {…} and […]. In a placeholder they must have none, so that
# ``{api_key: ${NAME}}`` works unquoted: they are replaced by characters of private use, one for one, so that every
# column stays right, and put back in the values. A quote ends the search: there may be one around an unfinished one.
_PLACEHOLDER = re.compile(r"\$\{[A-Za-z_][^}\n\"']*\}")
_SHIELD = str.maketrans("{}[],", "\uf8f0\uf8f1\uf8f2\uf8f3\uf8f4")
_SHIELDED = re.compile(r"\$\uf8f0[^\uf8f1]*\uf8f1")
_UNSHIELD = str.maketrans("\uf8f0\uf8f1\uf8f2\uf8f3\uf8f4", "{}[],")

Scalar: TypeAlias = "str | int | float | bool | None"


class Mark(NamedTuple):
    """A place in the text, counted from 1."""

    line: int
    column: int


class Node:
    """A value of the document: ``value`` is the text of a scalar, a list of nodes, or a dict of nodes by key."""

    __slots__ = ("keys", "mark", "plain", "value")

    def __init__(self, value: str | list[Node] | dict[str, Node], mark: Mark, *, plain: bool = False) -> None:
        self.value = value
        self.mark = mark
        self.plain = plain
        self.keys: dict[str, Mark] = {}


class Document:
    """A parsed file. ``root`` is None where nothing in it is usable; ``faulty`` holds the paths of ``faults``."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Node | None = None
        self.faults: list[Fault] = []
        self.faulty: set[Path] = set()

    def fault(self, mark: Mark, path: Path, message: str, hint: str | None = None) -> None:
        """Record an error at a place of the text."""
        self.faulty.add(path)
        self.faults.append(
            Fault(file=self.file, line=mark.line, column=mark.column, path=dotted(path), message=message, hint=hint)
        )

    def locate(self, path: Path, *, key: bool = False) -> Mark:
        """Where the value at ``path`` begins, or its key; the nearest enclosing value where it is not in the text."""
        node, mark = self.root, Mark(1, 1)
        for part in path:
            if node is None:
                return mark
            mark = node.mark
            value = node.value
            if isinstance(value, dict) and isinstance(part, str) and part in value:
                mark = node.keys[part]
                node = value[part]
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                node = value[part]
                mark = node.mark
            else:
                return mark
        return mark if key or node is None else node.mark


def resolve(text: str) -> Scalar:
    """A plain scalar as YAML 1.2's core schema reads it. Infinities and NaN stay strings: no setting takes them."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text)
    if _BASED.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        number = float(text)
        return number if abs(number) != float("inf") else text
    return text


def parse(data: bytes, file: str) -> Document:
    """Parse a file's bytes. Never raises for bad input: the faults are in the document, ``root`` is what was usable."""
    document = Document(file)
    if len(data) > MAX_BYTES:
        document.fault(Mark(1, 1), (), f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB")
        return document
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        document.fault(Mark(data.count(b"\n", 0, error.start) + 1, 1), (), "the file is not UTF-8 text")
        return document
    try:
        shielded = _PLACEHOLDER.sub(lambda match: match.group().translate(_SHIELD), text)
        _Builder(document).build(yaml.parse(shielded, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # At the end of the file the parser points to a line that is not there.
        lines = text.split("\n")
        end = Mark(len(lines), len(lines[-1]) + 1)
        place = min(Mark(mark.line + 1, mark.column + 1), end) if mark else Mark(1, 1)
        document.root = None
        document.fault(place, (), f"this is not valid YAML: {complaint(error, lines)}")
    except yaml.YAMLError:
        bad = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
        line = text.count("\n", 0, bad.start()) + 1 if bad else 1
        document.root = None
        document.fault(Mark(line, 1), (), "this is not valid YAML: control characters are not allowed")
    return document


class _Open:
    """A collection whose end has not come yet, and the key its next value belongs to."""

    __slots__ = ("anchor", "key", "merge", "merging", "node")

    def __init__(self, node: Node, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: tuple[str, Mark] | None = None
        self.merge: list[tuple[Node, Mark]] = []
        self.merging = False


class _Builder:
    """Builds the tree from parser events, without recursion, so that depth cannot overflow the stack."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.stack: list[_Open] = []
        self.anchors: dict[str, Node] = {}

    def build(self, events: Iterator[Any]) -> None:
        for event in events:
            mark = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event, mark)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._tag(event, mark)
                empty: list[Node] | dict[str, Node] = [] if isinstance(event, yaml.SequenceStartEvent) else {}
                self.stack.append(_Open(Node(empty, mark), event.anchor))
                if len(self.stack) > MAX_DEPTH:
                    self._fault(mark, f"nested deeper than {MAX_DEPTH} levels")
                    return
            elif isinstance(event, yaml.CollectionEndEvent):
                self._close()
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event, mark)
            elif isinstance(event, yaml.DocumentStartEvent) and self.document.root is not None:
                self._fault(mark, "expected one YAML document; a second one starts here")
                return

    def _fault(self, mark: Mark, message: str, hint: str | None = None, *last: str) -> None:
        path: list[str | int] = []
        for opened in self.stack:
            if isinstance(opened.node.value, list):
                path.append(len(opened.node.value))
            elif opened.key is not None:
                path.append(opened.key[0])
        self.document.fault(mark, (*path, *last), message, hint)

    def _tag(self, event: Any, mark: Mark) -> None:
        if event.tag is not None and event.tag not in ("!", _STRING_TAG):
            self._fault(mark, "YAML tags are not supported", "quote a text that starts with !")

    def _scalar(self, event: Any, mark: Mark) -> None:
        self._tag(event, mark)
        plain = event.style in (None, "") and event.tag is None
        value = _SHIELDED.sub(lambda match: match.group().translate(_UNSHIELD), event.value)
        self._add(Node(value, mark, plain=plain), event.anchor)

    def _alias(self, event: Any, mark: Mark) -> None:
        node = self.anchors.get(event.anchor)
        if node is None:
            self._fault(mark, "this alias has no anchor before it", "quote a text that starts with *")
            node = Node("", mark)
        self._add(node, None)

    def _close(self) -> None:
        opened = self.stack.pop()
        for source, mark in opened.merge:
            self._merge(opened.node, source, mark)
        self._add(opened.node, opened.anchor)

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = node
        if not self.stack:
            self.document.root = node
            return
        parent = self.stack[-1]
        container = parent.node.value
        if isinstance(container, list):
            container.append(node)
        elif parent.key is None:
            self._key(parent, node)
        elif isinstance(container, dict):
            (name, mark), parent.key = parent.key, None
            if name == "<<" and parent.merging:
                parent.merge.append((node, mark))
            elif name in container:
                first = parent.node.keys[name].line
                self._fault(mark, "this key is given twice", f"the first is on line {first}", name)
            else:
                container[name] = node
                parent.node.keys[name] = mark

    def _key(self, parent: _Open, node: Node) -> None:
        if not isinstance(node.value, str):
            self._fault(node.mark, "a key must be a plain name, not a list or a mapping")
            parent.key = ("", node.mark)
            return
        parent.key = (node.value, node.mark)
        # In quotes it is a key like any other.
        parent.merging = node.plain

    def _merge(self, target: Node, source: Node, mark: Mark) -> None:
        sources = source.value if isinstance(source.value, list) else [source]
        for item in sources:
            if not isinstance(item, Node) or not isinstance(item.value, dict) or not isinstance(target.value, dict):
                self._fault(mark, "a merge takes a mapping or a list of mappings", None, "<<")
                return
            for name, node in item.value.items():
                if name not in target.value:
                    target.value[name] = node
                    target.keys[name] = item.keys[name]


def describe(value: object) -> str:
    """The kind of a value in YAML's words."""
    names: dict[type, str] = {
        dict: "a mapping",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "nothing")
