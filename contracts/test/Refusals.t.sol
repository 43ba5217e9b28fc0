// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IOpml} from "../src/IOpml.sol";
import {IStepVerifier} from "../src/IStepVerifier.sol";
import {MerkleMemory} from "../src/MerkleMemory.sol";
import {Recipient} from "./Recipients.sol";
import {Naive} from "./support/Naive.sol";
import {Toy} from "./support/Toy.sol";

/// @title What each function refuses, and for which reason
contract RefusalsTest is Toy {
    mapping(bytes4 selector => bool) private _provoked;

    /// @dev The transaction reverts with this error.
    function _refused(bytes4 selector, address sender, uint256 value, bytes memory data) private {
        (bool done, bytes memory answer) = _call(sender, value, data);
        vm.assertTrue(!done, "accepted");
        vm.assertEq(bytes4(answer), selector, "refused for another reason");
        _provoked[selector] = true;
    }

    function _refused(bytes4 selector, address sender, bytes memory data) private {
        _refused(selector, sender, 0, data);
    }

    // ------------------------------------------------------------------------------------------ models, claims

    function test_constructor_refuses() public {
        _refusesParameters(PROVER_BOND, CHALLENGER_BOND, 1);
        _refusesParameters(PROVER_BOND, CHALLENGER_BOND, 65);
        _refusesParameters(0, CHALLENGER_BOND, K);
        _refusesParameters(PROVER_BOND, 0, K);
        verifier = IStepVerifier(other); // no code
        _refusesParameters(PROVER_BOND, CHALLENGER_BOND, K);
    }

    function _refusesParameters(uint256 proverBond, uint256 challengerBond, uint256 k) private {
        bytes memory arguments = abi.encode(verifier, proverBond, challengerBond, k);
        bytes memory code = bytes.concat(vm.getCode("Opml.sol:Opml"), arguments);
        address made;
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        bytes memory reason;
        assembly ("memory-safe") {
            reason := mload(0x40)
            mstore(0x40, add(reason, 0x40))
            mstore(reason, returndatasize())
            returndatacopy(add(reason, 0x20), 0, returndatasize())
        }
        assertEq(uint160(made), 0);
        assertEq(keccak256(reason), keccak256(abi.encodePacked(IOpml.BadParameters.selector)));
        _provoked[IOpml.BadParameters.selector] = true;
    }

    function test_registerModel_refuses() public {
        IOpml.Model[18] memory bad;
        for (uint256 i; i < bad.length; ++i) {
            bad[i] = _model(TILES, STEPS);
        }
        bad[0].entry = 1 << 20; // behind the guest
        bad[1].entry = 6; // not an instruction
        bad[2].tiles = 0;
        bad[3].stride = 0;
        bad[4].tiles = 1 << 34; // with a stride of 2 more leaves than the model half has
        (bad[5].tiles, bad[5].stride) = (type(uint64).max, type(uint64).max);
        bad[6].maxSteps = 0;
        bad[7].window = 0;
        bad[8].clock = 0;
        bad[9].inputLevel = 35;
        bad[10].outputLevel = 35;
        bad[11].inputBytes = 0;
        bad[12].outputBytes = 0;
        bad[13].inputBytes = (1 << 39) + 1;
        bad[14].outputBytes = (1 << 39) + 1;
        bad[15].inputAddress = 1 << 39; // the scratch half
        (bad[16].inputLevel, bad[16].inputAddress, bad[16].inputBytes) = (1, 32, 64); // not aligned
        (bad[17].outputLevel, bad[17].outputAddress) = (0, type(uint64).max - 31);
        for (uint256 i; i < bad.length; ++i) {
            _refused(IOpml.BadModel.selector, other, abi.encodeCall(IOpml.registerModel, (bad[i], "")));
        }
    }

    function _claimCall(bytes32 id, bytes memory input) private pure returns (bytes memory) {
        return abi.encodeCall(IOpml.claim, (id, input, OUTPUT_ROOT, 0));
    }

    function test_claim_refuses() public {
        _refused(IOpml.UnknownModel.selector, prover, PROVER_BOND, _claimCall("none", INPUT));
        _refused(IOpml.WrongLength.selector, prover, PROVER_BOND, _claimCall(modelId, ""));
        _refused(IOpml.WrongLength.selector, prover, PROVER_BOND, _claimCall(modelId, bytes.concat(INPUT, "+")));
        _refused(IOpml.WrongBond.selector, prover, PROVER_BOND - 1, _claimCall(modelId, INPUT));
        _refused(IOpml.WrongBond.selector, prover, PROVER_BOND + 1, _claimCall(modelId, INPUT));
        _refused(IOpml.WrongBond.selector, prover, 0, _claimCall(modelId, INPUT));
        _claimed();
        _refused(IOpml.ClaimExists.selector, prover, PROVER_BOND, _claimCall(modelId, INPUT));
        _send(other, PROVER_BOND, _claimCall(modelId, INPUT)); // the same by somebody else is another
    }

    function test_claimByRoot_refuses() public {
        bytes memory data = abi.encodeCall(IOpml.claimByRoot, (modelId, "root", OUTPUT_ROOT, 0, ""));
        _refused(IOpml.WrongBond.selector, prover, PROVER_BOND - 1, data);
        _send(prover, PROVER_BOND, data);
        _refused(IOpml.ClaimExists.selector, prover, PROVER_BOND, data);
        data = abi.encodeCall(IOpml.claimByRoot, ("none", "root", OUTPUT_ROOT, 0, ""));
        _refused(IOpml.UnknownModel.selector, prover, PROVER_BOND, data);
    }

    function test_finalise_refuses() public {
        _refused(IOpml.UnknownClaim.selector, other, abi.encodeCall(IOpml.finalise, ("none")));
        _until(IOpml.Stage.OPEN);
        bytes memory data = abi.encodeCall(IOpml.finalise, (claimId));
        vm.warp(_now() + WINDOW); // the last second
        _refused(IOpml.WindowOpen.selector, other, data);
        vm.warp(_now() + 1);
        _refused(IOpml.GamesOpen.selector, other, data);
        _send(other, abi.encodeCall(IOpml.timeout, (key)));
        _refused(IOpml.WrongStage.selector, other, data); // rejected
    }

    function test_finalise_refuses_what_is_final() public {
        _claimed();
        vm.warp(_now() + WINDOW + 1);
        _send(other, abi.encodeCall(IOpml.finalise, (claimId)));
        _refused(IOpml.WrongStage.selector, other, abi.encodeCall(IOpml.finalise, (claimId)));
    }

    // -------------------------------------------------------------------------------------------------- moves

    function _challengeCall() private view returns (bytes memory) {
        return abi.encodeCall(IOpml.challenge, (claim_, 0));
    }

    function test_challenge_refuses() public {
        _refused(IOpml.UnknownClaim.selector, challenger, CHALLENGER_BOND, _challengeCall());
        _claimed();
        _refused(IOpml.WrongBond.selector, challenger, CHALLENGER_BOND + 1, _challengeCall());
        _challenged();
        _refused(IOpml.GameExists.selector, challenger, CHALLENGER_BOND, _challengeCall());
        vm.warp(_now() + WINDOW + 1);
        _refused(IOpml.WindowClosed.selector, other, CHALLENGER_BOND, _challengeCall());
        _send(other, abi.encodeCall(IOpml.timeout, (key)));
        _refused(IOpml.WrongStage.selector, other, CHALLENGER_BOND, _challengeCall()); // rejected
    }

    function test_a_delegate_cannot_challenge_for_a_party() public {
        _claimed();
        _send(challenger, abi.encodeCall(IOpml.setDelegate, (other, true)));
        bytes32 id = abi.decode(_send(other, CHALLENGER_BOND, _challengeCall()), (bytes32));
        assertEq(id, keccak256(abi.encode(claimId, other, 0))); // it is the delegate's own
    }

    /// @dev Moves that fit neither the game's stage, nor any game.
    function _refusesWrongStage(IOpml.Stage stage) private {
        _until(stage);
        bytes32[] memory none;
        if (stage != IOpml.Stage.OPEN) _refused(IOpml.WrongStage.selector, prover, _openCall());
        bytes memory data = abi.encodeCall(IOpml.post, (key, range, none));
        if (stage != IOpml.Stage.POST) _refused(IOpml.WrongStage.selector, prover, data);
        data = abi.encodeCall(IOpml.choose, (key, range, 0, none));
        if (stage != IOpml.Stage.CHOOSE) _refused(IOpml.WrongStage.selector, challenger, data);
        data = abi.encodeCall(IOpml.enter, (key, claim_, range, STEPS, "", "", none));
        if (stage != IOpml.Stage.ENTER) _refused(IOpml.WrongStage.selector, prover, data);
        if (stage != IOpml.Stage.STEP) _refused(IOpml.WrongStage.selector, other, _stepCall(true));
    }

    function test_moves_of_another_stage() public {
        for (uint256 stage = 1; stage < 8; ++stage) {
            uint256 before = vm.snapshotState();
            _refusesWrongStage(IOpml.Stage(stage));
            bytes memory data = abi.encodeCall(IOpml.timeout, (key));
            vm.warp(_now() + 2 * CLOCK);
            if (stage > 5) _refused(IOpml.WrongStage.selector, other, data);
            vm.revertToStateAndDelete(before);
        }
        _provoked[IOpml.WrongStage.selector] = true;
    }

    function test_moves_in_no_game() public {
        _until(IOpml.Stage.STEP);
        ++key.salt;
        bytes32[] memory none;
        bytes4 unknown = IOpml.UnknownGame.selector;
        _refused(unknown, prover, _openCall());
        _refused(unknown, prover, abi.encodeCall(IOpml.post, (key, range, none)));
        _refused(unknown, challenger, abi.encodeCall(IOpml.choose, (key, range, 0, none)));
        _refused(unknown, prover, abi.encodeCall(IOpml.enter, (key, claim_, range, STEPS, "", "", none)));
        _refused(unknown, other, _stepCall(true));
        _refused(unknown, other, abi.encodeCall(IOpml.timeout, (key)));
        _refused(unknown, other, _withdrawCall(other, false, true));
    }

    function test_moves_by_somebody_else() public {
        bytes4 wrong = IOpml.NotYourTurn.selector;
        for (uint256 i; i < 4; ++i) {
            IOpml.Stage stage = [IOpml.Stage.OPEN, IOpml.Stage.CHOOSE, IOpml.Stage.POST, IOpml.Stage.ENTER][i];
            uint256 before = vm.snapshotState();
            _until(stage);
            bytes memory data = stage == IOpml.Stage.OPEN
                ? _openCall()
                : stage == IOpml.Stage.CHOOSE ? _chooseCall() : stage == IOpml.Stage.POST ? _postCall() : _enterCall();
            _refused(wrong, other, data);
            _refused(wrong, stage == IOpml.Stage.CHOOSE ? prover : challenger, data);
            // A delegate of somebody else is nobody's here, nor is one whose leave was taken back.
            _send(other, abi.encodeCall(IOpml.setDelegate, (address(0xde1e), true)));
            _refused(wrong, address(0xde1e), data);
            address party = stage == IOpml.Stage.CHOOSE ? challenger : prover;
            _send(party, abi.encodeCall(IOpml.setDelegate, (address(0xde1e), true)));
            _send(party, abi.encodeCall(IOpml.setDelegate, (address(0xde1e), false)));
            _refused(wrong, address(0xde1e), data);
            vm.revertToStateAndDelete(before);
        }
        _provoked[wrong] = true;
    }

    /// @dev In the last second a move is in time and `timeout` is not; in the next it is the other way round.
    function test_moves_too_late_and_timeout_too_early() public {
        for (uint256 i; i < 5; ++i) {
            IOpml.Stage stage =
                [IOpml.Stage.OPEN, IOpml.Stage.CHOOSE, IOpml.Stage.POST, IOpml.Stage.ENTER, IOpml.Stage.STEP][i];
            uint256 before = vm.snapshotState();
            _until(stage);
            bytes memory data = stage == IOpml.Stage.OPEN
                ? _openCall()
                : stage == IOpml.Stage.CHOOSE
                    ? _chooseCall()
                    : stage == IOpml.Stage.POST
                        ? _postCall()
                        : stage == IOpml.Stage.ENTER ? _enterCall() : _stepCall(true);
            _lapse();
            address mover = stage == IOpml.Stage.CHOOSE ? challenger : prover;
            _refused(IOpml.ClockExpired.selector, mover, data);
            vm.warp(_now() - 1);
            _refused(IOpml.ClockRunning.selector, other, abi.encodeCall(IOpml.timeout, (key)));
            _send(mover, data);
            vm.revertToStateAndDelete(before);
        }
        _provoked[IOpml.ClockExpired.selector] = _provoked[IOpml.ClockRunning.selector] = true;
    }

    function test_open_refuses() public {
        _until(IOpml.Stage.OPEN);
        bytes32[] memory states = _states(0, TILES);
        bytes32[] memory none;
        IOpml.Claim memory another = claim_;
        another.outputRoot = "another";
        bytes memory data = abi.encodeCall(IOpml.open, (key, another, NO_PATH, OUTPUT_ROOT, NO_PATH, states));
        _refused(IOpml.WrongClaim.selector, prover, data);
        // The mask says that the sibling is there, but the region is the whole half.
        data = abi.encodeCall(IOpml.open, (key, claim_, hex"0000000001", OUTPUT_ROOT, NO_PATH, states));
        _refused(MerkleMemory.MalformedPath.selector, prover, data);
        data = abi.encodeCall(IOpml.open, (key, claim_, hex"000000000099", OUTPUT_ROOT, NO_PATH, states));
        _refused(MerkleMemory.MalformedPath.selector, prover, data);
        data = abi.encodeCall(IOpml.open, (key, claim_, NO_PATH, OUTPUT_ROOT, "", states));
        _refused(MerkleMemory.MalformedPath.selector, prover, data);
        data = abi.encodeCall(IOpml.open, (key, claim_, NO_PATH, "another", NO_PATH, states));
        _refused(IOpml.BadOutputPath.selector, prover, data);
        data = abi.encodeCall(IOpml.open, (key, claim_, NO_PATH, OUTPUT_ROOT, NO_PATH, none));
        _refused(IOpml.WrongLength.selector, prover, data);
    }

    function test_open_refuses_a_model_whose_input_region_is_not_zero() public {
        model.modelRoot = "something";
        modelId = opml.registerModel(model, "");
        _until(IOpml.Stage.OPEN);
        _refused(IOpml.BadInputPath.selector, prover, _openCall());
    }

    function test_open_refuses_a_post_in_a_model_of_one_unit() public {
        model = _model(1, STEPS);
        modelId = opml.registerModel(model, "");
        _until(IOpml.Stage.OPEN);
        bytes32[] memory one = new bytes32[](1);
        bytes memory data = abi.encodeCall(IOpml.open, (key, claim_, NO_PATH, OUTPUT_ROOT, NO_PATH, one));
        _refused(IOpml.WrongLength.selector, prover, data);
    }

    function test_post_refuses() public {
        _until(IOpml.Stage.POST);
        bytes32[] memory none;
        _refused(IOpml.WrongLength.selector, prover, abi.encodeCall(IOpml.post, (key, range, none)));
        _refusesOtherRanges();
    }

    /// @dev Each field of the range binds the move to it.
    function _refusesOtherRanges() private {
        for (uint256 i; i < 4; ++i) {
            IOpml.Range memory another = range;
            if (i == 0) ++another.position;
            if (i == 1) --another.length;
            if (i == 2) another.lo = ~another.lo;
            if (i == 3) another.hi = ~another.hi;
            bytes32[] memory states = _states(range.position, range.length);
            bytes memory data = abi.encodeCall(IOpml.post, (key, another, states));
            if (_stage() == IOpml.Stage.ENTER) {
                data = abi.encodeCall(IOpml.enter, (key, claim_, another, STEPS, _endState(), SCRATCH_ROOT, states));
            }
            _refused(IOpml.StaleMove.selector, prover, data);
        }
    }

    function test_choose_refuses() public {
        _until(IOpml.Stage.CHOOSE);
        uint256 j = _segment();
        bytes32[] memory opening = Naive.opening(posted, j);
        bytes4 bad = IOpml.BadOpening.selector;
        _refused(IOpml.BadSegment.selector, challenger, abi.encodeCall(IOpml.choose, (key, range, K, opening)));
        _refused(bad, challenger, abi.encodeCall(IOpml.choose, (key, range, j - 2, Naive.opening(posted, j))));
        bytes32[] memory longer = new bytes32[](opening.length + 1);
        for (uint256 i; i < opening.length; ++i) {
            longer[i] = opening[i];
        }
        _refused(IOpml.WrongLength.selector, challenger, abi.encodeCall(IOpml.choose, (key, range, j, longer)));
        for (uint256 i; i < opening.length; ++i) {
            opening[i] = ~opening[i];
            _refused(bad, challenger, abi.encodeCall(IOpml.choose, (key, range, j, opening)));
            opening[i] = ~opening[i];
        }
        for (uint256 i; i < 4; ++i) {
            IOpml.Range memory another = range;
            if (i == 0) ++another.position;
            if (i == 1) ++another.length;
            if (i == 2) another.lo = ~another.lo;
            if (i == 3) another.hi = ~another.hi;
            bytes4 reason = i < 2 ? IOpml.StaleMove.selector : bad;
            _refused(reason, challenger, abi.encodeCall(IOpml.choose, (key, another, j, opening)));
        }
        _send(challenger, abi.encodeCall(IOpml.choose, (key, range, j, opening)));
    }

    function test_enter_refuses() public {
        _until(IOpml.Stage.ENTER);
        bytes memory good = _endState();
        _refusesEnd(IOpml.BadSteps.selector, 0, good, SCRATCH_ROOT);
        _refusesEnd(IOpml.BadSteps.selector, STEPS + 1, good, SCRATCH_ROOT);
        bytes4 bad = IOpml.BadEndState.selector;
        _refusesEnd(bad, STEPS, "", SCRATCH_ROOT);
        _refusesEnd(bad, STEPS, bytes.concat(good, hex"00"), SCRATCH_ROOT);
        _refusesEnd(bad, STEPS, good, "another scratch");
        bytes32 root = keccak256(abi.encode(range.hi, SCRATCH_ROOT));
        _refusesEnd(bad, STEPS, _machine(root, 0, 77, 444, 0), SCRATCH_ROOT); // still runs
        _refusesEnd(bad, STEPS, _machine(root, 0, 77, 444, 2), SCRATCH_ROOT); // trapped
        _refusesEnd(bad, STEPS, _machine(root, 1, 77, 444, 1), SCRATCH_ROOT); // exit code 1
        root = keccak256(abi.encode(range.lo, SCRATCH_ROOT));
        _refusesEnd(bad, STEPS, _machine(root, 0, 77, 444, 1), SCRATCH_ROOT); // another memory
        _refusesOtherRanges();
        bytes32[] memory none;
        bytes memory data = abi.encodeCall(IOpml.enter, (key, claim_, range, STEPS, good, SCRATCH_ROOT, none));
        _refused(IOpml.WrongLength.selector, prover, data);
        IOpml.Claim memory another = claim_;
        ++another.nonce;
        data = abi.encodeCall(IOpml.enter, (key, another, range, STEPS, good, SCRATCH_ROOT, none));
        _refused(IOpml.WrongClaim.selector, prover, data);
    }

    function _refusesEnd(bytes4 selector, uint64 steps, bytes memory endState, bytes32 scratchRoot) private {
        bytes32[] memory states = _states(0, STEPS);
        _refused(
            selector, prover, abi.encodeCall(IOpml.enter, (key, claim_, range, steps, endState, scratchRoot, states))
        );
    }

    function test_step_refuses() public {
        _until(IOpml.Stage.STEP);
        bytes4 wrong = IOpml.WrongState.selector;
        bytes memory witness = abi.encode(range.lo, range.hi);
        _refused(wrong, prover, abi.encodeCall(IOpml.step, (key, ~range.hi, witness)));
        _refused(wrong, prover, abi.encodeCall(IOpml.step, (key, range.hi, abi.encode(~range.lo, range.hi))));
        bytes4 malformed = IOpml.MalformedWitness.selector;
        _refused(malformed, prover, abi.encodeCall(IOpml.step, (key, range.hi, bytes.concat(witness, "+"))));
    }

    // -------------------------------------------------------------------------------------------------- money

    function test_withdraw_refuses() public {
        bytes4 not = IOpml.NotCollectable.selector;
        _refused(IOpml.NothingToWithdraw.selector, other, _withdrawCall(other, false, false));
        _until(IOpml.Stage.CHOOSE);
        _refused(
            IOpml.UnknownClaim.selector,
            prover,
            abi.encodeCall(IOpml.withdraw, (prover, _ids("none"), new IOpml.GameKey[](0)))
        );
        _refused(IOpml.NotAllowed.selector, other, _withdrawCall(prover, true, false)); // not his delegate
        _refused(IOpml.NotAllowed.selector, other, _withdrawCall(other, true, false)); // not his claim
        _refused(IOpml.WindowOpen.selector, prover, _withdrawCall(prover, true, false));
        _refused(not, challenger, _withdrawCall(challenger, false, true)); // still open
        _refused(not, prover, _withdrawCall(prover, false, true));
        vm.warp(_now() + WINDOW + 1);
        _refused(IOpml.GamesOpen.selector, prover, _withdrawCall(prover, true, false));
        _send(other, abi.encodeCall(IOpml.timeout, (key))); // the challenger loses
        _refused(not, challenger, _withdrawCall(challenger, false, true));
        _refused(not, other, _withdrawCall(other, false, true));
        _send(prover, _withdrawCall(prover, true, true));
        _refused(not, prover, _withdrawCall(prover, true, true)); // once
        _refused(IOpml.NothingToWithdraw.selector, prover, _withdrawCall(prover, true, false));
    }

    function test_withdraw_refuses_a_share_while_a_game_is_open() public {
        _claimed();
        bytes memory data = abi.encodeCall(IOpml.challenge, (claim_, 0));
        _send(other, CHALLENGER_BOND, data);
        _challenged();
        _until(IOpml.Stage.CHALLENGER_WON);
        bytes4 not = IOpml.NotCollectable.selector;
        _refused(not, challenger, _withdrawCall(challenger, false, true));
        _refused(not, prover, _withdrawCall(prover, false, true));
        _refused(IOpml.WrongStage.selector, prover, _withdrawCall(prover, true, false)); // rejected
        vm.warp(_now() + 2 * CLOCK);
        _send(other, abi.encodeCall(IOpml.timeout, (IOpml.GameKey(claimId, other, 0))));
        uint256 before = challenger.balance;
        _send(challenger, _withdrawCall(challenger, false, true));
        assertEq(challenger.balance - before, CHALLENGER_BOND + PROVER_BOND / 2 / 2);
        _refused(not, challenger, _withdrawCall(challenger, false, true));
    }

    /// @dev A game named twice in one list is collected once, or not at all.
    function test_withdraw_refuses_a_game_named_twice() public {
        _until(IOpml.Stage.CHALLENGER_WON);
        IOpml.GameKey[] memory twice = new IOpml.GameKey[](2);
        twice[0] = twice[1] = key;
        bytes memory data = abi.encodeCall(IOpml.withdraw, (challenger, new bytes32[](0), twice));
        _refused(IOpml.NotCollectable.selector, challenger, data);
        _send(challenger, _withdrawCall(challenger, false, true));
    }

    function test_withdraw_names_the_game_that_is_not_collectable() public {
        _until(IOpml.Stage.CHOOSE);
        vm.expectRevert(abi.encodeWithSelector(IOpml.NotCollectable.selector, gameId));
        vm.prank(challenger);
        opml.withdraw(challenger, new bytes32[](0), _keys());
    }

    function test_a_recipient_that_refuses_or_reenters_harms_itself() public {
        Recipient recipient = new Recipient();
        vm.deal(address(recipient), CHALLENGER_BOND);
        challenger = address(recipient);
        _until(IOpml.Stage.CHALLENGER_WON);
        bytes memory collect = abi.encodeCall(Recipient.collect, (opml, new bytes32[](0), _keys()));
        for (uint256 mood = 1; mood < 3; ++mood) {
            recipient.setMood(Recipient.Mood(mood));
            (bool done, bytes memory answer) = address(recipient).call(collect);
            vm.assertTrue(!done, "paid");
            vm.assertEq(bytes4(answer), IOpml.PaymentFailed.selector, "refused for another reason");
        }
        _provoked[IOpml.PaymentFailed.selector] = true;
        recipient.setMood(Recipient.Mood.ACCEPT);
        (bool paid,) = address(recipient).call(collect);
        vm.assertTrue(paid, "not paid");
        assertEq(address(recipient).balance, CHALLENGER_BOND + PROVER_BOND / 2);
    }

    // ---------------------------------------------------------------------------------------------- the table

    struct Row {
        bytes4 selector;
        function() internal provoke;
    }

    /// @dev Every error of the contract, and the test that provokes it.
    function test_every_error_is_provoked() external {
        Row[31] memory table = [
            Row(IOpml.BadParameters.selector, test_constructor_refuses),
            Row(IOpml.BadModel.selector, test_registerModel_refuses),
            Row(IOpml.UnknownModel.selector, test_claim_refuses),
            Row(IOpml.UnknownClaim.selector, test_challenge_refuses),
            Row(IOpml.UnknownGame.selector, test_moves_in_no_game),
            Row(IOpml.WrongClaim.selector, test_open_refuses),
            Row(IOpml.ClaimExists.selector, test_claim_refuses),
            Row(IOpml.GameExists.selector, test_challenge_refuses),
            Row(IOpml.WrongBond.selector, test_claim_refuses),
            Row(IOpml.WrongLength.selector, test_post_refuses),
            Row(IOpml.BadInputPath.selector, test_open_refuses_a_model_whose_input_region_is_not_zero),
            Row(IOpml.BadOutputPath.selector, test_open_refuses),
            Row(IOpml.BadOpening.selector, test_choose_refuses),
            Row(IOpml.BadSegment.selector, test_choose_refuses),
            Row(IOpml.BadSteps.selector, test_enter_refuses),
            Row(IOpml.BadEndState.selector, test_enter_refuses),
            Row(IOpml.WrongStage.selector, test_moves_of_another_stage),
            Row(IOpml.NotYourTurn.selector, test_moves_by_somebody_else),
            Row(IOpml.StaleMove.selector, test_post_refuses),
            Row(IOpml.MalformedWitness.selector, test_step_refuses),
            Row(MerkleMemory.MalformedPath.selector, test_open_refuses),
            Row(IOpml.WrongState.selector, test_step_refuses),
            Row(IOpml.ClockExpired.selector, test_moves_too_late_and_timeout_too_early),
            Row(IOpml.ClockRunning.selector, test_moves_too_late_and_timeout_too_early),
            Row(IOpml.WindowClosed.selector, test_challenge_refuses),
            Row(IOpml.WindowOpen.selector, test_finalise_refuses),
            Row(IOpml.GamesOpen.selector, test_finalise_refuses),
            Row(IOpml.NotCollectable.selector, test_withdraw_refuses),
            Row(IOpml.NothingToWithdraw.selector, test_withdraw_refuses),
            Row(IOpml.NotAllowed.selector, test_withdraw_refuses),
            Row(IOpml.PaymentFailed.selector, test_a_recipient_that_refuses_or_reenters_harms_itself)
        ];
        bytes memory json = vm.parseJson(vm.readFile("src/abi/Opml.json"), "$[?(@.type == 'error')].name");
        string[] memory names = abi.decode(json, (string[]));
        assertEq(names.length, table.length);
        for (uint256 i; i < names.length; ++i) {
            bytes4 selector = bytes4(keccak256(bytes(string.concat(names[i], _arguments(names[i])))));
            uint256 row;
            while (row < table.length && table[row].selector != selector) ++row;
            vm.assertTrue(row < table.length, string.concat("no test provokes ", names[i]));
            uint256 before = vm.snapshotState();
            table[row].provoke();
            vm.assertTrue(_provoked[selector], string.concat("its test does not provoke ", names[i]));
            vm.revertToStateAndDelete(before);
        }
    }

    function _arguments(string memory name) private pure returns (string memory) {
        return keccak256(bytes(name)) == keccak256("NotCollectable") ? "(bytes32)" : "()";
    }
}
