// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title A contract that asks an InferenceMarket and is called back with the answer
interface IInferenceConsumer {
    /// @notice The answer to one of this contract's own requests. Called by the market with exactly the request's
    ///         `callbackGas`. Once with `isFinal`; if this reverts or runs out of gas it is not called again, and the
    ///         answer can still be read: `IInferenceMarket.requests(requestId).outputHash`.
    /// @dev **Check that the sender is the market.** That the request is this contract's own, the market sees to.
    /// @param requestId what `request` returned
    /// @param modelId the model that was asked
    /// @param output the bytes of the model's output region; see Tensor.sol for what is in them
    /// @param isFinal false only if the request's terms say `optimistic`: then the claim can still be challenged, the
    ///        answer may be false, and another one, or none, may follow. It costs a liar no more than a claim's bond to
    ///        have any bytes delivered so: do nothing then that cannot be undone
    function onInference(bytes32 requestId, bytes32 modelId, bytes calldata output, bool isFinal) external;
}
