// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IOpml} from "../src/IOpml.sol";
import {MerkleMemory} from "../src/MerkleMemory.sol";
import {Proof} from "../src/Proof.sol";
import {LibraryHarness} from "./LibraryHarness.sol";
import {Naive} from "./support/Naive.sol";
import {Test} from "./support/Test.sol";

/// @title The libraries against their definitions (support/Naive.sol), on random trees of up to 2^6 leaves
contract LibrariesTest is Test {
    uint256 private constant DEPTH = 35;
    uint256 private constant HEIGHT = 6;
    LibraryHarness private immutable lib = new LibraryHarness();

    /// @dev A tree over a memory of which about `density` / 256 is not zero.
    function _tree(uint256 seed, uint8 density) private pure returns (bytes32[][] memory) {
        bytes32[] memory leaves = new bytes32[](1 << HEIGHT);
        for (uint256 i; i < leaves.length; ++i) {
            bytes32 word = keccak256(abi.encode(seed, i));
            if (uint8(bytes1(word)) < density) leaves[i] = word;
        }
        return Naive.tree(leaves, HEIGHT);
    }

    function _zeros() private pure returns (bytes32[] memory zeros) {
        zeros = new bytes32[](DEPTH + 1);
        for (uint256 l; l < DEPTH; ++l) {
            zeros[l + 1] = keccak256(abi.encode(zeros[l], zeros[l]));
        }
    }

    function _words(uint256 seed, uint256 count) private pure returns (bytes32[] memory words) {
        words = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            words[i] = keccak256(abi.encode(seed, i));
        }
    }

    // ------------------------------------------------------------------------------------------- MerkleMemory

    function test_zero_is_the_subtree_of_zeros() external view {
        bytes32[] memory zeros = _zeros();
        for (uint256 l; l <= DEPTH; ++l) {
            assertEq(lib.zero(l), zeros[l]);
        }
    }

    function testFuzz_a_path_leads_to_the_root(uint256 seed, uint8 density, uint256 from, uint256 index) external view {
        bytes32[][] memory levels = _tree(seed, density);
        from = bound(from, 0, HEIGHT);
        index = bound(index, 0, levels[from].length - 1);
        bytes memory path = Naive.path(levels, _zeros(), from, index);
        (bytes32 root, bytes memory rest) =
            lib.fold(levels[from][index], from, index, HEIGHT, bytes.concat(path, "what follows"));
        assertEq(root, levels[HEIGHT][0]);
        assertEq(keccak256(rest), keccak256("what follows"));
    }

    function testFuzz_another_leaf_or_sibling_leads_elsewhere(uint256 seed, uint8 density, uint256 index, uint256 place)
        external
        view
    {
        bytes32[][] memory levels = _tree(seed, density);
        index = bound(index, 0, levels[0].length - 1);
        bytes memory path = Naive.path(levels, _zeros(), 0, index);
        (bytes32 root,) = lib.fold(~levels[0][index], 0, index, HEIGHT, path);
        assert(root != levels[HEIGHT][0]);
        if (path.length == 5) return;
        path[bound(place, 5, path.length - 1)] ^= 0x01;
        (root,) = lib.fold(levels[0][index], 0, index, HEIGHT, path);
        assert(root != levels[HEIGHT][0]);
    }

    function testFuzz_a_short_path_is_refused(uint256 seed, uint8 density, uint256 index, uint256 cut) external {
        bytes32[][] memory levels = _tree(seed, density);
        index = bound(index, 0, levels[0].length - 1);
        bytes memory path = Naive.path(levels, _zeros(), 0, index);
        cut = bound(cut, 1, path.length);
        assembly ("memory-safe") {
            mstore(path, sub(mload(path), cut))
        }
        vm.expectRevert(MerkleMemory.MalformedPath.selector);
        lib.fold(levels[0][index], 0, index, HEIGHT, path);
    }

    function testFuzz_a_mask_above_the_height_is_refused(uint256 from, uint256 top, uint256 bit) external {
        top = bound(top, 0, DEPTH);
        from = bound(from, 0, top);
        bit = bound(bit, top - from, 39);
        vm.expectRevert(MerkleMemory.MalformedPath.selector);
        lib.fold(0, from, 0, top, bytes.concat(bytes5(uint40(1 << bit)), new bytes(1280)));
    }

    function testFuzz_subtree_root(bytes calldata data, uint256 level) external view {
        uint256 count = (data.length + 31) / 32;
        level = bound(level, Naive.height(count), Naive.height(count) + 2);
        bytes32[] memory leaves = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            leaves[i] = bytes32(data[32 * i:]);
        }
        bytes32[][] memory levels = Naive.tree(leaves, level);
        assertEq(lib.subtreeRoot(data, level), levels[level][0]);
    }

    function testFuzz_data_above_the_subtree_is_refused(uint256 level, uint256 excess) external {
        level = bound(level, 0, 6);
        vm.expectRevert(MerkleMemory.MalformedPath.selector);
        lib.subtreeRoot(new bytes((32 << level) + bound(excess, 1, 64)), level);
    }

    // -------------------------------------------------------------------------------------------------- Proof

    function testFuzz_a_proof_of_two_leaves(uint256 seed, uint8 density, uint256 one, uint256 other, bytes32 written)
        external
        view
    {
        bytes32[][] memory levels = _tree(seed, density);
        bytes32[] memory zeros = _zeros();
        one = bound(one, 0, levels[0].length - 1);
        other = bound(other, 0, levels[0].length - 1);
        bytes32 before = levels[0][other];
        bytes memory proof = _proof(levels, zeros, one, other);
        // If they are one leaf, the second says what becomes of it.
        (bytes32 pre, bytes32 post, bytes memory rest) = lib.roots(
            Proof.Leaf(one, levels[0][one], levels[0][one]),
            Proof.Leaf(other, before, written),
            bytes.concat(proof, hex"99")
        );
        assertEq(pre, _top(levels, zeros));
        levels[0][other] = written;
        assertEq(post, _top(Naive.tree(levels[0], HEIGHT), zeros));
        assertEq(keccak256(rest), keccak256(hex"99"));
    }

    /// @dev The paths of both up to the level below the one at which they meet, then the one path from there.
    function _proof(bytes32[][] memory levels, bytes32[] memory zeros, uint256 one, uint256 other)
        private
        pure
        returns (bytes memory)
    {
        uint256 meet;
        while (one >> meet != other >> meet) ++meet;
        bytes memory above = Naive.path(levels, zeros, meet, one >> meet);
        if (meet == 0) return above;
        return bytes.concat(_below(levels, zeros, meet, one), _below(levels, zeros, meet, other), above);
    }

    function _below(bytes32[][] memory levels, bytes32[] memory zeros, uint256 meet, uint256 index)
        private
        pure
        returns (bytes memory)
    {
        bytes32[][] memory lower = new bytes32[][](meet);
        for (uint256 l; l < meet; ++l) {
            lower[l] = levels[l];
        }
        return Naive.path(lower, zeros, 0, index);
    }

    /// @dev The root of the whole memory, whose beginning this tree is.
    function _top(bytes32[][] memory levels, bytes32[] memory zeros) private pure returns (bytes32 root) {
        root = levels[HEIGHT][0];
        for (uint256 l = HEIGHT; l < DEPTH; ++l) {
            root = keccak256(abi.encode(root, zeros[l]));
        }
    }

    // ----------------------------------------------------------------------------------------------- KSection

    function testFuzz_parts_cover_the_range_and_differ_by_one(uint64 length, uint256 k) external view {
        length = uint64(bound(length, 1, type(uint64).max));
        k = bound(k, 2, 64);
        uint256[] memory list = lib.boundaries(length, k);
        assertEq(list.length - 1, length < k ? length : k);
        assertEq(list[0], 0);
        assertEq(list[list.length - 1], length);
        uint256 least = length / (list.length - 1);
        for (uint256 i = 1; i < list.length; ++i) {
            uint256 size = list[i] - list[i - 1];
            assert(size != 0 && (size == least || size == least + 1));
        }
    }

    function testFuzz_a_post_opens_to_what_was_posted(uint256 seed, uint256 p, uint256 j) external view {
        p = bound(p, 2, 64);
        j = bound(j, 0, p - 1);
        bytes32[] memory states = _words(seed, p - 1);
        assertEq(lib.commit(states, p, 64), Naive.root(states));
        (bytes32 root, bytes32 lo, bytes32 hi) = lib.ends(p, j, "lo", "hi", Naive.opening(states, j));
        assertEq(root, Naive.root(states));
        assertEq(lo, j == 0 ? bytes32("lo") : states[j - 1]);
        assertEq(hi, j == p - 1 ? bytes32("hi") : states[j]);
    }

    function testFuzz_an_altered_opening_gives_another_root(uint256 seed, uint256 p, uint256 j, uint256 word)
        external
        view
    {
        p = bound(p, 2, 64);
        j = bound(j, 0, p - 1);
        bytes32[] memory states = _words(seed, p - 1);
        bytes32[] memory opening = Naive.opening(states, j);
        word = bound(word, 0, opening.length - 1);
        opening[word] = ~opening[word];
        (bytes32 root,,) = lib.ends(p, j, "lo", "hi", opening);
        assert(root != Naive.root(states));
    }

    function testFuzz_an_opening_for_another_segment_gives_another_root(uint256 seed, uint256 p, uint256 j, uint256 as_)
        external
        view
    {
        p = bound(p, 3, 64);
        j = bound(j, 0, p - 1);
        as_ = bound(as_, 0, p - 1);
        bytes32[] memory states = _words(seed, p - 1);
        try lib.ends(p, as_, "lo", "hi", Naive.opening(states, j)) returns (bytes32 root, bytes32 lo, bytes32 hi) {
            if (root != Naive.root(states)) return;
            // Then what it shows is what was posted there.
            assertEq(lo, as_ == 0 ? bytes32("lo") : states[as_ - 1]);
            assertEq(hi, as_ == p - 1 ? bytes32("hi") : states[as_]);
        } catch (bytes memory reason) {
            assertEq(bytes4(reason), IOpml.WrongLength.selector);
        }
    }

    function testFuzz_an_opening_of_another_length_is_refused(uint256 seed, uint256 p, uint256 j, bool longer)
        external
    {
        p = bound(p, 2, 64);
        j = bound(j, 0, p - 1);
        bytes32[] memory opening = Naive.opening(_words(seed, p - 1), j);
        bytes32[] memory other = new bytes32[](longer ? opening.length + 1 : opening.length - 1);
        for (uint256 i; i < other.length && i < opening.length; ++i) {
            other[i] = opening[i];
        }
        vm.expectRevert(IOpml.WrongLength.selector);
        lib.ends(p, j, "lo", "hi", other);
    }

    function testFuzz_a_post_of_another_length_is_refused(uint64 length, uint256 k, uint256 count) external {
        length = uint64(bound(length, 1, type(uint64).max));
        k = bound(k, 2, 64);
        uint256 due = (length < k ? length : k) - 1;
        count = bound(count, 0, 65);
        if (count == due) return;
        vm.expectRevert(IOpml.WrongLength.selector);
        lib.commit(new bytes32[](count), length, k);
    }
}
