// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IOpml} from "./IOpml.sol";

/// @title A market for inferences: contracts and people pay for answers, provers and authors of models earn
/// @notice A requester names a model, an input and a price. A prover who has claimed the inference at Opml accepts with
///         that claim and the output. Once the claim is final, anyone delivers: the prover and the model's registrant
///         are paid, and the requester, if it is a contract that wants so, is called with the output.
///         No owner, no upgrade, no fee of its own.
interface IInferenceMarket {
    /// @notice What a requester asks for, and how.
    struct Terms {
        bytes32 modelId; // as `opml inspect` gives it: it commits to every bit of the model and to the window
        address registrant; // who published the model and gets the royalty; 0: nobody
        address refundTo; // who gets what is not spent
        uint256 minPrice; // wei; the price rises from here to the value of the request, evenly until the deadline
        uint40 deadline; // last second in which a prover may accept
        uint32 callbackGas; // gas for `onInference` of the requester; 0: it is not called
        bool optimistic; // call it also before the claim is final, with isFinal = false
        bool acceptWithheld; // a claim will do whose input is not posted at Opml; see IOpml.claimByRoot
    }

    /// @notice A request. Its id is keccak256(abi.encode(chain id, market, request)); the market keeps nothing of it but
    ///         the id, so whoever needs a field brings the whole request, as the event `Requested` has it.
    struct Request {
        Terms terms;
        address requester;
        uint256 nonce; // makes it unique
        bytes32 inputRoot; // root of the model's input region
        uint256 maxPrice; // wei; held by the market until the request is closed
        uint40 start; // time of the request
        uint16 royaltyBps; // hundredths of a percent of the price, for the registrant
    }

    enum Status {
        NONE,
        OPEN, // waits for a prover
        ACCEPTED, // has a claim; while that is pending or final, nobody else can accept
        DELIVERED, // answered and paid
        REFUNDED // closed without an answer
    }

    struct RequestState {
        Status status;
        uint128 price; // wei, fixed when it was accepted
        bytes32 claimId; // at Opml
        bytes32 outputHash; // keccak256 of the output: true once DELIVERED, only claimed before
    }

    // ------------------------------------------------------------------------------------------------- events

    /// @notice A registrant asks a royalty for a model.
    /// @param modelId the model
    /// @param registrant whom deliveries pay that name him
    /// @param royaltyBps hundredths of a percent of the price
    event Published(bytes32 indexed modelId, address indexed registrant, uint16 royaltyBps);
    /// @notice Somebody asks. What he asks is all here.
    /// @param requestId see `Request`
    /// @param modelId the model
    /// @param requester who is answered
    /// @param request the request, as the other calls bring it
    event Requested(bytes32 indexed requestId, bytes32 indexed modelId, address indexed requester, Request request);
    /// @notice The input region's bytes.
    /// @param requestId see `Request`
    /// @param input the region from its beginning; what follows is zero
    event RequestInput(bytes32 indexed requestId, bytes input);
    /// @notice The request came without its input's bytes.
    /// @param requestId see `Request`
    /// @param uri a hint, believed by nobody
    event RequestInputAt(bytes32 indexed requestId, string uri);
    /// @notice The output is on chain from here on, so that anyone can deliver it.
    /// @param requestId see `Request`
    /// @param claimId the claim at Opml
    /// @param prover who made it
    /// @param price wei, fixed now
    /// @param output the bytes of the output region
    event Accepted(
        bytes32 indexed requestId, bytes32 indexed claimId, address indexed prover, uint256 price, bytes output
    );
    /// @notice The requester was called; `succeeded` is false if it reverted or ran out of its gas.
    /// @param requestId see `Request`
    /// @param isFinal as the requester was told
    /// @param succeeded whether the call came back
    event ConsumerCalled(bytes32 indexed requestId, bool isFinal, bool succeeded);
    /// @notice The answer is final, and paid.
    /// @param requestId see `Request`
    /// @param claimId the claim at Opml
    /// @param prover who made it
    /// @param payment wei for him
    /// @param royalty wei for the registrant
    /// @param rest wei of the highest price for who asked
    event Delivered(
        bytes32 indexed requestId,
        bytes32 indexed claimId,
        address indexed prover,
        uint256 payment,
        uint256 royalty,
        uint256 rest
    );
    /// @notice Nobody answered in time: the price goes back.
    /// @param requestId see `Request`
    /// @param to who gets it
    /// @param amount wei
    event Refunded(bytes32 indexed requestId, address indexed to, uint256 amount);
    /// @notice Ether has left the contract.
    /// @param account whose credit it was
    /// @param to who was paid
    /// @param amount wei
    event Withdrawn(address indexed account, address indexed to, uint256 amount);

    // ------------------------------------------------------------------------------------------------- errors

    /// @notice Above MAX_ROYALTY_BPS.
    error BadRoyalty();
    /// @notice By this registrant; a royalty is for good.
    error AlreadyPublished();
    /// @notice Not by the registrant that the terms name.
    error NotPublished();
    /// @notice Not registered at Opml.
    error UnknownModel();
    /// @notice The deadline is not in the future, the price below the lowest, nobody to refund, or too much callback gas.
    error BadTerms();
    /// @notice Of the input.
    error WrongLength();
    /// @notice No request of this id has been made.
    error UnknownRequest();
    /// @notice Another claim has been accepted, and is not rejected.
    error RequestTaken();
    /// @notice It has been delivered or refunded.
    error RequestClosed();
    /// @notice To accept.
    error TooLate();
    /// @notice To refund.
    error TooEarly();
    /// @notice The sender is neither the prover nor a delegate of his.
    error NotTheProver();
    /// @notice About another model or input, without its input, or neither pending nor final.
    error WrongClaim();
    /// @notice Not the output that was claimed, or accepted.
    error WrongOutput();
    /// @notice There is no claim to deliver.
    error NotAccepted();
    /// @notice It has been rejected. One that is not final yet is refused as IOpml.finalise refuses it.
    error ClaimLost();
    /// @notice To give the requester all its callback gas.
    error NotEnoughGas();
    /// @notice There is nothing to pay.
    error NothingToWithdraw();
    /// @notice The recipient has refused its ether.
    error PaymentFailed();

    // ------------------------------------------------------------------------------------------------- models

    /// @notice Registers a model at Opml and asks a royalty for it, once and for good. A model's id is its content, so
    ///         anyone may publish any model, and nobody can keep another from it: a request names whom it pays.
    /// @param model see IOpml.Model
    /// @param uri where the image can be had; a hint, believed by nobody
    /// @param royaltyBps hundredths of a percent of the price of each delivery, at most MAX_ROYALTY_BPS
    /// @return modelId keccak256(abi.encode(model))
    function publish(IOpml.Model calldata model, string calldata uri, uint16 royaltyBps)
        external
        returns (bytes32 modelId);

    // ----------------------------------------------------------------------------------------------- requests

    /// @notice Asks what a model says about an input. Value: the highest price.
    /// @param terms see `Terms`
    /// @param input the input region, as IOpml.claim takes it
    /// @return requestId see `Request`
    function request(Terms calldata terms, bytes calldata input) external payable returns (bytes32 requestId);

    /// @notice The same for an input that this transaction does not bring. Without `terms.acceptWithheld` the prover
    ///         posts the bytes with his claim; with it, **the answer is as safe as the bytes are available to somebody
    ///         who watches claims**.
    /// @param terms see `Terms`
    /// @param inputRoot root of the input region
    /// @param uri where the bytes can be had; a hint
    /// @return requestId see `Request`
    function requestByRoot(Terms calldata terms, bytes32 inputRoot, string calldata uri)
        external
        payable
        returns (bytes32 requestId);

    /// @notice The prover, or a delegate of his at Opml, up to the deadline: answers with a claim, pending or final. Fixes
    ///         the price. One claim at a time: the next can be accepted only if that one has been rejected.
    ///         If the terms say `optimistic` and the claim is pending, the requester is called with isFinal = false.
    /// @param request_ an open request
    /// @param claim a claim at Opml about the same model and input
    /// @param output the output region's bytes, under the claim's output root
    function accept(Request calldata request_, IOpml.Claim calldata claim, bytes calldata output) external;

    /// @notice Anyone, once the claim is final or can be made so: pays prover and registrant, credits the rest, and calls
    ///         the requester with isFinal = true. What that does changes nothing about the payment.
    /// @param request_ an accepted request
    /// @param output what was accepted, as the event `Accepted` has it
    function deliver(Request calldata request_, bytes calldata output) external;

    /// @notice Anyone, after the deadline, if there is no claim or it has been rejected: credits the whole price.
    /// @param request_ an open request
    function refund(Request calldata request_) external;

    /// @notice Pays out the sender's whole credit.
    /// @param to who gets it: a contract that takes no ether names somebody who does
    function withdraw(address to) external;

    // -------------------------------------------------------------------------------------------------- views

    /// @notice Where a request stands.
    /// @param requestId see `requestIdOf`
    /// @return its state; all zero if there is none of that id
    function requests(bytes32 requestId) external view returns (RequestState memory);

    /// @notice The id that a request has here, whether it has been made or not.
    /// @param request_ what it says
    /// @return see `Request`
    function requestIdOf(Request calldata request_) external view returns (bytes32);

    /// @notice What an acceptance in the present block would fix.
    /// @param request_ an open request
    /// @return wei
    function priceOf(Request calldata request_) external view returns (uint256);

    /// @notice What a registrant asks for a model.
    /// @param modelId the model
    /// @param registrant who may have published it
    /// @return published whether he has
    /// @return royaltyBps hundredths of a percent of the price
    function royalty(bytes32 modelId, address registrant) external view returns (bool published, uint16 royaltyBps);

    /// @notice What `withdraw` would pay.
    /// @param account whose credit
    /// @return wei
    function credit(address account) external view returns (uint256);

    /// @notice Where claims are made and disputed.
    /// @return the contract
    function opml() external view returns (IOpml);

    /// @notice The highest royalty.
    /// @return hundredths of a percent of the price: half of it
    function MAX_ROYALTY_BPS() external view returns (uint16);

    /// @notice The most gas that a requester may ask to be called with: a delivery must fit into a transaction.
    /// @return gas
    function MAX_CALLBACK_GAS() external view returns (uint32);
}
