"""Files of tensors, .safetensors, with a checksum: whatever changed in one is found.

Nothing is unpickled. Files without a checksum, of other programs and of earlier versions, are read
as well.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vaekit._io import parsed
from vaekit.errors import VaekitError

METADATA, CHECKSUM = "__metadata__", "checksum"
MEND = "restore it, take another one, or train again."


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the content of a .safetensors file, the same for the same tensors and metadata.

    The library writes metadata in an order that changes from call to call.

    Example:
        >>> import torch
        >>> words = {"b": "2", "a": "1", "c": "3"}
        >>> len({safetensors_bytes({"x": torch.ones(2)}, words) for _ in range(20)})
        1
    """
    return b"".join(safetensors_pieces(tensors, metadata))


def safetensors_pieces(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> tuple[bytes | memoryview, ...]:
    """Return the same in pieces, which take no memory for the whole beside them."""
    from safetensors.torch import save

    content = memoryview(save(dict(tensors)))
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(bytes(content[8 : 8 + size])), content[8 + size :]
    header = {METADATA: dict(sorted(metadata.items())), **header}
    header[METADATA][CHECKSUM] = _checksum(header, data)
    text = _text(header)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little"), text, data


def _text(header: Any) -> bytes:
    return json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()


def _checksum(header: Any, data: memoryview) -> str:
    """Return the CRC of the tensors, their names and the metadata, less the checksum itself.

    It finds each single bit, and each run of up to 32; it is no seal against whoever forges one.
    """
    known = {name: value for name, value in header[METADATA].items() if name != CHECKSUM}
    return f"crc32:{zlib.crc32(data, zlib.crc32(_text({**header, METADATA: known}))):08x}"


def read_tensors(content: bytes, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a .safetensors file, on the CPU, and its metadata.

    Args:
        content: of the file.
        path: where it lies, for errors.

    Raises:
        VaekitError: where it is truncated or damaged.

    Example:
        >>> import torch
        >>> content = safetensors_bytes({"x": torch.ones(2)}, {"step": "3"})
        >>> read_tensors(content, Path("best.safetensors"))
        ({'x': tensor([1., 1.])}, {'step': '3'})
        >>> read_tensors(content[:-1] + b"!", Path("best.safetensors"))
        Traceback (most recent call last):
        vaekit.errors.VaekitError: best.safetensors is damaged: its checksum is crc32:..., and ...
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        header = parsed(content[8 : 8 + size])
    except (SafetensorError, ValueError, KeyError, OverflowError) as error:
        why = f"is truncated or holds no tensors ({type(error).__name__})"
        raise VaekitError(f"{path} {why}: {MEND}") from None
    known: dict[str, str] = header.get(METADATA, {})
    if (said := known.get(CHECKSUM)) is not None:
        found = _checksum(header, memoryview(content)[8 + size :])
        if found != said:
            why = f"its checksum is {said:.20}, and its content has {found}"
            raise VaekitError(f"{path} is damaged: {why}: {MEND}")
    return tensors, {name: value for name, value in known.items() if name != CHECKSUM}
