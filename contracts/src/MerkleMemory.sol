// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title The Merkle tree over memory: raw 32-byte leaves, inner node = keccak256(left ‖ right), fixed depth
/// @notice Path encoding: a mask of 5 bytes (big endian), then the siblings whose mask bit is 1, from the bottom up.
///         Bit i, counted from the least significant, is the sibling at i levels above the node; a 0 bit says that
///         this sibling is the root of a subtree of zeros. A raw leaf cannot be taken for an inner node because
///         every path has the height that its caller demands.
library MerkleMemory {
    /// @notice A path with bits above its height, or of the wrong length.
    error MalformedPath();

    uint256 internal constant MASK_BYTES = 5;

    function hash(bytes32 left, bytes32 right) internal pure returns (bytes32 node) {
        // keccak256(bytes.concat(left, right)) without allocation
        assembly ("memory-safe") {
            mstore(0x00, left)
            mstore(0x20, right)
            node := keccak256(0x00, 0x40)
        }
    }

    /// @notice The root of a subtree of zeros.
    function zero(uint256 level) internal pure returns (bytes32 node) {
        for (; level != 0; --level) node = hash(node, node);
    }

    /// @notice Cuts a path of the given height (at most 40) off the front of `data`.
    function split(bytes calldata data, uint256 height)
        internal
        pure
        returns (bytes calldata path, bytes calldata rest)
    {
        if (data.length < MASK_BYTES) revert MalformedPath();
        uint256 mask = uint40(bytes5(data));
        if (mask >> height != 0) revert MalformedPath();
        uint256 size = MASK_BYTES;
        unchecked {
            for (; mask != 0; mask &= mask - 1) size += 32; // each turn clears the lowest 1 bit
        }
        if (data.length < size) revert MalformedPath();
        return (data[:size], data[size:]);
    }

    /// @notice `data` as a path of the given height and nothing else.
    function exact(bytes calldata data, uint256 height) internal pure returns (bytes calldata path) {
        bytes calldata rest;
        (path, rest) = split(data, height);
        if (rest.length != 0) revert MalformedPath();
    }

    /// @notice The node at level `top` above node (level, index), along a path that `split` has checked to be of
    ///         height top - level.
    function fold(bytes32 node, uint256 level, uint256 index, uint256 top, bytes calldata path)
        internal
        pure
        returns (bytes32)
    {
        uint256 mask = uint40(bytes5(path));
        bytes32 empty = zero(level);
        // for (uint256 next = MASK_BYTES; level < top; ++level) {
        //     bytes32 sibling = empty;
        //     if (mask & 1 == 1) (sibling, next) = (bytes32(path[next:]), next + 32); // within bounds: see `split`
        //     node = index & 1 == 0 ? hash(node, sibling) : hash(sibling, node);
        //     (empty, mask, index) = (hash(empty, empty), mask >> 1, index >> 1);
        // }
        mask |= 1 << (top - level); // ends the loop: nothing is left above it after the last level
        assembly ("memory-safe") {
            let next := add(path.offset, MASK_BYTES)
            for {} gt(mask, 1) { mask := shr(1, mask) } {
                let side := shl(5, and(index, 1))
                index := shr(1, index)
                mstore(side, node)
                side := xor(side, 0x20)
                switch and(mask, 1)
                case 0 { mstore(side, empty) }
                default {
                    mstore(side, calldataload(next))
                    next := add(next, 0x20)
                }
                node := keccak256(0x00, 0x40)
                mstore(0x00, empty)
                mstore(0x20, empty)
                empty := keccak256(0x00, 0x40)
            }
        }
        return node;
    }

    /// @notice The root of the subtree of the given level that begins with `data` and is zero after it.
    function subtreeRoot(bytes calldata data, uint256 level) internal pure returns (bytes32) {
        uint256 count = (data.length + 31) / 32;
        if (count > 1 << level) revert MalformedPath();
        bytes32[] memory nodes = new bytes32[](count + 1); // zeroed, with room to make an odd count even
        assembly ("memory-safe") {
            calldatacopy(add(nodes, 0x20), data.offset, data.length)
        }
        bytes32 empty;
        for (; level != 0; --level) {
            if (count & 1 == 1) nodes[count++] = empty;
            count /= 2;
            // for (uint256 i; i < count; ++i) nodes[i] = hash(nodes[2 * i], nodes[2 * i + 1]);
            assembly ("memory-safe") {
                let base := add(nodes, 0x20)
                for { let i := 0 } lt(i, count) { i := add(i, 1) } {
                    mstore(add(base, shl(5, i)), keccak256(add(base, shl(6, i)), 0x40))
                }
            }
            empty = hash(empty, empty);
        }
        return count == 0 ? empty : nodes[0];
    }
}
