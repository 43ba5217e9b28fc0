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
        uint256 index = model.inputAddress >> (LEAF_LOG2 + level);
        if (_fold(MerkleMemory.zero(level, zeros), level, index, path, zeros) != model.modelRoot) {
            revert IOpml.BadInputPath();
        }
        return _fold(inputRoot, level, index, path, zeros);
    }

    /// @notice Whether a model half holds this output. I3
    function requireOutput(IOpml.Model storage model, bytes32 outputRoot, bytes32 root, bytes calldata path)
        internal
        view
    {
        uint256 level = model.outputLevel;
        uint256 index = model.outputAddress >> (LEAF_LOG2 + level);
        if (_fold(outputRoot, level, index, path, ZEROS) != root) revert IOpml.BadOutputPath();
    }

    /// @dev From a region up to the root of the model half; the path is all of `path`.
    function _fold(bytes32 node, uint256 level, uint256 index, bytes calldata path, bytes memory zeros)
        private
        pure
        returns (bytes32 root)
    {
        bytes calldata rest;
        (root, rest) = MerkleMemory.fold(node, level, index, MODEL_LEVEL, path, zeros);
        if (rest.length != 0) revert MerkleMemory.MalformedPath();
    }
}
