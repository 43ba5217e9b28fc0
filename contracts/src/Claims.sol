// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Bonds} from "./Bonds.sol";
import {LEAF_LOG2, MODEL_LEVEL, ZEROS} from "./Constants.sol";
import {MerkleMemory} from "./MerkleMemory.sol";
import {Models} from "./Models.sol";

/// @title Claims: from the bond to finality or rejection
abstract contract Claims is Models, Bonds {
    mapping(bytes32 claimId => Claim) private _claims;

    function claim(bytes32 modelId, bytes calldata input, bytes32 outputRoot, uint256 nonce, bytes calldata inputPath)
        external
        payable
        override
        returns (bytes32 claimId)
    {
        _takeBond(proverBond);
        Model storage model = _model(modelId);
        if (input.length != model.inputBytes) revert WrongLength();
        bytes32 inputRoot = MerkleMemory.subtreeRoot(input, model.inputLevel);
        bytes32 s0 = _placeInput(model, inputRoot, inputPath);

        // Prover and nonce are part of the id: nobody can take another's claim and lose it for him.
        claimId = keccak256(abi.encode(block.chainid, address(this), modelId, inputRoot, outputRoot, msg.sender, nonce));
        Claim storage c = _claims[claimId];
        if (c.status != Status.NONE) revert ClaimExists();
        uint40 deadline = uint40(block.timestamp + model.window);
        c.prover = msg.sender;
        c.deadline = deadline;
        c.status = Status.PENDING;
        c.modelId = modelId;
        c.outputRoot = outputRoot;
        c.s0 = s0;
        emit Claimed(claimId, modelId, msg.sender, inputRoot, outputRoot, s0, nonce, deadline);
        emit InputPosted(claimId, input);
    }

    function finalise(bytes32 claimId) external override {
        Claim storage c = _claim(claimId);
        if (c.status != Status.PENDING) revert WrongStage();
        if (block.timestamp <= c.deadline) revert WindowOpen();
        if (c.openGames != 0) revert GamesOpen();
        c.status = Status.FINAL;
        _credit(c.prover, proverBond);
        emit ClaimFinalised(claimId);
    }

    function claims(bytes32 claimId) external view override returns (Claim memory) {
        return _claims[claimId];
    }

    function _claim(bytes32 claimId) internal view returns (Claim storage c) {
        c = _claims[claimId];
        if (c.status == Status.NONE) revert UnknownClaim();
    }

    /// @dev The model half with the input in it, from the model root and one path: the region is zero there before.
    function _placeInput(Model storage model, bytes32 inputRoot, bytes calldata inputPath)
        private
        view
        returns (bytes32 s0)
    {
        uint256 level = model.inputLevel;
        uint256 index = model.inputAddress >> (LEAF_LOG2 + level);
        bytes memory zeros = ZEROS;
        bytes32 before = MerkleMemory.zero(level, zeros);
        bytes calldata rest;
        (before, rest) = MerkleMemory.fold(before, level, index, MODEL_LEVEL, inputPath, zeros);
        if (rest.length != 0) revert MerkleMemory.MalformedPath();
        if (before != model.modelRoot) revert BadInputPath();
        (s0, rest) = MerkleMemory.fold(inputRoot, level, index, MODEL_LEVEL, inputPath, zeros);
    }

    /// @dev A game begins: only against a pending claim within its window.
    function _joinGame(Claim storage c) internal {
        if (c.status != Status.PENDING) revert WrongStage();
        if (block.timestamp > c.deadline) revert WindowClosed();
        ++c.openGames; // checked: reverts at 2^24 games
    }

    /// @dev A game ends. The first that the prover loses rejects the claim at once; his bond is divided when the last
    ///      one has closed, since no new game can begin after a rejection.
    function _leaveGame(bytes32 claimId, Claim storage c, bool proverWon) internal {
        --c.openGames;
        if (!proverWon) {
            ++c.lostGames;
            if (c.status == Status.PENDING) {
                c.status = Status.REJECTED;
                emit ClaimRejected(claimId);
            }
        }
        if (c.status == Status.REJECTED && c.openGames == 0) {
            (uint256 share, uint256 burn) = _shares(c.lostGames);
            burnt += burn;
            emit ClaimSettled(claimId, c.lostGames, share, burn);
        }
    }
}
