"""What a campaign found: each cause once, on disk, with what it takes to replay it."""

import hashlib
import json
import re
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

PACKAGE = "dacformer"


@dataclass(frozen=True)
class Finding:
    """One thing that should not have happened.

    Attributes:
        kind: Which part of the campaign: `kill/train`, `full/take`, `input/dac`, ...
        error: What it was, without what differs from case to case: an exception's type, `hang`, `weights differ`.
        where: The innermost frame within dacformer, `file.py:function`, or ''.
        detail: The message, or what was seen.
        seed: Of the campaign.
        number: Of the round or input; seed and number make it again.
        name: Of the file that was mutated, for inputs.
    """

    kind: str
    error: str
    where: str
    detail: str
    seed: int
    number: int
    name: str = ""

    @property
    def cause(self) -> tuple[str, str, str]:
        """Findings with the same are one."""
        return self.kind, self.error, self.where

    @property
    def file_name(self) -> str:
        """Under which it is kept: `<kind>-<hash>`."""
        digest = hashlib.sha256("\n".join(self.cause).encode()).hexdigest()[:10]
        return f"{self.kind.replace('/', '-')}-{digest}{Path(self.name).suffix}"


class Collection:
    """Findings below a folder, one of each cause: `<kind>-<hash>` is the input, `<kind>-<hash>.json` all else."""

    def __init__(self, folder: Path) -> None:
        """Reads what is there."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.counts: dict[tuple[str, str, str], int] = {}
        self.first: dict[tuple[str, str, str], Finding] = {}
        for path in sorted(folder.glob("*.json")):
            tree = json.loads(path.read_text())
            count = tree.pop("count")
            finding = Finding(**tree)
            self.counts[finding.cause], self.first[finding.cause] = count, finding

    def add(self, finding: Finding, data: bytes | None) -> None:
        """Counts a finding, and keeps it if it is the first of its cause."""
        self.counts[finding.cause] = self.counts.get(finding.cause, 0) + 1
        first = self.first.setdefault(finding.cause, finding)
        if first is finding and data is not None:
            (self.folder / finding.file_name).write_bytes(data)
        tree = asdict(first) | {"count": self.counts[finding.cause]}
        (self.folder / f"{first.file_name}.json").write_text(json.dumps(tree, indent=1))


def load_finding(path: Path) -> tuple[Finding, bytes | None]:
    """Reads one finding, given its input or its `.json`.

    Returns:
        The finding, and the input's bytes, where there are any.
    """
    about = path if path.suffix == ".json" else path.with_name(f"{path.name}.json")
    tree = json.loads(about.read_text())
    tree.pop("count")
    finding = Finding(**tree)
    data = about.with_name(finding.file_name)
    return finding, data.read_bytes() if data.is_file() else None


def where_raised(error: BaseException) -> str:
    """The innermost frame within dacformer of an exception, as `file.py:function`."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    return _innermost([(code.co_filename, code.co_name) for code in reversed(codes)])


def where_dumped(stack: str) -> str:
    """The same of what `faulthandler` dumped, innermost frame first."""
    return _innermost(re.findall(r'File "([^"]+)", line \d+ in (\S+)', stack))


def _innermost(frames: list[tuple[str, str]]) -> str:
    """The first of these that is of a function of dacformer; comprehensions count as part of theirs."""
    for filename, function in frames:
        if f"/{PACKAGE}/" in filename and not function.startswith("<"):
            return f"{filename.rpartition(f'/{PACKAGE}/')[2]}:{function}"
    return ""
