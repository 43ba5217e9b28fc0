// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IOpml} from "../../src/IOpml.sol";
import {Naive} from "./Naive.sol";
import {Referee} from "./Referee.sol";

/// @title The moves of honest players, who answer by what is true, and of liars, who answer anything well formed
abstract contract Players is Referee {
    address public immutable honestProver = address(0xa001);
    address public immutable honestChallenger = address(0xa002);
    address internal immutable _delegate = address(0xa003);
    address[] internal _liars;
    mapping(address party => bool) internal _delegated;
    bytes internal _lastMove; // to be replayed
    address internal _lastSender;

    function _random(uint256 seed, string memory what, uint256 below) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, what))) % below;
    }

    /// @dev The call does what it must: it is accepted, or refused for this reason.
    function _does(address sender, uint256 value, bytes memory data, bytes4 reason) internal {
        (bool done, bytes memory answer) = _call(sender, value, data);
        vm.assertEq(done ? bytes4(0) : bytes4(answer), reason, "not what must come of it");
    }

    function _isHonestOnTurn(Play storage play) internal view returns (bool) {
        if (!_isOpen(play)) return false;
        if (_challengersTurn(play)) return play.key.challenger == honestChallenger;
        return claims[play.claim].c.prover == honestProver;
    }

    /// @dev Whoever is on turn moves, by a delegate if he has one and it so happens.
    function _move(Play storage play, uint256 seed) internal {
        address party = _challengersTurn(play) ? play.key.challenger : claims[play.claim].c.prover;
        address sender = _delegated[party] && _random(seed, "sender", 2) == 0 ? _delegate : party;
        (bool inTime,) = _left(play);
        if (play.stage == IOpml.Stage.STEP) {
            _step(play, inTime);
            return;
        }
        IOpml.Stage stage = play.stage;
        (bytes memory data, IOpml.Range memory next, bytes32[] memory states) = _answer(play, seed);
        _does(_liarBut(party), 0, data, IOpml.NotYourTurn.selector);
        if (inTime && stage != IOpml.Stage.OPEN) _forge(play, sender, seed);
        _does(sender, 0, data, inTime ? bytes4(0) : IOpml.ClockExpired.selector);
        if (!inTime) return;
        (_lastMove, _lastSender) = (data, sender);
        _tick(play);
        if (stage == IOpml.Stage.ENTER) {
            (play.phase, play.tile) = (IOpml.Phase.INSTRUCTION, play.range.position);
            play.tileState = play.range.lo;
        }
        _setRange(play, next, states);
    }

    /// @dev The move that is due, the range after it, and what is posted with it.
    function _answer(Play storage play, uint256 seed)
        private
        view
        returns (bytes memory data, IOpml.Range memory next, bytes32[] memory states)
    {
        if (play.stage == IOpml.Stage.CHOOSE) (data, next) = _choose(play, seed);
        else if (play.stage == IOpml.Stage.ENTER) (data, next, states) = _enter(play, seed);
        else (data, next, states) = _post(play, seed);
    }

    /// @dev I16: the same move with another state at an end of the range.
    function _forge(Play storage play, address sender, uint256 seed) private {
        IOpml.Range memory range = play.range;
        bool choice = play.stage == IOpml.Stage.CHOOSE;
        if (_random(seed, "end", 2) == 0) play.range.lo = keccak256(abi.encode(seed));
        else play.range.hi = keccak256(abi.encode(seed));
        (bytes memory data,,) = _answer(play, seed);
        play.range = range;
        _does(sender, 0, data, choice ? IOpml.BadOpening.selector : IOpml.StaleMove.selector);
    }

    function _liarBut(address party) private view returns (address) {
        return _liars[0] == party ? honestChallenger : _liars[0];
    }

    /// @dev The prover's states: the true ones, or of a liar some that are not.
    function _states(Play storage play, uint256 position, uint256 length, uint256 seed, bytes32 start)
        private
        view
        returns (bytes32[] memory states)
    {
        uint256 p = length < K ? length : K;
        states = new bytes32[](p - 1);
        bool honest = claims[play.claim].c.prover == honestProver;
        for (uint256 i = 1; i < p; ++i) {
            uint256 number = position + i * length / p;
            bool lie = !honest && _random(seed, "lie", 2 + i) == 0;
            if (lie) states[i - 1] = keccak256(abi.encode(seed, i));
            else if (start == 0) states[i - 1] = _state(play, number);
            else states[i - 1] = _instructionState(claims[play.claim], play.range.lo, play.range.position, number);
        }
    }

    function _post(Play storage play, uint256 seed)
        private
        view
        returns (bytes memory data, IOpml.Range memory next, bytes32[] memory states)
    {
        Made storage made = claims[play.claim];
        if (play.stage == IOpml.Stage.OPEN) {
            next = IOpml.Range(0, made.tiles, made.c.inputRoot, made.c.outputRoot);
            states = _states(play, 0, made.tiles, seed, 0);
            data = abi.encodeCall(IOpml.open, (play.key, made.c, NO_PATH, made.c.outputRoot, NO_PATH, states));
        } else {
            next = play.range;
            states = _states(play, next.position, next.length, seed, 0);
            data = abi.encodeCall(IOpml.post, (play.key, next, states));
        }
    }

    function _enter(Play storage play, uint256 seed)
        private
        view
        returns (bytes memory data, IOpml.Range memory next, bytes32[] memory states)
    {
        Made storage made = claims[play.claim];
        IOpml.Range memory tile = play.range;
        bool honest = made.c.prover == honestProver;
        uint64 steps = honest ? STEPS : uint64(1 + _random(seed, "steps", MAX_STEPS));
        bytes memory end = _machine(keccak256(abi.encode(tile.hi, SCRATCH_ROOT)), 0, 77, 444, 1);
        bytes32 start = _startState(tile.lo, tile.position);
        next = IOpml.Range(0, steps, start, keccak256(end));
        states = _states(play, 0, steps, seed, start);
        data = abi.encodeCall(IOpml.enter, (play.key, made.c, tile, steps, end, SCRATCH_ROOT, states));
    }

    /// @dev The honest challenger's segment is the first at whose end he disagrees; a liar's is any.
    function _choose(Play storage play, uint256 seed)
        private
        view
        returns (bytes memory data, IOpml.Range memory next)
    {
        next = play.range;
        bytes32[] memory posted = play.posted;
        uint256 p = posted.length + 1;
        uint256 j;
        if (play.key.challenger == honestChallenger) {
            while (j + 1 < p && posted[j] == _state(play, next.position + (j + 1) * next.length / p)) ++j;
        } else {
            j = _random(seed, "segment", p);
        }
        data = abi.encodeCall(IOpml.choose, (play.key, play.range, j, Naive.opening(posted, j)));
        uint256 start = j * next.length / p;
        uint256 end = (j + 1) * next.length / p;
        if (j != 0) next.lo = posted[j - 1];
        if (j != p - 1) next.hi = posted[j];
        (next.position, next.length) = (uint64(next.position + start), uint64(end - start));
    }

    /// @dev Anyone's; the machine says what is true, and of a state in which it never was something else.
    function _step(Play storage play, bool inTime) private {
        IOpml.Range memory range = play.range;
        bytes32 post = _state(play, range.position + 1);
        if (range.lo != _state(play, range.position)) post = keccak256(abi.encode("astray", range.lo));
        bytes memory data = abi.encodeCall(IOpml.step, (play.key, range.hi, abi.encode(range.lo, post)));
        _does(_delegate, 0, data, inTime ? bytes4(0) : IOpml.ClockExpired.selector);
        if (inTime) _end(play, post == range.hi);
    }
}
