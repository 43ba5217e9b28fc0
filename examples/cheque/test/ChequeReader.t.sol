// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IInferenceMarket} from "@opml/contracts/IInferenceMarket.sol";
import {IOpml} from "@opml/contracts/IOpml.sol";
import {IStepVerifier} from "@opml/contracts/IStepVerifier.sol";
import {InferenceConsumer} from "@opml/contracts/InferenceConsumer.sol";
import {InferenceMarket} from "@opml/contracts/InferenceMarket.sol";
import {MerkleMemory} from "@opml/contracts/MerkleMemory.sol";
import {Opml} from "@opml/contracts/Opml.sol";
import {ChequeReader} from "../src/ChequeReader.sol";

interface Vm {
    function getBlockTimestamp() external view returns (uint256);
    function warp(uint256 time) external;
    function expectRevert(bytes4 selector) external;
    function mockCallRevert(address target, bytes calldata data, bytes calldata error) external;
    function clearMockedCalls() external;
}

/// @notice The reader at the real contracts. This test is the drawer, and a prover who claims what it likes: whether that
///         is true is decided in disputes, which are not played here.
contract ChequeReaderTest {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    address private constant PAYEE = address(0xbeef);
    uint256 private constant FEE = 0.01 ether;

    InferenceMarket private market;
    Opml private opml;
    ChequeReader private reader;
    bytes32 private model;
    uint256 private requests;

    receive() external payable {}

    function setUp() public {
        // No game gets as far as the verifier here.
        opml = new Opml(IStepVerifier(address(this)), 1 ether, 0.1 ether, 8);
        market = new InferenceMarket(opml);
        model = opml.registerModel(
            IOpml.Model({
                modelRoot: "weights",
                guestRoot: "guest",
                entry: 0,
                tiles: 100,
                stride: 1,
                maxSteps: 1000,
                inputAddress: 1 << 30,
                inputBytes: 64,
                outputAddress: 1 << 31,
                outputBytes: 40,
                window: 600,
                clock: 600,
                inputLevel: 1,
                outputLevel: 1
            }),
            ""
        );
        reader = new ChequeReader(market, model);
    }

    function test_pays_the_digit() public {
        for (uint256 digit; digit < 10; ++digit) {
            uint256 before = reader.owed(PAYEE);
            (IInferenceMarket.Request memory request, bytes32 id) = _present();
            _answer(request, _logits(digit));
            require(reader.owed(PAYEE) - before == digit * reader.UNIT(), "payee");
            (address drawer,) = reader.cheques(id);
            require(drawer == address(0), "read once");
        }
        require(address(reader).balance == reader.owed(PAYEE) + reader.owed(address(this)), "solvent");
        uint256 mine = address(this).balance;
        uint256 owed = reader.owed(address(this));
        reader.withdraw();
        require(address(this).balance - mine == owed, "withdrawn");
    }

    function test_nothing_is_paid_while_the_reading_can_be_disputed() public {
        (IInferenceMarket.Request memory request,) = _present();
        _accept(request, _logits(9));
        vm.expectRevert(IOpml.WindowOpen.selector);
        market.deliver(request, _logits(9));
        require(reader.owed(PAYEE) == 0, "too early");
    }

    function test_only_the_market_is_believed() public {
        (, bytes32 id) = _present();
        vm.expectRevert(InferenceConsumer.NotTheMarket.selector);
        reader.onInference(id, model, _logits(9), true);
        vm.expectRevert(ChequeReader.StillWaiting.selector);
        reader.settle(id, _logits(9));
    }

    function test_a_cheque_that_nobody_reads_is_given_back() public {
        (IInferenceMarket.Request memory request, bytes32 id) = _present();
        vm.expectRevert(ChequeReader.StillWaiting.selector);
        reader.cancel(id);
        vm.warp(request.terms.deadline + 1);
        market.refund(request);
        reader.cancel(id);
        require(reader.owed(address(this)) == reader.COVER() && market.credit(address(this)) == FEE, "all of it");
        vm.expectRevert(ChequeReader.NoSuchCheque.selector);
        reader.cancel(id);
    }

    function test_a_cheque_is_read_once() public {
        (IInferenceMarket.Request memory request, bytes32 id) = _present();
        _answer(request, _logits(3));
        vm.expectRevert(ChequeReader.NoSuchCheque.selector);
        reader.settle(id, _logits(3));
        vm.expectRevert(ChequeReader.StillWaiting.selector);
        reader.settle(id, _logits(9));
    }

    function test_a_failed_call_is_made_up_for() public {
        (IInferenceMarket.Request memory request, bytes32 id) = _present();
        vm.mockCallRevert(address(reader), abi.encodeWithSelector(reader.onInference.selector), "");
        _answer(request, _logits(6));
        vm.clearMockedCalls();
        require(reader.owed(PAYEE) == 0, "the call has failed");
        vm.expectRevert(ChequeReader.StillWaiting.selector);
        reader.settle(id, _logits(9));
        reader.settle(id, _logits(6));
        require(reader.owed(PAYEE) == 6 * reader.UNIT(), "payee");
    }

    /// @notice The output region of the model as its prover hands it in: ten float32, the greatest of them `digit`.
    function _logits(uint256 digit) private pure returns (bytes memory output) {
        output = new bytes(40);
        // 2.0, little-endian
        output[4 * digit + 3] = 0x40;
    }

    function _present() private returns (IInferenceMarket.Request memory request, bytes32 id) {
        bytes memory scan = new bytes(64);
        uint256 nonce = requests++;
        id = reader.present{value: reader.COVER() + FEE}(scan, PAYEE);
        request = IInferenceMarket.Request({
            terms: IInferenceMarket.Terms({
                modelId: model,
                registrant: address(0),
                refundTo: address(this),
                minPrice: 0,
                deadline: uint40(vm.getBlockTimestamp() + 1 hours),
                callbackGas: 150_000,
                optimistic: false,
                acceptWithheld: false
            }),
            requester: address(reader),
            nonce: nonce,
            inputRoot: this.root(scan),
            maxPrice: FEE,
            start: uint40(vm.getBlockTimestamp()),
            royaltyBps: 0
        });
        require(market.requestIdOf(request) == id, "the request is what the reader asked for");
    }

    function _accept(IInferenceMarket.Request memory request, bytes memory output) private {
        bytes memory scan = new bytes(64);
        bytes32 outputRoot = this.root(output);
        opml.claim{value: 1 ether}(model, scan, outputRoot, request.nonce);
        market.accept(
            request, IOpml.Claim(model, request.inputRoot, outputRoot, address(this), request.nonce, true), output
        );
    }

    function _answer(IInferenceMarket.Request memory request, bytes memory output) private {
        _accept(request, output);
        vm.warp(vm.getBlockTimestamp() + 601);
        market.deliver(request, output);
    }

    function root(bytes calldata data) external pure returns (bytes32) {
        return MerkleMemory.subtreeRoot(data, 1);
    }
}
