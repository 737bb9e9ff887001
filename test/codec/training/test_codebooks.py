"""Codebooks as moving averages of the latents."""

from typing import Any

import torch

from dacformer.codec.training.codebooks import EmaCodebooks


def test_codebooks_follow_the_latents_and_dead_codes_are_moved(make_model: Any) -> None:
    model = make_model(n_codebooks=2, codebook_size=8, codebook_dim=4)
    learner = EmaCodebooks(model, decay=0.5, restart_below=0.1)
    assert not any(quantizer.codebook.weight.requires_grad for quantizer in model.quantizer.quantizers)
    torch.manual_seed(0)
    latents, codes = torch.randn(3, 8, 50), torch.zeros(3, 2, 50).long()
    codes[:, 1] = torch.randint(8, (3, 50))
    assert learner.update(codes, latents) == 7  # all but entry 0 of the first codebook
    first, second = (quantizer.codebook.weight for quantizer in model.quantizer.quantizers)
    vectors = latents.transpose(1, 2).flatten(0, 1)  # (150, 8)
    torch.testing.assert_close(first[0], vectors[:, :4].mean(dim=0))
    assert all((vectors[:, :4] - entry).abs().sum(dim=1).min() < 1e-5 for entry in first[1:])
    for entry in range(8):
        torch.testing.assert_close(second[entry], vectors[codes[:, 1].flatten() == entry, 4:].mean(dim=0))
