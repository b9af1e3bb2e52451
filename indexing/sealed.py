"""JSON that carries a checksum of itself: not one changed byte goes unnoticed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexing.errors import DamagedFileError

CHECKSUM = "checksum"
LARGEST = 10_000_000
WAY_OUT = "try `commonspace repair`, or build the bundle again (what is encoded already is kept)"


def seal(content: Mapping[str, Any]) -> bytes:
    """Give plain JSON values as text that `unseal` reads back.

    >>> seal({"a": 1}) == seal({"a": 1})
    True
    """
    digest = hashlib.sha256(_text(content)).hexdigest()
    return _text({CHECKSUM: digest, **content})


def unseal(path: Path) -> dict[str, Any]:
    """Read what `seal` wrote, without its checksum.

    Raises:
        DamagedFileError: When it is missing, too large, or not byte for byte what was written.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise DamagedFileError(f"{path} is over {LARGEST} bytes, which no version of it ever was; {WAY_OUT}")
        data = path.read_bytes()
        content = json.loads(data)
    except OSError as error:
        raise DamagedFileError(f"{path} cannot be read ({error.strerror or error}); {WAY_OUT}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged: it is no JSON ({error}); {WAY_OUT}") from error
    if not isinstance(content, dict) or seal({k: v for k, v in content.items() if k != CHECKSUM}) != data:
        raise DamagedFileError(f"{path} is damaged: its bytes are not those that were written; {WAY_OUT}")
    del content[CHECKSUM]
    return content


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
