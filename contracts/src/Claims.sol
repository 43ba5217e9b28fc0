// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Bonds} from "./Bonds.sol";
import {IOpml} from "./IOpml.sol";
import {MerkleMemory} from "./MerkleMemory.sol";
import {Models} from "./Models.sol";
import {Slots} from "./Slots.sol";

/// @title Claims: from the bond to finality or rejection
abstract contract Claims is Models, Bonds {
    mapping(bytes32 claimId => uint256 packed) private _claims;

    /// @inheritdoc IOpml
    function claim(bytes32 modelId, bytes calldata input, bytes32 outputRoot, uint256 nonce)
        external
        payable
        override
        returns (bytes32 claimId)
    {
        Model storage model = _model(modelId);
        if (input.length != model.inputBytes) revert WrongLength();
        bytes32 inputRoot = MerkleMemory.subtreeRoot(input, model.inputLevel);
        claimId = _bondOn(modelId, inputRoot, outputRoot, nonce, true, model.window);
        emit InputPosted(claimId, input);
    }

    /// @inheritdoc IOpml
    function claimByRoot(bytes32 modelId, bytes32 inputRoot, bytes32 outputRoot, uint256 nonce, string calldata uri)
        external
        payable
        override
        returns (bytes32 claimId)
    {
        uint256 window = _model(modelId).window;
        claimId = _bondOn(modelId, inputRoot, outputRoot, nonce, false, window);
        emit InputWithheld(claimId, uri);
    }

    /// @inheritdoc IOpml
    function finalise(bytes32 claimId) external override {
        ClaimState memory c = _claim(claimId);
        _finalise(claimId, c);
        credit[c.prover] += proverBond;
    }

    /// @inheritdoc IOpml
    function claims(bytes32 claimId) external view override returns (ClaimState memory c) {
        Slots.unpack(_claims[claimId], c);
    }

    /// @inheritdoc IOpml
    /// @dev I16: a claim at this contract, on this chain, and every field of it.
    function claimIdOf(Claim calldata claim_) public view override returns (bytes32 claimId) {
        // keccak256(abi.encode(block.chainid, address(this), claim_)); the claim is encoded in calldata already
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, chainid())
            mstore(add(free, 0x20), address())
            calldatacopy(add(free, 0x40), claim_, 0xc0)
            claimId := keccak256(free, 0x100)
        }
    }

    function _claim(bytes32 claimId) internal view returns (ClaimState memory c) {
        uint256 word = _claims[claimId];
        // slither-disable-next-line incorrect-equality (a word that holds a time among other things)
        if (word == 0) revert UnknownClaim();
        Slots.unpack(word, c);
    }

    /// @dev Of a claim that has a game: cheaper than `_claim`.
    function _proverOf(bytes32 claimId) internal view returns (address) {
        return address(uint160(_claims[claimId])); // the lowest bits: see `Slots`
    }

    /// @dev I12: the prover is part of the id, so nobody can take another's claim and lose it for him.
    function _bondOn(
        bytes32 modelId,
        bytes32 inputRoot,
        bytes32 outputRoot,
        uint256 nonce,
        bool inputPosted,
        uint256 window
    ) private returns (bytes32 claimId) {
        _takeBond(proverBond);
        claimId = keccak256(
            abi.encode(
                block.chainid, address(this), modelId, inputRoot, outputRoot, msg.sender, nonce, inputPosted
            )
        );
        if (_claims[claimId] != 0) revert ClaimExists();
        uint40 deadline = uint40(block.timestamp + window);
        _claims[claimId] = Slots.packed(ClaimState(msg.sender, deadline, 0, 0, Status.PENDING));
        emit Claimed(claimId, modelId, msg.sender, inputRoot, outputRoot, nonce, inputPosted, deadline);
    }

    /// @dev Whose bond goes back is the caller's business.
    function _finalise(bytes32 claimId, ClaimState memory c) private {
        if (c.status != Status.PENDING) revert WrongStage(); // I7
        if (block.timestamp <= c.deadline) revert WindowOpen();
        if (c.openGames != 0) revert GamesOpen(); // I9
        c.status = Status.FINAL;
        _claims[claimId] = Slots.packed(c);
        emit ClaimFinalised(claimId);
    }

    /// @dev Makes a claim of `account` final: the bond that this frees, 0 if it was final before.
    function _collectClaim(bytes32 claimId, address account) internal returns (uint256) {
        ClaimState memory c = _claim(claimId);
        if (c.prover != account) revert NotAllowed();
        if (c.status == Status.FINAL) return 0;
        _finalise(claimId, c);
        return proverBond;
    }

    /// @dev A game begins: only against a pending claim within its window.
    function _joinGame(bytes32 claimId) internal {
        ClaimState memory c = _claim(claimId);
        if (c.status != Status.PENDING) revert WrongStage();
        if (block.timestamp > c.deadline) revert WindowClosed();
        ++c.openGames; // checked: no more than 2^24 - 1 games at once
        _claims[claimId] = Slots.packed(c);
    }

    /// @dev A game ends; the others are not looked at (I18). The first that the prover loses rejects the claim at once; his
    ///      bond is divided when the last one has closed, since no new game can begin after a rejection.
    function _leaveGame(bytes32 claimId, bool proverWon) internal {
        ClaimState memory c = _claim(claimId);
        --c.openGames;
        if (!proverWon) {
            ++c.lostGames;
            if (c.status == Status.PENDING) {
                c.status = Status.REJECTED;
                emit ClaimRejected(claimId);
            }
        }
        _claims[claimId] = Slots.packed(c);
        if (c.status == Status.REJECTED && c.openGames == 0) {
            (uint256 share, uint256 burnt) = _shares(c.lostGames);
            emit ClaimSettled(claimId, c.lostGames, share, burnt);
        }
    }
}
