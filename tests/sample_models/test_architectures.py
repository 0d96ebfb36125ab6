"""Every sample network keeps the batch symbolic, exports and can be pruned."""

import numpy as np
import pytest
import torch
from torch.export import Dim

from sample_models.architectures import NETWORKS, Attention, VisionTransformer

DYNAMIC = ({0: Dim("batch", min=1, max=64)},)


@pytest.fixture(params=NETWORKS)
def network(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NETWORKS[request.param]().eval()


@pytest.mark.parametrize("batch", [1, 3])
def test_one_row_of_logits_per_image(network, batch):
    assert network(torch.zeros(batch, 1, 28, 28)).shape == (batch, 10)


def test_export_serves_another_batch_size(network):
    exported = torch.export.export(network, (torch.zeros(2, 1, 28, 28),), dynamic_shapes=DYNAMIC).module()
    x = torch.rand(5, 1, 28, 28)
    torch.testing.assert_close(exported(x), network(x))


@pytest.mark.parametrize("key", ["resnet_fmnist", "vit_fmnist"])
def test_onnx_runtime_gives_the_same_logits(key, tmp_path):
    import onnxruntime

    network, x = NETWORKS[key]().eval(), torch.rand(3, 1, 28, 28)
    path = tmp_path / "network.onnx"
    torch.onnx.export(
        network, (x[:2],), path, dynamo=True, external_data=False, dynamic_shapes=DYNAMIC, input_names=["input"]
    )
    session = onnxruntime.InferenceSession(path)
    np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], network(x).detach(), atol=1e-5)


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
def test_half_of_the_channels_can_be_removed(network):
    import torch_pruning

    before = sum(parameter.numel() for parameter in network.parameters())
    attentions = [module for module in network.modules() if isinstance(module, Attention)]
    pruner = torch_pruning.pruner.BasePruner(
        network,
        torch.zeros(1, 1, 28, 28),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=[network.head],
        num_heads={attention.qkv: attention.num_heads for attention in attentions},
        prune_head_dims=True,
        round_to=8,
    )
    pruner.step()
    for attention in attentions:
        attention.num_heads = pruner.num_heads[attention.qkv]
        attention.head_dim = attention.qkv.out_features // 3 // attention.num_heads
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert sum(parameter.numel() for parameter in network.parameters()) < 0.4 * before


def test_attention_is_softmax_of_scaled_products():
    """The formula of Vaswani et al., one head at a time."""
    attention, tokens = Attention(8, num_heads=2), torch.rand(1, 5, 8)
    q, k, v = attention.qkv(tokens)[0].chunk(3, dim=1)
    heads = [
        torch.softmax(q[:, part] @ k[:, part].T / 4**0.5, dim=1) @ v[:, part] for part in (slice(0, 4), slice(4, 8))
    ]
    torch.testing.assert_close(attention(tokens)[0], attention.proj(torch.cat(heads, dim=1)))


def test_the_transformer_sees_where_a_patch_is():
    network = VisionTransformer().eval()
    x = torch.zeros(1, 1, 28, 28)
    x[..., :4, :4] = 1
    assert not torch.allclose(network(x), network(x.flip(-1)), atol=1e-6)
