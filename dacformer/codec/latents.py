"""Codes as vectors: what is compared of sounds without decoding them."""

import numpy as np
import torch

from dacformer.codec.codec import Codec


@torch.inference_mode()
def codebook_latents(codec: Codec, codes: np.ndarray) -> np.ndarray:
    """Looks up the codebook entries of codes and lays those of a frame side by side.

    Args:
        codec: Of the codes.
        codes: `(K, F)` integers in `[0, V)`; `K` may be any number up to the codec's own.

    Returns:
        `(F, K * codebook_dim)` float32.
    """
    whole = torch.from_numpy(codes.astype(np.int64))[None].to(codec.device)
    return codec.model.quantizer.from_codes(whole)[1][0].T.cpu().numpy()
