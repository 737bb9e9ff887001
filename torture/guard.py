"""What an input may not do: start a process, open a socket, run code, write outside its folder, take much memory."""

import contextlib
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

MOST_MEMORY = 300 << 20
MOST_ADDRESSES = 1 << 30
LARGEST_FILE = 64 << 20

FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.kill",
    "pty.spawn",
    "subprocess.Popen",
    "socket.__new__",
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "webbrowser.open",
    "urllib.Request",
)
CHANGES = {
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.mkdir": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "shutil.rmtree": (0,),
    "shutil.copyfile": (1,),
    "shutil.move": (0, 1),
}
"""Events that change a folder, and which of their arguments are the paths that are changed."""
PICKLED = frozenset({"ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer", "encode", "OrderedDict"})
"""Names that a `.dac` file may ask for; anything else that an unpickler looks up is a door left open."""


class Escape(BaseException):
    """An input tried to get out; no `except Exception` may swallow it."""


class Guard:
    """An audit hook on this process, and limits; neither can be taken off again."""

    def __init__(self, sandbox: Path) -> None:
        """Puts them on.

        Args:
            sandbox: The only folder that may be changed.
        """
        self.escapes: list[str] = []
        self._watching = False
        self._sandbox = str(sandbox.resolve())
        limit = _memory(b"VmSize:") + MOST_ADDRESSES
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an OSError instead
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        sys.addaudithook(self._hook)

    def begin(self) -> None:
        """Starts to watch one input."""
        self.escapes.clear()
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")  # the high-water mark falls to what is in use
        self._before = _memory(b"VmRSS:")
        self._watching = True

    def end(self) -> None:
        """Stops watching: what follows is not the input's doing."""
        self._watching = False

    def grown(self) -> int:
        """Bytes of memory that the input took at its highest."""
        return _memory(b"VmHWM:") - self._before

    def resident(self) -> int:
        """Bytes of memory in use."""
        return _memory(b"VmRSS:")

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event == "open":
            path, _, flags = arguments
            changes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            if isinstance(path, str | bytes | os.PathLike) and isinstance(flags, int) and flags & changes:
                self._inside(event, path)
        elif event in FORBIDDEN:
            self._escape(f"{event} {arguments!r:.200}")
        elif event in CHANGES:
            for index in CHANGES[event]:
                self._inside(event, arguments[index])
        elif event == "pickle.find_class" and arguments[1] not in PICKLED:
            self._escape(f"{event} {arguments!r:.200}")
        elif event == "exec" and not _belongs(arguments[0].co_filename):
            self._escape(f"{event} {arguments[0].co_filename}")

    def _inside(self, event: str, path: Any) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            place = os.path.realpath(os.fsdecode(path))
            if not f"{place}/".startswith((f"{self._sandbox}/", "/proc/", "/dev/null/")):
                self._escape(f"{event} {place}")

    def _escape(self, what: str) -> None:
        if _importing():
            return
        self.escapes.append(what + "\n" + "".join(traceback.format_stack(limit=12)[:-2]))
        raise Escape(what)


def _memory(name: bytes) -> int:
    """A figure of this process's memory in bytes, as Linux tells it."""
    return int(Path("/proc/self/status").read_bytes().partition(name)[2].split(None, 1)[0]) << 10


def _belongs(file_name: str) -> bool:
    """Whether code is of an installed module (which is executed when it is imported), and not of an input."""
    return os.path.isabs(file_name) or file_name.startswith("<frozen")


def _importing() -> bool:
    """Whether a module is imported now: that runs its code, and keeps it compiled."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap_external>":
            return True
        frame = frame.f_back
    return False
