"""The loss: mean negative log-likelihood (NLL) of a batch, and of the validation segments."""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dacformer.data.batches import ValidationSegments
from dacformer.hardware import computes_in_bfloat16
from dacformer.model.heads import nll_per_code


def choose_precision(wanted: str, device: torch.device) -> Callable[[], torch.autocast]:
    """Returns a function that makes autocast contexts.

    Args:
        wanted: `bf16`, `float32`, or `auto`: bfloat16 if the hardware computes in it.
        device: Device of the model.
    """
    enabled = wanted == "bf16" or (wanted == "auto" and computes_in_bfloat16(device.type))
    return lambda: torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def global_mean(nll: Tensor, mask: Tensor, accelerator: Accelerator) -> Tensor:
    """Computes this process's contribution to the mean NLL over the codes of all processes.

    Gradients are averaged over processes, so the contribution is multiplied by the number of processes.

    Args:
        nll: `(B, K, T)`, nats per code.
        mask: `(B, T)` bool, True for the frames that count.
        accelerator: Sums the number of frames over all processes.

    Returns:
        A scalar, to call `backward` on.
    """
    count = accelerator.reduce(mask.sum(), "sum") * nll.shape[1]
    return (nll * mask[:, None]).sum() / count * accelerator.num_processes


@torch.no_grad()
def validate(
    model: nn.Module,
    segments: ValidationSegments,
    batch_size: int,
    precision: Callable[[], torch.autocast],
    device: torch.device,
) -> Tensor:
    """Computes the mean negative log-likelihood of the validation segments, per codebook.

    Args:
        model: The model; it is set to evaluation mode.
        segments: The validation segments.
        batch_size: Number of segments per batch.
        precision: Makes autocast contexts, see `choose_precision`.
        device: Device of the model.

    Returns:
        `(K,)` float64 on the CPU, nats per code.
    """
    model.eval()
    total, count = torch.zeros((), dtype=torch.float64), 0
    for batch in DataLoader(segments, batch_size=batch_size):
        batch = {key: value.to(device) for key, value in batch.items()}
        with precision():
            logits = model(batch["codes"], batch["condition"])
        nll = nll_per_code(logits, batch["codes"]) * batch["mask"][:, None]
        total = total + nll.cpu().double().sum(dim=(0, 2))  # MPS has no float64
        count += int(batch["mask"].sum())
    return total / count
