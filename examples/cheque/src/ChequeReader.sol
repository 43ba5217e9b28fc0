// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IInferenceMarket} from "@opml/contracts/IInferenceMarket.sol";
import {InferenceConsumer} from "@opml/contracts/InferenceConsumer.sol";
import {Tensor} from "@opml/contracts/Tensor.sol";

/// @title Pays what a scanned cheque says: one handwritten digit, in units of 0.1 ether
/// @notice The drawer hands in the scan with enough to cover any digit. Once it is read, and nobody can dispute the
///         reading any more, the payee is owed the amount and the drawer what is left.
contract ChequeReader is InferenceConsumer {
    struct Cheque {
        address drawer;
        address payee;
    }

    uint256 public constant UNIT = 0.1 ether;
    uint256 public constant COVER = 9 * UNIT;

    bytes32 public immutable model;
    mapping(bytes32 requestId => Cheque) public cheques;
    mapping(address account => uint256) public owed;

    event Read(bytes32 indexed requestId, address indexed payee, uint256 amount);

    error NoSuchCheque();
    error StillWaiting();
    error NotPaid();

    /// @param model_ the id that `opml inspect` prints: this contract trusts that model, and nobody who runs it
    constructor(IInferenceMarket market_, bytes32 model_) InferenceConsumer(market_) {
        model = model_;
    }

    /// @notice Value: COVER, and the highest price for reading the scan; what is not spent of that is the drawer's
    ///         credit at the market.
    /// @param scan 64 grey values, 0 to 16
    function present(bytes calldata scan, address payee) external payable returns (bytes32 requestId) {
        IInferenceMarket.Terms memory terms = IInferenceMarket.Terms({
            modelId: model,
            registrant: address(0),
            refundTo: msg.sender,
            minPrice: 0,
            deadline: uint40(block.timestamp + 1 hours),
            callbackGas: 150_000,
            optimistic: false,
            acceptWithheld: false
        });
        requestId = market.request{value: msg.value - COVER}(terms, scan);
        cheques[requestId] = Cheque(msg.sender, payee);
    }

    /// @notice The market calls this once the answer is final.
    function onInference(bytes32 requestId, bytes32, bytes calldata output, bool) external onlyMarket {
        _read(requestId, output);
    }

    /// @notice Should that call have failed: anyone brings the same answer.
    function settle(bytes32 requestId, bytes calldata output) external {
        if (!_isFinal(requestId, output)) revert StillWaiting();
        _read(requestId, output);
    }

    /// @notice Nobody wanted to read it for that price: the drawer has his cover back.
    function cancel(bytes32 requestId) external {
        if (market.requests(requestId).status != IInferenceMarket.Status.REFUNDED) revert StillWaiting();
        owed[_take(requestId).drawer] += COVER;
    }

    function withdraw() external {
        uint256 amount = owed[msg.sender];
        owed[msg.sender] = 0;
        (bool paid,) = msg.sender.call{value: amount}("");
        if (!paid) revert NotPaid();
    }

    function _read(bytes32 requestId, bytes calldata output) private {
        Cheque memory cheque = _take(requestId);
        uint256 amount = Tensor.argmaxFloat32(output) * UNIT;
        owed[cheque.payee] += amount;
        owed[cheque.drawer] += COVER - amount;
        emit Read(requestId, cheque.payee, amount);
    }

    function _take(bytes32 requestId) private returns (Cheque memory cheque) {
        cheque = cheques[requestId];
        if (cheque.drawer == address(0)) revert NoSuchCheque();
        delete cheques[requestId];
    }
}
