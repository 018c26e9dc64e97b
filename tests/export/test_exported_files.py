import json

import numpy as np
import pytest

import perception
from perception.errors import PerceptionError
from perception.export import parity
from perception.export.half import with_half_weights
from perception.export.write import Settings, write_model
from perception.inference.model import Model
from perception.labels import LabelClass, LabelScheme
from tests.export.networks import HEADS, network, noise

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SCHEME = LabelScheme(
    "two", (LabelClass("car", 7, 0, (1, 2, 3)), LabelClass("person", 26, 1, (4, 5, 6)))
)
SIZES = ((75, 130), (33, 47), (64, 96), (127, 201), (160, 32))


def model(*heads):
    return Model(network(*heads), scheme=SCHEME)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network with three tasks and its .onnx file of any size."""
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    ours = model("fcn", "deeplab", "anchor_free")
    write_model(ours, path, Settings(), run="a_run")
    return ours, path


def check(ours, path):
    theirs = perception.load(path, threads=1)
    for height, width in SIZES:
        found = parity.compare(ours, theirs, [noise(height, width)[0].numpy()])
        for task, difference in found.items():
            assert difference.largest <= 1e-4, (task, height, width)
            assert difference.agreement == 1, (task, height, width)


def test_the_file_answers_as_the_network_at_odd_sizes(exported):
    check(*exported)


def test_a_batch_has_the_answers_of_its_images(exported):
    _, path = exported
    theirs = perception.load(path, threads=1)
    images = noise(40, 50, 2).numpy()
    both = theirs.runtime.run(images)

    for i in range(2):
        one = theirs.runtime.run(images[i : i + 1])
        np.testing.assert_allclose(both["road"][i], one["road"][0], atol=1e-6)
        mine = both["boxes"][both["image_index"] == i]
        np.testing.assert_allclose(mine, one["boxes"], atol=1e-3)


def test_the_file_says_what_it_is(exported):
    _, path = exported
    properties = {p.key: p.value for p in onnx.load(path).metadata_props}
    facts = json.loads(properties["perception"])

    assert facts["run"] == "a_run"
    assert facts["tasks"]["road"] == {"kind": "mask", "outputs": ["road"]}
    assert facts["tasks"]["boxes"]["outputs"] == ["boxes", "scores", "labels", "image_index"]
    assert [c["colour"] for c in facts["tasks"]["semantic"]["classes"]] == [[1, 2, 3], [4, 5, 6]]
    assert facts["licence"]


def test_a_loaded_file_is_a_model(exported):
    ours, path = exported
    theirs = perception.load(path)

    assert theirs.tasks == ours.tasks
    assert theirs.scheme == SCHEME
    assert set(theirs.predict(noise(40, 50)[0].numpy(), tasks=["road"]).results) == {"road"}
    with pytest.raises(PerceptionError, match="task: found depth"):
        theirs.predict(noise(40, 50)[0].numpy(), tasks=["depth"])


def test_half_weights_halve_the_file_and_keep_the_answers(exported):
    import onnxruntime

    ours, path = exported
    graph = onnx.load(path)
    with_half_weights(graph)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    image = noise(64, 96).numpy()

    (road,) = session.run(["road"], {"image": image})
    assert np.abs(road[0] - ours.predict(image[0]).road).max() < 0.02


def test_openvino_answers_as_the_network(exported, tmp_path):
    openvino = pytest.importorskip("openvino")
    ours, path = exported
    graph = openvino.Core().read_model(path)
    facts = {p.key: p.value for p in onnx.load(path).metadata_props}["perception"]
    graph.set_rt_info(facts, "perception")
    openvino.save_model(graph, tmp_path / "model.xml", compress_to_fp16=False)

    check(ours, tmp_path / "model.xml")


def test_another_program_s_file_is_refused(tmp_path):
    node = onnx.helper.make_node("Identity", ["image"], ["x"])
    info = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in ("image", "x")
    ]
    graph = onnx.helper.make_graph([node], "g", info[:1], info[1:])
    made = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    )
    onnx.save(made, tmp_path / "a.onnx")

    with pytest.raises(PerceptionError, match="a file that perception export wrote"):
        perception.load(tmp_path / "a.onnx")


@pytest.mark.parametrize("name", ["a.onnx", "a.xml", "a.pt2"])
def test_a_file_that_is_none_is_named_in_one_line(tmp_path, name):
    if name == "a.xml":
        pytest.importorskip("openvino")
    (tmp_path / name).write_bytes(b"nothing")

    with pytest.raises(PerceptionError, match=name):
        perception.load(tmp_path / name)


def test_settings_of_a_run_are_refused_for_a_file(exported):
    with pytest.raises(PerceptionError, match="no settings"):
        perception.load(exported[1], overrides=["head.boxes.nms_iou=0.4"])


@pytest.mark.slow
@pytest.mark.parametrize("head", [h for h in HEADS if h not in ("fcn", "deeplab", "anchor_free")])
def test_every_head_answers_alike_at_odd_sizes(head, tmp_path):
    ours = model(head)
    write_model(ours, tmp_path / "model.onnx", Settings(), run="r")

    check(ours, tmp_path / "model.onnx")


@pytest.mark.slow
def test_a_torch_program_answers_as_the_network(tmp_path):
    ours = model("fcn", "anchor_free")
    write_model(ours, tmp_path / "model.pt2", Settings("torch"), run="r")

    check(ours, tmp_path / "model.pt2")


def test_a_score_that_falls_too_far_is_named():
    before = {"a: road": 0.9, "b: road": 0.5, "c: road": float("nan")}
    after = {"a: road": 0.895, "b: road": 0.49, "c: road": float("nan")}

    assert parity.dropped(before, after, 0.006) == ["b: road: 0.5 became 0.49"]


def test_a_difference_beyond_rounding_is_named():
    far = parity.Difference(0.01, 0.001, 1.0)
    near = parity.Difference(1e-6, 1e-7, 1.0)

    assert parity.too_far({"road": far, "lane": near}) == [
        "road: largest difference 0.01, agreement 100.00%"
    ]


def test_boxes_that_only_one_has_do_not_agree():
    from perception.structures import Boxes, Prediction

    boxes = Boxes.of([[0, 0, 9, 9], [20, 0, 29, 9]], ["car", "car"], score=[0.9, 0.5])
    a = Prediction("", (40, 40), boxes=boxes)
    b = Prediction("", (40, 40), boxes=boxes[np.array([True, False])])

    assert parity._difference(a, b, "boxes").agreement == 0.5
    assert parity._difference(a, a, "boxes") == parity.Difference(0.0, 0.0, 1.0)
