"""The small CNN takes images of any size and order of channels, and learns what is in a pixel."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_softac.networks.small_cnn import SmallCNN, fits_nature_cnn, is_channels_last, is_image


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 9), (4, 10, 10), (3, 7, 7), (1, 35, 35), (3, 5, 90), (3, 84, 84)])
def test_features_of_an_image_of_any_size(shape):
    cnn = SmallCNN(spaces.Box(0.0, 1.0, shape), features_dim=20)
    features = cnn(th.rand(5, *shape))
    assert features.shape == (5, 20)
    assert cnn.features_dim == 20
    assert sum(parameter.numel() for parameter in cnn.parameters()) < 500_000


def test_the_order_of_channels_is_of_no_consequence():
    first = SmallCNN(spaces.Box(0.0, 1.0, (4, 10, 12)))
    last = SmallCNN(spaces.Box(0.0, 1.0, (10, 12, 4)))
    last.load_state_dict(first.state_dict())
    images = th.rand(3, 4, 10, 12)
    th.testing.assert_close(last(images.permute(0, 2, 3, 1)), first(images))


@pytest.mark.parametrize(
    ("shape", "dtype", "is_last"),
    [
        ((10, 10, 4), bool, True),
        ((10, 10, 10), bool, True),
        ((10, 10, 10), np.uint8, False),  # Stable-Baselines3 has transposed it
        ((7, 7, 12), np.uint8, True),  # four stacked frames, which it takes for transposed
        ((3, 7, 7), np.uint8, False),
        ((12, 7, 7), np.uint8, False),
        ((4, 10, 12), np.uint8, False),
        ((10, 12, 4), np.float32, True),
    ],
)
def test_channels_are_found(shape, dtype, is_last):
    assert is_channels_last(spaces.Box(0, 1 if dtype is bool else 255, shape, dtype)) is is_last


def test_images_are_bytes_switches_and_fractions():
    assert is_image(spaces.Box(0, 255, (7, 7, 3), np.uint8))
    assert is_image(spaces.Box(-1.0, 1.0, (7, 7, 3)))
    assert not is_image(spaces.Box(0, 10, (7, 7, 3), np.uint8))
    assert not is_image(spaces.Box(-np.inf, np.inf, (7, 7, 3)))
    assert not is_image(spaces.Box(0.0, 1.0, (7, 7)))
    assert not is_image(spaces.MultiBinary((7, 7, 3)))


def test_nature_cnn_needs_36_pixels():
    assert fits_nature_cnn(spaces.Box(0, 255, (3, 36, 36), np.uint8))
    assert not fits_nature_cnn(spaces.Box(0, 255, (3, 36, 35), np.uint8))


@pytest.mark.parametrize("space", [spaces.Box(0.0, 1.0, (7, 7)), spaces.Discrete(3)])
def test_other_spaces_are_refused(space):
    with pytest.raises(ValueError, match="needs a Box of three dimensions"):
        SmallCNN(space)


def test_it_learns_where_a_thing_is():
    th.manual_seed(0)
    cnn = SmallCNN(spaces.Box(0.0, 1.0, (10, 10, 4), bool), features_dim=32)
    head = th.nn.Linear(32, 1)
    optimizer = th.optim.Adam([*cnn.parameters(), *head.parameters()], lr=1e-3)
    columns = th.arange(10).repeat(10)
    images = th.zeros(100, 10, 10, 4)
    images[range(100), th.arange(10).repeat_interleave(10), columns, 1] = 1.0
    for _ in range(150):
        loss = (head(cnn(images)).squeeze(1) - columns / 10).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.005  # knowing nothing: 0.08
