"""What all bodies share: strict models, and types of values within limits."""

import base64
import binascii
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from retrieval.interactions.parse_values import TIME_FORMS
from retrieval.serving.config import MAX_BATCH, MAX_FILTER_VALUES, MAX_ID_CHARACTERS, MAX_TEXT_BYTES, MAX_URL_CHARACTERS

MAX_TIME_CHARACTERS = 64


class Strict(BaseModel):
    """A body or a part of one: unknown fields are refused, and no value is read as one of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def examples(bodies: list[Any]) -> ConfigDict:
    """Give the settings of a model with examples, which are added to those that it inherits."""
    return ConfigDict(json_schema_extra={"examples": bodies})


def _within_bytes(text: str) -> str:
    if (size := len(text.encode())) > MAX_TEXT_BYTES:
        raise ValueError(f"the text has {size} bytes; give at most {MAX_TEXT_BYTES}")
    return text


def _condition(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Check a filter: a text, or ``[attribute, operator, value]``."""
    if isinstance(value, str):
        return _within_bytes(value)
    if not isinstance(value, list) or not 2 <= len(value) <= 3 or not all(isinstance(part, str) for part in value[:2]):
        raise ValueError("give a text as 'price < 20', or a list as ['price', '<', 20]")
    operand = value[2] if len(value) == 3 else None
    values = operand if isinstance(operand, list) else [operand]
    if len(values) > MAX_FILTER_VALUES:
        raise ValueError(f"a filter has {len(values)} values; give at most {MAX_FILTER_VALUES}")
    if any(isinstance(one, dict | list) for one in values):
        raise ValueError("the values of a filter are texts, numbers and true or false")
    return value


def decoded(text: str) -> bytes:
    """Give the bytes of base64.

    Raises:
        ValueError: When it is something else.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("this is not base64; give the bytes of a file in base64, without a prefix as data:") from error


def _time(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Check that a value may be a time; the verbs read it, and say what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"this is no time; give {TIME_FORMS}")
    if isinstance(value, str) and len(value) > MAX_TIME_CHARACTERS:
        raise ValueError(f"a time has {len(value)} characters; give at most {MAX_TIME_CHARACTERS}")
    return value


def _times(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Check that a value may be one time, or a list of times."""
    if not isinstance(value, list):
        return _time(value)
    if not 1 <= len(value) <= MAX_BATCH:
        raise ValueError(f"the list has {len(value)} times; give 1 to {MAX_BATCH}")
    return [_time(one) for one in value]


def _base64(value: Any) -> Any:  # noqa: ANN401
    return decoded(value) if isinstance(value, str) else value


Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_BYTES), AfterValidator(_within_bytes)]
Generation = Annotated[str, StringConstraints(min_length=1, max_length=100)]
"""Any name: what opens it says which generations there are."""
Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARACTERS)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL_CHARACTERS)]
Weight = Annotated[float, Field(allow_inf_nan=False)]
File = Annotated[
    bytes, BeforeValidator(_base64), WithJsonSchema({"type": "string", "contentEncoding": "base64", "minLength": 4})
]
_SCALAR = {"anyOf": [{"type": kind} for kind in ("string", "number", "boolean", "null")]}
Condition = Annotated[
    str | list[Any],
    BeforeValidator(_condition),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": MAX_TEXT_BYTES},
                {
                    "type": "array",
                    "prefixItems": [
                        {"type": "string"},
                        {"type": "string"},
                        {"anyOf": [*_SCALAR["anyOf"], {"type": "array", "items": _SCALAR}]},
                    ],
                    "minItems": 2,
                    "maxItems": 3,
                },
            ]
        }
    ),
]
_TIME = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "minLength": 1, "maxLength": MAX_TIME_CHARACTERS}],
    "examples": ["2024-06-01T12:00:00Z", 1717243200],
}
Time = Annotated[int | float | str, BeforeValidator(_time), WithJsonSchema(_TIME)]
"""A time as the verbs take it: seconds or milliseconds since 1970, a date or a time as text, or "now"."""
Times = Annotated[
    int | float | str | list[Any],
    BeforeValidator(_times),
    WithJsonSchema(
        {"anyOf": [*_TIME["anyOf"], {"type": "array", "items": _TIME, "minItems": 1, "maxItems": MAX_BATCH}]}
    ),
]
"""One time, or a list of them."""
Batch = Field(min_length=1, max_length=MAX_BATCH)
