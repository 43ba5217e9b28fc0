// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {DEPTH, ZEROS} from "./Constants.sol";
import {MerkleMemory} from "./MerkleMemory.sol";

/// @title One proof for the leaves that a step touches, one or two (twin: vm/proof.py)
/// @notice Two leaves share what their paths have in common: each is folded up to the level below the one at which they
///         meet, where it is the other's sibling, and one path leads from there to the root.
library Proof {
    /// @notice A leaf as the witness brings it and as the step leaves it.
    struct Leaf {
        uint256 index;
        bytes32 pre;
        bytes32 post;
    }

    /// @notice The lowest level at which two leaves have the same ancestor; 0 if they are one leaf.
    function meetingLevel(uint256 one, uint256 other) internal pure returns (uint256 level) {
        if (one == other) return 0;
        uint256 differ = one ^ other; // whose bit length is the level
        for (uint256 half = 32; half != 0; half >>= 1) {
            if (differ >> half != 0) (differ, level) = (differ >> half, level + half);
        }
        return level + differ;
    }

    /// @notice Takes the proof of these leaves, which may be one and the same, off `rest`; the memory roots before and
    ///         after the step. Only `other` may have changed.
    function roots(Leaf memory one, Leaf memory other, bytes calldata rest)
        internal
        pure
        returns (bytes32 pre, bytes32 post, bytes calldata)
    {
        bytes memory zeros = ZEROS;
        uint256 level = meetingLevel(one.index, other.index);
        (pre, post) = (other.pre, other.post);
        if (level != 0) {
            bytes32 node;
            // slither-disable-next-line unused-return (the two contents are one)
            (node,, rest) = MerkleMemory.fold(one.pre, one.pre, 0, one.index, level - 1, rest, zeros);
            (pre, post, rest) = MerkleMemory.fold(pre, post, 0, other.index, level - 1, rest, zeros);
            bool isLeft = one.index < other.index;
            pre = isLeft ? MerkleMemory.hash(node, pre) : MerkleMemory.hash(pre, node);
            post = isLeft ? MerkleMemory.hash(node, post) : MerkleMemory.hash(post, node);
        }
        return MerkleMemory.fold(pre, post, level, one.index >> level, DEPTH, rest, zeros);
    }
}
