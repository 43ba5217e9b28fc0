// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IOpml} from "./IOpml.sol";
import {MerkleMemory} from "./MerkleMemory.sol";

/// @title k-section: a range of L steps is divided into p = min(k, L) parts that differ by at most one
/// @notice The Python twin is opml/dispute/rules.py. A post is the list of the states at the inner boundaries; the
///         chain keeps only a Merkle root over it, padded with zero words to a power of two.
library KSection {
    function parts(uint256 length, uint256 k) internal pure returns (uint256) {
        return length < k ? length : k;
    }

    /// @notice Distance of boundary i from the range's beginning; 0 for i = 0 and `length` for i = p.
    function boundary(uint256 length, uint256 p, uint256 i) internal pure returns (uint256) {
        return i * length / p;
    }

    /// @notice Levels of the tree over a post of `count` states: the smallest d with 2^d >= count.
    function depth(uint256 count) internal pure returns (uint256 d) {
        while (1 << d < count) ++d;
    }

    /// @notice The root over a post for a range of the given length: p - 1 states, and zero for a range of one step.
    function commit(bytes32[] calldata states, uint256 length, uint256 k) internal pure returns (bytes32) {
        if (states.length != parts(length, k) - 1) revert IOpml.WrongLength();
        // slither-disable-next-line write-after-write (where it begins, and its length)
        bytes calldata data;
        // data = abi.encodePacked(states), which is what it is in calldata already
        assembly ("memory-safe") {
            data.offset := states.offset
            data.length := mul(states.length, 32)
        }
        return MerkleMemory.subtreeRoot(data, depth(states.length));
    }

    /// @notice The states at both ends of segment j, opened from a post's root; at the range's own ends they are the
    ///         given `lo` and `hi`.
    function ends(bytes32 root, bytes32 lo, bytes32 hi, uint256 p, uint256 j, bytes32[] calldata opening)
        internal
        pure
        returns (bytes32, bytes32)
    {
        uint256 size = 1 + depth(p - 1); // words to open one state
        uint256 next = (j != 0 ? size : 0) + (j != p - 1 ? size : 0);
        if (opening.length != next) revert IOpml.WrongLength();
        if (j != p - 1) {
            next -= size;
            hi = _open(root, j, opening[next:next + size]);
        }
        if (j != 0) lo = _open(root, j - 1, opening[:size]);
        return (lo, hi);
    }

    function _open(bytes32 root, uint256 index, bytes32[] calldata proof) private pure returns (bytes32 state) {
        state = proof[0];
        bytes32 node = state;
        for (uint256 i = 1; i < proof.length; ++i) {
            node = index & 1 == 0 ? MerkleMemory.hash(node, proof[i]) : MerkleMemory.hash(proof[i], node);
            index >>= 1;
        }
        if (node != root) revert IOpml.BadOpening();
    }
}
