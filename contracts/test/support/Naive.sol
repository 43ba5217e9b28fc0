// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Merkle trees by their definition, with all nodes in memory, against which the contracts' are tested
library Naive {
    /// @dev levels[l][i] is node i of level l; leaves padded with zero words to 2^top.
    function tree(bytes32[] memory leaves, uint256 top) internal pure returns (bytes32[][] memory levels) {
        levels = new bytes32[][](top + 1);
        levels[0] = new bytes32[](1 << top);
        for (uint256 i; i < leaves.length; ++i) {
            levels[0][i] = leaves[i];
        }
        for (uint256 l = 1; l <= top; ++l) {
            levels[l] = new bytes32[](1 << (top - l));
            for (uint256 i; i < levels[l].length; ++i) {
                levels[l][i] = keccak256(abi.encode(levels[l - 1][2 * i], levels[l - 1][2 * i + 1]));
            }
        }
    }

    /// @dev The smallest height whose tree holds `count` leaves.
    function height(uint256 count) internal pure returns (uint256 h) {
        while (2 ** h < count) ++h;
    }

    function root(bytes32[] memory leaves) internal pure returns (bytes32) {
        uint256 h = height(leaves.length);
        return tree(leaves, h)[h][0];
    }

    /// @dev What opens segment j of a range from its post: of the leaves j - 1 and j those that exist, then on each
    ///      level from left to right the siblings of what is known that are not known themselves.
    function opening(bytes32[] memory states, uint256 j) internal pure returns (bytes32[] memory words) {
        uint256 h = height(states.length);
        bytes32[][] memory levels = tree(states, h);
        words = new bytes32[](2 + 2 * h);
        uint256 count;
        uint256 first = j == 0 ? 0 : j - 1;
        uint256 last = j == states.length ? j - 1 : j;
        for (uint256 i = first; i <= last; ++i) {
            words[count++] = states[i];
        }
        for (uint256 l; l < h; ++l) {
            if (first & 1 == 1) words[count++] = levels[l][first - 1];
            if (last & 1 == 0) words[count++] = levels[l][last + 1];
            (first, last) = (first / 2, last / 2);
        }
        assembly ("memory-safe") {
            mstore(words, count)
        }
    }

    /// @dev A path in the encoding of MerkleMemory, zeros[l] being the root of 2^l zero leaves.
    function path(bytes32[][] memory levels, bytes32[] memory zeros, uint256 from, uint256 index)
        internal
        pure
        returns (bytes memory encoded)
    {
        uint40 mask;
        bytes memory siblings;
        for (uint256 l = from; l + 1 < levels.length; ++l) {
            bytes32 sibling = levels[l][(index >> (l - from)) ^ 1];
            if (sibling == zeros[l]) continue;
            mask |= uint40(1 << (l - from));
            siblings = bytes.concat(siblings, sibling);
        }
        return bytes.concat(bytes5(mask), siblings);
    }
}
