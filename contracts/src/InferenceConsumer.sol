// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IInferenceConsumer} from "./IInferenceConsumer.sol";
import {IInferenceMarket} from "./IInferenceMarket.sol";

/// @title What a consumer of inferences begins with: it knows its market, and is called back by nobody else
abstract contract InferenceConsumer is IInferenceConsumer {
    IInferenceMarket public immutable market;

    error NotTheMarket();

    constructor(IInferenceMarket market_) {
        market = market_;
    }

    modifier onlyMarket() {
        if (msg.sender != address(market)) revert NotTheMarket();
        _;
    }

    /// @dev Whether `output` is the final answer to a request: for what did not come with the call.
    function _isFinal(bytes32 requestId, bytes calldata output) internal view returns (bool) {
        IInferenceMarket.RequestState memory state = market.requests(requestId);
        return state.status == IInferenceMarket.Status.DELIVERED && state.outputHash == keccak256(output);
    }
}
