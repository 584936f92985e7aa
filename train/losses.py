# SPDX-License-Identifier: Apache-2.0
"""The losses, one function an equation: the paper's (2), (3) and (5), its competitors', and ours for `edge`.

Convention: depth arguments are relative depth z in [-1, 1], (B, 1, H, W) float32, farther is larger; results that say
mm are in millimetres. `valid` and `head` are (B, 1, H, W) bool. What a mask excludes has no gradient. A batch in which
a loss has nothing to measure gives 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from train.units import HALF_RANGE_MM, MIN_HEAD_PIXELS, REACH_MM

ROUNDING_MM = 1.5  # differences of depths in whole mm are off by less than 1; a little more for the camera's noise
LEAST_SPREAD = 1e-6  # of pixels in the plane, in half sides to the fourth: those of a line have no tilt


def adversarial_bce(logits: Tensor, real: bool) -> Tensor:
    """Equation (2): binary cross entropy of the discriminator's judgement, mean over the batch.

    Source: equation (2), with t = 1 for real depth as equations (1) and (5) need. Takes the logit of y = D(I).

    Args:
        logits: (B, 1) float32.
        real: The target t: True for measured depth, or for generated depth that shall pass as measured.

    Returns:
        Scalar.
    """
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def mse(generated: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Equation (3): squared L2 distance of an image to its target, mean over the batch.

    Source: equation (3). The norm is over pixels, so the sum, not the mean, over an image; holes are left out of it.

    Args:
        generated: G(s^g).
        target: s^d.
        valid: Pixels that were measured.

    Returns:
        Scalar, in units of z squared times pixels.
    """
    difference = (generated - target) * valid.to(generated.dtype)
    return difference.square().sum(dim=(1, 2, 3)).mean()


def generator_objective(mse_value: Tensor, adversarial_value: Tensor, lambda_mse: float) -> Tensor:
    """Equation (5): lambda * L_MSE + L_adv(D(G(s^g)), 1).

    Args:
        mse_value: Equation (3).
        adversarial_value: Equation (2) of the generated depth with target 1.
        lambda_mse: The weight lambda, which the paper does not give.

    Returns:
        Scalar.
    """
    return lambda_mse * mse_value + adversarial_value


def _mean_over(values: Tensor, where: Tensor) -> Tensor:
    """Average finite values over a mask; 0 where the mask is empty."""
    weight = where.to(values.dtype)  # a product: on CPUs torch.where and sums of bool take several times as long
    return (values * weight).sum() / weight.sum().clamp(min=1)


def l1(generated: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference over the measured pixels.

    Source: [14], equation (3).

    Args:
        generated: (B, 1, H, W) float32.
        target: (B, 1, H, W) float32.
        valid: (B, 1, H, W) bool.

    Returns:
        Scalar, in units of z.
    """
    return _mean_over((generated - target).abs(), valid)


def mean_squared(generated: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean squared difference over the measured pixels.

    Source: [5]'s depth loss, in units that do not depend on the image's size.

    Args:
        generated: (B, 1, H, W) float32.
        target: (B, 1, H, W) float32.
        valid: (B, 1, H, W) bool.

    Returns:
        Scalar, in units of z squared.
    """
    return _mean_over((generated - target).square(), valid)


def mean_per_image(values: Tensor, where: Tensor) -> Tensor:
    """Return each image's mean over a mask; of errors over the head, that is the head's offset.

    Args:
        values: (B, 1, H, W) float32, finite.
        where: (B, 1, H, W) bool.

    Returns:
        (B, 1, 1, 1), 0 where an image's mask is empty.
    """
    weight = where.to(values.dtype)
    total = (values * weight).sum(dim=(1, 2, 3), keepdim=True)
    return total / weight.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)


def _large_heads(head: Tensor) -> Tensor:
    """Empty the masks of fewer than MIN_HEAD_PIXELS."""
    return head & (head.sum(dim=(1, 2, 3), keepdim=True) >= MIN_HEAD_PIXELS)


def _mean_of_images(values: Tensor, where: Tensor) -> Tensor:
    """Average each image's masked mean over the images with a non-empty mask."""
    return mean_per_image(values, where).sum() / where.flatten(1).any(dim=1).sum().clamp(min=1)


def offset_free_mm(depth: Tensor, target: Tensor, valid: Tensor, head: Tensor) -> Tensor:
    """Mean absolute error over the head after removing each image's mean error there, in mm.

    Ours: mean over images of mean_p |e_p - mean_q e_q|, e = 160 (depth - target), p and q over measured head pixels.
    The shape of the face is learnt by this, whatever the uncertainty of D.

    Args:
        depth: The network's.
        target: The measured.
        valid: Measured pixels.
        head: Pixels of the head.

    Returns:
        Scalar in mm; images with fewer than MIN_HEAD_PIXELS such pixels do not count.
    """
    where = _large_heads(valid & head)
    error = (depth - target) * HALF_RANGE_MM
    return _mean_of_images((error - mean_per_image(error, where)).abs(), where)


def tilt_mm(depth: Tensor, target: Tensor, valid: Tensor, head: Tensor) -> Tensor:
    """Mean size of the plane through the errors over the head, in mm: by how much the head is tilted wrongly.

    Ours: mean over images of mean_p |s . (p - mean_q q)|, s the slopes of the least-squares plane through the errors
    e_p = 160 (depth - target), p and q over measured head pixels. `offset_free_mm` has the same minimum where the plane
    is all that is wrong; beside errors of the shape, whose signs are mixed, it hardly pulls at a small tilt.

    Args:
        depth: The network's.
        target: The measured.
        valid: Measured pixels.
        head: Pixels of the head, or of a part of it.

    Returns:
        Scalar in mm; images with fewer than MIN_HEAD_PIXELS such pixels do not count.
    """
    where = _large_heads(valid & head)
    error = (depth - target) * HALF_RANGE_MM
    rows, columns = (torch.linspace(-1, 1, n, dtype=depth.dtype, device=depth.device) for n in depth.shape[-2:])
    across, down = (
        axis - mean_per_image(axis, where) for axis in (columns.expand_as(depth), rows[:, None].expand_as(depth))
    )
    products = (across * across, across * down, down * down, across * error, down * error)
    xx, xy, yy, xe, ye = (mean_per_image(product, where) for product in products)
    determinant = (xx * yy - xy * xy).clamp(min=LEAST_SPREAD)
    plane = ((yy * xe - xy * ye) * across + (xx * ye - xy * xe) * down) / determinant
    return _mean_of_images(plane.abs(), where)


def absolute_mm(depth: Tensor, target: Tensor, where: Tensor) -> Tensor:
    """Mean absolute error over a mask, in mm.

    Args:
        depth: The network's.
        target: The measured.
        where: Pixels that count, all measured.

    Returns:
        Scalar in mm.
    """
    return _mean_over((depth - target).abs(), where) * HALF_RANGE_MM


def _huber_mm(error: Tensor) -> Tensor:
    """Return |e| - r / 2 beyond r = ROUNDING_MM and e^2 / (2 r) within."""
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=ROUNDING_MM, reduction="none")


def gradient_mm(
    depth: Tensor, target: Tensor, valid: Tensor, head: Tensor, strides: tuple[int, ...] = (1, 2, 4)
) -> Tensor:
    """Mean error of depth differences between head pixels that are a few pixels apart, in mm.

    Ours, after the multi-scale gradient losses of depth estimation: for each stride k and both axes
    mean h((depth_{p+k} - depth_p) - (target_{p+k} - target_p)), averaged over strides and axes, h being Huber's
    function with its bend at ROUNDING_MM. Small features (lids, lips, nostrils) weigh more here than in a mean over
    depths; offsets cancel. Depth images hold whole millimetres: between neighbours on a gentle slope the median
    difference is 0 and only the mean is right, so an absolute value would flatten faces into steps.

    Args:
        depth: The network's.
        target: The measured.
        valid: Measured pixels.
        head: Pixels of the head; both ends of a difference must be in it.
        strides: Distances k in pixels.

    Returns:
        Scalar in mm.
    """
    where = valid & head
    error = (depth - target) * HALF_RANGE_MM
    total = error.new_zeros(())
    for k in strides:
        across = _huber_mm(error[..., k:] - error[..., :-k])
        down = _huber_mm(error[..., k:, :] - error[..., :-k, :])
        total = total + _mean_over(across, where[..., k:] & where[..., :-k])
        total = total + _mean_over(down, where[..., k:, :] & where[..., :-k, :])
    return total / (2 * len(strides))


def surface_slopes(depth: Tensor) -> tuple[Tensor, Tensor]:
    """Return how fast a depth map falls away, in mm of depth per mm across.

    Convention: forward differences; x right, y down, z away from the camera; pixels REACH_MM / W apart. The normal
    towards the camera is (slope_x, slope_y, -1), not normalised.

    Args:
        depth: (B, 1, H, W) relative depth z.

    Returns:
        slope_x and slope_y, (B, 1, H - 1, W - 1) float32.
    """
    per_mm = HALF_RANGE_MM * depth.shape[-1] / REACH_MM
    corner = depth[..., :-1, :-1]
    return (depth[..., :-1, 1:] - corner) * per_mm, (depth[..., 1:, :-1] - corner) * per_mm


def normal_cosine(depth: Tensor, target: Tensor, valid: Tensor, head: Tensor) -> Tensor:
    """Mean of 1 - cos of the angle between the normals of network and measurement, over the head.

    Ours: mean_p (1 - <n_p, n*_p> / (|n_p| |n*_p|)) over pixels whose right and lower neighbours are measured head
    pixels too. Written out by slopes: normalising three-channel tensors took several times as long.

    Args:
        depth: The network's.
        target: The measured.
        valid: Measured pixels.
        head: Pixels of the head.

    Returns:
        Scalar in 0..2.
    """
    where = valid & head
    where = where[..., :-1, :-1] & where[..., :-1, 1:] & where[..., 1:, :-1]
    ax, ay = surface_slopes(depth)
    bx, by = surface_slopes(target)
    lengths = (ax * ax + ay * ay + 1) * (bx * bx + by * by + 1)
    cosine = (ax * bx + ay * by + 1) * torch.rsqrt(lengths)
    return _mean_over(1 - cosine, where)


def mask_bce(logits: Tensor, head: Tensor, seen: Tensor) -> Tensor:
    """Binary cross entropy of the head mask, mean over the pixels that the camera saw.

    Args:
        logits: (B, 1, H, W) float32.
        head: Pixels of the head.
        seen: Pixels where `head` is known.

    Returns:
        Scalar.
    """
    return _mean_over(F.binary_cross_entropy_with_logits(logits, head.float(), reduction="none"), seen)


def mask_dice(logits: Tensor, head: Tensor, seen: Tensor) -> Tensor:
    """Soft Dice loss of the head mask: mean over images of 1 - (2 sum pt + 1) / (sum p + sum t + 1).

    Args:
        logits: (B, 1, H, W) float32.
        head: Pixels of the head, t.
        seen: Pixels where `head` is known.

    Returns:
        Scalar in 0..1.
    """
    probability = torch.sigmoid(logits) * seen.to(logits.dtype)
    truth = (head & seen).float()
    overlap = (probability * truth).sum(dim=(1, 2, 3))
    size = probability.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3))
    return (1 - (2 * overlap + 1) / (size + 1)).mean()


def validity_bce(logits: Tensor, validity: Tensor) -> Tensor:
    """Binary cross entropy of the validity, mean over the batch; targets may be soft.

    Args:
        logits: (B, 1) float32.
        validity: (B, 1) float32 in [0, 1].

    Returns:
        Scalar.
    """
    return F.binary_cross_entropy_with_logits(logits, validity)
