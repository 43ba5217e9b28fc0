// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Replay} from "./support/Replay.sol";

/// @title Whole games with the real verifier and real witnesses, from the claim to the winner's money
/// @notice Each transaction is one by itself, as in a block, and uses the gas that it used in the Python tests' EVM.
/// forge-config: default.isolate = true
contract GamesTest is Replay {
    function _play(string memory name) private {
        Game memory game = _load(name);
        _deploy(game);
        for (uint256 i; i < game.name.length; ++i) {
            _make(game, i);
            vm.assertEq(vm.lastCallGas().gasTotalUsed, game.gas[i], game.name[i]);
        }
        assertEq(game.opml.balance, game.balance);
    }

    function test_challenger_wins() external {
        _play("challenger_wins");
    }

    function test_prover_wins() external {
        _play("prover_wins");
    }

    function test_one_phase() external {
        _play("one_phase");
    }

    function test_one_tile() external {
        _play("one_tile");
    }

    function test_large() external {
        _play("large");
    }
}
