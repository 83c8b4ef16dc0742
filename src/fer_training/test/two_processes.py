"""What two processes do, for test_distributed.py: ``two_processes.py CONFIG FOLDER``.

They are started with the environment that torchrun would give them. Not forked: torch's threads do not survive that.
"""

import os
import socket
import sys
from pathlib import Path

import torch
from torch.multiprocessing import start_processes

from fer_perception.errors import FerError
from fer_training.runs.checkpoint import save_checkpoint
from fer_training.runs.config import load_config
from fer_training.training.loop import optimizer_step
from fer_training.training.supervised import Supervision, prepared, train

COUNT = 2


def take_steps(config_file: Path, out: Path) -> None:
    """Write the losses of three steps and the weights after them.

    In double precision: in single, rounding alone changes gradients of so small a network by percents.
    """
    config = load_config(config_file, ["batch_size=14", "augmentation.mixup=0.2"])
    with prepared(config) as group:
        task = Supervision(config, group)
        objective = group.wrap(task.objective.double())
        optimizer = torch.optim.SGD(objective.parameters(), 0.05, 0.9, nesterov=True)
        losses = []
        for step in range(3):
            batch = task.batch(torch.arange(14) + step, 0.0)
            shard = tuple(group.shard(tensor.double()) for tensor in batch)
            losses.append(float(optimizer_step(objective, optimizer, shard)))
        if group.is_first:
            state = {name: tensor for name, tensor in task.network.state_dict().items() if tensor.is_floating_point()}
            save_checkpoint(out, {"network": state}, {"losses": losses, "processes": group.count})


def work(rank: int, ports: list[int], config_file: Path, folder: Path) -> None:
    """One of the processes: steps, a training, the same again when it is complete, and one that cannot be."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(COUNT), "MASTER_ADDR": "127.0.0.1"}
    config = load_config(config_file, ["batch_size=34", f"out={folder}"])
    os.environ["MASTER_PORT"] = str(ports[0])
    take_steps(config_file, folder / "two.safetensors")
    for port in ports[1:]:
        os.environ["MASTER_PORT"] = str(port)
        train(config)
    try:
        train(load_config(config_file, ["batch_size=35"]))
    except FerError as error:
        (folder / f"error{rank}.txt").write_text(str(error))


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


if __name__ == "__main__":
    start_processes(work, (free_ports(3), *map(Path, sys.argv[1:])), COUNT, start_method="spawn")
