import torch

from model.baselines.transformer import TokenTransformer
from model.tokens import TokenGrid
from model.transformer import TransformerEncoder


def test_vector_is_the_output_of_class_for_the_real_tokens_alone() -> None:
    torch.manual_seed(0)
    pooling = TokenTransformer(8, 2, layers=2, mlp_ratio=2.0, dropout=0.3).eval()
    x, mask = torch.randn(3, 4, 2, 8), torch.rand(3, 4, 2) < 0.5
    mask[2] = False
    z = pooling(x, TokenGrid(mask, torch.zeros(3, 4, 2), torch.zeros(3, 4, 2).long()))
    for b in range(3):
        tokens = torch.stack([pooling.class_token, *x[b][mask[b]]])[None]
        expected = pooling.encoder(tokens, torch.ones(tokens.shape[:2]))[0, 0]
        torch.testing.assert_close(z[b], expected)


def test_transformer_has_the_blocks_of_laiar_and_a_class_token() -> None:
    pooling = TokenTransformer(8, 2, layers=3, mlp_ratio=4.0, dropout=0.0)
    blocks = TransformerEncoder(8, 2, layers=3, mlp_ratio=4.0, dropout=0.0)
    sizes = [sum(p.numel() for p in module.parameters()) for module in (pooling, blocks)]
    assert sizes[0] == sizes[1] + 8
