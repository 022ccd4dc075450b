"""A SentencePiece model of a few pieces, written byte by byte: the library that makes them is in no image."""

from __future__ import annotations

import struct
from collections.abc import Iterable

_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_BPE = 2


def sentencepiece_model(pieces: Iterable[str]) -> bytes:
    """The file ``tokenizer.model`` (protocol buffers, sentencepiece_model.proto) with byte fallback."""
    first = [("<unk>", _UNKNOWN), ("<s>", _CONTROL), ("</s>", _CONTROL)]
    listed = [*first, *((f"<0x{n:02X}>", _BYTE) for n in range(256)), *((piece, _NORMAL) for piece in pieces)]
    data = b"".join(_text(1, _piece(piece, -float(n), kind)) for n, (piece, kind) in enumerate(listed))
    return data + _text(2, _number(3, _BPE) + _number(4, len(listed)) + _number(35, 1))


def _piece(piece: str, score: float, kind: int) -> bytes:
    return _text(1, piece.encode()) + _varint(2 << 3 | 5) + struct.pack("<f", score) + _number(3, kind)


def _text(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    data = b""
    while value > 127:
        data, value = data + bytes([value & 127 | 128]), value >> 7
    return data + bytes([value])
