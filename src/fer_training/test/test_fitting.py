"""The steps of the loop, on problems whose answer is known."""

import pytest
import torch
from torch import Tensor, nn

from fer_training.training.loop import descend


class Parabola(nn.Module):
    """The mean of 2 (w - batch)^2, after batch normalisation has seen the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0]))
        self.norm = nn.BatchNorm2d(1, affine=False)

    def forward(self, batch: Tensor) -> Tensor:
        self.norm(batch[:, None, None, None])
        return (2 * (self.w - batch) ** 2).mean()


@pytest.mark.parametrize(("radius", "gradient"), [(0.0, 4.0), (0.5, 6.0)])
def test_sharpness_aware_step(radius: float, gradient: float) -> None:
    objective = Parabola()
    batch = torch.tensor([-1.0, 1.0])
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    # The loss at w = 1 is 4, and its gradient is 4 w: uphill by the radius it is 4 (w + radius).
    assert descend(objective, optimizer, (batch,), radius) == pytest.approx(4.0)
    assert objective.w.item() == pytest.approx(1 - 0.1 * gradient)
    assert objective.norm.num_batches_tracked == (1 if radius == 0 else 2)
    assert objective.norm.running_var is not None
    assert objective.norm.running_var.item() == pytest.approx(0.9 + 0.1 * 2.0)  # batch statistics counted once
    assert objective.norm.momentum == 0.1
