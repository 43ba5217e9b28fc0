// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Bonds} from "./Bonds.sol";
import {Disputes} from "./Disputes.sol";
import {IStepVerifier} from "./IStepVerifier.sol";

/// @title opml: registry of models, claims about inferences, disputes. No owner, no upgrade, no pause.
contract Opml is Disputes {
    /// @param verifier executes the last step of a game
    /// @param proverBond wei that a claim costs until it is final
    /// @param challengerBond wei that a challenge costs until its game is won
    /// @param k largest number of parts into which one round divides a range, 2 to 64
    constructor(IStepVerifier verifier, uint256 proverBond, uint256 challengerBond, uint256 k)
        Bonds(proverBond, challengerBond)
        Disputes(verifier, k)
    {}
}
