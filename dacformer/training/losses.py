"""The negative log-likelihood (NLL) that is trained on, and its mean over the validation segments."""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dacformer.data.batches import ValidationSegments
from dacformer.hardware import computes_in_bfloat16
from dacformer.model.heads import nll_per_code


def choose_precision(wanted: str, device: torch.device) -> Callable[[], torch.autocast]:
    """Makes autocast contexts: bf16 where asked for, or (`auto`) where the hardware computes in it."""
    enabled = wanted == "bf16" or (wanted == "auto" and computes_in_bfloat16(device.type))
    return lambda: torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def global_mean(nll: Tensor, mask: Tensor, accelerator: Accelerator) -> Tensor:
    """This process's share of the mean NLL over all processes' codes.

    Processes average their gradients, so each share is scaled up by their number.

    Args:
        nll: `(B, K, T)`, nats per code.
        mask: `(B, T)` bool, the frames that count.
        accelerator: Sums the number of frames over the processes.

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
    """Mean negative log-likelihood of the validation segments.

    Args:
        model: As it stands.
        segments: What to measure on.
        batch_size: Segments at a time.
        precision: Makes the autocast context.
        device: Where the model is.

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
