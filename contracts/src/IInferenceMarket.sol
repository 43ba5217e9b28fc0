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

    event Published(bytes32 indexed modelId, address indexed registrant, uint16 royaltyBps);
    event Requested(bytes32 indexed requestId, bytes32 indexed modelId, address indexed requester, Request request);
    /// @notice The input region's bytes.
    event RequestInput(bytes32 indexed requestId, bytes input);
    /// @notice The request came without its input's bytes.
    event RequestInputAt(bytes32 indexed requestId, string uri);
    /// @notice The output is on chain from here on, so that anyone can deliver it.
    event Accepted(
        bytes32 indexed requestId, bytes32 indexed claimId, address indexed prover, uint256 price, bytes output
    );
    /// @notice The requester was called; `succeeded` is false if it reverted or ran out of its gas.
    event ConsumerCalled(bytes32 indexed requestId, bool isFinal, bool succeeded);
    event Delivered(
        bytes32 indexed requestId,
        bytes32 indexed claimId,
        address indexed prover,
        uint256 payment,
        uint256 royalty,
        uint256 rest
    );
    event Refunded(bytes32 indexed requestId, address indexed to, uint256 amount);
    event Withdrawn(address indexed account, address indexed to, uint256 amount);

    // ------------------------------------------------------------------------------------------------- errors

    error BadRoyalty(); // above MAX_ROYALTY_BPS
    error AlreadyPublished(); // by this registrant; a royalty is for good
    error NotPublished(); // not by the registrant that the terms name
    error UnknownModel(); // not registered at Opml
    error BadTerms(); // deadline not in the future, price below the lowest, nobody to refund, or too much callback gas
    error WrongLength(); // of the input
    error UnknownRequest();
    error RequestTaken(); // another claim has been accepted, and is not rejected
    error RequestClosed(); // delivered or refunded
    error TooLate(); // to accept
    error TooEarly(); // to refund
    error NotTheProver(); // nor a delegate of his
    error WrongClaim(); // about another model or input, without its input, or neither pending nor final
    error WrongOutput(); // not the output that was claimed, or accepted
    error NotAccepted(); // there is no claim to deliver
    error ClaimLost(); // it has been rejected; one that is not final yet is refused as IOpml.finalise refuses it
    error NotEnoughGas(); // to give the requester all its callback gas
    error NothingToWithdraw();
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

    /// @notice All zero if there is none of that id.
    function requests(bytes32 requestId) external view returns (RequestState memory);
    /// @notice The id that a request has here, whether it has been made or not.
    function requestIdOf(Request calldata request_) external view returns (bytes32);
    /// @notice Wei that an acceptance in the present block would fix.
    function priceOf(Request calldata request_) external view returns (uint256);
    /// @notice Whether a registrant has published a model, and his royalty.
    function royalty(bytes32 modelId, address registrant) external view returns (bool published, uint16 royaltyBps);
    /// @notice Wei that `withdraw` would pay.
    function credit(address account) external view returns (uint256);
    /// @notice Where claims are made and disputed.
    function opml() external view returns (IOpml);
    /// @notice The highest royalty: half of the price.
    function MAX_ROYALTY_BPS() external view returns (uint16);
    /// @notice The most gas that a requester may ask to be called with: a delivery must fit into a transaction.
    function MAX_CALLBACK_GAS() external view returns (uint32);
}
