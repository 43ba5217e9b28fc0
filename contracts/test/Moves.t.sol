// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IOpml} from "../src/IOpml.sol";
import {Toy} from "./support/Toy.sol";

/// @title What each function does when it does it
contract MovesTest is Toy {
    function _assertRange(IOpml.Stage stage, IOpml.Phase phase_, bytes32 root) private view {
        IOpml.Game memory game = opml.games(gameId);
        assertEq(uint8(game.stage), uint8(stage));
        assertEq(uint8(game.phase), uint8(phase_));
        assertEq(game.position, range.position);
        assertEq(game.length, range.length);
        bytes memory states = abi.encode(range.lo, range.hi);
        assertEq(game.range, keccak256(root == 0 ? states : bytes.concat(states, root)));
    }

    function _expect() private {
        vm.expectEmit(address(opml));
    }

    function _claimState(IOpml.Status status, uint256 openGames, uint256 lostGames) private view {
        IOpml.ClaimState memory c = opml.claims(claimId);
        assertEq(uint8(c.status), uint8(status));
        assertEq(c.openGames, openGames);
        assertEq(c.lostGames, lostGames);
    }

    // ------------------------------------------------------------------------------------------ models, claims

    function test_registerModel() external {
        IOpml.Model memory another = _model(1, 1);
        bytes32 id = keccak256(abi.encode(another));
        for (uint256 i; i < 2; ++i) {
            _expect();
            emit IOpml.ModelRegistered(id, address(this), another, "somewhere");
            assertEq(opml.registerModel(another, "somewhere"), id);
        }
        assertEq(keccak256(abi.encode(opml.models(id))), id);
        assertEq(keccak256(abi.encode(opml.models("none"))), keccak256(new bytes(14 * 32)));
    }

    function test_claim() external {
        claim_ = IOpml.Claim(modelId, _inputRoot(), OUTPUT_ROOT, prover, 0, true);
        bytes32 id = keccak256(abi.encode(block.chainid, opml, claim_));
        uint40 deadline = uint40(_now() + WINDOW);
        _expect();
        emit IOpml.Claimed(id, modelId, prover, _inputRoot(), OUTPUT_ROOT, 0, true, deadline);
        _expect();
        emit IOpml.InputPosted(id, INPUT);
        _claimed();
        assertEq(claimId, id);
        assertEq(opml.claimIdOf(claim_), id);
        _claimState(IOpml.Status.PENDING, 0, 0);
        assertEq(opml.claims(id).deadline, deadline);
        assertEq(address(opml).balance, PROVER_BOND);
    }

    function test_claimByRoot_is_another_claim() external {
        _claimed();
        IOpml.Claim memory c = claim_;
        c.inputPosted = false;
        bytes32 id = opml.claimIdOf(c);
        assert(id != claimId);
        _expect();
        emit IOpml.Claimed(id, modelId, prover, c.inputRoot, OUTPUT_ROOT, 0, false, uint40(_now() + WINDOW));
        _expect();
        emit IOpml.InputWithheld(id, "there");
        _send(prover, PROVER_BOND, abi.encodeCall(IOpml.claimByRoot, (modelId, c.inputRoot, OUTPUT_ROOT, 0, "there")));
        assertEq(opml.claims(id).prover == prover ? 1 : 0, 1);
    }

    function test_finalise() external {
        _claimed();
        vm.warp(_now() + WINDOW + 1);
        _expect();
        emit IOpml.ClaimFinalised(claimId);
        vm.prank(other);
        opml.finalise(claimId);
        _claimState(IOpml.Status.FINAL, 0, 0);
        assertEq(opml.credit(prover), PROVER_BOND);
    }

    // -------------------------------------------------------------------------------------------------- moves

    function test_challenge() external {
        _claimed();
        vm.warp(_now() + WINDOW); // the last second
        bytes32 id = keccak256(abi.encode(claimId, challenger, 0));
        _expect();
        emit IOpml.Challenged(id, claimId, challenger, prover, 0);
        _challenged();
        assertEq(gameId, id);
        assertEq(opml.gameIdOf(key), id);
        _assertRangeless(IOpml.Stage.OPEN);
        _claimState(IOpml.Status.PENDING, 1, 0);
        IOpml.Game memory game = opml.games(id);
        assertEq(game.lastMove, _now());
        assertEq(game.proverClock, CLOCK);
        assertEq(game.challengerClock, CLOCK);
    }

    function _assertRangeless(IOpml.Stage stage) private view {
        IOpml.Game memory game = opml.games(gameId);
        assertEq(uint8(game.stage), uint8(stage));
        assertEq(game.range, 0);
    }

    function test_open() external {
        _until(IOpml.Stage.OPEN);
        bytes32[] memory states = _states(0, TILES);
        _expect();
        emit IOpml.Opened(gameId, claim_.inputRoot, OUTPUT_ROOT);
        _expect();
        emit IOpml.Posted(gameId, IOpml.Phase.TILE, 0, TILES, states);
        _open();
        _assertRange(IOpml.Stage.CHOOSE, IOpml.Phase.TILE, keccak256(abi.encode(states[0], states[1])));
    }

    function test_open_of_a_model_of_one_unit() external {
        model = _model(1, STEPS);
        modelId = opml.registerModel(model, "");
        _until(IOpml.Stage.OPEN);
        _open();
        _assertRange(IOpml.Stage.ENTER, IOpml.Phase.TILE, 0);
    }

    function test_choose_and_post() external {
        _until(IOpml.Stage.CHOOSE);
        // 11 = 3 + 4 + 4, and tile 7 is the third part's first
        _expect();
        emit IOpml.Chosen(gameId, 2, 7, 4, posted[1], OUTPUT_ROOT);
        _choose();
        _assertRange(IOpml.Stage.POST, IOpml.Phase.TILE, 0);
        bytes32[] memory states = _states(7, 4);
        _expect();
        emit IOpml.Posted(gameId, IOpml.Phase.TILE, 7, 4, states);
        _post();
        _assertRange(IOpml.Stage.CHOOSE, IOpml.Phase.TILE, keccak256(abi.encode(states[0], states[1])));
        _choose();
        _assertRange(IOpml.Stage.ENTER, IOpml.Phase.TILE, 0);
        assertEq(range.position, TILE);
    }

    function test_enter() external {
        _until(IOpml.Stage.ENTER);
        bytes memory endState = _endState();
        vm.recordLogs();
        _enter();
        _assertRange(IOpml.Stage.CHOOSE, IOpml.Phase.INSTRUCTION, keccak256(abi.encode(posted[0], posted[1])));
        assertEq(
            keccak256(vm.getRecordedLogs()[0].data),
            keccak256(abi.encode(TILE, STEPS, range.lo, range.hi, endState, SCRATCH_ROOT))
        );
    }

    function test_step_for_the_prover() external {
        _until(IOpml.Stage.STEP);
        _expect();
        emit IOpml.Stepped(gameId, other, range.lo, range.hi);
        _expect();
        emit IOpml.GameEnded(gameId, claimId, true);
        _step(true);
        _assertRangeless(IOpml.Stage.PROVER_WON);
        _claimState(IOpml.Status.PENDING, 0, 0);
    }

    function test_step_for_the_challenger() external {
        _until(IOpml.Stage.STEP);
        _expect();
        emit IOpml.Stepped(gameId, other, range.lo, ~range.hi);
        _expect();
        emit IOpml.GameEnded(gameId, claimId, false);
        _expect();
        emit IOpml.ClaimRejected(claimId);
        _expect();
        emit IOpml.ClaimSettled(claimId, 1, PROVER_BOND / 2, PROVER_BOND - PROVER_BOND / 2);
        _step(false);
        _assertRangeless(IOpml.Stage.CHALLENGER_WON);
        _claimState(IOpml.Status.REJECTED, 0, 1);
    }

    function test_timeout_of_each_side() external {
        IOpml.Stage[5] memory stages =
            [IOpml.Stage.OPEN, IOpml.Stage.CHOOSE, IOpml.Stage.POST, IOpml.Stage.ENTER, IOpml.Stage.STEP];
        for (uint256 i; i < stages.length; ++i) {
            uint256 before = vm.snapshotState();
            _until(stages[i]);
            bool proverWins = stages[i] == IOpml.Stage.CHOOSE;
            _lapse();
            _expect();
            emit IOpml.TimedOut(gameId);
            _expect();
            emit IOpml.GameEnded(gameId, claimId, proverWins);
            _send(other, abi.encodeCall(IOpml.timeout, (key)));
            _assertRangeless(proverWins ? IOpml.Stage.PROVER_WON : IOpml.Stage.CHALLENGER_WON);
            vm.revertToStateAndDelete(before);
        }
    }

    function test_clocks_run_down_move_by_move() external {
        _until(IOpml.Stage.OPEN);
        uint256 start = _now();
        vm.warp(start + 30);
        _open();
        vm.warp(start + 30 + 100); // all that the challenger has
        _choose();
        vm.warp(start + 30 + 100 + 70);
        _post();
        IOpml.Game memory game = opml.games(gameId);
        assertEq(game.proverClock, 0);
        assertEq(game.challengerClock, 0);
        vm.warp(_now() + 1);
        _send(other, abi.encodeCall(IOpml.timeout, (key)));
        assertEq(uint8(_stage()), uint8(IOpml.Stage.PROVER_WON));
    }

    // -------------------------------------------------------------------------------------------------- money

    function test_withdraw_by_a_prover() external {
        _until(IOpml.Stage.PROVER_WON);
        uint256 before = prover.balance;
        vm.warp(_now() + WINDOW + 1);
        _expect();
        emit IOpml.ClaimFinalised(claimId);
        _expect();
        emit IOpml.Collected(gameId, prover, CHALLENGER_BOND);
        _expect();
        emit IOpml.Withdrawn(prover, PROVER_BOND + CHALLENGER_BOND);
        _send(prover, _withdrawCall(prover, true, true));
        assertEq(prover.balance - before, PROVER_BOND + CHALLENGER_BOND);
        assertEq(address(opml).balance, 0);
        _claimState(IOpml.Status.FINAL, 0, 0);
        assertEq(opml.games(gameId).collected ? 1 : 0, 1);
    }

    function test_withdraw_by_a_challenger() external {
        _until(IOpml.Stage.CHALLENGER_WON);
        uint256 before = challenger.balance;
        _send(challenger, _withdrawCall(challenger, false, true));
        assertEq(challenger.balance - before, CHALLENGER_BOND + PROVER_BOND / 2);
        assertEq(address(opml).balance, PROVER_BOND - PROVER_BOND / 2);
    }

    function test_withdraw_of_credit_passes_over_a_claim_that_is_final() external {
        _claimed();
        vm.warp(_now() + WINDOW + 1);
        opml.finalise(claimId);
        uint256 before = prover.balance;
        _send(prover, _withdrawCall(prover, true, false));
        assertEq(prover.balance - before, PROVER_BOND);
        assertEq(opml.credit(prover), 0);
    }

    function test_delegates_move_and_the_party_is_paid() external {
        address delegate = address(0xde1e);
        for (uint256 i; i < 2; ++i) {
            address party = [prover, challenger][i];
            _expect();
            emit IOpml.DelegateSet(party, delegate, true);
            _send(party, abi.encodeCall(IOpml.setDelegate, (delegate, true)));
            assertEq(opml.isDelegate(party, delegate) ? 1 : 0, 1);
        }
        _until(IOpml.Stage.OPEN);
        (address realProver, address realChallenger) = (prover, challenger);
        (prover, challenger) = (delegate, delegate); // who sends
        _until(IOpml.Stage.CHALLENGER_WON);
        uint256 before = realChallenger.balance;
        _send(delegate, _withdrawCall(realChallenger, false, true));
        assertEq(realChallenger.balance - before, CHALLENGER_BOND + PROVER_BOND / 2);
        assertEq(delegate.balance, 0);
        _send(realProver, abi.encodeCall(IOpml.setDelegate, (delegate, false)));
        assertEq(opml.isDelegate(realProver, delegate) ? 1 : 0, 0);
    }

    function test_constants() external view {
        assertEq(opml.proverBond(), PROVER_BOND);
        assertEq(opml.challengerBond(), CHALLENGER_BOND);
        assertEq(opml.k(), K);
        assertEq(address(opml.verifier()) == address(verifier) ? 1 : 0, 1);
    }
}
