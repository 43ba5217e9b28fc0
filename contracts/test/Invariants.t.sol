// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Handler} from "./support/Handler.sol";
import {Test} from "./support/Test.sol";

/// @title What holds after every transaction, and that every way leads to an end; numbers are those of the README
contract InvariantsTest is Test {
    Handler private _handler;

    function setUp() external {
        _handler = new Handler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    struct FuzzSelector {
        address target;
        bytes4[] selectors;
    }

    function excludeSelectors() external view returns (FuzzSelector[] memory excluded) {
        excluded = new FuzzSelector[](1);
        excluded[0] = FuzzSelector(address(_handler), new bytes4[](1));
        excluded[0].selectors[0] = Handler.wind_up.selector;
    }

    function invariant_the_books_are_right() external view {
        _handler.check();
    }

    function afterInvariant() external {
        _handler.wind_up();
        _handler.check();
    }
}
