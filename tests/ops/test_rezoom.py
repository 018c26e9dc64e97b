"""The rezoom crop: hand-worked lookups, gradients, odd boxes."""

import pytest
import torch

from perception.ops import rezoom

NAN, INF = float("nan"), float("inf")


def ramp(height: int = 4, width: int = 6) -> torch.Tensor:
    """(1, 2, H, W): channel 0 holds x, channel 1 holds 10 y."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, 10 * y])[None].double()


def test_points_lie_at_the_centre_plus_offsets_times_size_without_a_half_pixel_shift():
    box = torch.tensor([[0, 16.0, 8.0, 8.0, 4.0]], dtype=torch.double)

    out = rezoom(ramp(), box, (0.0, 0.5), (0.0, 0.5), spatial_scale=0.125)

    # w offset outer, h offset inner, then channels: (x, 10 y) of each point
    expected = [2.0, 10.0, 2.0, 12.5, 2.5, 10.0, 2.5, 12.5]
    assert out.tolist() == [expected]


def test_points_outside_the_map_take_the_border_value():
    box = torch.tensor([[0, -100.0, 1e30, 1.0, 1.0]], dtype=torch.double)

    assert rezoom(ramp(), box, (0.0,), (0.0,)).tolist() == [[0.0, 30.0]]


def test_a_nan_point_is_zero_and_has_no_gradient():
    features = ramp().requires_grad_()
    box = torch.tensor([[0, NAN, 1.0, 1.0, 1.0]], dtype=torch.double, requires_grad=True)

    out = rezoom(features, box)
    out.sum().backward()

    assert (out == 0).all() and (features.grad == 0).all() and (box.grad == 0).all()


def test_gradients_to_features_and_boxes_are_exact():
    torch.manual_seed(0)
    features = torch.rand(2, 3, 5, 7, dtype=torch.double, requires_grad=True)
    image = torch.tensor([[0.0], [1.0]], dtype=torch.double)
    geometry = torch.tensor([[20.3, 17.1, 9.0, 7.7], [33.3, 11.9, 30.0, 61.0]])
    geometry = geometry.double().requires_grad_()

    def crop(features: torch.Tensor, geometry: torch.Tensor) -> torch.Tensor:
        return rezoom(features, torch.cat([image, geometry], dim=1))

    assert torch.autograd.gradcheck(crop, (features, geometry))


@pytest.mark.parametrize("index", [2.0, -1.0, 0.5, NAN, INF])
def test_an_image_index_out_of_range_is_refused(index):
    with pytest.raises(ValueError, match=r"row 1 .*from 0 to 1"):
        rezoom(torch.rand(2, 1, 4, 4), torch.tensor([[0, 1, 1, 1, 1], [index, 1, 1, 1, 1]]))
