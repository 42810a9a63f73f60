"""How a row holds which of its pixels mean something."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

VALID: Final = pa.field(
    "valid",
    pa.struct(
        [
            ("panorama_height", pa.int32()),
            ("panorama_width", pa.int32()),
            ("left", pa.int32()),
            ("top", pa.int32()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            # As the job had them: where they end between two rows, rounding would decide otherwise.
            ("nadir_degrees", pa.float64()),
            ("zenith_degrees", pa.float64()),
            ("mask", pa.large_binary()),
        ]
    ),
)
"""How a row holds it; null where every pixel is valid."""
