"""Makes small images with structure, and networks of random weights that see it; both from seeds."""

import nibabel
import numpy as np
import torch
from scipy.ndimage import gaussian_filter


def ellipsoid(shape, centre, radius) -> np.ndarray:
    axes = np.meshgrid(*(np.arange(side) / side for side in shape), indexing="ij")
    return sum(((axis - middle) / size) ** 2 for axis, middle, size in zip(axes, centre, radius)) < 1


def image(shape, seed: int, kind: str = "ct") -> np.ndarray:
    """A body with organs, [x, y, z]. Kinds: `ct` in HU (air -1000), `mr` (outside exactly 0, with a hole), `rgb` in
    0..255, `unit` in 0..1. Noise is rounded to few steps, so that files stay small."""
    random = np.random.default_rng(seed)
    body = ellipsoid(shape, (0.5, 0.5, 0.5), (0.44, 0.38, 0.62))
    value = np.where(body, 0.45, 0.0)
    for _ in range(9):
        centre, radius = random.uniform(0.25, 0.75, 3), random.uniform(0.08, 0.24, 3)
        value[ellipsoid(shape, centre, radius) & body] = random.choice([0.12, 0.3, 0.55, 0.7, 0.9])
    texture = gaussian_filter(random.normal(size=shape), 2.0)
    value = gaussian_filter(value, 0.6) + 0.05 * texture / texture.std() + 0.01 * random.normal(size=shape)
    if kind == "ct":
        return (4 * np.round((value * 1400 - 1000) / 4)).astype(np.int16)
    if kind == "mr":
        hole = ellipsoid(shape, (0.55, 0.45, 0.5), (0.07, 0.07, 0.12))
        inside = ellipsoid(shape, (0.46, 0.53, 0.44), (0.36, 0.3, 0.3)) & ~hole
        return np.where(inside, np.maximum(1, np.round(value * 150) * 4), 0).astype(np.int16)
    if kind == "rgb":
        return np.clip(np.round(value * 60) * 4, 0, 255).astype(np.int16)
    return (np.round(value * 128) / 128).astype(np.float32)


def lps_affine(spacing, origin=(61.5, 48.25, -30.0)) -> np.ndarray:
    """Order of axial DICOM slices, head last: x grows to the left, y to the back. In RAS, hence the signs."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = origin
    return affine


def save(array: np.ndarray, affine: np.ndarray, path) -> None:
    written = nibabel.Nifti1Image(array, affine)
    written.set_sform(affine, 1)
    written.set_qform(affine, 1)
    written.header.set_xyzt_units("mm")
    nibabel.save(written, str(path))


def fill_with_random_weights(network: torch.nn.Module, seed: int) -> None:
    """Kernels that smooth more than they differentiate (regions become compact), but differ in every direction, so
    that an axis which is flipped or swapped shows. Norms get a scale and shift that differ by channel."""
    random = torch.Generator().manual_seed(seed)
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, torch.nn.Parameter):
            continue
        with torch.no_grad():
            if weight.ndim >= 4:
                sides = weight.shape[2:]
                bell = torch.ones(sides)
                for axis, side in enumerate(sides):
                    line = torch.exp(-((torch.arange(side) - (side - 1) / 2) ** 2) / 1.5)
                    bell = bell * line.reshape([-1 if axis == other else 1 for other in range(len(sides))])
                gain = torch.randn(*weight.shape[:2], *([1] * len(sides)), generator=random)
                kernel = gain * bell + 0.25 * torch.randn(weight.shape, generator=random)
                fan = weight[0].numel() if not isinstance(module, torch.nn.modules.conv._ConvTransposeNd) else len(weight)
                weight.copy_(kernel / kernel.std() * (2 / fan) ** 0.5)
            elif weight.numel() > 1:
                weight.copy_(1 + 0.2 * torch.randn(weight.shape, generator=random))
            bias = getattr(module, "bias", None)
            if isinstance(bias, torch.nn.Parameter):
                bias.copy_(0.2 * torch.randn(bias.shape, generator=random))


def spread_logits(network, last, patches, spread: float, background: float | None) -> None:
    """Scales the convolution `last` so that each head has this standard deviation on the patches, and mean 0; head 0
    is raised by `background` deviations. With None (heads that are decided one by one) all are lowered by 0.7."""
    seen = []
    hook = last.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    with torch.no_grad():
        network(patches)
    hook.remove()
    out = seen[-1].transpose(0, 1).flatten(1)
    scale, mean = spread / out.std(1), out.mean(1)
    transposed = isinstance(last, torch.nn.modules.conv._ConvTransposeNd)
    with torch.no_grad():
        last.weight.mul_(scale.reshape(1, -1, *[1] * (last.weight.ndim - 2)) if transposed
                         else scale.reshape(-1, *[1] * (last.weight.ndim - 1)))
        last.bias.copy_((last.bias - mean) * scale)
        # Where a residual is added after the convolution, its mean goes too.
        last.bias.sub_(network(patches).transpose(0, 1).flatten(1).mean(1))
        if background is None:
            last.bias.sub_(0.7 * spread)
        else:
            last.bias[0] += background * spread
