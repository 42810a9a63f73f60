"""Names of jaxtyping's shapes for signatures that others may ask for at run time.

Type checkers see jaxtyping itself. At run time ``Float32[np.ndarray, "h w"]`` is the array's type alone, so that
``typing.get_type_hints`` of a public name needs no development package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float16, Float32, Float64, Int, Int64, Shaped, UInt8
else:

    class Shaped:
        """The array type of an annotation, its shape left out."""

        def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
            return item[0]

    Bool = Float = Float16 = Float32 = Float64 = Int = Int64 = UInt8 = Shaped

__all__ = ["Bool", "Float", "Float16", "Float32", "Float64", "Int", "Int64", "Shaped", "UInt8"]
