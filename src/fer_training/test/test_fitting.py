"""The steps of the loop, on problems whose solution is known."""

import pytest
import torch
from torch import Tensor, nn

from fer_training.training.loop import optimizer_step


class Parabola(nn.Module):
    """The mean of 2 (w - batch)^2, after batch normalisation has seen the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0]))
        self.norm = nn.BatchNorm2d(1, affine=False)

    def forward(self, batch: Tensor) -> Tensor:
        self.norm(batch[:, None, None, None])
        return (2 * (self.w - batch) ** 2).mean()


def test_one_step_goes_down_the_gradient() -> None:
    objective = Parabola()
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    # The loss at w = 1 is 4, and its gradient is 4 w.
    assert optimizer_step(objective, optimizer, (torch.tensor([-1.0, 1.0]),)) == pytest.approx(4.0)
    assert objective.w.item() == pytest.approx(1 - 0.1 * 4.0)
    assert objective.norm.num_batches_tracked == 1
