import torch

from dacformer.model.rope import rope_angles, rotate


def test_rope_scores_depend_on_distance_only() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(1, 2, 1, 16), torch.randn(1, 2, 1, 16)

    def score(q: int, k: int) -> torch.Tensor:
        turned_query = rotate(query, rope_angles(torch.tensor([q]), 16))
        turned_key = rotate(key, rope_angles(torch.tensor([k]), 16))
        return (turned_query * turned_key).sum(dim=-1)

    day = 24 * 3600 * 87
    torch.testing.assert_close(score(9, 4), score(day + 9, day + 4), atol=1e-5, rtol=0)
    assert (score(9, 4) - score(9, 5)).abs().max() > 1e-3


def test_rope_keeps_norms_and_is_identity_at_position_zero() -> None:
    x = torch.randn(2, 3, 5, 8)
    turned = rotate(x, rope_angles(torch.arange(5), 8))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[:, :, 0], x[:, :, 0])
