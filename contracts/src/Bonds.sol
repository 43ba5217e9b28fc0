// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IOpml} from "./IOpml.sol";

/// @title Bonds: what comes in, what is credited, what is burnt
/// @notice At all times: balance >= bonds of pending and unsettled claims + bonds of open games + shares not yet
///         collected + all credit + burnt, with equality unless somebody forced ether into the contract.
abstract contract Bonds is IOpml {
    uint256 public immutable override proverBond;
    uint256 public immutable override challengerBond;

    mapping(address account => uint256) public override credit;
    uint256 public override burnt;

    constructor(uint256 proverBond_, uint256 challengerBond_) {
        if (proverBond_ == 0 || challengerBond_ == 0) revert BadParameters();
        proverBond = proverBond_;
        challengerBond = challengerBond_;
    }

    function _takeBond(uint256 bond) internal view {
        if (msg.value != bond) revert WrongBond();
    }

    function _credit(address account, uint256 amount) internal {
        credit[account] += amount;
    }

    /// @dev How a losing prover's bond is divided: at least half is burnt, so that being caught by oneself costs.
    function _shares(uint256 winners) internal view returns (uint256 share, uint256 burn) {
        uint256 half = proverBond / 2;
        share = half / winners;
        burn = proverBond - half + half % winners;
    }

    /// @dev The only way out for ether. A recipient that refuses or re-enters harms nobody else: its credit is gone
    ///      before it is called, and comes back if it reverts.
    function _payOut(address account) internal {
        uint256 amount = credit[account];
        if (amount == 0) revert NothingToWithdraw();
        credit[account] = 0;
        emit Withdrawn(account, amount);
        (bool paid,) = account.call{value: amount}("");
        if (!paid) revert PaymentFailed();
    }
}
