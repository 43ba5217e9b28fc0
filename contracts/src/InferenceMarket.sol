// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IInferenceConsumer} from "./IInferenceConsumer.sol";
import {IInferenceMarket} from "./IInferenceMarket.sol";
import {IOpml} from "./IOpml.sol";
import {MerkleMemory} from "./MerkleMemory.sol";

/// @title The market. Its invariants, each with its test in tests/market:
/// @notice K1 balance = prices held for open and accepted requests + all credit, to the wei (more only if somebody
///            forces ether in).
///         K2 A request is closed once: either delivered or refunded; and its price goes to prover, registrant and
///            `refundTo` whole.
///         K3 Nobody is paid, and no consumer is told `isFinal`, before the claim is final at Opml.
///         K4 Before that a consumer is called only if its own terms say so.
///         K5 A consumer is called with all the gas that it asked for, or the transaction reverts; at most once with
///            `isFinal`. What it does, reverts or burns, takes no payment from anybody.
///         K6 Only who made a request is called back: nobody can have a stranger called.
///         K7 While its claim stands, nobody can take an accepted request from its prover; once it is rejected, anyone
///            can accept anew, or close it after the deadline. Every request can be closed by anyone in the end.
///         K8 Every transition writes all its state before it calls a contract, so that re-entering finds it done.
contract InferenceMarket is IInferenceMarket {
    struct Publication {
        bool published;
        uint16 royaltyBps;
    }

    uint16 public constant override MAX_ROYALTY_BPS = 5_000;
    uint32 public constant override MAX_CALLBACK_GAS = 5_000_000;
    /// @dev More than a call costs besides what it hands on: an account not touched before that delegates to another.
    uint256 private constant CALL_COST = 6_000;

    IOpml public immutable override opml;

    mapping(bytes32 requestId => RequestState) private _requests;
    mapping(bytes32 modelId => mapping(address registrant => Publication)) public override royalty;
    mapping(address account => uint256) public override credit;
    uint256 private _nonce;

    /// @param opml_ where claims are made and disputed
    constructor(IOpml opml_) {
        opml = opml_;
    }

    // ------------------------------------------------------------------------------------------------- models

    /// @inheritdoc IInferenceMarket
    function publish(IOpml.Model calldata model, string calldata uri, uint16 royaltyBps)
        external
        returns (bytes32 modelId)
    {
        if (royaltyBps > MAX_ROYALTY_BPS) revert BadRoyalty();
        modelId = keccak256(abi.encode(model));
        Publication storage mine = royalty[modelId][msg.sender];
        if (mine.published) revert AlreadyPublished();
        (mine.published, mine.royaltyBps) = (true, royaltyBps);
        emit Published(modelId, msg.sender, royaltyBps);
        // slither-disable-next-line unused-return (the id is known)
        opml.registerModel(model, uri);
    }

    // ----------------------------------------------------------------------------------------------- requests

    /// @inheritdoc IInferenceMarket
    function request(Terms calldata terms, bytes calldata input) external payable returns (bytes32 requestId) {
        IOpml.Model memory model = _model(terms.modelId);
        if (input.length != model.inputBytes) revert WrongLength();
        requestId = _request(terms, MerkleMemory.subtreeRoot(input, model.inputLevel));
        emit RequestInput(requestId, input);
    }

    /// @inheritdoc IInferenceMarket
    function requestByRoot(Terms calldata terms, bytes32 inputRoot, string calldata uri)
        external
        payable
        returns (bytes32 requestId)
    {
        _model(terms.modelId);
        requestId = _request(terms, inputRoot);
        emit RequestInputAt(requestId, uri);
    }

    /// @inheritdoc IInferenceMarket
    function accept(Request calldata request_, IOpml.Claim calldata claim, bytes calldata output) external {
        Terms calldata terms = request_.terms;
        (bytes32 requestId, RequestState storage state) = _open(request_);
        if (!_free(state)) revert RequestTaken();
        if (block.timestamp > terms.deadline) revert TooLate();
        if (msg.sender != claim.prover && !opml.isDelegate(claim.prover, msg.sender)) revert NotTheProver();

        bytes32 claimId = opml.claimIdOf(claim);
        IOpml.Status status = opml.claims(claimId).status;
        if (
            claim.modelId != terms.modelId || claim.inputRoot != request_.inputRoot
                || !(claim.inputPosted || terms.acceptWithheld)
                || !(status == IOpml.Status.PENDING || status == IOpml.Status.FINAL)
        ) revert WrongClaim();
        IOpml.Model memory model = _model(terms.modelId);
        if (
            output.length != model.outputBytes
                || MerkleMemory.subtreeRoot(output, model.outputLevel) != claim.outputRoot
        ) revert WrongOutput();

        uint256 price = priceOf(request_);
        state.status = Status.ACCEPTED;
        state.price = uint128(price); // no more than there is ether
        state.claimId = claimId;
        state.outputHash = keccak256(output);
        emit Accepted(requestId, claimId, claim.prover, price, output);
        if (terms.optimistic && status == IOpml.Status.PENDING) _call(requestId, request_, output, false);
    }

    /// @inheritdoc IInferenceMarket
    function deliver(Request calldata request_, bytes calldata output) external {
        (bytes32 requestId, RequestState storage state) = _open(request_);
        if (state.status != Status.ACCEPTED) revert NotAccepted();
        if (keccak256(output) != state.outputHash) revert WrongOutput();
        bytes32 claimId = state.claimId;
        IOpml.ClaimState memory claim = opml.claims(claimId);
        bool pending = claim.status == IOpml.Status.PENDING;
        if (!pending && claim.status != IOpml.Status.FINAL) revert ClaimLost();

        state.status = Status.DELIVERED;
        uint256 price = state.price;
        uint256 share = price * request_.royaltyBps / 10_000;
        credit[claim.prover] += price - share;
        if (share != 0) credit[request_.terms.registrant] += share;
        if (request_.maxPrice != price) credit[request_.terms.refundTo] += request_.maxPrice - price;
        emit Delivered(requestId, claimId, claim.prover, price - share, share, request_.maxPrice - price);

        if (pending) opml.finalise(claimId); // reverts, with all of the above, if it is not to be final
        _call(requestId, request_, output, true);
    }

    /// @inheritdoc IInferenceMarket
    function refund(Request calldata request_) external {
        (bytes32 requestId, RequestState storage state) = _open(request_);
        if (block.timestamp <= request_.terms.deadline) revert TooEarly();
        if (!_free(state)) revert RequestTaken();
        state.status = Status.REFUNDED;
        credit[request_.terms.refundTo] += request_.maxPrice;
        emit Refunded(requestId, request_.terms.refundTo, request_.maxPrice);
    }

    /// @inheritdoc IInferenceMarket
    function withdraw(address to) external {
        uint256 amount = credit[msg.sender];
        if (amount == 0) revert NothingToWithdraw();
        credit[msg.sender] = 0;
        emit Withdrawn(msg.sender, to, amount);
        (bool paid,) = to.call{value: amount}("");
        if (!paid) revert PaymentFailed();
    }

    // -------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IInferenceMarket
    function requests(bytes32 requestId) external view returns (RequestState memory) {
        return _requests[requestId];
    }

    /// @inheritdoc IInferenceMarket
    function requestIdOf(Request memory request_) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), request_));
    }

    /// @inheritdoc IInferenceMarket
    function priceOf(Request calldata request_) public view returns (uint256) {
        (uint256 low, uint256 start, uint256 end) = (request_.terms.minPrice, request_.start, request_.terms.deadline);
        uint256 now_ = block.timestamp < end ? block.timestamp : end;
        return low + (request_.maxPrice - low) * (now_ - start) / (end - start);
    }

    // ------------------------------------------------------------------------------------------------ helpers

    function _request(Terms calldata terms, bytes32 inputRoot) private returns (bytes32 requestId) {
        if (
            terms.deadline <= block.timestamp || terms.minPrice > msg.value || terms.refundTo == address(0)
                || terms.callbackGas > MAX_CALLBACK_GAS
        ) revert BadTerms();
        Publication memory publication = royalty[terms.modelId][terms.registrant];
        if (terms.registrant != address(0) && !publication.published) revert NotPublished();
        Request memory made = Request({
            terms: terms,
            requester: msg.sender,
            nonce: _nonce++,
            inputRoot: inputRoot,
            maxPrice: msg.value,
            start: uint40(block.timestamp),
            royaltyBps: publication.royaltyBps
        });
        requestId = requestIdOf(made);
        _requests[requestId].status = Status.OPEN;
        emit Requested(requestId, terms.modelId, msg.sender, made);
    }

    function _model(bytes32 modelId) private view returns (IOpml.Model memory model) {
        model = opml.models(modelId);
        if (model.tiles == 0) revert UnknownModel();
    }

    /// @dev A request that has not been closed.
    function _open(Request calldata request_) private view returns (bytes32 requestId, RequestState storage state) {
        requestId = requestIdOf(request_);
        state = _requests[requestId];
        if (state.status == Status.NONE) revert UnknownRequest();
        if (state.status > Status.ACCEPTED) revert RequestClosed();
    }

    /// @dev Whether no claim stands for it.
    function _free(RequestState storage state) private view returns (bool) {
        return state.status == Status.OPEN || opml.claims(state.claimId).status == IOpml.Status.REJECTED;
    }

    /// @dev Calls the requester with exactly the gas it asked for. A call gets at most 63/64 of what is left (EIP-150),
    ///      silently: who starves it finds his transaction reverted instead. What it returns is not looked at, and not
    ///      copied, since that would be at the expense of the caller.
    function _call(bytes32 requestId, Request calldata request_, bytes calldata output, bool isFinal) private {
        uint256 allowance = request_.terms.callbackGas;
        if (allowance == 0) return;
        address consumer = request_.requester;
        bytes memory data =
            abi.encodeCall(IInferenceConsumer.onInference, (requestId, request_.terms.modelId, output, isFinal));
        if (gasleft() * 63 / 64 < allowance + CALL_COST) revert NotEnoughGas();
        bool succeeded;
        assembly ("memory-safe") {
            succeeded := call(allowance, consumer, 0, add(data, 0x20), mload(data), 0, 0)
        }
        emit ConsumerCalled(requestId, isFinal, succeeded);
    }
}
