# SPDX-License-Identifier: Apache-2.0
"""The report on the reproduction: the paper's tables and figures, ours beside the paper's."""
