# SPDX-License-Identifier: Apache-2.0
"""Settings: read strictly, with near keys named, and written back to the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from facedepth_edge.errors import ConfigError
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping, mapping_from_yaml, plain_from_dataclass
from train.networks import EdgeConfig
from train.tasks import CGanTaskConfig

REPO = Path(__file__).resolve().parents[2]
MINIMAL = {"network": {"name": "edge"}, "task": {"name": "depth"}}


def read(**changes: object) -> TrainConfig:
    return dataclass_from_mapping(TrainConfig, {**MINIMAL, **changes})


@pytest.mark.parametrize("name", sorted(path.name for path in (REPO / "configs").glob("*.yaml")))
def test_every_config_of_the_repository_reads_back_to_itself(name: str) -> None:
    config = dataclass_from_mapping(TrainConfig, mapping_from_yaml(REPO / "configs" / name))
    assert dataclass_from_mapping(TrainConfig, plain_from_dataclass(config)) == config


def test_values_arrive() -> None:
    config = read(
        network={"name": "edge", "widths": [8, 8, 16, 16], "head_width": 8},
        task={"name": "cgan", "lambda_mse": 3, "discriminator": {"widths": [4, 4]}},
        optimizer={"lr": "1e-3", "betas": [0.5, 0.999]},
        loop={"devices": 2},
    )
    assert config.network.options == EdgeConfig(widths=(8, 8, 16, 16), head_width=8)
    assert isinstance(config.task.options, CGanTaskConfig)
    assert config.task.options.lambda_mse == 3.0
    assert config.task.options.discriminator.widths == (4, 4)
    assert config.optimizer.lr == 1e-3
    assert config.loop.devices == "2"


WRONG = {
    "a mistyped key": (
        {"optimizer": {"learnrate": 1}},
        r"config\.optimizer: got the unknown key 'learnrate'.*Known: betas",
    ),
    "a near key": ({"loop": {"batchsize": 1}}, r"config\.loop: got the unknown key 'batchsize'.*mean batch_size\?"),
    "a near group": ({"optimiser": {}}, r"config: got the unknown key 'optimiser'.*Did you mean optimizer\?"),
    "a near network": ({"network": {"name": "egde"}}, r"config\.network: got name 'egde'.*Did you mean edge\?"),
    "a setting of another network": (
        {"network": {"name": "edge", "encoder_widths": [1]}},
        "unknown key 'encoder_widths'",
    ),
    "no name": (
        {"task": {}},
        r"config\.task: got name None, expected name: one of autoencoder, cgan, cui, depth, pix2pix",
    ),
    "text for a number": ({"loop": {"steps": "many"}}, r"config\.loop\.steps: got many, expected int"),
    "a truth for a number": ({"loop": {"steps": True}}, r"config\.loop\.steps: got True, expected int"),
    "a fraction for a count": ({"loop": {"steps": 1.5}}, r"config\.loop\.steps: got 1\.5, expected int"),
    "too few values": ({"optimizer": {"betas": [0.9]}}, r"betas: got \[0\.9\], expected a list of 2 values"),
    "a value for a group": ({"loop": 3}, r"config\.loop: got 3, expected a mapping of settings"),
    "a value beyond its range": (
        {"augment": {"geometry": {"flip": 2}}},
        r"augment\.geometry\.flip: got 2\.0, expected 0 to 1",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_settings_are_told(case: str) -> None:
    changes, message = WRONG[case]
    with pytest.raises(ConfigError, match=message):
        read(**changes)


def test_missing_keys_are_told() -> None:
    with pytest.raises(ConfigError, match=r"config: got no network, expected these keys"):
        dataclass_from_mapping(TrainConfig, {"task": {"name": "depth"}})


def test_settings_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("network: {name: edge}\ntask: {name: depth}\nloop: {steps: 7}\n")
    data = mapping_from_yaml(
        path, ["loop.steps=9", "network.widths=[8, 8, 8, 8]", "optimizer.lr=1e-4", "network.head_width=8"]
    )
    config = dataclass_from_mapping(TrainConfig, data)
    assert (config.loop.steps, config.network.options.widths, config.optimizer.lr) == (9, (8, 8, 8, 8), 1e-4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("loop.steps", r"--set: got loop\.steps, expected dotted\.key=value"),
        ("loop.steps.more=1", r"expected steps to be a group of settings"),
        ("loop.steps=[1", "expected a value that YAML can read"),
    ],
)
def test_wrong_overrides_are_told(setting: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("loop: {steps: 7}\n")
    with pytest.raises(ConfigError, match=message):
        mapping_from_yaml(path, [setting])


def test_unreadable_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a readable YAML file"):
        mapping_from_yaml(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="got a list, expected a mapping"):
        mapping_from_yaml(tmp_path / "list.yaml")
