"""Changes to bytes, text and trees that keep enough of the shape to get past the first check."""

import copy
import random
import struct
from collections.abc import Sequence
from typing import Any

NUMBERS = (0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
FLOATS = (0.0, -0.0, 0.5, -1.0, 1e-320, 1e-9, 1e9, 1e38, 1e300, -1e300, float("inf"), float("-inf"), float("nan"))
STRINGS = (
    "",
    " ",
    "0",
    "-1",
    "1e400",
    "nan",
    "inf",
    "None",
    "null",
    "true",
    "no",
    "2024-11-24",
    "0x10",
    "1_000",
    "1:30",
    "../../../escaped",
    "/escaped",
    "a/b",
    "a\\b",
    ".",
    "..",
    "~",
    "con",
    "a\x00b",
    "a\nb",
    "a\r",
    "\ufeffa",
    "\u202eb",
    "\U0001f327",
    "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    "=1+1",
    "<b>",
    "%s{0}{a}",
    "$(touch canary)",
    "x" * 300,
    "9" * 400,
    "class",
    "file",
    "split",
    "frames",
    "wind",
)


def mutate_bytes(data: bytes, rng: random.Random, times: int = 0) -> bytes:
    """Changes bytes anywhere: bits, whole numbers of 1 to 8 bytes, pieces cut out, doubled, moved, cut off."""
    out = bytearray(data)
    for _ in range(times or rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(out) + 1) if rng.random() < 0.5 else rng.randrange(min(len(out), 128) + 1)
        length = min(rng.choice((1, 2, 4, 8, 16, 64, 512)), len(out) - at)
        match rng.randrange(7):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(out):
                out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                write_number(out, at, rng.choice((1, 2, 4, 8)), rng.choice("<>"), random_number(rng))
            case 3:
                del out[at : at + length]
            case 4:
                out[at:at] = out[at : at + length]
            case 5:
                out[at : at + length] = rng.randbytes(length)
            case 6:
                del out[rng.randrange(len(out) + 1) :]
    return bytes(out)


def random_number(rng: random.Random) -> int:
    """A whole number at an edge, or near one, or any."""
    return rng.choice(
        (rng.choice(NUMBERS), rng.choice(NUMBERS) + rng.choice((-1, 1)), rng.getrandbits(rng.choice((8, 16, 32, 64))))
    )


def write_number(out: bytearray, at: int, size: int, order: str, value: int) -> None:
    """Writes the low bytes of a number over what is there, as far as there is room."""
    packed = struct.pack("<Q", value % 2**64)[:size]
    packed = packed if order == "<" else packed[::-1]
    room = max(0, len(out) - at)
    out[at : at + size] = packed[:room] if room < size else packed


def mutate_text(text: str, rng: random.Random, separators: str, words: Sequence[str] = ()) -> str:
    """Changes what stands between separators, and whole lines; now and then single characters."""
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        match rng.randrange(7):
            case 0 if len(lines) > 1:
                del lines[at]
            case 1:
                lines.insert(at, lines[rng.randrange(len(lines))])
            case 2:
                lines.insert(at, rng.choice((*words, *STRINGS)))
            case 3:
                lines[at] = lines[at].replace(separators[0], rng.choice((";", "\t", "", ",,", '"', "|")))
            case 4 if lines[at]:
                spot = rng.randrange(len(lines[at]))
                lines[at] = lines[at][:spot] + rng.choice((*STRINGS, '"', "'", "\x00", "\t")) + lines[at][spot + 1 :]
            case _:
                lines[at] = _replace_cell(lines[at], rng, separators, words)
    return "\n".join(lines)


def _replace_cell(line: str, rng: random.Random, separators: str, words: Sequence[str]) -> str:
    separator = rng.choice(separators)
    cells = line.split(separator)
    cells[rng.randrange(len(cells))] = random_word(rng, words)
    return separator.join(cells)


def random_word(rng: random.Random, words: Sequence[str] = ()) -> str:
    """A word that has meant trouble somewhere, or a number."""
    return rng.choice((rng.choice((*words, *STRINGS)), str(random_number(rng)), repr(rng.choice(FLOATS))))


def mutate_tree(tree: Any, rng: random.Random, words: Sequence[str] = ()) -> Any:
    """Changes a tree of dicts, lists and values at one to three places."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        holder: Any
        holder, key = rng.choice(_places(tree) or [([tree], 0)])
        match rng.randrange(8):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice((*words, *STRINGS, 0, None, 1.5, True))] = holder.pop(key)
            case 2 if isinstance(holder, list):
                holder.extend([holder[key]] * rng.choice((1, 2, 100)))
            case 3:
                holder[key] = [holder[key]]
            case 4:
                holder[key] = {"a": holder[key]}
            case 5 if isinstance(holder[key], int | float):
                holder[key] = type(holder[key])(-holder[key]) if rng.random() < 0.5 else holder[key] * 1000
            case _:
                holder[key] = _random_value(rng, words)
    return tree


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """All `(holder, key)` in a tree."""
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        keys = list(each) if isinstance(each, dict) else list(range(len(each))) if isinstance(each, list) else []
        found += [(each, key) for key in keys]
        waiting += [each[key] for key in keys]
    return found


def _random_value(rng: random.Random, words: Sequence[str]) -> Any:
    simple = (None, True, False, [], {}, [[]], {"": None}, {"points": [[0, 1]]}, {"points": []}, [0, 1], [None])
    number = random_number(rng)
    return copy.deepcopy(
        rng.choice((rng.choice(simple), number, 10 ** rng.randrange(400), rng.choice(FLOATS), random_word(rng, words)))
    )
