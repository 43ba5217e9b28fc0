// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IOpml} from "./IOpml.sol";
import {MerkleMemory} from "./MerkleMemory.sol";

/// @title k-section: a range of L steps is divided into p = min(k, L) parts that differ by at most one
/// @notice The Python twin is opml/dispute/rules.py. A post is the list of the states at the inner boundaries: the state
///         at boundary i is leaf i - 1 of a Merkle tree, padded with zero words to a power of two.
library KSection {
    function parts(uint256 length, uint256 k) internal pure returns (uint256) {
        return length < k ? length : k;
    }

    /// @notice Distance of boundary i from the range's beginning; 0 for i = 0 and `length` for i = p.
    function boundary(uint256 length, uint256 p, uint256 i) internal pure returns (uint256) {
        unchecked {
            return i * length / p; // i <= p <= 64, length < 2^64
        }
    }

    /// @notice Levels of the tree over a post of `count` states: the smallest d with 2^d >= count.
    function depth(uint256 count) internal pure returns (uint256 d) {
        unchecked {
            while (1 << d < count) ++d;
        }
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

    /// @notice What is kept of a range with a post.
    function postHash(bytes32 lo, bytes32 hi, bytes32 root) internal pure returns (bytes32 range) {
        // keccak256(bytes.concat(lo, hi, root)) without allocation
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, lo)
            mstore(add(free, 0x20), hi)
            mstore(add(free, 0x40), root)
            range := keccak256(free, 0x60)
        }
    }

    /// @notice The states at both ends of segment j of p, and the root of the post from which `opening` opens them: first
    ///         those at boundaries j and j + 1, where these are inner ones; then, level by level from the leaves up, the
    ///         siblings that do not follow from these, left before right. At the range's own ends the states are the
    ///         given `lo` and `hi`.
    function ends(bytes32 lo, bytes32 hi, uint256 p, uint256 j, bytes32[] calldata opening)
        internal
        pure
        returns (bytes32, bytes32, bytes32)
    {
        unchecked {
            uint256 next = 0; // word of the opening
            if (j != 0) lo = _word(opening, next++);
            if (j != p - 1) hi = _word(opening, next++);

            // Leaf j - 1 is lo's, leaf j is hi's; `other` is the right one of two, until they have met.
            bool two = next == 2;
            bytes32 other = hi;
            (uint256 index, bytes32 node) = j == 0 ? (0, hi) : (j - 1, lo);
            for (uint256 width = 1; width < p - 1; width *= 2) {
                bool right = index & 1 == 1;
                if (two && !right) {
                    (node, two) = (MerkleMemory.hash(node, other), false);
                } else {
                    bytes32 sibling = _word(opening, next++);
                    node = right ? MerkleMemory.hash(sibling, node) : MerkleMemory.hash(node, sibling);
                    if (two) other = MerkleMemory.hash(other, _word(opening, next++));
                }
                index /= 2;
            }
            if (next != opening.length) revert IOpml.WrongLength();
            return (lo, hi, node);
        }
    }

    /// @dev opening[i]; beyond its end anything, since `ends` compares the length at its own end.
    function _word(bytes32[] calldata opening, uint256 i) private pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := calldataload(add(opening.offset, shl(5, i)))
        }
    }
}
