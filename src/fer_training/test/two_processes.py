"""Three steps of a training in double precision, by one process or by those that torchrun started.

``two_processes.py CONFIG OUT``: writes the weights afterwards. In single precision, rounding alone changes gradients
of so small a network by percents.
"""

import sys
from pathlib import Path

import torch

from fer_training.checkpoint import save_checkpoint
from fer_training.config import load_config
from fer_training.fitting import descend
from fer_training.train import Supervision, prepared


def main(config_file: str, out: str, *overrides: str) -> None:
    config = load_config(config_file, overrides)
    with prepared(config) as group:
        task = Supervision(config, group)
        objective = group.wrap(task.objective.double())
        optimizer = torch.optim.SGD(objective.parameters(), 0.05, 0.9, nesterov=True)
        losses = []
        for step in range(3):
            batch = task.batch(torch.arange(34) + step, 0.0)
            share = tuple(group.share(tensor.double()) for tensor in batch)
            losses.append(descend(objective, optimizer, share, config.sam_radius))
        if group.is_first:
            state = {name: tensor for name, tensor in task.network.state_dict().items() if tensor.is_floating_point()}
            save_checkpoint(Path(out), {"network": state}, {"losses": losses, "processes": group.count})


main(*sys.argv[1:])
