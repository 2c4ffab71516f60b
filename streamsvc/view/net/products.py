"""The inner loop of comparing rows, as vector instructions: `products`, for use in compiled functions."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

LANE = 16
"""Columns that are compared at a time."""


def _emit(_, own, at, row, start, stride, channels, out, to):
    """out[to : to + LANE] = sum over c < channels of own[at + c] * row[start + c * stride : ... + LANE], all flat.

    As a loop the compiler would keep the sums in memory, because for all that it knows they are part of `row`.
    """
    i64 = numba.types.int64
    signature = numba.types.void(own, i64, row, i64, i64, i64, out, i64)

    def generate(context, builder, signature, arguments):
        own, at, row, start, stride, channels, out, to = arguments
        kinds = (signature.args[0], signature.args[2], signature.args[6])
        own, row, out = (
            context.make_array(kind)(context, builder, array).data
            for kind, array in zip(kinds, (own, row, out), strict=True)
        )
        vector, lane = ir.VectorType(ir.FloatType(), LANE), ir.IntType(32)
        sums = cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * LANE))
        with cgutils.for_range(builder, channels) as loop:
            factor = builder.load(builder.gep(own, [builder.add(at, loop.index)]))
            factor = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, lane(0))
            factor = builder.shuffle_vector(factor, factor, ir.Constant(ir.VectorType(lane, LANE), [0] * LANE))
            place = builder.gep(row, [builder.add(start, builder.mul(loop.index, stride))])
            there = builder.load(builder.bitcast(place, vector.as_pointer()), align=4)
            product = builder.fmul(factor, there, flags=("contract",))
            builder.store(builder.fadd(builder.load(sums), product, flags=("contract",)), sums)
        place = builder.bitcast(builder.gep(out, [to]), vector.as_pointer())
        builder.store(builder.load(sums), place, align=4)
        return context.get_dummy_value()

    return signature, generate


products: Any = intrinsic(_emit)
