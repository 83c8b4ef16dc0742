import torch

from fer_training.networks import MobileNetV2

# Published for torchvision.models.mobilenet_v2: 3,504,872 parameters with 1000 classes at width 1.
TORCHVISION_PARAMETERS = 3_504_872
TORCHVISION_ENTRIES = 314


def test_state_dict_is_torchvisions() -> None:
    network = MobileNetV2(1000)
    state = network.state_dict()
    assert sum(parameter.numel() for parameter in network.parameters()) == TORCHVISION_PARAMETERS
    assert len(state) == TORCHVISION_ENTRIES
    shapes = {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.2.conv.0.0.weight": (96, 16, 1, 1),
        "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.2.conv.3.running_var": (24,),
        "features.17.conv.2.weight": (320, 960, 1, 1),
        "features.18.1.num_batches_tracked": (),
        "features.18.0.weight": (1280, 320, 1, 1),
        "classifier.1.bias": (1000,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_stem_stride_and_input_size() -> None:
    for stride, side in ((1, 48), (2, 96)):
        network = MobileNetV2(7, in_channels=1, stem_stride=stride).eval()
        assert network(torch.zeros(2, 1, side, side)).shape == (2, 7)
        assert network.features(torch.zeros(1, 1, side, side)).shape[-2:] == (3, 3)


def test_width_rounds_channels_to_eight() -> None:
    channels = {m.out_channels for m in MobileNetV2(7, width=0.35).modules() if isinstance(m, torch.nn.Conv2d)}
    assert all(count % 8 == 0 for count in channels)
    assert max(channels) == 1280  # the last layer does not shrink
