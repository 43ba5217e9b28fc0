// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Claims} from "./Claims.sol";
import {LEAF_LOG2, MODEL_LEVEL, ZERO_SCRATCH} from "./Constants.sol";
import {IStepVerifier} from "./IStepVerifier.sol";
import {KSection} from "./KSection.sol";
import {MachineState} from "./MachineState.sol";
import {MerkleMemory} from "./MerkleMemory.sol";

/// @title Disputes: the game that narrows a claim down to one instruction
/// @notice Each function is one move; the order of the file is the order of a game.
abstract contract Disputes is Claims {
    uint256 private constant MAX_K = 64;

    IStepVerifier public immutable override verifier;
    uint256 public immutable override k;

    mapping(bytes32 gameId => Game) private _games;

    constructor(IStepVerifier verifier_, uint256 k_) {
        if (address(verifier_).code.length == 0 || k_ < 2 || k_ > MAX_K) revert BadParameters();
        verifier = verifier_;
        k = k_;
    }

    // -------------------------------------------------------------------------------------------------- moves

    function challenge(bytes32 claimId, uint256 salt) external payable override returns (bytes32 gameId) {
        _takeBond(challengerBond);
        Claim storage c = _claim(claimId);
        _joinGame(c);
        gameId = keccak256(abi.encode(claimId, msg.sender, salt));
        Game storage game = _games[gameId];
        if (game.stage != Stage.NONE) revert GameExists();
        uint32 clock = _model(c.modelId).clock;
        game.claimId = claimId;
        game.challenger = msg.sender;
        game.lastMove = uint40(block.timestamp);
        game.proverClock = clock;
        game.challengerClock = clock;
        game.stage = Stage.OPEN;
        emit Challenged(gameId, claimId, msg.sender, c.prover, salt);
    }

    function open(bytes32 gameId, bytes32 finalRoot, bytes calldata outputPath, bytes32[] calldata states)
        external
        override
    {
        (Game storage game, Claim storage c) = _proverMove(gameId, Stage.OPEN);
        Model storage model = _model(c.modelId);
        uint256 level = model.outputLevel;
        uint256 index = model.outputAddress >> (LEAF_LOG2 + level);
        (bytes32 root, bytes calldata rest) = MerkleMemory.fold(c.outputRoot, level, index, MODEL_LEVEL, outputPath);
        if (rest.length != 0) revert MerkleMemory.MalformedPath();
        if (root != finalRoot) revert BadOutputPath();
        game.lo = c.s0;
        game.hi = finalRoot;
        emit Opened(gameId, finalRoot);
        _setRange(game, 0, model.tiles);
        _acceptPost(gameId, game, states);
    }

    function post(bytes32 gameId, uint64 position, uint64 length, bytes32[] calldata states) external override {
        (Game storage game,) = _proverMove(gameId, Stage.POST);
        _requireRange(game, position, length);
        _acceptPost(gameId, game, states);
    }

    function choose(bytes32 gameId, uint64 position, uint64 length, uint256 segment, bytes32[] calldata opening)
        external
        override
    {
        Game storage game = _game(gameId, Stage.CHOOSE);
        if (msg.sender != game.challenger) revert NotYourTurn();
        _requireRange(game, position, length);
        game.challengerClock = _tick(game, game.challengerClock);

        uint256 p = KSection.parts(length, k);
        if (segment >= p) revert BadSegment();
        (bytes32 lo, bytes32 hi) = KSection.ends(game.posted, game.lo, game.hi, p, segment, opening);
        uint256 start = KSection.boundary(length, p, segment);
        uint256 end = KSection.boundary(length, p, segment + 1);
        if (segment != 0) game.lo = lo;
        if (segment != p - 1) game.hi = hi;
        _setRange(game, position + start, end - start);
        emit Chosen(gameId, segment, game.position, game.length, lo, hi);
    }

    function enter(
        bytes32 gameId,
        uint64 position,
        uint64 steps,
        bytes calldata endState,
        bytes32 scratchRoot,
        bytes32[] calldata states
    ) external override {
        (Game storage game, Claim storage c) = _proverMove(gameId, Stage.ENTER);
        _requireRange(game, position, 1);
        Model storage model = _model(c.modelId);
        if (steps == 0 || steps > model.maxSteps) revert BadSteps();
        if (!MachineState.isEnd(endState, MerkleMemory.hash(game.hi, scratchRoot))) revert BadEndState();
        bytes32 startRoot = MerkleMemory.hash(game.lo, ZERO_SCRATCH);
        game.lo = MachineState.startHash(startRoot, model.entry, position * model.stride, model.stride);
        game.hi = keccak256(endState);
        game.phase = Phase.INSTRUCTION;
        emit Entered(gameId, position, steps, endState, scratchRoot);
        _setRange(game, 0, steps);
        _acceptPost(gameId, game, states);
    }

    function step(bytes32 gameId, bytes calldata witness) external override {
        Game storage game = _game(gameId, Stage.STEP);
        _tick(game, game.proverClock);
        (bytes32 pre, bytes32 post_) = verifier.step(witness);
        if (pre != game.lo) revert WrongState();
        emit Stepped(gameId, msg.sender, pre, post_);
        _end(gameId, game, post_ == game.hi);
    }

    function timeout(bytes32 gameId) external override {
        Game storage game = _game(gameId);
        Stage stage = game.stage;
        if (stage >= Stage.PROVER_WON) revert WrongStage();
        bool challengersTurn = stage == Stage.CHOOSE;
        uint256 left = challengersTurn ? game.challengerClock : game.proverClock;
        if (block.timestamp - game.lastMove <= left) revert ClockRunning();
        emit TimedOut(gameId);
        _end(gameId, game, challengersTurn);
    }

    function withdraw(bytes32[] calldata gameIds) external override {
        for (uint256 i; i < gameIds.length; ++i) _collect(gameIds[i]);
        _payOut(msg.sender);
    }

    function games(bytes32 gameId) external view override returns (Game memory) {
        return _games[gameId];
    }

    // ------------------------------------------------------------------------------------------------- common

    function _game(bytes32 gameId) private view returns (Game storage game) {
        game = _games[gameId];
        if (game.stage == Stage.NONE) revert UnknownGame();
    }

    function _game(bytes32 gameId, Stage stage) private view returns (Game storage game) {
        game = _game(gameId);
        if (game.stage != stage) revert WrongStage();
    }

    /// @dev What each of the prover's moves begins with: right stage, right sender, in time.
    function _proverMove(bytes32 gameId, Stage stage) private returns (Game storage game, Claim storage c) {
        game = _game(gameId, stage);
        c = _claim(game.claimId);
        if (msg.sender != c.prover) revert NotYourTurn();
        game.proverClock = _tick(game, game.proverClock);
    }

    /// @dev What is left of the clock on turn after a move made now; a move in the last second is in time.
    function _tick(Game storage game, uint256 left) private returns (uint32) {
        uint256 elapsed = block.timestamp - game.lastMove;
        if (elapsed > left) revert ClockExpired();
        game.lastMove = uint40(block.timestamp);
        return uint32(left - elapsed);
    }

    function _requireRange(Game storage game, uint64 position, uint64 length) private view {
        if (game.position != position || game.length != length) revert StaleMove();
    }

    /// @dev A new range, and whose move it calls for: a range of one step is narrowed no further.
    function _setRange(Game storage game, uint256 position, uint256 length) private {
        game.position = uint64(position);
        game.length = uint64(length);
        if (length > 1) game.stage = Stage.POST;
        else game.stage = game.phase == Phase.TILE ? Stage.ENTER : Stage.STEP;
    }

    /// @dev The prover's states for the range; none if it has one step, and then the stage stays.
    function _acceptPost(bytes32 gameId, Game storage game, bytes32[] calldata states) private {
        uint64 length = game.length;
        bytes32 root = KSection.commit(states, length, k);
        if (length == 1) return;
        game.posted = root;
        game.stage = Stage.CHOOSE;
        emit Posted(gameId, game.phase, game.position, length, states);
    }

    /// @dev The winner's side of the game is settled here; a share of the prover's bond waits for `withdraw`.
    function _end(bytes32 gameId, Game storage game, bool proverWon) private {
        bytes32 claimId = game.claimId;
        Claim storage c = _claim(claimId);
        game.stage = proverWon ? Stage.PROVER_WON : Stage.CHALLENGER_WON;
        _credit(proverWon ? c.prover : game.challenger, challengerBond);
        emit GameEnded(gameId, claimId, proverWon);
        _leaveGame(claimId, c, proverWon);
    }

    /// @dev Credits the sender's share of a lost prover's bond: once, and only when the last game has closed.
    function _collect(bytes32 gameId) private {
        Game storage game = _game(gameId, Stage.CHALLENGER_WON);
        Claim storage c = _claim(game.claimId);
        if (game.challenger != msg.sender || game.collected || c.openGames != 0) revert NotCollectable(gameId);
        game.collected = true;
        (uint256 share,) = _shares(c.lostGames);
        _credit(msg.sender, share);
        emit ShareCollected(gameId, msg.sender, share);
    }
}
