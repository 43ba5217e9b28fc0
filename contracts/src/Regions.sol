// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {LEAF_LOG2, MODEL_LEVEL, ZEROS} from "./Constants.sol";
import {IOpml} from "./IOpml.sol";
import {MerkleMemory} from "./MerkleMemory.sol";

/// @title The input and output regions of a model: subtrees of the model half of memory
library Regions {
    /// @notice S_0: the model half with an input in it. One path does both: with it the region is zero in the model
    ///         root, and with it the input's root gives S_0. I3
    function place(IOpml.Model storage model, bytes32 inputRoot, bytes calldata path) internal view returns (bytes32) {
        bytes memory zeros = ZEROS;
        uint256 level = model.inputLevel;
        (bytes32 blank, bytes32 root) =
            _fold(MerkleMemory.zero(level, zeros), inputRoot, level, model.inputAddress, path, zeros);
        if (blank != model.modelRoot) revert IOpml.BadInputPath();
        return root;
    }

    /// @notice The model half `root` holds this output. I3
    function requireOutput(IOpml.Model storage model, bytes32 outputRoot, bytes32 root, bytes calldata path)
        internal
        view
    {
        (bytes32 above,) = _fold(outputRoot, outputRoot, model.outputLevel, model.outputAddress, path, ZEROS);
        if (above != root) revert IOpml.BadOutputPath();
    }

    /// @dev From two contents of a region up to the roots of the model half; the path is all of `path`.
    function _fold(
        bytes32 pre,
        bytes32 post,
        uint256 level,
        uint256 start,
        bytes calldata path,
        bytes memory zeros
    ) private pure returns (bytes32, bytes32) {
        bytes calldata rest;
        (pre, post, rest) = MerkleMemory.fold(pre, post, level, start >> (LEAF_LOG2 + level), MODEL_LEVEL, path, zeros);
        if (rest.length != 0) revert MerkleMemory.MalformedPath();
        return (pre, post);
    }
}
