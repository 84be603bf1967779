"""Many short words of text at once, as arrays of bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def joined_numbers(values: npt.NDArray[np.integer]) -> bytes:
    """(N,) unsigned -> their decimal digits, with commas between."""
    words = padded_words([f"{number}," for number in range(int(values.max(initial=0)) + 1)])
    return without_padding(words.take(values, axis=0))[:-1]


def padded_words(words: list[str]) -> npt.NDArray[np.uint8]:
    """ASCII words -> (N, longest), filled up with zeros."""
    return np.array(words, "S").view(np.uint8).reshape(len(words), -1)


def without_padding(words: npt.NDArray[np.uint8]) -> bytes:
    """Words as of `padded_words`, in any shape -> their characters, one after the other."""
    characters = words.ravel()
    return bytes(characters[characters != 0])
