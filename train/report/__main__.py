# SPDX-License-Identifier: Apache-2.0
"""Runs the report as a command: `python -m train.report --data synthetic`."""

from __future__ import annotations

import sys

from train.report.command import main

if __name__ == "__main__":
    sys.exit(main())
