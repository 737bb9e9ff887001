"""Mutations that know a format: pickles within `.npy`, chunks and pages of sounds, zips, safetensors."""

import io
import json
import pickle
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import yaml

from torture.mutate import mutate_bytes, mutate_text, mutate_tree, random_number, random_word, write_number

Mutation = Callable[[bytes, random.Random], bytes]

CANARY = "canary"
_COMMAND = f"touch {CANARY}"
OPENED_DOORS = tuple(
    f"c{module}\n{name}\n{argument}R".encode()
    for module, name, argument in (
        ("os", "system", f"(V{_COMMAND}\nt"),
        ("posix", "system", f"(V{_COMMAND}\nt"),
        ("builtins", "eval", "(V__import__('os').system('touch canary')\nt"),
        ("builtins", "exec", "(Vopen('canary','w')\nt"),
        ("builtins", "open", f"(V{CANARY}\nVw\nt"),
        ("subprocess", "Popen", f"(]V{_COMMAND}\nat"),
        ("numpy", "load", f"(V{CANARY}\nt"),
        ("numpy", "fromfile", "(V/etc/passwd\nt"),
        ("numpy", "zeros", "(I4000000000\nt"),
        ("numpy._core.multiarray", "_reconstruct", "(cnumpy\nndarray\n(I4000000000\ntVb\nt"),
        ("numpy", "ndarray", "((I2000000000\ntt"),
        ("_codecs", "encode", "(Vx\nVzlib\nt"),
    )
)
"""Pickle programs that a reader must not run."""

YAML_DOORS = (
    f"!!python/object/apply:os.system ['{_COMMAND}']",
    f"!!python/object/new:os.system ['{_COMMAND}']",
    "!!python/name:os.system",
    "!!binary aGVsbG8=",
    "!!set {a, b}",
    "!!timestamp 2001-12-14t21:59:43.10-05:00",
    "&a [*a]",
    "&a {k: *a}",
    "<<: *none",
    "? [a, b]\n: c",
    "[" * 2000,
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
)
"""Tags that run code, circles, and a billion laughs."""


def mutate_npy_pickle(data: bytes, rng: random.Random) -> bytes:
    """Changes a `.dac` file: the dict, the pickle's operations, or the header."""
    start = 10 + int.from_bytes(data[8:10], "little")
    head, body = data[:start], data[start:]
    choice = rng.random()
    if choice < 0.15:
        return mutate_bytes(data, rng)
    if choice < 0.25:
        return _npy_header(head, rng) + body
    if choice < 0.5:
        return head + _pickle_dict(body, rng)
    return head + mutate_pickle(body, rng)


def _npy_header(head: bytes, rng: random.Random) -> bytes:
    text = head[10:].decode("latin-1")
    text = mutate_text(text, rng, ",: ", ("'|O'", "(5,)", "'<f8'", "(1000000000,)", "[('a','O')]", "__import__('os')"))
    version = rng.choice((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    body = text.encode("utf-8", "replace")
    return head[:6] + version + (len(body) % 65536).to_bytes(2, "little") + body


def _pickle_dict(body: bytes, rng: random.Random) -> bytes:
    """The dict in a workshop's own file, with other values, pickled again."""
    tree: Any = np.asarray(pickle.loads(body), dtype=object)[()]  # ours, not yet mutated
    codes, rest = tree.pop("codes"), tree
    rest["metadata"]["input_db"] = float(np.ravel(rest["metadata"]["input_db"])[0])
    rest = mutate_tree(rest, rng)
    if rng.random() < 0.4:
        codes = _odd_array(codes, rng)
    if isinstance(rest, dict):
        rest["codes"] = codes
    return pickle.dumps(rest if rng.random() < 0.5 else np.array(rest, dtype=object), protocol=rng.choice((2, 3, 4, 5)))


def _odd_array(codes: np.ndarray, rng: random.Random) -> Any:
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: codes.astype(rng.choice(("f8", "i8", "u1", "c16", "U4", "S2", "?", "m8[s]", "M8[D]", ">u2", "f2"))),
        lambda: codes.reshape(-1),
        lambda: codes[..., :0],
        lambda: codes[:, :0],
        lambda: codes + rng.choice((1000, 60000)),
        lambda: codes.tolist(),
        lambda: np.float64(3),
        lambda: codes[:, :1],
        lambda: np.repeat(codes, 5, axis=rng.randrange(3)),
    )
    return rng.choice(kinds)()


def mutate_pickle(body: bytes, rng: random.Random) -> bytes:
    """Changes the operations of a pickle: one is dropped, doubled, swapped, given another argument, or put in."""
    places = [place for _, _, place in pickletools.genops(body)]
    parts = [body[a:b] for a, b in zip(places, [*places[1:], None], strict=True)]
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(parts))
        match rng.randrange(7):
            case 0:
                del parts[at]
            case 1:
                parts.insert(at, parts[rng.randrange(len(parts))])
            case 2:
                other = rng.randrange(len(parts))
                parts[at], parts[other] = parts[other], parts[at]
            case 3:
                parts.insert(at, rng.choice(OPENED_DOORS))
            case 4:
                parts.insert(
                    at, rng.choice((b"0", b"2", b"1", b"R", b"b", b"\x81", b"a", b"s", b"u", b"t", b"}", b"Q", b"N"))
                )
            case 5:
                part = bytearray(parts[at])
                write_number(part, 1, rng.choice((1, 2, 4, 8)), "<", random_number(rng))
                parts[at] = bytes(part)
            case 6:
                parts[at] = parts[at][:1] + mutate_bytes(parts[at][1:], rng, 1)
        if not parts:
            return b"."
    return b"".join(parts)


def mutate_sound(data: bytes, rng: random.Random) -> bytes:
    """Changes a sound: numbers in its headers, chunks and frames; checksums of Ogg pages are made right again."""
    if data[:4] == b"OggS":
        return _mend_ogg(mutate_bytes(data, rng)) if rng.random() < 0.8 else mutate_bytes(data, rng)
    if rng.random() < 0.3:
        return mutate_bytes(data, rng)
    out = bytearray(data)
    starts = [0, *(at for name in CHUNKS for at in _occurrences(data, name))]
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.choice(starts) + rng.randrange(0, 44)
        order = ">" if data[:4] in (b"FORM", b"fLaC", b".snd", b"caff") else "<"
        write_number(out, at, rng.choice((1, 2, 4, 4, 8)), order, random_number(rng))
    return bytes(out) if rng.random() < 0.8 else mutate_bytes(bytes(out), rng)


CHUNKS = (
    b"fmt ",
    b"data",
    b"fact",
    b"LIST",
    b"COMM",
    b"SSND",
    b"desc",
    b"pakt",
    b"chan",
    b"Xing",
    b"Info",
    b"ID3",
    b"fLaC",
)


def _occurrences(data: bytes, name: bytes) -> list[int]:
    found, at = [], data.find(name)
    while at >= 0:
        found.append(at)
        at = data.find(name, at + 1)
    return found


def _ogg_table() -> list[int]:
    table = []
    for value in range(256):
        crc = value << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
        table.append(crc & 0xFFFFFFFF)
    return table


_OGG_TABLE = _ogg_table()


def _mend_ogg(data: bytes) -> bytes:
    out, at = bytearray(data), 0
    while (at := out.find(b"OggS", at)) >= 0 and at + 27 <= len(out):
        segments = out[at + 26]
        end = at + 27 + segments + sum(out[at + 27 : at + 27 + segments])
        out[at + 22 : at + 26] = bytes(4)
        crc = 0
        for byte in out[at:end]:
            crc = ((crc << 8) & 0xFFFFFFFF) ^ _OGG_TABLE[(crc >> 24) ^ byte]
        out[at + 22 : at + 26] = struct.pack("<I", crc)
        at = max(end, at + 4)
    return bytes(out)


def mutate_zip(member: Mutation) -> Mutation:
    """A mutation of one file within a zip, of a file's name, or of the archive itself."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.15:
            return mutate_bytes(data, rng)
        target = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            names = source.namelist()
            chosen = rng.choice([name for name in names if name.endswith((".xml", ".pkl", ".rels"))])
            for info in source.infolist():
                content = source.read(info)
                compression = info.compress_type
                if info.filename == chosen:
                    luck = rng.random()
                    if luck < 0.05:
                        continue
                    content = _swollen(content) if luck < 0.06 else member(content, rng)
                    compression = zipfile.ZIP_DEFLATED if luck < 0.06 else compression
                archive.writestr(info.filename, content, compression)
        return target.getvalue()

    return mutate


def _swollen(content: bytes) -> bytes:
    """Much more of the same than one would think of a small file: 32 MB that deflate to a few kB."""
    middle = len(content) // 2
    piece = content[middle : middle + 200] or b"0"
    return content[:middle] + piece * ((32 << 20) // len(piece)) + content[middle:]


def mutate_xml(data: bytes, rng: random.Random) -> bytes:
    """Changes attributes, texts and tags; now and then entities that grow, or that name a file."""
    text = data.decode("utf-8", "replace")
    if rng.random() < 0.04:
        entities = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
        door = f'<!DOCTYPE x [<!ENTITY a "xxxxxxxxxx">{entities}<!ENTITY f SYSTEM "file:///etc/passwd">]>'
        head, _, body = text.partition("?>")
        text = f"{head}?>{door}{body.replace('</t>', rng.choice(('&i;', '&f;')) + '</t>', 1)}"
    for _ in range(rng.choice((1, 1, 2, 4))):
        cells = _spans(text)
        if not cells:
            break
        start, end = rng.choice(cells)
        word = rng.choice((random_word(rng), *CELLS))
        word = word.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;") if rng.random() < 0.8 else word
        text = text[:start] + word + text[end:]
    return (
        text.encode("utf-8", "replace")
        if rng.random() < 0.85
        else mutate_bytes(text.encode("utf-8", "replace"), rng, 1)
    )


CELLS = (
    "A1",
    "XFD1048576",
    "A1048576",
    "XFD1",
    "ZZZZ9",
    "A0",
    "A1:XFD1048576",
    "s",
    "e",
    "b",
    "n",
    "d",
    "inlineStr",
    "str",
)


def _spans(text: str) -> list[tuple[int, int]]:
    """Where attributes' values and texts between tags stand."""
    spans, at = [], 0
    while (at := text.find('="', at)) >= 0:
        end = text.find('"', at + 2)
        if end < 0:
            break
        spans.append((at + 2, end))
        at = end
    at = 0
    while (at := text.find(">", at)) >= 0:
        end = text.find("<", at)
        if end > at + 1:
            spans.append((at + 1, end))
        at += 1
    return spans


def mutate_yaml(data: bytes, rng: random.Random, words: tuple[str, ...] = ()) -> bytes:
    """Changes the tree, the text, or puts in what YAML can do and settings never need."""
    text, choice = data.decode(), rng.random()
    if choice < 0.55:
        return yaml.safe_dump(mutate_tree(yaml.safe_load(text), rng, words), allow_unicode=True).encode(
            "utf-8", "replace"
        )
    if choice < 0.7:
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        lines[at] = lines[at].partition(":")[0] + ": " + rng.choice(YAML_DOORS)
        return "\n".join(lines).encode()
    if choice < 0.9:
        return mutate_text(text, rng, ": ,", words).encode("utf-8", "replace")
    return mutate_bytes(data, rng)


def mutate_json(data: bytes, rng: random.Random, words: tuple[str, ...] = ()) -> bytes:
    """Changes the tree or the text."""
    choice = rng.random()
    if choice < 0.75:
        return json.dumps(mutate_tree(json.loads(data), rng, words)).encode("utf-8", "replace")
    if choice < 0.9:
        return mutate_text(data.decode(), rng, ",: ", ("NaN", "Infinity", "[" * 3000, '{"a":' * 3000)).encode(
            "utf-8", "replace"
        )
    return mutate_bytes(data, rng)


def mutate_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Changes the header's tree or its length, or any bytes."""
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.3:
        return mutate_bytes(data, rng)
    header = mutate_json(data[8 : 8 + length], rng, ("F32", "F64", "BF16", "I8", "BOOL"))
    stated = len(header) if rng.random() < 0.8 else random_number(rng) % 2**64
    return stated.to_bytes(8, "little") + header + data[8 + length :]
