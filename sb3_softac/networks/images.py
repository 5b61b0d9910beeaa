"""Images: random shifts of a batch, and a features extractor that is faster than ``NatureCNN``.

Shapes: B images, C channels, H rows, W columns.
"""

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn


class RandomShift:
    """Shifts each image of a batch by a few pixels at random; its edge fills the gap.   arXiv:2107.09645, section 3.1

    This is DrQ-v2's padding and cropping, by whole pixels.

    :param observation_space: space of one observation
    :param pixels: largest shift in each direction
    :raises ValueError: there are no images, or they are not larger than the shift
    """

    def __init__(self, observation_space: spaces.Space, pixels: int) -> None:
        leaves: dict = {None: observation_space}
        if isinstance(observation_space, spaces.Dict):
            leaves = dict(observation_space.spaces)
        images = {key: space.shape for key, space in leaves.items() if has_image_shape(space)}
        if not images:
            raise ValueError(
                f"`image_shift={pixels}` finds no images in {observation_space}: they are Boxes of three dimensions. "
                "Pass 0"
            )
        smallest = min(side for shape in images.values() for side in shape[1:])
        if pixels >= smallest:
            raise ValueError(
                f"`image_shift` must be less than the {smallest} pixels of an image's side, but {pixels} was given; "
                "4 of 84 pixels are usual"
            )
        self._keys, self._pixels = tuple(images), pixels

    def __call__(self, obs: PyTorchObs) -> PyTorchObs:
        """Shift the images of a batch.

        :param obs: observations, first dimension B, channels first
        :return: in the same shape; keys that are no images are left as they are
        """
        if isinstance(obs, dict):
            return {key: self._shifted(values) if key in self._keys else values for key, values in obs.items()}
        return self._shifted(obs)

    def _shifted(self, images: th.Tensor) -> th.Tensor:
        n_images, n_channels, *sides = images.shape
        offsets = th.randint(-self._pixels, self._pixels + 1, (2, n_images, 1), device=images.device)
        # A row or column beyond the edge is the edge.
        rows, columns = (
            (th.arange(side, device=images.device) + offset).clamp(0, side - 1)
            for side, offset in zip(sides, offsets, strict=True)
        )
        pixels = (rows * sides[1]).unsqueeze(2) + columns.unsqueeze(1)  # (B, H, W), in an image of one row
        index = pixels.flatten(1).unsqueeze(1).expand(-1, n_channels, -1)
        return images.flatten(2).gather(2, index).view_as(images)


def has_image_shape(space: spaces.Space) -> bool:
    """Whether observations of a space are images: arrays of three dimensions.

    :param space: of an observation, or of a key of a Dict
    """
    return isinstance(space, spaces.Box) and len(space.shape) == 3


class FastCNN(BaseFeaturesExtractor):
    """Features extractor for images of about 32 to 100 pixels, in half of the time of ``NatureCNN`` or less.

    The first layer reads patches that do not overlap, so that all that follows is small. As in DrQ-v2
    (arXiv:2107.09645), features are few, normalised, and bounded by tanh.

    :param observation_space: a Box of images, channels first
    :param features_dim: number of features
    :raises ValueError: no image, or one with a side of less than 16 pixels
    """

    PATCH, N_CHANNELS, MIN_SIDE = 4, 32, 16

    def __init__(self, observation_space: spaces.Box, features_dim: int = 64) -> None:
        super().__init__(observation_space, features_dim)
        if not has_image_shape(observation_space) or min(observation_space.shape[1:]) < self.MIN_SIDE:
            raise ValueError(
                f"`FastCNN` reads images with sides of at least {self.MIN_SIDE} pixels, channels first, but the space "
                f"is {observation_space}"
            )
        width = self.N_CHANNELS
        self.cnn = nn.Sequential(
            nn.Conv2d(observation_space.shape[0], width, self.PATCH, stride=self.PATCH),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        with th.no_grad():
            n_inputs = self.cnn(th.zeros(1, *observation_space.shape)).shape[1]
        self.linear = nn.Sequential(nn.Linear(n_inputs, features_dim), nn.LayerNorm(features_dim), nn.Tanh())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Features of images.

        :param observations: (B, C, H, W), scaled to [0, 1]
        :return: (B, features_dim)
        """
        return self.linear(self.cnn(observations))
