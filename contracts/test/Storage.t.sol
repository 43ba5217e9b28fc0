// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IOpml} from "../src/IOpml.sol";
import {Toy} from "./support/Toy.sol";

/// @title Claims and games lie in storage where the README says, and as Solidity would pack them
contract StorageTest is Toy {
    uint256 private constant CLAIMS = 2; // slots of the mappings
    uint256 private constant GAMES = 4;

    IOpml.ClaimState private _claim;
    IOpml.Game private _game;

    function _place(bytes32 id, uint256 slot) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(id, slot)));
    }

    function _assertSame(uint256 theirs, uint256 ours) private view {
        bytes32 word = vm.load(address(opml), bytes32(theirs));
        assertEq(word, vm.load(address(this), bytes32(ours)));
    }

    function test_claims_and_games() external {
        for (uint256 stage = 1; stage < 8; ++stage) {
            uint256 before = vm.snapshotState();
            _until(IOpml.Stage.OPEN);
            vm.warp(_now() + 7);
            _until(IOpml.Stage(stage));
            _claim = opml.claims(claimId);
            _game = opml.games(gameId);
            (uint256 claim, uint256 game) = (0, 0);
            assembly ("memory-safe") {
                claim := _claim.slot
                game := _game.slot
            }
            _assertSame(_place(claimId, CLAIMS), claim);
            _assertSame(_place(gameId, GAMES), game);
            _assertSame(_place(gameId, GAMES) + 1, game + 1);
            vm.revertToStateAndDelete(before);
        }
    }

    function test_collected() external {
        _until(IOpml.Stage.CHALLENGER_WON);
        _send(challenger, _withdrawCall(challenger, false, true));
        _game = opml.games(gameId);
        assertEq(_game.collected ? 1 : 0, 1);
        uint256 game;
        assembly ("memory-safe") {
            game := _game.slot
        }
        _assertSame(_place(gameId, GAMES), game);
    }
}
