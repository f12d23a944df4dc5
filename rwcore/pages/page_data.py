"""What the script of a neuron's page works with: texts and values of its stretches, packed into base64.

Packed is zlib of: the number of bytes of a JSON text (uint32), the JSON text (UTF-8), and values (float32),
all little endian. The values are those of gate in all stretches one after the other, then in (if there is a
gate), then act; post is not among them, being act · in. Their first bytes come first, then their second ones,
and so on: signs and exponents, which repeat, are then beside each other, and zlib makes them small.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.activations.examples import NeuronExamples, SampleValues, Stretch
from rwcore.activations.quadrants import QUANTITIES
from rwcore.pages.page_examples import StretchText, quantities_of
from rwcore.pages.token_units import packed, token_units

_LENGTH = struct.Struct("<I")
_BYTES = 4  # of a value


def pack_examples(examples: NeuronExamples, texts: Sequence[StretchText]) -> str:
    """The stretches of a neuron in base64."""
    facts = {
        "gated": examples.gated,
        "scales": {quantity: scale(examples, quantity) for quantity in quantities_of(examples.gated)},
        "stretches": [
            {
                "row": stretch.row,
                "start": stretch.start,
                "rowLength": text.row_length,
                **packed(token_units(text.tokens, text.special)),
            }
            for stretch, text in zip(examples.stretches, texts, strict=True)
        ],
    }
    head = json.dumps(facts, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
    names = ("gate", "in", "act") if examples.gated else ("gate", "act")
    values = [by_quantity(stretch)[name] for name in names for stretch in examples.stretches]
    planes = torch.cat(values).numpy().astype("<f4").view(np.uint8).reshape(-1, _BYTES).T if values else b""
    body = np.ascontiguousarray(planes).tobytes()
    return base64.b64encode(zlib.compress(_LENGTH.pack(len(head)) + head + body, 9)).decode("ascii")


def unpack_examples(text: str) -> tuple[dict[str, object], Float[np.ndarray, "quantity token"]]:
    """What `pack_examples` has packed: the facts, and the values of gate, in (if gated) and act, float32."""
    data = zlib.decompress(base64.b64decode(text, validate=True))
    (length,) = _LENGTH.unpack_from(data)
    facts = json.loads(data[_LENGTH.size : _LENGTH.size + length])
    planes = np.frombuffer(data, np.uint8, offset=_LENGTH.size + length).reshape(_BYTES, -1)
    values = np.ascontiguousarray(planes.T).view("<f4").reshape(3 if facts["gated"] else 2, -1)
    return facts, values


def scale(examples: NeuronExamples, quantity: str) -> float:
    """The largest finite magnitude of a quantity in all that the page shows, as a float32; 0 of nothing."""
    sizes = [abs(one.value) for key, found in examples.lists.items() if key[1] == quantity for one in found]
    for stretch in examples.stretches:
        sizes += by_quantity(stretch)[quantity].abs().tolist()
    return float(np.float32(max(filter(math.isfinite, sizes), default=0.0)))


def by_quantity(values: Stretch | SampleValues) -> dict[str, Float[Tensor, " token"]]:
    """The values of each of the `QUANTITIES`."""
    return dict(zip(QUANTITIES, (values.gate, values.in_, values.act, values.post), strict=True))
