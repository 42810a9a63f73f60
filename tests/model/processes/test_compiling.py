"""A compiler sees one graph of the network and of its 8-bit products, and the numbers stay what they are."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pager_ray.model import PagerModel
from pager_ray.model.architecture import MODALITIES
from pager_ray.model.low_precision import LOW_PRECISIONS, QuantisedLinear
from tests.model.conftest import random_faces
from tests.model.test_low_precision import each_precision, layer, tokens


def test_a_compiler_sees_one_graph(random_model: Callable[..., PagerModel]):
    """With compiled blocks the network gives what it gives eagerly, and other scenes compile nothing anew."""
    # As few blocks as show each kind: the time to trace is theirs.
    starts = {"alt_start": 1, "qknorm_start": 1, "rope_start": 1}
    model = random_model(modalities=list(MODALITIES), backbone={"depth": 4, "out_layers": [0, 1, 2, 3], **starts})
    batches = [(random_faces(2, seed=seed), torch.tensor(scenes)) for seed, scenes in enumerate([[0, 1], [1, 1]])]
    batches = [(faces, outdoor.bool()) for faces, outdoor in batches]
    expected = [model(faces, outdoor=outdoor) for faces, outdoor in batches]
    # Inductor's C++ would take minutes; what it gets to see is the same.
    model.compile(backend="aot_eager")
    compiled = [model(*batches[0][:1], outdoor=batches[0][1])]
    with torch.compiler.set_stance("fail_on_recompile"):
        compiled.append(model(*batches[1][:1], outdoor=batches[1][1]))
    for ours, eager in zip(compiled, expected, strict=True):
        for name, value in eager.items():
            torch.testing.assert_close(ours[name], value, atol=2e-3, rtol=2e-3, msg=name)


@each_precision
def test_one_graph_holds_a_product(precision: str):
    """A compiler sees one graph, and gets the same numbers from it."""
    quantised, x = QuantisedLinear(layer(40, 24), LOW_PRECISIONS[precision]), tokens(2, 9, 40)
    torch._dynamo.reset()
    compiled = torch.compile(quantised, fullgraph=True, dynamic=False, backend="aot_eager")
    torch.testing.assert_close(compiled(x), quantised(x))
