// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {GUEST_BYTES, LEAF_LOG2, MODEL_BYTES, MODEL_LEAVES, MODEL_LEVEL} from "./Constants.sol";
import {IOpml} from "./IOpml.sol";

/// @title The registry of models: what a claim may be about
abstract contract Models is IOpml {
    mapping(bytes32 modelId => Model) private _models;

    /// @inheritdoc IOpml
    function registerModel(Model calldata model, string calldata uri) external override returns (bytes32 modelId) {
        modelId = keccak256(abi.encode(model)); // I4: nothing about a model can be changed without another id
        if (_models[modelId].clock == 0) {
            _check(model);
            _models[modelId] = model;
        }
        emit ModelRegistered(modelId, msg.sender, model, uri);
    }

    /// @inheritdoc IOpml
    function models(bytes32 modelId) external view override returns (Model memory) {
        return _models[modelId];
    }

    function _model(bytes32 modelId) internal view returns (Model storage model) {
        model = _models[modelId];
        if (model.clock == 0) revert UnknownModel(); // a registered one has a clock
    }

    /// @dev All that the moves rely on: no address, tile number or clock can overflow later.
    function _check(Model calldata model) private pure {
        if (
            model.entry >= GUEST_BYTES || model.entry % 4 != 0 // an instruction of the guest
                || model.tiles == 0 || model.stride == 0 // a tile writes one leaf of the model half
                || uint256(model.tiles) * model.stride > MODEL_LEAVES || model.maxSteps == 0 || model.window == 0
                || model.clock == 0
        ) revert BadModel();
        _checkRegion(model.inputAddress, model.inputBytes, model.inputLevel);
        _checkRegion(model.outputAddress, model.outputBytes, model.outputLevel);
    }

    /// @dev A region is a whole subtree of the model half.
    function _checkRegion(uint256 start, uint256 size, uint256 level) private pure {
        if (level > MODEL_LEVEL) revert BadModel();
        uint256 capacity = 1 << (level + LEAF_LOG2);
        if (start % capacity != 0 || start + capacity > MODEL_BYTES || size == 0 || size > capacity) revert BadModel();
    }
}
