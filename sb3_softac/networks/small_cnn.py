"""Convolutions for images that are too small for ``NatureCNN``, or of numbers that it refuses.

Shapes: B observations, C channels, images of H rows and W columns, F features.
"""

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, NatureCNN
from torch import nn

# Rows and columns that the three convolutions of NatureCNN need.
NATURE_SIZE = 36
# Convolutions halve a larger image until it is no larger than this.
HALVED_ABOVE = 16


class SmallCNN(BaseFeaturesExtractor):
    """Features of an image of any size, by convolutions of 3 x 3.

    :param observation_space: a Box of three dimensions, channels first or last
    :param features_dim: number of features, F
    :raises ValueError: any other space
    """

    def __init__(self, observation_space: spaces.Box, features_dim: int = 256) -> None:
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 3:
            raise ValueError(f"`SmallCNN` needs a Box of three dimensions, but {observation_space} was given")
        super().__init__(observation_space, features_dim)
        self._is_channels_last = is_channels_last(observation_space)
        rows, columns, channels = observation_space.shape
        if not self._is_channels_last:
            channels, rows, columns = observation_space.shape
        layers: list[nn.Module] = []
        while max(rows, columns) > HALVED_ABOVE:
            channels, rows, columns = _add_layer(layers, (channels, rows, columns), 32, stride=2)
        for n_filters in (32, 64):
            channels, rows, columns = _add_layer(layers, (channels, rows, columns), n_filters)
        linear = nn.Linear(channels * rows * columns, features_dim)
        self.cnn = nn.Sequential(*layers, nn.Flatten(), linear, nn.ReLU())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Features of preprocessed images.

        :param observations: (B, C, H, W) or (B, H, W, C), as in the space
        :return: (B, F)
        """
        return self.cnn(observations.permute(0, 3, 1, 2) if self._is_channels_last else observations)


def _add_layer(
    layers: list[nn.Module], shape: tuple[int, int, int], n_filters: int, stride: int = 1
) -> tuple[int, int, int]:
    """Append a convolution, whose kernel is no larger than the image.

    :param layers: to append to
    :param shape: of its input, (C, H, W)
    :param n_filters: channels of its output
    :param stride: pixels between two outputs
    :return: shape of its output
    """
    channels, *size = shape
    kernel = min(3, size[0]), min(3, size[1])
    layers += [nn.Conv2d(channels, n_filters, kernel, stride), nn.ReLU()]
    rows, columns = ((pixels - width) // stride + 1 for pixels, width in zip(size, kernel, strict=True))
    return n_filters, rows, columns


class SmallImagesExtractor(CombinedExtractor):
    """Features of Dict observations as ``CombinedExtractor`` has them, with :class:`SmallCNN` where an image is small.

    :param observation_space: with images among its entries
    :param cnn_output_dim: features of each image
    :param normalized_image: given by ``normalize_images=False``: any Box of three dimensions is an image
    """

    def __init__(
        self, observation_space: spaces.Dict, cnn_output_dim: int = 256, normalized_image: bool = False
    ) -> None:
        images = {
            key: fits_nature_cnn(space)
            for key, space in observation_space.spaces.items()
            if is_image_space(space, normalized_image=normalized_image)
        }
        vectors = [get_flattened_obs_dim(space) for key, space in observation_space.items() if key not in images]
        # Not CombinedExtractor's own, which would make a NatureCNN for each image.
        BaseFeaturesExtractor.__init__(self, observation_space, len(images) * cnn_output_dim + sum(vectors))
        self.extractors = nn.ModuleDict()
        for key, space in observation_space.spaces.items():
            if key not in images:
                self.extractors[key] = nn.Flatten()
            elif images[key]:
                self.extractors[key] = NatureCNN(space, cnn_output_dim, normalized_image)
            else:
                self.extractors[key] = SmallCNN(space, cnn_output_dim)  # type: ignore[arg-type]  # images are Boxes


def fitting(
    extractor_class: type[BaseFeaturesExtractor], observation_space: spaces.Space, normalize_images: bool
) -> type[BaseFeaturesExtractor]:
    """A features extractor that can read the observations.

    :param extractor_class: the default of a policy
    :param observation_space: space of the observations
    :param normalize_images: argument of the policy; False: any Box of three dimensions is an image
    :return: the default, unless it has convolutions that are too large for an image of this space
    """
    if extractor_class is NatureCNN:
        is_nature = is_image_space(observation_space, normalized_image=not normalize_images)
        return NatureCNN if is_nature and fits_nature_cnn(observation_space) else SmallCNN
    if extractor_class is CombinedExtractor and isinstance(observation_space, spaces.Dict):
        images = [
            space
            for space in observation_space.spaces.values()
            if is_image_space(space, normalized_image=not normalize_images)
        ]
        return CombinedExtractor if all(map(fits_nature_cnn, images)) else SmallImagesExtractor
    return extractor_class


def fits_nature_cnn(space: spaces.Space) -> bool:
    """Whether an image, channels first, is as large as NatureCNN needs it."""
    return space.shape is not None and min(space.shape[1:]) >= NATURE_SIZE


def is_image(space: spaces.Space) -> bool:
    """Whether observations are images: of bytes from 0 to 255, or of switches or fractions.

    Stable-Baselines3 knows the former alone. MinAtar's are switches, one channel for each kind of thing.

    :param space: space of the observations
    :return: True for Boxes of three dimensions, of bytes, or with bounds in [-1, 1]
    """
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        return False
    bounds = np.stack([space.low, space.high]).astype(np.float64)
    return is_image_space(space) or bool((np.abs(bounds) <= 1.0).all())


def is_channels_last(space: spaces.Box) -> bool:
    """Whether the last dimension of an image is its channels.

    They are the dimension that is not as long as another one, or the shortest. If that decides nothing: bytes have
    been transposed by Stable-Baselines3, other images are as the environment gives them, channels last.

    :param space: of three dimensions
    """
    first, middle, last = space.shape
    if first == middle != last:
        return True
    if middle == last != first:
        return False
    return last < first or (last == first and not is_image_space(space))
