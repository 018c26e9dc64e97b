from __future__ import annotations

import numpy as np
import pytest

from perception.errors import PerceptionError
from perception.formats.kitti_calib import read_calibration, write_calibration

TEXT = """\
# a comment
P2: 7.0e+02 0 6.0e+02  45 0 7.0e+02 1.7e+02 0 0 0 1 0.003

R0_rect: 1 0 0 0 1 0 0 0 1
Tr_cam_to_road: 1 0 0 0 0 1 0 1.65 0 0 1 0
calib_time: 09-Jan-2012 is not a matrix
"""


def calibration(tmp_path, text):
    path = tmp_path / "000001.txt"
    path.write_text(text)
    return read_calibration(path)


def test_matrices_have_their_shapes_and_values(tmp_path):
    calib = calibration(tmp_path, TEXT)

    assert calib.matrix("P2").shape == (3, 4)
    assert calib.matrix("P2")[0].tolist() == [700.0, 0.0, 600.0, 45.0]
    np.testing.assert_array_equal(calib.matrix("R0_rect"), np.eye(3))
    assert calib.matrix("Tr_cam_to_road")[1, 3] == 1.65


def test_a_matrix_that_is_not_there_is_an_error_where_it_is_needed(tmp_path):
    calib = calibration(tmp_path, TEXT)

    with pytest.raises(PerceptionError, match=r"000001\.txt: Tr_velo_to_cam"):
        calib.matrix("Tr_velo_to_cam")


def test_a_written_calibration_reads_back(tmp_path):
    calib = calibration(tmp_path, TEXT)

    write_calibration(tmp_path / "again.txt", calib)

    again = read_calibration(tmp_path / "again.txt")
    assert list(again.matrices) == list(calib.matrices)
    for name, matrix in calib.matrices.items():
        np.testing.assert_allclose(again.matrix(name), matrix, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("P2: 1 2 3", ["P2", "3 values", "12"]),
        ("R0_rect: 1 0 0 0 x 0 0 0 1", ["R0_rect", "finite"]),
        ("R0_rect: 1 0 0 0 nan 0 0 0 1", ["R0_rect", "finite"]),
        ("P2 1 2 3", ["line 1", "0 colons"]),
        (TEXT + "R0_rect: 1 0 0 0 1 0 0 0 1", ["R0_rect", "second time"]),
    ],
)
def test_damaged_matrices_are_named(tmp_path, text, mentions):
    with pytest.raises(PerceptionError) as caught:
        calibration(tmp_path, text)

    for word in ["000001.txt", *mentions]:
        assert word in str(caught.value)
