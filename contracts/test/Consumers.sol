// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IInferenceConsumer} from "../src/IInferenceConsumer.sol";
import {IInferenceMarket} from "../src/IInferenceMarket.sol";
import {Tensor} from "../src/Tensor.sol";

/// @title A requester that is a contract, takes no ether, and behaves badly when it is called. For tests only.
contract MoodyConsumer is IInferenceConsumer {
    enum Mood {
        LISTEN,
        REVERT,
        BURN_GAS,
        BOMB, // reverts with very much data
        REENTER
    }

    struct Answer {
        bytes32 requestId;
        bytes32 modelId;
        bytes output;
        bool isFinal;
        uint256 gas;
    }

    Mood public mood;
    Answer[] private _answers;
    address private _target;
    bytes[] private _calls;
    bytes4[] private _refusals;

    function setMood(Mood mood_) external {
        mood = mood_;
    }

    /// @notice What to call when it is called back.
    function reenter(address target, bytes[] calldata calls) external {
        (mood, _target, _calls) = (Mood.REENTER, target, calls);
    }

    function onInference(bytes32 requestId, bytes32 modelId, bytes calldata output, bool isFinal) external {
        uint256 gas = gasleft();
        if (mood == Mood.REVERT) revert("no");
        if (mood == Mood.BURN_GAS) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        if (mood == Mood.BOMB) {
            assembly ("memory-safe") {
                revert(0, 1000000)
            }
        }
        _answers.push(Answer(requestId, modelId, output, isFinal, gas));
        if (mood != Mood.REENTER) return;
        for (uint256 i; i < _calls.length; ++i) {
            (bool done, bytes memory answer) = _target.call(_calls[i]);
            _refusals.push(done ? bytes4(0) : bytes4(answer));
        }
    }

    function answers() external view returns (Answer[] memory) {
        return _answers;
    }

    /// @notice The errors, by selector, of the calls made when it was called back; zero for one that went through.
    function refusals() external view returns (bytes4[] memory) {
        return _refusals;
    }

    /// @notice Any call, with any value.
    function forward(address target, bytes calldata data) external payable returns (bytes memory) {
        (bool done, bytes memory answer) = target.call{value: msg.value}(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
        return answer;
    }
}

/// @title Who is paid by the market, and behaves badly then. For tests only.
contract MoodyRecipient {
    enum Mood {
        ACCEPT,
        REFUSE,
        REENTER, // and fail if that fails
        SNEAK, // and take what comes
        BURN_GAS
    }

    Mood public mood;

    receive() external payable {
        if (mood == Mood.REFUSE) revert();
        if (mood == Mood.BURN_GAS) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        if (mood == Mood.REENTER) withdraw(IInferenceMarket(msg.sender));
        if (mood == Mood.SNEAK) try this.withdraw(IInferenceMarket(msg.sender)) {} catch {}
    }

    function setMood(Mood mood_) external {
        mood = mood_;
    }

    function withdraw(IInferenceMarket market) public {
        market.withdraw(address(this));
    }
}

/// @title The functions of Tensor.sol, to be called from outside. For tests only.
contract TensorHarness {
    function argmaxFloat32(bytes calldata data) external pure returns (uint256) {
        return Tensor.argmaxFloat32(data);
    }

    function wadAt(bytes calldata data, uint256 index) external pure returns (int256) {
        return Tensor.wadAt(data, index);
    }

    function float32At(bytes calldata data, uint256 index) external pure returns (uint32) {
        return Tensor.float32At(data, index);
    }

    function int64At(bytes calldata data, uint256 index) external pure returns (int64) {
        return Tensor.int64At(data, index);
    }

    function int32At(bytes calldata data, uint256 index) external pure returns (int32) {
        return Tensor.int32At(data, index);
    }

    function int8At(bytes calldata data, uint256 index) external pure returns (int8) {
        return Tensor.int8At(data, index);
    }

    function uint8At(bytes calldata data, uint256 index) external pure returns (uint8) {
        return Tensor.uint8At(data, index);
    }

    function boolAt(bytes calldata data, uint256 index) external pure returns (bool) {
        return Tensor.boolAt(data, index);
    }
}
