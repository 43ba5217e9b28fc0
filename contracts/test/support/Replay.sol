// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Test} from "./Test.sol";

/// @title Games that Python's players have played in another EVM, made again transaction by transaction
/// @notice The files are written by tests/contracts/contracts_vectors.py. The contracts get the same addresses, which
///         are part of every id.
abstract contract Replay is Test {
    struct Game {
        address deployer;
        address verifier;
        address opml;
        uint256 proverBond;
        uint256 challengerBond;
        uint256 k;
        uint256 balance; // of the contract in the end
        // One of each for each transaction
        string[] name;
        address[] sender;
        uint256[] value;
        uint256[] time;
        bytes[] data;
        bytes[] output;
        uint256[] gas;
    }

    function _load(string memory name) internal view returns (Game memory game) {
        string memory json = vm.readFile(string.concat("test/vectors/", name, ".json"));
        game.deployer = vm.parseJsonAddress(json, ".deployer");
        game.verifier = vm.parseJsonAddress(json, ".verifier");
        game.opml = vm.parseJsonAddress(json, ".opml");
        game.proverBond = vm.parseJsonUint(json, ".proverBond");
        game.challengerBond = vm.parseJsonUint(json, ".challengerBond");
        game.k = vm.parseJsonUint(json, ".k");
        game.balance = vm.parseJsonUint(json, ".balance");
        game.name = vm.parseJsonStringArray(json, ".name");
        game.sender = vm.parseJsonAddressArray(json, ".sender");
        game.value = vm.parseJsonUintArray(json, ".value");
        game.time = vm.parseJsonUintArray(json, ".time");
        game.data = vm.parseJsonBytesArray(json, ".data");
        game.output = vm.parseJsonBytesArray(json, ".output");
        game.gas = vm.parseJsonUintArray(json, ".gas");
    }

    /// @dev The contracts on which the game was played, and ether for who plays.
    function _deploy(Game memory game) internal {
        bytes memory arguments = abi.encode(game.verifier, game.proverBond, game.challengerBond, game.k);
        _create(game.deployer, game.verifier, vm.getCode("StepVerifier.sol:StepVerifier"));
        _create(game.deployer, game.opml, bytes.concat(vm.getCode("Opml.sol:Opml"), arguments));
        for (uint256 i; i < game.sender.length; ++i) {
            vm.deal(game.sender[i], 1000 ether);
        }
    }

    function _create(address deployer, address expected, bytes memory code) private {
        vm.prank(deployer);
        address made;
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        vm.assertTrue(made == expected, "another address");
    }

    /// @dev The next call is at the time of the transaction, and from its sender.
    function _prepare(Game memory game, uint256 i) internal {
        vm.warp(game.time[i]);
        vm.prank(game.sender[i]);
    }

    /// @dev A transaction does what it did.
    function _make(Game memory game, uint256 i) internal {
        _prepare(game, i);
        (bool done, bytes memory output) = game.opml.call{value: game.value[i]}(game.data[i]);
        vm.assertTrue(done, "reverts");
        assertEq(keccak256(output), keccak256(game.output[i]));
    }
}
