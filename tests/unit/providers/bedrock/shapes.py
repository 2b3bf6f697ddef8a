"""Holds JSON against the shapes that botocore has of the API: unknown members, wrong types and missing ones fail."""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from typing import Any

import botocore.session

_SCALARS: dict[str, Any] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
}


@lru_cache(maxsize=1)
def _service() -> Any:
    return botocore.session.Session().get_service_model("bedrock-runtime")


def check(name: str, value: Any) -> None:
    """Fail where ``value`` is not of the shape ``name``."""
    _check(_service().shape_for(name), value, name)


def _check(shape: Any, value: Any, at: str) -> None:
    if getattr(shape, "is_document_type", False):
        return
    if shape.type_name == "structure":
        assert isinstance(value, dict), at
        unknown = value.keys() - {member.serialization.get("name", name) for name, member in shape.members.items()}
        assert not unknown, f"{at}: unknown {unknown}"
        missing = set(shape.required_members) - value.keys() - {"modelId"}
        assert not missing, f"{at}: missing {missing}"
        assert not shape.is_tagged_union or len(value) == 1, f"{at}: {sorted(value)}"
        for key, inner in value.items():
            _check(shape.members[key], inner, f"{at}.{key}")
    elif shape.type_name == "list":
        assert isinstance(value, list), at
        for index, inner in enumerate(value):
            _check(shape.member, inner, f"{at}[{index}]")
    elif shape.type_name == "map":
        assert isinstance(value, dict), at
    elif shape.type_name == "blob":
        base64.b64decode(value, validate=True)
    else:
        assert isinstance(value, _SCALARS[shape.type_name]), f"{at}: {value!r}"
        options = getattr(shape, "enum", ())
        assert not options or value in options, f"{at}: {value!r}"
        pattern = shape.metadata.get("pattern")
        assert not isinstance(value, str) or not pattern or re.fullmatch(pattern, value), f"{at}: {value!r}"
        assert not isinstance(value, str) or len(value) >= shape.metadata.get("min", 0), f"{at} is empty"
