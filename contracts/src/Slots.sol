// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IOpml} from "./IOpml.sol";

/// @title How claims and games are kept: packed by hand, so that a transaction reads and writes each word once
/// @notice The layout is that which Solidity would choose: fields in their order, from the least significant bit up. What
///         is unpacked goes into the caller's struct, since a function that returns one allocates it twice.
library Slots {
    function packed(IOpml.ClaimState memory c) internal pure returns (uint256) {
        return uint256(uint160(c.prover)) | uint256(c.deadline) << 160 | uint256(c.openGames) << 200
            | uint256(c.lostGames) << 224 | uint256(c.status) << 248;
    }

    function unpack(uint256 word, IOpml.ClaimState memory c) internal pure {
        c.prover = address(uint160(word));
        c.deadline = uint40(word >> 160);
        c.openGames = uint24(word >> 200);
        c.lostGames = uint24(word >> 224);
        c.status = IOpml.Status(word >> 248);
    }

    function packed(IOpml.Game memory game) internal pure returns (uint256) {
        return uint256(game.position) | uint256(game.length) << 64 | uint256(game.lastMove) << 128
            | uint256(game.proverClock) << 168 | uint256(game.challengerClock) << 200 | uint256(game.stage) << 232
            | uint256(game.phase) << 240 | (game.collected ? 1 << 248 : 0);
    }

    function unpack(uint256 word, IOpml.Game memory game) internal pure {
        game.position = uint64(word);
        game.length = uint64(word >> 64);
        game.lastMove = uint40(word >> 128);
        game.proverClock = uint32(word >> 168);
        game.challengerClock = uint32(word >> 200);
        game.stage = IOpml.Stage(uint8(word >> 232));
        game.phase = IOpml.Phase(uint8(word >> 240));
        game.collected = word >> 248 != 0;
    }
}
