// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {HALTED, RUNNING, ZERO_SCRATCH} from "../../src/Constants.sol";
import {IOpml} from "../../src/IOpml.sol";
import {ToyModel} from "./ToyModel.sol";

/// @title What is true of every claim, and the books that the contract should keep, kept a second time
abstract contract Referee is ToyModel {
    uint64 internal constant STEPS = 5; // of every tile
    uint64 internal constant MAX_STEPS = 8;

    struct Made {
        IOpml.Claim c;
        bytes32 id;
        uint64 tiles;
        uint256 deadline;
        IOpml.Status status;
        uint256 openGames;
        uint256 lostGames;
    }

    struct Play {
        IOpml.GameKey key;
        bytes32 id;
        uint256 claim; // index
        IOpml.Stage stage;
        IOpml.Phase phase;
        IOpml.Range range;
        bytes32[] posted;
        uint64 tile; // in the instruction phase, with the state before it
        bytes32 tileState;
        uint256 begun;
        uint256 lastMove;
        uint256[2] clocks; // prover's, challenger's
        bool collected;
    }

    Made[] internal claims;
    Play[] internal plays;
    mapping(address account => uint256) internal credit;
    uint256 internal credited; // of all accounts
    uint256 internal burnt;
    uint256 internal forced; // ether that came without a call

    // ----------------------------------------------------------------------------------------------------- truth

    /// @dev S_m.
    function _tileState(Made storage made, uint256 m) internal view returns (bytes32) {
        return m == 0 ? made.c.inputRoot : keccak256(abi.encode(made.c.inputRoot, made.tiles, m));
    }

    function _isTrue(Made storage made) internal view returns (bool) {
        return made.c.outputRoot == _tileState(made, made.tiles);
    }

    /// @dev The end of tile m from a state, which need not be the true one.
    function _endState(Made storage made, bytes32 lo, uint256 m) internal view returns (bytes memory) {
        bytes32 hi = lo == _tileState(made, m) ? _tileState(made, m + 1) : keccak256(abi.encode("astray", lo));
        return _machine(keccak256(abi.encode(hi, SCRATCH_ROOT)), 0, 77, 444, HALTED);
    }

    function _startState(bytes32 lo, uint64 m) internal pure returns (bytes32) {
        return keccak256(_machine(keccak256(abi.encode(lo, ZERO_SCRATCH)), 2 * m, 2, 8, RUNNING));
    }

    /// @dev The true state at a number of the range of a game; a machine that has halted stays as it is.
    function _state(Play storage play, uint256 number) internal view returns (bytes32) {
        Made storage made = claims[play.claim];
        if (play.phase == IOpml.Phase.TILE) return _tileState(made, number);
        return _instructionState(made, play.tileState, play.tile, number);
    }

    function _instructionState(Made storage made, bytes32 lo, uint64 m, uint256 number)
        internal
        view
        returns (bytes32)
    {
        if (number >= STEPS) return keccak256(_endState(made, lo, m));
        bytes32 start = _startState(lo, m);
        return number == 0 ? start : keccak256(abi.encode(start, number));
    }

    // ----------------------------------------------------------------------------------------------------- games

    function _challengersTurn(Play storage play) internal view returns (bool) {
        return play.stage == IOpml.Stage.CHOOSE;
    }

    function _isOpen(Play storage play) internal view returns (bool) {
        return play.stage < IOpml.Stage.PROVER_WON;
    }

    /// @dev Seconds by which the side on turn may still wait; 1 more than none if it has waited too long.
    function _left(Play storage play) internal view returns (bool inTime, uint256 left) {
        uint256 clock = play.clocks[_challengersTurn(play) ? 1 : 0];
        uint256 elapsed = _now() - play.lastMove;
        return elapsed <= clock ? (true, clock - elapsed) : (false, 0);
    }

    /// @dev A move has been made: its time is off the mover's clock.
    function _tick(Play storage play) internal {
        play.clocks[_challengersTurn(play) ? 1 : 0] -= _now() - play.lastMove;
        play.lastMove = _now();
    }

    function _setRange(Play storage play, IOpml.Range memory range, bytes32[] memory states) internal {
        play.range = range;
        play.posted = states;
        if (states.length != 0) play.stage = IOpml.Stage.CHOOSE;
        else if (range.length > 1) play.stage = IOpml.Stage.POST;
        else play.stage = play.phase == IOpml.Phase.TILE ? IOpml.Stage.ENTER : IOpml.Stage.STEP;
    }

    function _end(Play storage play, bool proverWon) internal {
        play.stage = proverWon ? IOpml.Stage.PROVER_WON : IOpml.Stage.CHALLENGER_WON;
        Made storage made = claims[play.claim];
        --made.openGames;
        if (!proverWon) {
            ++made.lostGames;
            made.status = IOpml.Status.REJECTED;
        }
        if (made.status == IOpml.Status.REJECTED && made.openGames == 0) {
            uint256 lost = PROVER_BOND - _share(made) * made.lostGames;
            vm.assertGe(2 * lost, PROVER_BOND, "I10: less than half is burnt");
            burnt += lost;
        }
    }

    // ----------------------------------------------------------------------------------------------------- money

    function _share(Made storage made) internal view returns (uint256) {
        return PROVER_BOND / 2 / made.lostGames;
    }

    function _winner(Play storage play) internal view returns (address) {
        return play.stage == IOpml.Stage.PROVER_WON ? claims[play.claim].c.prover : play.key.challenger;
    }

    /// @dev What a game pays now to whoever won it: 0 if nothing.
    function _due(Play storage play) internal view returns (uint256) {
        if (_isOpen(play) || play.collected) return 0;
        if (play.stage == IOpml.Stage.PROVER_WON) return CHALLENGER_BOND;
        Made storage made = claims[play.claim];
        return made.openGames == 0 ? CHALLENGER_BOND + _share(made) : 0;
    }

    /// @dev What the contract should hold.
    function _held() internal view returns (uint256 sum) {
        sum = burnt + forced + credited;
        for (uint256 i; i < claims.length; ++i) {
            Made storage made = claims[i];
            bool unsettled = made.status == IOpml.Status.REJECTED && made.openGames != 0;
            if (made.status == IOpml.Status.PENDING || unsettled) sum += PROVER_BOND;
        }
        for (uint256 i; i < plays.length; ++i) {
            Play storage play = plays[i];
            uint256 due = _due(play);
            sum += due != 0 || play.collected ? due : CHALLENGER_BOND;
        }
    }
}
