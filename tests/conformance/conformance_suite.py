"""ONNX's own test cases, run by opml, by ONNX Runtime and by ONNX's reference evaluator.

python tests/conformance/conformance_suite.py --match resize     # the cases whose name matches, and why they fail
python tests/conformance/conformance_suite.py --write            # results.json and docs/operators.md
"""

import argparse
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

import opml.onnx_backend
from opml.errors import UnsupportedError

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
SUITES = ("node", "simple", "pytorch-converted", "pytorch-operator", "light")

# The loader calls the light ones real; they are networks without their weights.
KINDS = {"light": "real"}

# What a case is about; the first that fits.
CLASSES = {
    "training": "training, preview and ai.onnx.ml",
    "kinds": "strings, sequences, optionals, images",
    "small": "float8, float4, int4, int2",
    "half": "float16, bfloat16, double",
    "plain": "float32, integers, bool",
}
_SMALL = {getattr(TensorProto, name) for name in dir(TensorProto) if re.match(r"(FLOAT[48]E|U?INT[24]$)", name)}
_HALF = {TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
_OTHER = {TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.COMPLEX128}


@dataclass(frozen=True)
class Case:
    """A model with inputs and the outputs that it must give."""

    suite: str
    source: Any

    @property
    def name(self) -> str:
        return f"{self.suite}/{self.source.name}"

    @property
    def model(self) -> onnx.ModelProto:
        return self.source.model or onnx.load(self.path)

    @property
    def path(self) -> Path:
        """Where the model lies that is a file."""
        if self.suite == "light":
            return Path(onnx.__file__).parents[1] / self.source.url
        return Path(self.source.model_dir) / "model.onnx"

    @property
    def operators(self) -> set[str]:
        return {node.op_type for node in self.model.graph.node}

    def data_sets(self) -> Iterator[tuple[list[Any], list[Any]]]:
        """Inputs and outputs, as numpy arrays where they are tensors."""
        if self.source.data_sets is not None:
            for inputs, outputs in self.source.data_sets:
                yield [_value(x) for x in inputs], [_value(x) for x in outputs]
            return
        if self.suite == "light":
            graph = self.model.graph
            constants = {tensor.name for tensor in graph.initializer}
            kinds = [value for value in graph.input if value.name not in constants]
            inputs = [Runner.generate_dummy_data(x, seed=0, name=self.source.model_name, random=False) for x in kinds]
            outputs = [_load(self.path.with_name(f"{self.path.stem}_output_{i}.pb")) for i in range(len(graph.output))]
            yield inputs, outputs
            return
        for folder in sorted(Path(self.source.model_dir).glob("test_data_set_*")):
            yield tuple(  # type: ignore[misc]
                [_load(folder / f"{side}_{i}.pb") for i in range(len(list(folder.glob(f"{side}_*.pb"))))]
                for side in ("input", "output")
            )

    @cached_property
    def kind(self) -> str:
        """A key of CLASSES."""
        model = self.model
        if any(entry.domain not in ("", "ai.onnx") for entry in model.opset_import) or "training" in self.name:
            return "training"
        values = [*model.graph.input, *model.graph.output]
        tensors = all(value.type.WhichOneof("value") == "tensor_type" for value in values)
        types = {value.type.tensor_type.elem_type for value in values} | {t.data_type for t in model.graph.initializer}
        types |= {a.i for n in model.graph.node for a in n.attribute if a.name in ("to", "dtype", "output_dtype")}
        sequences = any("Sequence" in op or "Optional" in op or op == "ImageDecoder" for op in self.operators)
        if not tensors or sequences or types & _OTHER:
            return "kinds"
        return "small" if types & _SMALL else "half" if types & _HALF else "plain"

    def check(self, run: Callable[[list[Any]], Any]) -> None:
        """AssertionError where the outputs are not those expected."""
        for inputs, outputs in self.data_sets():
            got = run(inputs)
            Runner.assert_similar_outputs(outputs, [_value(x) for x in got], self.source.rtol, self.source.atol)


def _value(value: Any) -> Any:
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return value if value is None or isinstance(value, list) else np.asarray(value)


def _load(path: Path) -> Any:
    data = path.read_bytes()
    try:
        return numpy_helper.to_array(TensorProto.FromString(data))
    except Exception:  # a sequence or an optional, which no case of ours is about
        return [data]


@cache
def cases() -> tuple[Case, ...]:
    """All cases of all suites."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(
            Case(suite, source) for suite in SUITES for source in load_model_tests(kind=KINDS.get(suite, suite))
        )


def by_opml(case: Case) -> None:
    case.check(opml.onnx_backend.prepare(case.model).run)


def by_onnxruntime(case: Case) -> None:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(case.model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    case.check(lambda inputs: session.run(None, dict(zip(names, inputs, strict=False))))


def by_reference(case: Case) -> None:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(case.model)
    names = [value.name for value in case.model.graph.input]
    case.check(lambda inputs: evaluator.run(None, dict(zip(names, inputs, strict=False))))


WAYS = {"opml": by_opml, "onnxruntime": by_onnxruntime, "reference": by_reference}


def outcome(case: Case, way: str = "opml") -> str:
    """ "" where a case passes, otherwise why it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            WAYS[way](case)
    except UnsupportedError as error:
        return f"refused: {error.message}"
    except AssertionError as error:
        return "wrong: " + " ".join(str(error).split())[:200]
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="a regular expression that the names must contain")
    parser.add_argument("--class", dest="kind", choices=CLASSES, help="cases of one class only")
    parser.add_argument("--way", default="opml", choices=WAYS)
    parser.add_argument("--write", action="store_true", help="write results.json and docs/operators.md, by all ways")
    options = parser.parse_args()
    if options.write:
        from conformance_report import write

        write()
        return
    passed = failed = 0
    began = time.perf_counter()
    for case in cases():
        if re.search(options.match, case.name) and options.kind in (None, case.kind):
            reason = outcome(case, options.way)
            passed, failed = passed + (not reason), failed + bool(reason)
            if reason:
                print(f"{case.name} ({case.kind}): {reason}")
    print(f"{passed} pass, {failed} do not, {time.perf_counter() - began:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
