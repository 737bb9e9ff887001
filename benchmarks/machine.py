"""Which machine this is: the processor, what it can compute, and what forbids it to."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numba
import psutil
import torch
from llvmlite import binding

from dacformer.hardware import computes_in_bfloat16

INSTRUCTION_SETS = ("avx", "fma", "vnni", "amx", "neon", "sve", "sme", "bf16", "i8mm", "dot")
"""Parts of the names of those that matter for matrix products."""

RESTRICTIONS = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_CBWR",
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
    "NUMBA_DISABLE_JIT",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
)
"""Environment variables that keep a library from using instructions or cores."""


def describe_machine() -> dict[str, Any]:
    """Describes the processor as the libraries see it.

    Returns:
        Plain values by name, in the order in which `machine_lines` prints them.
    """
    capabilities = torch.cpu.get_capabilities()
    return {
        "processor": processor_name(),
        "architecture": platform.machine(),
        "system": f"{platform.system()}, Python {platform.python_version()}",
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "usable_processors": _usable_processors(),
        "threads": torch.get_num_threads(),
        "instruction_sets": [name for name, has in capabilities.items() if has is True and _matters(name)],
        "torch": torch.__version__,
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "numba": numba.__version__,
        # numba gives its module the settings when it is imported.
        "numba_cpu": numba.config.CPU_NAME or binding.get_host_cpu_name(),  # pyright: ignore[reportAttributeAccessIssue]
        "bfloat16": "native" if computes_in_bfloat16() else "emulated: not measured",
        "restrictions": {name: os.environ[name] for name in RESTRICTIONS if name in os.environ},
    }


def machine_lines(machine: dict[str, Any]) -> str:
    """The description as text, one fact a line."""
    width = max(map(len, machine))
    return "\n".join(f"{name.replace('_', ' '):{width}}  {_text(value)}" for name, value in machine.items())


def processor_name() -> str:
    """The brand string, such as "AMD EPYC 7B13", or the architecture where the system tells no more."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    else:
        name = _brand(Path("/proc/cpuinfo"))
    return name or torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()


def _brand(path: Path) -> str:
    """The first `model name` of a file such as `/proc/cpuinfo`; empty where there is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _usable_processors() -> int | None:
    """Processors that this process may run on: fewer than there are under `taskset` or in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _matters(name: str) -> bool:
    return any(word in name.lower() for word in INSTRUCTION_SETS)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items()) or "none"
    return ", ".join(value) if isinstance(value, list) else str(value)
