// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title What the tests use of forge's cheat codes (https://book.getfoundry.sh/reference/cheatcodes)
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    struct Gas {
        uint64 gasLimit;
        uint64 gasTotalUsed;
        uint64 gasMemoryUsed;
        int64 gasRefunded;
        uint64 gasRemaining;
    }

    // The chain
    function warp(uint256 time) external;
    function getBlockTimestamp() external view returns (uint256);
    function deal(address account, uint256 balance) external;
    function prank(address sender) external;
    function load(address account, bytes32 slot) external view returns (bytes32);
    function snapshotState() external returns (uint256 id);
    function revertToStateAndDelete(uint256 id) external returns (bool done);

    // What a call does
    function expectRevert(bytes4 selector) external;
    function expectRevert(bytes calldata data) external;
    function expectEmit(address emitter) external;
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);

    function lastCallGas() external view returns (Gas memory);
    function pauseGasMetering() external;
    function resumeGasMetering() external;

    // Sources and files
    function deployCode(string calldata name) external returns (address);
    function deployCode(string calldata name, bytes calldata arguments) external returns (address);
    function getCode(string calldata name) external view returns (bytes memory);
    function readFile(string calldata path) external view returns (string memory);
    function parseJson(string calldata json, string calldata key) external pure returns (bytes memory);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function parseJsonUintArray(string calldata json, string calldata key) external pure returns (uint256[] memory);
    function parseJsonAddressArray(string calldata json, string calldata key) external pure returns (address[] memory);
    function parseJsonBytesArray(string calldata json, string calldata key) external pure returns (bytes[] memory);
    function parseJsonStringArray(string calldata json, string calldata key) external pure returns (string[] memory);

    // Assertions
    function assertTrue(bool condition, string calldata message) external pure;
    function assertEq(uint256 left, uint256 right, string calldata message) external pure;
    function assertEq(bytes32 left, bytes32 right, string calldata message) external pure;
    function assertGe(uint256 left, uint256 right, string calldata message) external pure;
    function assertLe(uint256 left, uint256 right, string calldata message) external pure;
}

/// @title What a test is
abstract contract Test {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @dev The compiler takes `block.timestamp` for constant within a call, and may read it after a later `warp`.
    function _now() internal view returns (uint256) {
        return vm.getBlockTimestamp();
    }

    function assertEq(uint256 left, uint256 right) internal pure {
        vm.assertEq(left, right, "");
    }

    function assertEq(bytes32 left, bytes32 right) internal pure {
        vm.assertEq(left, right, "");
    }

    /// @dev A number of the interval [least, most], each from about as many `seed`s.
    function bound(uint256 seed, uint256 least, uint256 most) internal pure returns (uint256) {
        return most - least == type(uint256).max ? seed : least + seed % (most - least + 1);
    }
}
