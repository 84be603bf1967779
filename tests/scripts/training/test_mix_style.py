from __future__ import annotations

import torch

from model.segmenter import build_segmenter
from scripts.training.mix_style import add_mix_style, mix_style


def maps(batch: int) -> torch.Tensor:
    """(B, 3, 9, 7) whose means and deviations differ between images."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.arange(batch).view(-1, 1, 1, 1)
    return (1 + levels) * torch.randn(batch, 3, 9, 7, generator=generator) + 5 * levels


def test_an_image_mixed_with_itself_keeps_its_values() -> None:
    torch.manual_seed(0)
    features = maps(1)
    torch.testing.assert_close(mix_style(features), features, atol=1e-5, rtol=1e-5)


def test_means_become_those_between_two_images_and_patterns_stay() -> None:
    features = maps(4)
    deviation, mean = torch.std_mean(features, (2, 3))
    seen = torch.zeros(4, dtype=torch.bool)
    for seed in range(24):
        torch.manual_seed(seed)
        mixed = mix_style(features)
        mixed_deviation, mixed_mean = torch.std_mean(mixed, (2, 3))
        assert (mixed_mean >= mean.min(0).values - 1e-4).all()
        assert (mixed_mean <= mean.max(0).values + 1e-4).all()
        # What varies within a channel is the image's own.
        own = (features - mean[..., None, None]) / deviation[..., None, None]
        still = (mixed - mixed_mean[..., None, None]) / mixed_deviation[..., None, None]
        torch.testing.assert_close(own, still, atol=1e-4, rtol=1e-4)
        seen |= ((mixed_mean - mean).abs() > 0.5).any(1)
    assert seen.all()


def test_a_map_that_is_0_throughout_stays_finite() -> None:
    torch.manual_seed(1)
    features = torch.cat((maps(2), torch.zeros(2, 3, 9, 7))).requires_grad_()
    mixed = mix_style(features)
    mixed.sum().backward()
    assert mixed.isfinite().all()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_a_network_mixes_in_training_only() -> None:
    torch.manual_seed(0)
    net = build_segmenter("resnet18", 3, (1, 2, 3), features="layer3")
    image = torch.randn(4, 3, 64, 64)
    plain = net.eval()(image)
    names = list(net.state_dict())
    add_mix_style(net)
    assert torch.equal(net.eval()(image), plain)
    assert list(net.state_dict()) == names
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    net.train()
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(net(image))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
