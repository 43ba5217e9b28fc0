// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IOpml} from "./IOpml.sol";

/// @title Delegates: who may act for a party besides itself
/// @notice I15: this is asked before a move and before a payment to the party, and nowhere else.
abstract contract Delegates is IOpml {
    mapping(address party => mapping(address delegate => bool)) public override isDelegate;

    /// @inheritdoc IOpml
    function setDelegate(address delegate, bool allowed) external override {
        isDelegate[msg.sender][delegate] = allowed;
        emit DelegateSet(msg.sender, delegate, allowed);
    }

    function _mayActFor(address party) internal view returns (bool) {
        return msg.sender == party || isDelegate[party][msg.sender];
    }
}
