"""An ONNX file is looked into before the runtime reads it."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from spacy_transfer.model.exported.graph_bytes import GraphBytes
from spacy_transfer.model.exported.graph_file import check_graph
from spacy_transfer.model.exported.session import GraphSession, make_session


def graph(weight: onnx.TensorProto, *, ir_version: int = 9, opset: int = 18) -> onnx.ModelProto:
    """y = x * weight."""
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 2]) for name in "xy")
    node = onnx.helper.make_node("Mul", ["x", "weight"], ["y"])
    made = onnx.helper.make_graph([node], "product", [x], [y], [weight])
    return onnx.helper.make_model(made, ir_version=ir_version, opset_imports=[onnx.helper.make_opsetid("", opset)])


@pytest.fixture
def plain() -> onnx.ModelProto:
    return graph(onnx.numpy_helper.from_array(np.float32([2, 3]), "weight"))


def test_a_graph_runs(plain: onnx.ModelProto) -> None:
    session = GraphSession(GraphBytes(plain.SerializeToString(), "y.onnx"), ["x"], 1)
    assert session.run("y", {"x": np.float32([[1, 2]])}).tolist() == [[2, 6]]


@pytest.mark.parametrize("cut", [3, 20, -1])
def test_what_is_cut_short_or_no_graph(plain: onnx.ModelProto, cut: int) -> None:
    data = plain.SerializeToString()
    for damaged in (data[:cut], b"", b"not a graph at all", b"\xff" * 40, data + b"\x00\x01\x02\xff"):
        with pytest.raises(OSError, match=r"T544.*y\.onnx.*damaged"):
            check_graph(damaged, "y.onnx", "1.0")
        with pytest.raises(ValueError, match="T544"):
            make_session(damaged, "y.onnx", ["x"], 1)


def test_weights_in_other_files_are_refused_wherever_they_stand(plain: onnx.ModelProto, tmp_path: Path) -> None:
    """Also in an attribute, in a branch of a node, and in a function."""
    outside = onnx.TensorProto(name="weight", data_type=onnx.TensorProto.FLOAT, dims=[2])
    outside.data_location = onnx.TensorProto.EXTERNAL
    entry = outside.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    constant = onnx.helper.make_node("Constant", [], ["c"], value=outside)
    branch = onnx.helper.make_graph([], "branch", [], [], [outside])
    in_branch = onnx.helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
    function = onnx.helper.make_function("d", "f", [], ["c"], [constant], [onnx.helper.make_opsetid("", 18)])
    as_initializer, as_attribute, as_branch, as_function = (onnx.ModelProto() for _ in range(4))
    as_initializer.CopyFrom(graph(outside))
    for model, node in ((as_attribute, constant), (as_branch, in_branch)):
        model.CopyFrom(plain)
        model.graph.node.append(node)
    as_function.CopyFrom(plain)
    as_function.functions.append(function)
    for model in (as_initializer, as_attribute, as_branch, as_function):
        with pytest.raises(OSError, match=r"T544.*other files"):
            check_graph(model.SerializeToString(), "y.onnx", "1.0")
    check_graph(plain.SerializeToString(), "y.onnx", "1.0")


@pytest.mark.parametrize("changes", [{"ir_version": 99}, {"opset": 99}])
def test_what_is_too_new_says_what_to_install(changes: dict[str, int]) -> None:
    weight = onnx.numpy_helper.from_array(np.float32([2, 3]), "weight")
    with pytest.raises(OSError, match=r"T544.*onnxruntime \d.*pip install --upgrade onnxruntime"):
        make_session(graph(weight, **changes).SerializeToString(), "y.onnx", ["x"], 1)


def test_other_inputs(plain: onnx.ModelProto) -> None:
    with pytest.raises(OSError, match=r"T544.*inputs are x, expected ids, mask"):
        make_session(plain.SerializeToString(), "y.onnx", ["ids", "mask"], 1)


def test_a_file_is_kept_whatever_takes_its_place(plain: onnx.ModelProto, tmp_path: Path) -> None:
    from spacy_transfer.files import sha256_of_data

    data, path = plain.SerializeToString(), tmp_path / "y.onnx"
    path.write_bytes(data)
    kept = GraphBytes.of_file(path, sha256_of_data(data))
    other = tmp_path / "other.onnx"
    other.write_bytes(b"something else")
    other.replace(path)
    assert kept.read() == data
    with pytest.raises(OSError, match="T082"):
        GraphBytes.of_file(path, sha256_of_data(data)).read()
    path.unlink()
    with pytest.raises(OSError, match="T082"):
        GraphBytes.of_file(path, sha256_of_data(data))
