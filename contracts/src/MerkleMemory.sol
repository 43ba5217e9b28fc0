// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ZEROS} from "./Constants.sol";

/// @title The Merkle tree over memory: raw 32-byte leaves, inner node = keccak256(left ‖ right), fixed depth
/// @notice Path encoding: a mask of 5 bytes (big endian), then the siblings whose mask bit is 1, from the bottom up.
///         Bit i, counted from the least significant, is the sibling at i levels above the node; a 0 bit says that
///         this sibling is the root of a subtree of zeros. I6: a raw leaf cannot be taken for an inner node because
///         every path has the height that its caller demands, and there is no other path of that meaning.
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

    /// @notice The root of a subtree of zeros; `zeros` is the constant ZEROS.
    function zero(uint256 level, bytes memory zeros) internal pure returns (bytes32 node) {
        assembly ("memory-safe") {
            node := mload(add(add(zeros, 0x20), shl(5, level)))
        }
    }

    /// @notice Takes a path of height top - level off the front of `data`: the node at level `top` above node
    ///         (level, index), and what is left.
    function fold(bytes32 node, uint256 level, uint256 index, uint256 top, bytes calldata data)
        internal
        pure
        returns (bytes32, bytes calldata rest)
    {
        (node,, rest) = fold(node, node, level, index, top, data, ZEROS);
        return (node, rest);
    }

    /// @notice The same for two contents of one node, before and after a change, and with the constant ZEROS, which who
    ///         folds more than once copies to memory only once.
    function fold(
        bytes32 pre,
        bytes32 post,
        uint256 level,
        uint256 index,
        uint256 top,
        bytes calldata data,
        bytes memory zeros
    ) internal pure returns (bytes32, bytes32, bytes calldata) {
        if (data.length < MASK_BYTES) revert MalformedPath();
        uint256 mask = uint40(bytes5(data));
        if (mask >> (top - level) != 0) revert MalformedPath();
        uint256 size = MASK_BYTES;
        // for (; level < top; ++level) {
        //     bytes32 sibling = zero(level, zeros);
        //     if (mask & 1 == 1) (sibling, size) = (bytes32(data[size:]), size + 32);
        //     pre = index & 1 == 0 ? hash(pre, sibling) : hash(sibling, pre);
        //     post = index & 1 == 0 ? hash(post, sibling) : hash(sibling, post);
        //     (mask, index) = (mask >> 1, index >> 1);
        // }
        // Siblings behind the end of calldata read as zeros; the length is checked after the loop.
        assembly ("memory-safe") {
            let changed := iszero(eq(pre, post))
            let next := add(data.offset, size)
            let empty := add(add(zeros, 0x20), shl(5, level))
            for { let end := add(empty, shl(5, sub(top, level))) } lt(empty, end) { empty := add(empty, 0x20) } {
                let sibling := mload(empty)
                if and(mask, 1) {
                    sibling := calldataload(next)
                    next := add(next, 0x20)
                }
                let side := shl(5, and(index, 1))
                mstore(xor(side, 0x20), sibling)
                mstore(side, pre)
                pre := keccak256(0x00, 0x40)
                if changed {
                    mstore(side, post)
                    post := keccak256(0x00, 0x40)
                }
                mask := shr(1, mask)
                index := shr(1, index)
            }
            if iszero(changed) { post := pre }
            size := sub(next, data.offset)
        }
        if (data.length < size) revert MalformedPath();
        return (pre, post, data[size:]);
    }

    /// @notice The root of the subtree of the given level that begins with `data` and is zero after it.
    function subtreeRoot(bytes calldata data, uint256 level) internal pure returns (bytes32) {
        uint256 count = (data.length + 31) / 32;
        if (count > 1 << level) revert MalformedPath();
        bytes32[] memory nodes = new bytes32[](count + 3); // zeroed; for what is past the end see below
        assembly ("memory-safe") {
            calldatacopy(add(nodes, 0x20), data.offset, data.length)
        }
        bytes32 empty;
        for (; level != 0; --level) {
            if (count & 1 == 1) nodes[count++] = empty;
            count /= 2;
            // for (uint256 i; i < count; ++i) nodes[i] = hash(nodes[2 * i], nodes[2 * i + 1]);
            // Two at a time: of an odd count the last brings one too many, which the next level writes over.
            assembly ("memory-safe") {
                let to := add(nodes, 0x20)
                let from := to
                for { let end := add(to, shl(5, count)) } lt(to, end) { to := add(to, 0x40) } {
                    mstore(to, keccak256(from, 0x40))
                    mstore(add(to, 0x20), keccak256(add(from, 0x40), 0x40))
                    from := add(from, 0x80)
                }
            }
            empty = hash(empty, empty);
        }
        return count == 0 ? empty : nodes[0];
    }
}
