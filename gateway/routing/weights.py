"""The file a :class:`~gateway.routing.model.Model` is kept in: names as JSON, arrays as little-endian bytes.

::

    8 bytes  "GWROUTER"
    4 bytes  version, unsigned, little-endian
    4 bytes  length of the header
    header   JSON: names, what it was trained on, and of each array its type and shape
    body     the arrays one after another, deflated (RFC 1950)
    32 bytes SHA-256 of everything before

Nothing in it is executed. A file of another version, cut short or changed is refused before any of it is used.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from gateway.kernel.files import replace
from gateway.routing.features import ROWS
from gateway.routing.model import TIERS, Model

VERSION: Final = 1
NAME: Final = "router.weights"
"""What the file is called in the folder that training writes."""
MOST_BYTES: Final = 256 << 20
_MAGIC: Final = b"GWROUTER"
_HEAD: Final = struct.Struct("<8sII")
_NAMES: Final = ("models", "sets", "tasks")
_TYPES: Final = {"table": "<i1", "home": "<i8", "expert_set": "<i8", "expert_model": "<i8"}
_ARRAYS: Final = tuple(field.name for field in fields(Model) if field.name not in (*_NAMES, "about"))


class WeightsFault(Exception):
    """The file can't be used: which, and what was expected."""


class _Header(msgspec.Struct, frozen=True):
    models: tuple[str, ...]
    sets: tuple[str, ...]
    tasks: tuple[str, ...]
    about: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


def dump(model: Model) -> bytes:
    """The file's bytes."""
    arrays = {name: np.ascontiguousarray(getattr(model, name), _type(name)) for name in _ARRAYS}
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    header = msgspec.json.encode(_Header(model.models, model.sets, model.tasks, model.about, shapes))
    body = zlib.compress(b"".join(array.tobytes() for array in arrays.values()), 6)
    whole = _HEAD.pack(_MAGIC, VERSION, len(header)) + header + body
    return whole + hashlib.sha256(whole).digest()


def parse(content: bytes, name: str = "weights") -> Model:
    """The model in a file's bytes. Raises :class:`WeightsFault` that begins with ``name``."""
    if len(content) < _HEAD.size + 32 or not content.startswith(_MAGIC):
        raise WeightsFault(f"{name}: expected a router's weights, as `gateway router train` writes them")
    _, version, length = _HEAD.unpack_from(content)
    if version != VERSION:
        raise WeightsFault(f"{name}: expected weights of version {VERSION}, found version {version}; train them anew")
    if hashlib.sha256(content[:-32]).digest() != content[-32:]:
        raise WeightsFault(f"{name}: expected the file as it was written; it was changed or cut short")
    try:
        header = msgspec.json.decode(content[_HEAD.size : _HEAD.size + length], type=_Header)
        inflater = zlib.decompressobj()
        body = inflater.decompress(content[_HEAD.size + length : -32], MOST_BYTES)
        return _model(header, body, whole=inflater.eof)
    except (msgspec.DecodeError, zlib.error, ValueError, KeyError) as error:
        raise WeightsFault(f"{name}: expected whole weights of version {VERSION}: {error}") from None


def save(model: Model, path: Path) -> None:
    """Write the file; what stood there before stays whole until the new one is."""
    replace(path, dump(model))


def load(path: Path) -> Model:
    """The model of a file, or of the folder that training wrote. Raises :class:`WeightsFault`."""
    if path.is_dir():
        path /= NAME
    try:
        if path.stat().st_size > MOST_BYTES:
            raise WeightsFault(f"{path}: expected at most {MOST_BYTES} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise WeightsFault(f"{path}: expected a router's weights: {error.strerror}") from None
    return parse(content, str(path))


def _type(name: str) -> str:
    return _TYPES.get(name, "<f4")


def _model(header: _Header, body: bytes, *, whole: bool) -> Model:
    arrays: dict[str, Any] = {}
    at = 0
    for name in _ARRAYS:
        shape = header.shapes[name]
        if min(shape, default=1) < 0:
            raise ValueError(f"the array {name} has no shape")
        dtype = np.dtype(_type(name))
        size = math.prod(shape) * dtype.itemsize
        if at + size > len(body):
            raise ValueError(f"the array {name} is not whole")
        arrays[name] = np.frombuffer(body, dtype, math.prod(shape), at).reshape(shape)
        at += size
    if at != len(body) or not whole:
        raise ValueError("there is more in it than its header says")
    model = Model(models=header.models, sets=header.sets, tasks=header.tasks, about=header.about, **arrays)
    _verify(model)
    return model


def _verify(model: Model) -> None:
    """Raise ValueError unless the arrays fit one another: a number beyond a name would fail at some prompt only."""
    sets, tasks, models = len(model.sets), len(model.tasks), len(model.models)
    experts = len(model.expert_set)
    width = sets + tasks + experts
    expected: dict[str, tuple[int, ...]] = {
        "table": (ROWS, width), "steps": (width,), "intercepts": (width,), "home": (tasks,), "trust": (experts,),
        "expert_set": (experts,), "expert_model": (experts,), "rate": (tasks, experts), "likely": (tasks, models),
        "seen": (tasks, models), "tokens": (tasks, models), "tier_ability": (len(TIERS),), "difficulty": (tasks,),
    }  # fmt: skip
    for name, shape in expected.items():
        if getattr(model, name).shape != shape:
            raise ValueError(f"the array {name} has the shape {getattr(model, name).shape}, not {shape}")
    for name, most in (("home", sets), ("expert_set", sets), ("expert_model", models)):
        numbers = getattr(model, name)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= most):
            raise ValueError(f"the array {name} names what is not there")
    for name in _ARRAYS:
        if not np.isfinite(getattr(model, name)).all():
            raise ValueError(f"the array {name} holds what is not a number")
