// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ZEROS} from "../src/Constants.sol";
import {KSection} from "../src/KSection.sol";
import {MerkleMemory} from "../src/MerkleMemory.sol";
import {Proof} from "../src/Proof.sol";

/// @title The libraries' functions, callable. For tests only.
contract LibraryHarness {
    function zero(uint256 level) external pure returns (bytes32) {
        return MerkleMemory.zero(level, ZEROS);
    }

    function fold(bytes32 node, uint256 level, uint256 index, uint256 top, bytes calldata data)
        external
        pure
        returns (bytes32 above, bytes memory rest)
    {
        return MerkleMemory.fold(node, level, index, top, data);
    }

    function roots(Proof.Leaf calldata one, Proof.Leaf calldata other, bytes calldata data)
        external
        pure
        returns (bytes32 pre, bytes32 post, bytes memory rest)
    {
        return Proof.roots(one, other, data);
    }

    function subtreeRoot(bytes calldata data, uint256 level) external pure returns (bytes32) {
        return MerkleMemory.subtreeRoot(data, level);
    }

    function boundaries(uint256 length, uint256 k) external pure returns (uint256[] memory list) {
        uint256 p = KSection.parts(length, k);
        list = new uint256[](p + 1);
        for (uint256 i; i <= p; ++i) list[i] = KSection.boundary(length, p, i);
    }

    function commit(bytes32[] calldata states, uint256 length, uint256 k) external pure returns (bytes32) {
        return KSection.commit(states, length, k);
    }

    function ends(uint256 p, uint256 j, bytes32 lo, bytes32 hi, bytes32[] calldata opening)
        external
        pure
        returns (bytes32 root, bytes32, bytes32)
    {
        (lo, hi, root) = KSection.ends(lo, hi, p, j, opening);
        return (root, lo, hi);
    }

    /// @notice `ends` of many openings: root, lo, hi; of one that is refused, the error's selector and zeros.
    function endsOfEach(uint256 p, bytes32 lo, bytes32 hi, uint256[] calldata segments, bytes32[][] calldata openings)
        external
        view
        returns (bytes32[3][] memory found)
    {
        found = new bytes32[3][](segments.length);
        for (uint256 i; i < segments.length; ++i) {
            try this.ends(p, segments[i], lo, hi, openings[i]) returns (bytes32 root, bytes32 lo_, bytes32 hi_) {
                found[i] = [root, lo_, hi_];
            } catch (bytes memory reason) {
                found[i][0] = bytes32(reason);
            }
        }
    }
}
