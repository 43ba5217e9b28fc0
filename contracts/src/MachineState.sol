// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {HALTED, REGISTER_BYTES, REGISTERS, REG_A0, REG_A1, ROOT_BYTES, STATE_BYTES} from "./Constants.sol";

/// @title The machine's state in its encoding: root ‖ x1..x31 ‖ pc (big endian) ‖ status, hashed with keccak-256
/// @notice The step works on these 289 bytes in place, so that encoding and machine cannot differ.
library MachineState {
    uint256 private constant PC = ROOT_BYTES + (REGISTERS - 1) * REGISTER_BYTES;
    uint256 private constant STATUS = PC + REGISTER_BYTES;

    /// @notice The hash of a running machine whose registers are 0 but for a0 and a1.
    function startHash(bytes32 root_, uint64 pc_, uint64 a0, uint64 a1) internal pure returns (bytes32) {
        bytes memory state = new bytes(STATE_BYTES);
        setRoot(state, root_);
        setRegister(state, REG_A0, a0);
        setRegister(state, REG_A1, a1);
        setPc(state, pc_);
        return keccak256(state);
    }

    /// @notice Whether `state` encodes a machine that has halted with a0 = 0 (success) and this memory root.
    function isEnd(bytes calldata state, bytes32 root_) internal pure returns (bool) {
        return state.length == STATE_BYTES && uint8(state[STATUS]) == HALTED
            && bytes8(state[_offset(REG_A0):]) == 0 && bytes32(state) == root_;
    }

    function root(bytes memory state) internal pure returns (bytes32) {
        return bytes32(state);
    }

    function setRoot(bytes memory state, bytes32 value) internal pure {
        assembly ("memory-safe") {
            mstore(add(state, 0x20), value)
        }
    }

    /// @notice x0 is not in the encoding: it reads 0 and ignores writes.
    function register(bytes memory state, uint256 index) internal pure returns (uint64) {
        return index == 0 ? 0 : _word(state, _offset(index));
    }

    function setRegister(bytes memory state, uint256 index, uint64 value) internal pure {
        if (index != 0) _setWord(state, _offset(index), value);
    }

    function pc(bytes memory state) internal pure returns (uint64) {
        return _word(state, PC);
    }

    function setPc(bytes memory state, uint64 value) internal pure {
        _setWord(state, PC, value);
    }

    function status(bytes memory state) internal pure returns (uint8) {
        return uint8(state[STATUS]);
    }

    function setStatus(bytes memory state, uint8 value) internal pure {
        state[STATUS] = bytes1(value);
    }

    function _offset(uint256 index) private pure returns (uint256) {
        unchecked {
            return ROOT_BYTES + (index - 1) * REGISTER_BYTES;
        }
    }

    /// @dev The 8 bytes at `offset`, big endian. Solidity pads the buffer to 320 bytes, so 32 can be read anywhere.
    function _word(bytes memory state, uint256 offset) private pure returns (uint64 value) {
        assembly ("memory-safe") {
            value := shr(192, mload(add(add(state, 0x20), offset)))
        }
    }

    /// @dev Replaces 8 bytes and keeps the 24 after them.
    function _setWord(bytes memory state, uint256 offset, uint64 value) private pure {
        assembly ("memory-safe") {
            let place := add(add(state, 0x20), offset)
            mstore(place, or(shl(192, value), shr(64, shl(64, mload(place)))))
        }
    }
}
