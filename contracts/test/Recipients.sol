// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IOpml} from "../src/IOpml.sol";

/// @title Contracts that play, and behave badly when they are paid. For tests only.
contract Recipient {
    enum Mood {
        ACCEPT,
        REFUSE,
        REENTER,
        SNEAK,
        BURN_GAS
    }

    Mood public mood;
    uint256 public paid;
    IOpml private opml;
    IOpml.GameKey[] private _games;

    receive() external payable {
        if (mood == Mood.REFUSE) revert();
        if (mood == Mood.BURN_GAS) while (true) ++paid;
        ++paid;
        if (mood == Mood.REENTER) again();
        if (mood == Mood.SNEAK) try this.again() {} catch {}
    }

    /// @notice Asks for the same games again.
    function again() public {
        opml.withdraw(address(this), new bytes32[](0), _games);
    }

    function setMood(Mood mood_) external {
        mood = mood_;
    }

    /// @notice Any call, with any value: what a player needs who is a contract.
    function forward(address target, bytes calldata data) external payable returns (bytes memory) {
        (bool done, bytes memory answer) = target.call{value: msg.value}(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
        return answer;
    }

    /// @notice Withdraws; what it asks for when re-entering is the same games.
    function collect(IOpml opml_, bytes32[] calldata claims, IOpml.GameKey[] calldata games) external {
        opml = opml_;
        delete _games;
        for (uint256 i; i < games.length; ++i) _games.push(games[i]);
        opml.withdraw(address(this), claims, games);
    }
}
