# SPDX-License-Identifier: Apache-2.0
"""A GPU, PyCUDA and TensorRT as far as the package uses them, in host memory; held to the real ones by tests."""
