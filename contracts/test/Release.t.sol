// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Test} from "./support/Test.sol";

/// @title What is tested here is what is released: forge's build of each contract is the artifact of build.mjs
contract ReleaseTest is Test {
    function _same(string memory name) private view {
        string memory artifact = vm.readFile(string.concat("../opml/chain/artifacts/", name, ".json"));
        bytes memory released = vm.parseJsonBytes(artifact, ".bytecode");
        bytes memory built = vm.getCode(string.concat(name, ".sol:", name));
        vm.assertTrue(released.length > 1000, "no bytecode");
        vm.assertTrue(keccak256(released) == keccak256(built), string.concat(name, " is stale: run make contracts"));
    }

    function test_opml() external view {
        _same("Opml");
    }

    function test_verifier() external view {
        _same("StepVerifier");
    }

    function test_market() external view {
        _same("InferenceMarket");
    }
}
