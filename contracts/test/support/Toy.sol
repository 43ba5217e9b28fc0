// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {HALTED, RUNNING, ZERO_SCRATCH} from "../../src/Constants.sol";
import {IOpml} from "../../src/IOpml.sol";
import {Naive} from "./Naive.sol";
import {ToyModel} from "./ToyModel.sol";

/// @title A game about the toy model, to be played move by move
/// @notice The states inside are words made from their number. The challenger disputes tile `TILE`, and in it
///         instruction `STEP`.
abstract contract Toy is ToyModel {
    uint64 internal constant TILES = 11;
    uint64 internal constant STEPS = 7;
    uint256 internal constant TILE = 7;
    uint256 internal constant STEP = 3;
    bytes internal constant INPUT = "an input of thirty-two bytes, ok";
    bytes32 internal constant OUTPUT_ROOT = "root of the output";

    address internal prover = address(0x1001);
    address internal challenger = address(0x1002);
    address internal other = address(0x1003);

    IOpml.Model internal model;
    bytes32 internal modelId;

    // The game, as its players know it
    IOpml.Claim internal claim_;
    bytes32 internal claimId;
    IOpml.GameKey internal key;
    bytes32 internal gameId;
    IOpml.Range internal range;
    IOpml.Phase internal phase;
    bytes32[] internal posted;

    function setUp() public virtual {
        _setUp();
        for (uint160 account = 0x1001; account < 0x1010; ++account) {
            vm.deal(address(account), 1000 ether);
        }
        model = _model(TILES, STEPS);
        modelId = opml.registerModel(model, "");
    }

    // ---------------------------------------------------------------------------------------------------- states

    function _inputRoot() internal pure returns (bytes32 node) {
        node = bytes32(INPUT);
        bytes32 zero;
        for (uint256 level; level < 34; ++level) {
            (node, zero) = (keccak256(abi.encode(node, zero)), keccak256(abi.encode(zero, zero)));
        }
    }

    function _endState() internal view returns (bytes memory) {
        return _machine(keccak256(abi.encode(range.hi, SCRATCH_ROOT)), 0, 77, 444, HALTED);
    }

    /// @dev The state at an inner boundary of the range, as the prover has it.
    function _state(uint256 number) internal view virtual returns (bytes32) {
        return keccak256(abi.encode(phase, number));
    }

    function _parts(uint256 length) internal view returns (uint256) {
        return length < opml.k() ? length : opml.k();
    }

    /// @dev The post for a range.
    function _states(uint256 position, uint256 length) internal view returns (bytes32[] memory states) {
        uint256 p = _parts(length);
        states = new bytes32[](p - 1);
        for (uint256 i = 1; i < p; ++i) {
            states[i - 1] = _state(position + i * length / p);
        }
    }

    /// @dev The segment in which the challenger looks further.
    function _segment() internal view returns (uint256 j) {
        uint256 target = (phase == IOpml.Phase.TILE ? TILE : STEP) - range.position;
        while ((j + 1) * range.length / _parts(range.length) <= target) ++j;
    }

    // ----------------------------------------------------------------------------------------------------- moves

    function _claimed() internal {
        bytes memory data = abi.encodeCall(IOpml.claim, (modelId, INPUT, OUTPUT_ROOT, 0));
        claimId = abi.decode(_send(prover, PROVER_BOND, data), (bytes32));
        claim_ = IOpml.Claim(modelId, _inputRoot(), OUTPUT_ROOT, prover, 0, true);
    }

    function _challenged() internal {
        bytes memory data = abi.encodeCall(IOpml.challenge, (claim_, 0));
        gameId = abi.decode(_send(challenger, CHALLENGER_BOND, data), (bytes32));
        key = IOpml.GameKey(claimId, challenger, 0);
        phase = IOpml.Phase.TILE;
    }

    function _openCall() internal view returns (bytes memory) {
        bytes32[] memory states = _states(0, model.tiles);
        return abi.encodeCall(IOpml.open, (key, claim_, NO_PATH, OUTPUT_ROOT, NO_PATH, states));
    }

    function _postCall() internal view returns (bytes memory) {
        return abi.encodeCall(IOpml.post, (key, range, _states(range.position, range.length)));
    }

    function _chooseCall() internal view returns (bytes memory) {
        uint256 j = _segment();
        return abi.encodeCall(IOpml.choose, (key, range, j, Naive.opening(posted, j)));
    }

    function _enterCall() internal returns (bytes memory) {
        phase = IOpml.Phase.INSTRUCTION;
        bytes32[] memory states = _states(0, STEPS);
        phase = IOpml.Phase.TILE;
        return abi.encodeCall(IOpml.enter, (key, claim_, range, STEPS, _endState(), SCRATCH_ROOT, states));
    }

    function _stepCall(bool right) internal view returns (bytes memory) {
        return abi.encodeCall(IOpml.step, (key, range.hi, abi.encode(range.lo, right ? range.hi : ~range.hi)));
    }

    function _open() internal {
        _send(prover, _openCall());
        range = IOpml.Range(0, model.tiles, claim_.inputRoot, OUTPUT_ROOT);
        posted = _states(0, model.tiles);
    }

    function _post() internal {
        _send(prover, _postCall());
        posted = _states(range.position, range.length);
    }

    function _choose() internal {
        _send(challenger, _chooseCall());
        _narrow(_segment());
    }

    function _narrow(uint256 j) internal {
        uint256 p = _parts(range.length);
        if (j != 0) range.lo = posted[j - 1];
        if (j != p - 1) range.hi = posted[j];
        (uint256 start, uint256 end) = (j * range.length / p, (j + 1) * range.length / p);
        (range.position, range.length) = (uint64(range.position + start), uint64(end - start));
    }

    function _enter() internal {
        _send(prover, _enterCall());
        bytes32 root = keccak256(abi.encode(range.lo, ZERO_SCRATCH));
        bytes32 lo = keccak256(_machine(root, range.position * 2, 2, model.entry, RUNNING));
        range = IOpml.Range(0, STEPS, lo, keccak256(_endState()));
        phase = IOpml.Phase.INSTRUCTION;
        posted = _states(0, STEPS);
    }

    function _step(bool right) internal {
        _send(other, _stepCall(right));
    }

    function _stage() internal view returns (IOpml.Stage) {
        return opml.games(gameId).stage;
    }

    /// @dev Plays on until the game is in this stage.
    function _until(IOpml.Stage stage) internal {
        if (gameId == 0) {
            _claimed();
            _challenged();
        }
        IOpml.Stage now_;
        while ((now_ = _stage()) != stage) {
            if (now_ == IOpml.Stage.OPEN) _open();
            else if (now_ == IOpml.Stage.POST) _post();
            else if (now_ == IOpml.Stage.CHOOSE) _choose();
            else if (now_ == IOpml.Stage.ENTER) _enter();
            else _step(stage == IOpml.Stage.PROVER_WON);
        }
    }

    /// @dev Lets the player on turn use up his clock.
    function _lapse() internal {
        IOpml.Game memory game = opml.games(gameId);
        uint256 left = game.stage == IOpml.Stage.CHOOSE ? game.challengerClock : game.proverClock;
        vm.warp(game.lastMove + left + 1);
    }

    function _keys() internal view returns (IOpml.GameKey[] memory keys) {
        keys = new IOpml.GameKey[](1);
        keys[0] = key;
    }

    function _ids(bytes32 id) internal pure returns (bytes32[] memory ids) {
        ids = new bytes32[](1);
        ids[0] = id;
    }

    function _withdrawCall(address account, bool claims, bool games) internal view returns (bytes memory) {
        bytes32[] memory ids = claims ? _ids(claimId) : new bytes32[](0);
        return abi.encodeCall(IOpml.withdraw, (account, ids, games ? _keys() : new IOpml.GameKey[](0)));
    }
}
