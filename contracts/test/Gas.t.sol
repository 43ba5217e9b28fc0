// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Replay} from "./support/Replay.sol";

/// @title The gas of each move in a dispute over 2^21 tiles and 2^20 instructions, as transactions by themselves
/// @notice For `.gas-snapshot`: of several moves of one kind the dearest. What the tables of the README say is the
///         same, from the EVM of the Python tests; that both agree to the unit is for Games.t.sol.
/// forge-config: default.isolate = true
contract GasTest is Replay {
    function _measure(string memory move) private {
        vm.pauseGasMetering();
        Game memory game = _load("large");
        _deploy(game);
        uint256 dearest = game.name.length;
        for (uint256 i; i < game.name.length; ++i) {
            bool same = keccak256(bytes(game.name[i])) == keccak256(bytes(move));
            if (same && (dearest == game.name.length || game.gas[i] > game.gas[dearest])) dearest = i;
        }
        for (uint256 i; i < dearest; ++i) {
            _make(game, i);
        }
        _prepare(game, dearest);
        (address to, uint256 value, bytes memory data) = (game.opml, game.value[dearest], game.data[dearest]);
        vm.resumeGasMetering();
        (bool done,) = to.call{value: value}(data);
        vm.assertTrue(done, "reverts");
    }

    function test_registerModel() external {
        _measure("registerModel");
    }

    function test_claim() external {
        _measure("claim");
    }

    function test_challenge() external {
        _measure("challenge");
    }

    function test_open() external {
        _measure("open");
    }

    function test_choose() external {
        _measure("choose");
    }

    function test_post() external {
        _measure("post");
    }

    function test_enter() external {
        _measure("enter");
    }

    function test_step() external {
        _measure("step");
    }

    function test_withdraw() external {
        _measure("withdraw");
    }
}
