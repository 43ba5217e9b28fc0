// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Claims} from "./Claims.sol";
import {ZERO_SCRATCH} from "./Constants.sol";
import {Delegates} from "./Delegates.sol";
import {IOpml} from "./IOpml.sol";
import {IStepVerifier} from "./IStepVerifier.sol";
import {KSection} from "./KSection.sol";
import {MachineState} from "./MachineState.sol";
import {MerkleMemory} from "./MerkleMemory.sol";
import {Regions} from "./Regions.sol";
import {Slots} from "./Slots.sol";

/// @title Disputes: the game that narrows a claim down to one instruction
/// @notice Each function is one move; the order of the file is the order of a game. A move reads the game into memory,
///         changes it there, and writes it back at its end.
abstract contract Disputes is Claims, Delegates {
    uint256 private constant MAX_K = 64; // I18: bounds the calldata of every move

    IStepVerifier public immutable override verifier;
    uint256 public immutable override k;

    /// @dev A game, packed by `Slots`.
    struct GameSlots {
        uint256 numbers; // all but the last field
        bytes32 range;
    }

    mapping(bytes32 gameId => GameSlots) private _games;

    constructor(IStepVerifier verifier_, uint256 k_) {
        if (address(verifier_).code.length == 0 || k_ < 2 || k_ > MAX_K) revert BadParameters();
        verifier = verifier_;
        k = k_;
    }

    // -------------------------------------------------------------------------------------------------- moves

    /// @inheritdoc IOpml
    function challenge(Claim calldata claim_, uint256 salt) external payable override returns (bytes32 gameId) {
        _takeBond(challengerBond);
        bytes32 claimId = claimIdOf(claim_);
        _joinGame(claimId);
        gameId = keccak256(abi.encode(claimId, msg.sender, salt)); // I12
        if (_games[gameId].numbers != 0) revert GameExists();
        uint32 clock = _model(claim_.modelId).clock;
        // slither-disable-next-line uninitialized-local (all zero)
        Game memory game;
        game.lastMove = uint40(block.timestamp);
        game.proverClock = clock;
        game.challengerClock = clock;
        game.stage = Stage.OPEN;
        _games[gameId].numbers = Slots.packed(game);
        emit Challenged(gameId, claimId, msg.sender, claim_.prover, salt);
    }

    /// @inheritdoc IOpml
    function open(
        GameKey calldata key,
        Claim calldata claim_,
        bytes calldata inputPath,
        bytes32 finalRoot,
        bytes calldata outputPath,
        bytes32[] calldata states
    ) external override {
        (bytes32 gameId, Game memory game) = _game(key);
        _proverMove(game, Stage.OPEN, _proverOf(key, claim_));
        Model storage model = _model(claim_.modelId);
        bytes32 lo = Regions.place(model, claim_.inputRoot, inputPath);
        Regions.requireOutput(model, claim_.outputRoot, finalRoot, outputPath);
        emit Opened(gameId, lo, finalRoot); // I17: each new range and each post is an event
        _setRange(game, 0, model.tiles, lo, finalRoot);
        _acceptPost(gameId, game, lo, finalRoot, states);
        _store(gameId, game);
    }

    /// @inheritdoc IOpml
    function post(GameKey calldata key, Range calldata range, bytes32[] calldata states) external override {
        (bytes32 gameId, Game memory game) = _game(key);
        _proverMove(game, Stage.POST, _proverOf(key.claimId));
        _requireRange(game, range);
        _acceptPost(gameId, game, range.lo, range.hi, states);
        _store(gameId, game);
    }

    /// @inheritdoc IOpml
    function choose(GameKey calldata key, Range calldata range, uint256 segment, bytes32[] calldata opening)
        external
        override
    {
        (bytes32 gameId, Game memory game) = _game(key);
        if (game.stage != Stage.CHOOSE) revert WrongStage();
        if (!_mayActFor(key.challenger)) revert NotYourTurn();
        game.challengerClock = _tick(game, game.challengerClock);
        _requirePlace(game, range);

        uint256 p = KSection.parts(range.length, k);
        if (segment >= p) revert BadSegment();
        (bytes32 lo, bytes32 hi, bytes32 root) = KSection.ends(range.lo, range.hi, p, segment, opening);
        if (game.range != KSection.postHash(range.lo, range.hi, root)) revert BadOpening(); // I16
        uint256 start = KSection.boundary(range.length, p, segment);
        uint256 end = KSection.boundary(range.length, p, segment + 1);
        _setRange(game, range.position + start, end - start, lo, hi);
        emit Chosen(gameId, segment, game.position, game.length, lo, hi);
        _store(gameId, game);
    }

    /// @inheritdoc IOpml
    function enter(
        GameKey calldata key,
        Claim calldata claim_,
        Range calldata range,
        uint64 steps,
        bytes calldata endState,
        bytes32 scratchRoot,
        bytes32[] calldata states
    ) external override {
        (bytes32 gameId, Game memory game) = _game(key);
        _proverMove(game, Stage.ENTER, _proverOf(key, claim_));
        _requireRange(game, range);
        Model storage model = _model(claim_.modelId);
        if (steps == 0 || steps > model.maxSteps) revert BadSteps();
        if (!MachineState.isEnd(endState, MerkleMemory.hash(range.hi, scratchRoot))) revert BadEndState(); // I3
        bytes32 lo = MachineState.startHash( // I3
            MerkleMemory.hash(range.lo, ZERO_SCRATCH), model.entry, range.position * model.stride, model.stride
        );
        bytes32 hi = keccak256(endState);
        emit Entered(gameId, range.position, steps, lo, hi, endState, scratchRoot);
        game.phase = Phase.INSTRUCTION;
        _setRange(game, 0, steps, lo, hi);
        _acceptPost(gameId, game, lo, hi, states);
        _store(gameId, game);
    }

    /// @inheritdoc IOpml
    function step(GameKey calldata key, bytes32 hi, bytes calldata witness) external override {
        (bytes32 gameId, Game memory game) = _game(key);
        if (game.stage != Stage.STEP) revert WrongStage();
        game.proverClock = _tick(game, game.proverClock);
        (bytes32 pre, bytes32 post_) = verifier.step(witness); // I1: the truth about this one instruction
        if (game.range != MerkleMemory.hash(pre, hi)) revert WrongState(); // I16
        emit Stepped(gameId, msg.sender, pre, post_);
        _end(key.claimId, gameId, game, post_ == hi);
    }

    /// @inheritdoc IOpml
    function timeout(GameKey calldata key) external override {
        (bytes32 gameId, Game memory game) = _game(key);
        if (game.stage >= Stage.PROVER_WON) revert WrongStage();
        // slither-disable-next-line incorrect-equality (no time, but kept in a word with one)
        bool challengersTurn = game.stage == Stage.CHOOSE;
        uint256 left = challengersTurn ? game.challengerClock : game.proverClock;
        if (block.timestamp - game.lastMove <= left) revert ClockRunning(); // I14
        emit TimedOut(gameId);
        _end(key.claimId, gameId, game, challengersTurn);
    }

    // -------------------------------------------------------------------------------------------------- money

    /// @inheritdoc IOpml
    function withdraw(address account, bytes32[] calldata claimIds, GameKey[] calldata keys) external override {
        if (!_mayActFor(account)) revert NotAllowed(); // I15, and what is paid goes to `account`
        uint256 amount = 0;
        for (uint256 i; i < claimIds.length; ++i) amount += _collectClaim(claimIds[i], account);
        for (uint256 i; i < keys.length; ++i) amount += _collectGame(keys[i], account);
        _pay(account, amount);
    }

    /// @dev What `account` has won in a game: the challenger's bond, and for a challenger his share of the prover's, which
    ///      is known when the claim's last game has closed. I7: once.
    function _collectGame(GameKey calldata key, address account) private returns (uint256 amount) {
        bytes32 gameId = gameIdOf(key);
        // slither-disable-next-line uninitialized-local (all zero)
        Game memory game;
        Slots.unpack(_numbers(gameId), game);
        if (game.stage < Stage.PROVER_WON || game.collected) revert NotCollectable(gameId);
        ClaimState memory c = _claim(key.claimId);
        amount = challengerBond;
        if (game.stage == Stage.CHALLENGER_WON) {
            if (key.challenger != account || c.openGames != 0) revert NotCollectable(gameId); // I9
            (uint256 share,) = _shares(c.lostGames);
            amount += share;
        } else if (c.prover != account) {
            revert NotCollectable(gameId);
        }
        game.collected = true;
        _games[gameId].numbers = Slots.packed(game);
        emit Collected(gameId, account, amount);
    }

    // -------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IOpml
    function games(bytes32 gameId) external view override returns (Game memory game) {
        GameSlots storage slots = _games[gameId];
        Slots.unpack(slots.numbers, game);
        game.range = slots.range;
    }

    /// @inheritdoc IOpml
    function gameIdOf(GameKey calldata key) public pure override returns (bytes32 gameId) {
        // keccak256(abi.encode(key)), which is what it is in calldata already
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, key, 0x60)
            gameId := keccak256(free, 0x60)
        }
    }

    // ------------------------------------------------------------------------------------------------- common

    function _game(GameKey calldata key) private view returns (bytes32 gameId, Game memory game) {
        gameId = gameIdOf(key);
        Slots.unpack(_numbers(gameId), game);
        game.range = _games[gameId].range;
    }

    function _numbers(bytes32 gameId) private view returns (uint256 numbers) {
        numbers = _games[gameId].numbers;
        // slither-disable-next-line incorrect-equality (no time, but kept in a word with one)
        if (numbers == 0) revert UnknownGame();
    }

    function _store(bytes32 gameId, Game memory game) private {
        GameSlots storage slots = _games[gameId];
        slots.numbers = Slots.packed(game);
        slots.range = game.range;
    }

    /// @dev What each of the prover's moves begins with: right stage, right sender, in time.
    function _proverMove(Game memory game, Stage stage, address prover) private view {
        if (game.stage != stage) revert WrongStage();
        if (!_mayActFor(prover)) revert NotYourTurn();
        game.proverClock = _tick(game, game.proverClock);
    }

    /// @dev The same from the claim itself. I16: it is the game's.
    function _proverOf(GameKey calldata key, Claim calldata claim_) private view returns (address) {
        if (claimIdOf(claim_) != key.claimId) revert WrongClaim();
        return claim_.prover;
    }

    /// @dev What is left of the clock on turn after a move made now. I14: a move in the last second is in time.
    function _tick(Game memory game, uint256 left) private view returns (uint32) {
        unchecked {
            uint256 elapsed = block.timestamp - game.lastMove; // time does not run backwards
            if (elapsed > left) revert ClockExpired();
            game.lastMove = uint40(block.timestamp);
            return uint32(left - elapsed);
        }
    }

    function _requirePlace(Game memory game, Range calldata range) private pure {
        if (game.position != range.position || game.length != range.length) revert StaleMove();
    }

    /// @dev I13: a move made for one range is not a move in another.
    function _requireRange(Game memory game, Range calldata range) private pure {
        _requirePlace(game, range);
        if (game.range != MerkleMemory.hash(range.lo, range.hi)) revert StaleMove();
    }

    /// @dev A new range, and whose move it calls for: a range of one step is narrowed no further.
    function _setRange(Game memory game, uint256 position, uint256 length, bytes32 lo, bytes32 hi) private pure {
        game.position = uint64(position);
        game.length = uint64(length);
        game.range = MerkleMemory.hash(lo, hi);
        if (length > 1) game.stage = Stage.POST;
        // slither-disable-next-line incorrect-equality (no time, but kept in a word with one)
        else game.stage = game.phase == Phase.TILE ? Stage.ENTER : Stage.STEP;
    }

    /// @dev The prover's states for the range; none if it has one step, and then the stage stays.
    function _acceptPost(bytes32 gameId, Game memory game, bytes32 lo, bytes32 hi, bytes32[] calldata states) private {
        bytes32 root = KSection.commit(states, game.length, k);
        // slither-disable-next-line incorrect-equality (no time, but kept in a word with one)
        if (game.length == 1) return;
        game.range = KSection.postHash(lo, hi, root);
        game.stage = Stage.CHOOSE;
        emit Posted(gameId, game.phase, game.position, game.length, states);
    }

    /// @dev The winner collects with `withdraw`. I2: only `step` and `timeout` come here.
    function _end(bytes32 claimId, bytes32 gameId, Game memory game, bool proverWon) private {
        game.stage = proverWon ? Stage.PROVER_WON : Stage.CHALLENGER_WON; // I7: no move is made in these
        game.range = 0; // refunds gas
        _store(gameId, game);
        emit GameEnded(gameId, claimId, proverWon);
        _leaveGame(claimId, proverWon);
    }
}
