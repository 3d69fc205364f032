"""Text that is safe inside C: identifiers, comments, numbers. Every string of a model passes through here."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from app.errors import UserError

_C_KEYWORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
"""
# The header must also be readable by a C++ compiler.
_CPP_KEYWORDS = """
alignas alignof and asm bool catch char8_t char16_t char32_t class compl concept consteval constexpr constinit decltype
delete dynamic_cast explicit export false friend mutable namespace new noexcept not nullptr operator or private
protected public reinterpret_cast requires static_assert static_cast template this thread_local throw true try typeid
typename using virtual wchar_t xor
"""
# Macros and names that the emitted files use or that some compilers define.
_TAKEN_WORDS = "NULL INFINITY NAN I EOF linux unix errno memcpy size_t ptrdiff_t int32_t uintptr_t"
KEYWORDS = frozenset(f"{_C_KEYWORDS} {_CPP_KEYWORDS} {_TAKEN_WORDS}".split())

_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_RESERVED_PREFIXES = frozenset({"main", "std", "ts"})
_COMMENT_CHARS = 160


def check_prefix(prefix: str) -> None:
    """Raise UserError `bad-prefix` unless `prefix` can begin every external name, macro and file of a bundle."""
    if not _PREFIX.fullmatch(prefix) or prefix in KEYWORDS | _RESERVED_PREFIXES or prefix.endswith("_"):
        raise UserError(
            "bad-prefix",
            f"{prefix!r} cannot be the prefix of C names",
            hint="use a letter, then at most 31 letters, digits or underscores; no C or C++ keyword; for example `net`",
        )


def identifiers(names: Iterable[str], *, taken: Iterable[str] = (), reserved: Iterable[str] = ()) -> tuple[str, ...]:
    """One C identifier per name, readable, all different, none a keyword or in `taken`.

    None begins with a prefix in `reserved`, in whatever case: those are other functions, types and macros.
    """
    before = tuple(prefix.lower() for prefix in reserved)
    used = set(taken) | KEYWORDS
    found = []
    for name in names:
        word = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:48].rstrip("_") or "tensor"
        if word[0].isdigit() or word.lower().startswith(before):
            word = next(w for w in (f"t_{word}", f"tensor_{word}") if not w.lower().startswith(before))
        candidate, number = word, 2
        while candidate in used:
            candidate, number = f"{word}_{number}", number + 1
        used.add(candidate)
        found.append(candidate)
    return tuple(found)


def comment(text: str) -> str:
    """`text` as it may stand in a block comment: printable ASCII, one line, no comment marks, no trigraphs."""
    ascii_text = "".join(ch if " " <= ch <= "~" and ch != "\\" else f"<U+{ord(ch):04X}>" for ch in text)
    if len(ascii_text) > _COMMENT_CHARS:
        ascii_text = ascii_text[: _COMMENT_CHARS - 3] + "..."
    # Twice, because `*/*` and `???` overlap with themselves.
    for _ in range(2):
        ascii_text = ascii_text.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")
    return ascii_text


def float_literal(value: float) -> str:
    """A C float constant of exactly the float32 nearest to `value`; needs <math.h> for infinities."""
    single = float(np.float32(value))
    if np.isnan(single):
        raise ValueError("no C constant for NaN")
    if np.isinf(single):
        return "INFINITY" if single > 0 else "-INFINITY"
    # Nine significant digits identify every float32.
    text = f"{single:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def float_rows(values: npt.NDArray[np.float32], *, per_row: int = 8) -> str:
    """Lines of C float constants with a comma after each, exact for every finite or infinite float32."""
    if not np.isfinite(values).all():
        words = [float_literal(v) for v in values]
        rows = [words[i : i + per_row] for i in range(0, len(words), per_row)]
        return "\n".join("    " + ", ".join(row) + "," for row in rows) + "\n"
    # One format string for the whole array: a million constants take well under a second.
    whole, rest = divmod(len(values), per_row)
    row = "    " + ", ".join(["%#.9gf"] * per_row) + ",\n"
    last = "    " + ", ".join(["%#.9gf"] * rest) + ",\n" if rest else ""
    return (row * whole + last) % tuple(values.tolist())
