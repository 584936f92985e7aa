# SPDX-License-Identifier: Apache-2.0
"""The numbers that the paper prints in its tables 1 and 2. Nothing here was measured by us.

Source: "Learning to Generate Facial Depth Maps", 3DV 2018, tables 1 and 2.
"""

from __future__ import annotations

from train.data.subsets import CELLS
from train.report.measurement import SYSTEMS

# The paper's columns are cGAN, AE, [14], [5], which is the order of SYSTEMS.
SYSTEM_LABELS = {"paper": "cGAN", "autoencoder": "autoencoder", "pix2pix": "pix2pix", "cui": "Cui et al."}

# Metric -> the four columns of a data set.
_PANDORA = {
    "l1": (11.792, 16.185, 18.172, 34.635),
    "l2": (1678.2, 2224.8, 3109.0, 4749.2),
    "absolute_difference": (0.1019, 0.1441, 0.1512, 1.2020),
    "squared_difference": (2.9974, 5.3891, 8.6444, 102.26),
    "rmse_linear": (18.677, 25.213, 33.526, 49.973),
    "rmse_log": (0.1744, 0.2752, 1.0864, 0.8330),
    "rmse_scale_invariant": (0.1345, 0.2018, 1.0774, 0.7009),
    "delta_1": (0.8529, 0.6854, 0.7802, 0.4848),
    "delta_2": (0.9642, 0.8728, 0.8978, 0.6332),
    "delta_3": (0.9915, 0.9651, 0.9638, 0.7225),
    "verification": (0.7247, 0.6570, 0.5315, 0.6442),
}
_BIWI = {
    "l1": (10.503, 10.444, 47.191, 16.507),
    "l2": (2368.5, 2342.5, 6661.3, 2319.8),
    "absolute_difference": (0.1838, 0.1936, 0.9062, 0.2836),
    "squared_difference": (8.7122, 9.0332, 100.89, 9.3032),
    "rmse_linear": (24.865, 24.699, 72.084, 24.521),
    "rmse_log": (0.2932, 0.2970, 1.2240, 0.3390),
    "rmse_scale_invariant": (0.2687, 0.2642, 1.1759, 0.2867),
    "delta_1": (0.7393, 0.7230, 0.4149, 0.6395),
    "delta_2": (0.9224, 0.9064, 0.5298, 0.7943),
    "delta_3": (0.9609, 0.9557, 0.6360, 0.9311),
    "verification": (0.6251, 0.6043, 0.5422, 0.5966),
}
# Data set -> metric -> system -> value.
TABLE_1 = {
    name: {metric: dict(zip(SYSTEMS, row, strict=True)) for metric, row in rows.items()}
    for name, rows in (("Pandora", _PANDORA), ("Biwi", _BIWI))
}

# Accuracy on original and on generated depth, by the cells' names in pair lists; Pandora only.
_TABLE_2 = {
    "A1|S123": (0.8184, 0.8614),
    "A1|S45": (0.7685, 0.7155),
    "A1|all": (0.7917, 0.7950),
    "A2|S123": (0.7928, 0.7499),
    "A2|S45": (0.7216, 0.6586),
    "A2|all": (0.7576, 0.7007),
    "all|S123": (0.8034, 0.7851),
    "all|S45": (0.7271, 0.6696),
    "all|all": (0.7664, 0.7247),
}
TABLE_2 = {cell: {"original": _TABLE_2[cell][0], "generated": _TABLE_2[cell][1]} for cell in CELLS}
