// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IStepVerifier} from "../../src/IStepVerifier.sol";

/// @title A verifier that believes its witness: the machine's state before and after the step
contract MockVerifier is IStepVerifier {
    function step(bytes calldata witness) external pure returns (bytes32 pre, bytes32 post) {
        if (witness.length != 64) revert MalformedWitness();
        return abi.decode(witness, (bytes32, bytes32));
    }
}
