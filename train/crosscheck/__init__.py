# SPDX-License-Identifier: Apache-2.0
"""A set of heads rendered by other means than the training set: the Anny body model, the Mitsuba path tracer."""

SCAN_GENERATOR = "train.crosscheck scan"  # what dataset.json of a scan's set calls its writer
