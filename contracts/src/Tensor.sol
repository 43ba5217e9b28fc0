// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Reading a model's outputs: little-endian numbers one after the other, in the order of numpy's ravel()
/// @notice `data` is an output as its bytes. Of a model with one output that is all that a consumer is called with; of
///         several, each begins at its offset, as `opml inspect` prints it: `output[offset:offset + size]`.
///         Indices count elements; one that is not within `data` reverts (OutOfRange).
library Tensor {
    error OutOfRange();
    error NotFinite(); // an infinity or a NaN has no value

    uint256 private constant INFINITY = 0x7f800000;

    /// @notice The index of the greatest of all float32 numbers in `data`, as numpy.argmax has it: the first of equals,
    ///         and a NaN is greater than any number.
    function argmaxFloat32(bytes calldata data) internal pure returns (uint256 best) {
        int256 most = _order(_load(data, 0, 4));
        for (uint256 i = 1; i < data.length / 4; ++i) {
            int256 value = _order(_load(data, i, 4));
            if (value > most) (best, most) = (i, value);
        }
    }

    /// @notice A float32 in units of 1e-18, cut off towards zero.
    function wadAt(bytes calldata data, uint256 index) internal pure returns (int256 value) {
        uint256 word = _load(data, index, 4);
        uint256 exponent = (word >> 23) & 0xff;
        if (exponent == 0xff) revert NotFinite();
        // value = mantissa * 2^(exponent - 150); a subnormal has no hidden bit, and the exponent 1
        uint256 mantissa = word & 0x7fffff;
        if (exponent == 0) exponent = 1;
        else mantissa |= 0x800000;
        uint256 size = mantissa * 1e18; // below 2^84; at most 105 places to the left
        size = exponent < 150 ? size >> (150 - exponent) : size << (exponent - 150);
        value = word >> 31 == 0 ? int256(size) : -int256(size);
    }

    /// @notice A float32 as its bits.
    function float32At(bytes calldata data, uint256 index) internal pure returns (uint32) {
        return uint32(_load(data, index, 4));
    }

    function int64At(bytes calldata data, uint256 index) internal pure returns (int64) {
        return int64(uint64(_load(data, index, 8)));
    }

    function int32At(bytes calldata data, uint256 index) internal pure returns (int32) {
        return int32(uint32(_load(data, index, 4)));
    }

    function int8At(bytes calldata data, uint256 index) internal pure returns (int8) {
        return int8(uint8(_load(data, index, 1)));
    }

    function uint8At(bytes calldata data, uint256 index) internal pure returns (uint8) {
        return uint8(_load(data, index, 1));
    }

    function boolAt(bytes calldata data, uint256 index) internal pure returns (bool) {
        return _load(data, index, 1) != 0;
    }

    /// @dev A number that orders as the float32 does: both zeros are equal, and all NaNs, which are above the rest.
    function _order(uint256 word) private pure returns (int256) {
        int256 size = int256(word & 0x7fffffff);
        if (uint256(size) > INFINITY) return type(int256).max;
        return word >> 31 == 0 ? size : -size;
    }

    /// @dev Element `index` of `width` bytes.
    function _load(bytes calldata data, uint256 index, uint256 width) private pure returns (uint256 word) {
        if (index >= data.length / width) revert OutOfRange();
        uint256 raw; // big-endian, with bytes after the element that are not looked at
        assembly ("memory-safe") {
            raw := calldataload(add(data.offset, mul(index, width)))
        }
        unchecked {
            for (uint256 i; i < width; ++i) {
                word |= (raw >> (248 - 8 * i) & 0xff) << (8 * i);
            }
        }
    }
}
