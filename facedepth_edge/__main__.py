# SPDX-License-Identifier: Apache-2.0
"""Runs the command line by `python -m facedepth_edge`."""

from facedepth_edge.cli import main

if __name__ == "__main__":
    main(prog_name="facedepth-edge")
