// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Alu} from "../src/Alu.sol";
import {Proof} from "../src/Proof.sol";
import {StepVerifier} from "../src/StepVerifier.sol";

/// @title The parts of the step verifier, many cases to a call. For tests only.
contract StepHarness is StepVerifier {
    /// @notice The state hash after each of `words`, executed from the same state without a fetch.
    function execute(bytes calldata state, uint64 pc, uint32[] calldata words)
        external
        pure
        returns (bytes32[] memory posts)
    {
        posts = new bytes32[](words.length);
        Proof.Leaf memory code;
        for (uint256 i; i < words.length; ++i) {
            bytes memory copy = state;
            _execute(copy, pc, words[i], code, state[state.length:]);
            posts[i] = keccak256(copy);
        }
    }

    /// @notice All operations on one pair, in the order of vm/alu.py.
    function alu(uint64 x, uint64 y) external pure returns (uint64[28] memory) {
        return [
            Alu.add(x, y),
            Alu.sub(x, y),
            Alu.sll(x, y),
            Alu.slt(x, y),
            Alu.sltu(x, y),
            Alu.xor(x, y),
            Alu.srl(x, y),
            Alu.sra(x, y),
            Alu.or(x, y),
            Alu.and(x, y),
            Alu.addw(x, y),
            Alu.subw(x, y),
            Alu.sllw(x, y),
            Alu.srlw(x, y),
            Alu.sraw(x, y),
            Alu.mul(x, y),
            Alu.mulh(x, y),
            Alu.mulhsu(x, y),
            Alu.mulhu(x, y),
            Alu.div(x, y),
            Alu.divu(x, y),
            Alu.rem(x, y),
            Alu.remu(x, y),
            Alu.mulw(x, y),
            Alu.divw(x, y),
            Alu.divuw(x, y),
            Alu.remw(x, y),
            Alu.remuw(x, y)
        ];
    }
}
