// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ZERO_SCRATCH} from "../../src/Constants.sol";
import {IOpml} from "../../src/IOpml.sol";
import {IStepVerifier} from "../../src/IStepVerifier.sol";
import {MockVerifier} from "./MockVerifier.sol";
import {Test} from "./Test.sol";

/// @title The released contract, with a verifier that says what its witness says, and a toy model
/// @notice The input and the output region are the whole model half of memory: S_0 is the input's root, S_M the
///         output's, and paths are empty.
abstract contract ToyModel is Test {
    uint256 internal constant PROVER_BOND = 1 ether + 7;
    uint256 internal constant CHALLENGER_BOND = 0.5 ether + 3;
    uint32 internal constant WINDOW = 1000;
    uint32 internal constant CLOCK = 100;
    uint256 internal constant K = 3;
    bytes internal constant NO_PATH = hex"0000000000";
    bytes32 internal constant SCRATCH_ROOT = "root of the scratch";

    IStepVerifier internal verifier;
    IOpml internal opml;

    function _setUp() internal {
        vm.warp(1_700_000_000);
        verifier = new MockVerifier();
        opml = _deploy(K);
    }

    function _deploy(uint256 k) internal returns (IOpml) {
        return IOpml(vm.deployCode("Opml.sol:Opml", abi.encode(verifier, PROVER_BOND, CHALLENGER_BOND, k)));
    }

    function _model(uint64 tiles, uint64 maxSteps) internal pure returns (IOpml.Model memory) {
        return IOpml.Model({
            modelRoot: ZERO_SCRATCH, // all zero, as the other half is
            guestRoot: "guest",
            entry: 8,
            tiles: tiles,
            stride: 2,
            maxSteps: maxSteps,
            inputAddress: 0,
            inputBytes: 32,
            outputAddress: 0,
            outputBytes: 32,
            window: WINDOW,
            clock: CLOCK,
            inputLevel: 34,
            outputLevel: 34
        });
    }

    function _machine(bytes32 root, uint64 a0, uint64 a1, uint64 pc, uint8 status)
        internal
        pure
        returns (bytes memory)
    {
        uint64[31] memory registers; // x1 to x31
        bytes memory words;
        (registers[9], registers[10]) = (a0, a1);
        for (uint256 i; i < 31; ++i) {
            words = bytes.concat(words, bytes8(registers[i]));
        }
        return bytes.concat(root, words, bytes8(pc), bytes1(status));
    }

    /// @dev A transaction to the contract: whether it is accepted, and what it returns.
    function _call(address sender, uint256 value, bytes memory data) internal returns (bool done, bytes memory answer) {
        vm.prank(sender);
        (done, answer) = address(opml).call{value: value}(data);
    }

    function _send(address sender, uint256 value, bytes memory data) internal returns (bytes memory) {
        (bool done, bytes memory answer) = _call(sender, value, data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
        return answer;
    }

    function _send(address sender, bytes memory data) internal {
        _send(sender, 0, data);
    }
}
