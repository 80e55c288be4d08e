"""Any text on one line."""

from __future__ import annotations


def escaped(text: str, also: str = ";\\") -> str:
    r"""Each unprintable character, and each of `also`, becomes \xNN, \uNNNN or \UNNNNNNNN.

    With the backslash among `also` no two texts become one, and Python's rules for string literals
    give a text back.
    """
    if text.isprintable() and not any(character in text for character in also):
        return text
    return "".join(
        character if character.isprintable() and character not in also else _escape_sequence(ord(character))
        for character in text
    )


def _escape_sequence(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
