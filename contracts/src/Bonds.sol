// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IOpml} from "./IOpml.sol";

/// @title Bonds: what comes in, what is credited, what is burnt, what goes out
/// @notice I8: at all times the balance is the bonds of pending and unsettled claims + those of games open or not yet
///         collected + shares not yet collected + all credit + what was burnt, more only if somebody forced ether in.
abstract contract Bonds is IOpml {
    uint256 public immutable override proverBond;
    uint256 public immutable override challengerBond;

    mapping(address account => uint256) public override credit;

    constructor(uint256 proverBond_, uint256 challengerBond_) {
        if (proverBond_ == 0 || challengerBond_ == 0) revert BadParameters();
        proverBond = proverBond_;
        challengerBond = challengerBond_;
    }

    function _takeBond(uint256 bond) internal view {
        if (msg.value != bond) revert WrongBond();
    }

    /// @dev How a losing prover's bond is divided among the games he lost, of which there is at least one.
    function _shares(uint256 lostGames) internal view returns (uint256 share, uint256 burnt) {
        uint256 half = proverBond / 2;
        share = half / lostGames;
        // slither-disable-next-line divide-before-multiply (what does not divide is burnt)
        burnt = proverBond - share * lostGames; // I10: at least half
    }

    /// @dev The only way out for ether: this amount and all credit. I11: a recipient that refuses or re-enters harms
    ///      nobody else: what it is paid has been marked as paid before it is called, and all comes back if it reverts.
    function _pay(address account, uint256 amount) internal {
        uint256 credited = credit[account];
        if (credited != 0) {
            credit[account] = 0; // I7
            amount += credited;
        }
        if (amount == 0) revert NothingToWithdraw();
        emit Withdrawn(account, amount);
        (bool paid,) = account.call{value: amount}("");
        if (!paid) revert PaymentFailed();
    }
}
