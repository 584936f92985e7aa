# SPDX-License-Identifier: Apache-2.0
"""Data sets, their packed form, and augmentation."""
