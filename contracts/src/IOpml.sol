// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IStepVerifier} from "./IStepVerifier.sol";

/// @title opml: claims about inferences, and the games that decide disputed ones
/// @notice A prover bonds on "this model, on this input, gives this output". Anyone may challenge within the window;
///         each challenge is a game of two, narrowed by k-section first to one tile, then to one machine instruction,
///         which the chain executes. The whole protocol with its invariants: contracts/README.md.
interface IOpml {
    /// @notice What a model is. Its id is keccak256(abi.encode(model)). Nobody needs to believe a registrant:
    ///         consumers use ids that they rebuilt from the ONNX file.
    struct Model {
        bytes32 modelRoot; // model half of memory; input region and all tiles zero
        bytes32 guestRoot; // the guest program's subtree within it
        uint64 entry; // first pc
        uint64 tiles; // units of the tile phase (M)
        uint64 stride; // tiles that one unit runs
        uint64 maxSteps; // upper bound on one unit's instructions
        uint64 inputAddress; // the input region: one aligned subtree
        uint64 inputBytes;
        uint64 outputAddress; // the output region: one aligned subtree
        uint64 outputBytes;
        uint32 window; // seconds in which a claim may be challenged
        uint32 clock; // seconds each side has for all its moves in one game
        uint8 inputLevel; // height of the region's subtree: 32 << level bytes
        uint8 outputLevel;
    }

    enum Status {
        NONE,
        PENDING, // open to challenges, or games still open
        FINAL, // accepted; bond credited back
        REJECTED // lost a game; settled once no game is open
    }

    /// @notice What a claim says. Its id is keccak256(abi.encode(chain id, contract, claim)); the contract keeps nothing
    ///         of it but the id, so whoever needs a field brings the whole claim.
    struct Claim {
        bytes32 modelId;
        bytes32 inputRoot;
        bytes32 outputRoot;
        address prover;
        uint256 nonce; // tells equal claims of one prover apart
        bool inputPosted; // the input's bytes are on chain; see `claimByRoot`
    }

    struct ClaimState {
        address prover;
        uint40 deadline; // last second in which it may be challenged
        uint24 openGames;
        uint24 lostGames; // games the prover lost
        Status status;
    }

    /// @dev Whose turn it is follows from the stage: CHOOSE is the challenger's, all other open ones the prover's.
    enum Stage {
        NONE,
        OPEN,
        CHOOSE,
        POST,
        ENTER,
        STEP,
        PROVER_WON,
        CHALLENGER_WON
    }

    enum Phase {
        TILE, // the range counts tiles, states are roots of the model half
        INSTRUCTION // the range counts instructions, states are hashes of the machine
    }

    /// @notice What a game is called. Its id is keccak256(abi.encode(key)).
    struct GameKey {
        bytes32 claimId;
        address challenger;
        uint256 salt; // tells games of one challenger against one claim apart
    }

    /// @notice A disputed range with the states at its ends, as a move names it.
    struct Range {
        uint64 position;
        uint64 length;
        bytes32 lo; // agreed state at `position`
        bytes32 hi; // disputed state at `position + length`
    }

    struct Game {
        uint64 position; // the disputed range is [position, position + length)
        uint64 length;
        uint40 lastMove; // time of it
        uint32 proverClock; // seconds left
        uint32 challengerClock;
        Stage stage;
        Phase phase;
        bool collected; // what the winner has won of this game has been paid
        bytes32 range; // keccak256(lo ‖ hi), the states at its ends; in CHOOSE keccak256(lo ‖ hi ‖ root of the post)
    }

    // ------------------------------------------------------------------------------------------------- events

    /// @notice Also for a model already known: another place to get it from.
    /// @param modelId see `registerModel`
    /// @param registrant who sent it
    /// @param model the fields
    /// @param uri where the image can be had; a hint, believed by nobody
    event ModelRegistered(bytes32 indexed modelId, address indexed registrant, Model model, string uri);
    /// @notice A claim has been made, and its bond taken. What the claim says is all here: see `Claim`.
    /// @param claimId see `claimIdOf`
    /// @param modelId the model
    /// @param prover who bonds on it
    /// @param inputRoot root of the input region
    /// @param outputRoot root of the output region
    /// @param nonce tells equal claims of one prover apart
    /// @param inputPosted whether `InputPosted` follows, or else `InputWithheld`
    /// @param deadline last second in which it may be challenged
    event Claimed(
        bytes32 indexed claimId,
        bytes32 indexed modelId,
        address indexed prover,
        bytes32 inputRoot,
        bytes32 outputRoot,
        uint256 nonce,
        bool inputPosted,
        uint40 deadline
    );
    /// @notice The input region's bytes, so that anyone who watches can run the model.
    /// @param claimId the claim
    /// @param input the region from its beginning; what follows is zero
    event InputPosted(bytes32 indexed claimId, bytes input);
    /// @notice The claim came without its input's bytes: whoever relies on it has them, or gets them there.
    /// @param claimId the claim
    /// @param uri a hint, believed by nobody
    event InputWithheld(bytes32 indexed claimId, string uri);
    /// @notice A game has begun, at stage OPEN: the prover's clock runs.
    /// @param gameId see `GameKey`
    /// @param claimId the claim
    /// @param challenger who bonds against it
    /// @param prover who made the claim
    /// @param salt tells games of one challenger against one claim apart
    event Challenged(
        bytes32 indexed gameId, bytes32 indexed claimId, address indexed challenger, address prover, uint256 salt
    );
    /// @notice The range is all units of the model, between `lo` = S_0 and `hi` = S_M.
    /// @param gameId the game
    /// @param lo the model half with the input in it, S_0
    /// @param hi the model half after the inference, S_M
    event Opened(bytes32 indexed gameId, bytes32 lo, bytes32 hi);
    /// @notice The states at the inner boundaries of the range [position, position + length).
    /// @param gameId the game
    /// @param phase what the range counts
    /// @param position where it begins
    /// @param length its steps
    /// @param states p - 1 of them, see `post`
    event Posted(bytes32 indexed gameId, Phase phase, uint64 position, uint64 length, bytes32[] states);
    /// @notice The range is now [position, position + length), between `lo` and `hi`.
    /// @param gameId the game
    /// @param segment the number of the part that is now the range
    /// @param position where it begins
    /// @param length its steps
    /// @param lo agreed state at its beginning
    /// @param hi disputed state at its end
    event Chosen(bytes32 indexed gameId, uint256 segment, uint64 position, uint64 length, bytes32 lo, bytes32 hi);
    /// @notice The range is now [0, steps) of the instructions of unit `tile`, between `lo` and `hi`, the machine's
    ///         states before the first and after the last of them.
    /// @param gameId the game
    /// @param tile the disputed unit
    /// @param steps instructions until the machine has halted, says the prover
    /// @param lo hash of the start state
    /// @param hi hash of the end state
    /// @param endState the machine in the end (289 bytes)
    /// @param scratchRoot root of its scratch half
    event Entered(
        bytes32 indexed gameId, uint64 tile, uint64 steps, bytes32 lo, bytes32 hi, bytes endState, bytes32 scratchRoot
    );
    /// @notice The disputed instruction has been executed: the prover is right iff `post` is the disputed state.
    /// @param gameId the game
    /// @param caller who brought the witness
    /// @param pre the agreed state
    /// @param post the true state after it
    event Stepped(bytes32 indexed gameId, address indexed caller, bytes32 pre, bytes32 post);
    /// @notice The player on turn has let his clock run out.
    /// @param gameId the game
    event TimedOut(bytes32 indexed gameId);
    /// @notice A game is over.
    /// @param gameId the game
    /// @param claimId the claim
    /// @param proverWon who has won it
    event GameEnded(bytes32 indexed gameId, bytes32 indexed claimId, bool proverWon);
    /// @notice The first game about it has been lost: no more begin, those open play on.
    /// @param claimId the claim
    event ClaimRejected(bytes32 indexed claimId);
    /// @notice The claim is accepted, for good.
    /// @param claimId the claim
    event ClaimFinalised(bytes32 indexed claimId);
    /// @notice The last game of a rejected claim has closed: each of `games` lost ones is worth `share` to its
    ///         challenger, besides his own bond; `burnt` stays in the contract, which has no way to send it.
    /// @param claimId the claim
    /// @param games those that its prover lost
    /// @param share of the prover's bond, wei for each of them
    /// @param burnt wei, at least half of the bond
    event ClaimSettled(bytes32 indexed claimId, uint256 games, uint256 share, uint256 burnt);
    /// @notice What a game was worth to its winner has been paid.
    /// @param gameId the game
    /// @param winner who was paid
    /// @param amount wei
    event Collected(bytes32 indexed gameId, address indexed winner, uint256 amount);
    /// @notice Ether has left the contract.
    /// @param account who was paid
    /// @param amount wei
    event Withdrawn(address indexed account, uint256 amount);
    /// @notice A party has given leave, or taken it back.
    /// @param party whose games and money
    /// @param delegate who may act
    /// @param allowed from now on
    event DelegateSet(address indexed party, address indexed delegate, bool allowed);

    // ------------------------------------------------------------------------------------------------- errors

    /// @notice The constructor refuses a bond of zero, a k below 2 or above 64, or a verifier without code.
    error BadParameters();
    /// @notice A field of the model is out of range.
    error BadModel();
    /// @notice No model of this id has been registered.
    error UnknownModel();
    /// @notice No claim of this id has been made.
    error UnknownClaim();
    /// @notice No game of this id has been opened.
    error UnknownGame();
    /// @notice Not the claim that the game is about.
    error WrongClaim();
    /// @notice This claim has been made already.
    error ClaimExists();
    /// @notice This challenger has used this salt against this claim already.
    error GameExists();
    /// @notice The value sent differs from the bond.
    error WrongBond();
    /// @notice Of an input, a list of states or an opening.
    error WrongLength();
    /// @notice The input region is not zero in the model.
    error BadInputPath();
    /// @notice The final root does not hold the claimed output.
    error BadOutputPath();
    /// @notice The states are not those posted.
    error BadOpening();
    /// @notice There are not so many segments.
    error BadSegment();
    /// @notice Zero, or above the model's bound.
    error BadSteps();
    /// @notice Not 289 bytes, not halted, a0 not 0, or not in the disputed root.
    error BadEndState();
    /// @notice Not a move of this stage, or the claim's status forbids it.
    error WrongStage();
    /// @notice Sent by somebody else than the player on turn or a delegate of his.
    error NotYourTurn();
    /// @notice Made for another range than the game's: see `post`.
    error StaleMove();
    /// @notice From the verifier, as IStepVerifier has it.
    error MalformedWitness();
    /// @notice The witness does not begin with the agreed state, or `hi` is not the disputed one.
    error WrongState();
    /// @notice Too late for a move: `timeout` decides.
    error ClockExpired();
    /// @notice Too early for `timeout`.
    error ClockRunning();
    /// @notice Too late to challenge.
    error WindowClosed();
    /// @notice Too early to make final: the claim may still be challenged.
    error WindowOpen();
    /// @notice Games about the claim are still open.
    error GamesOpen();
    /// @notice The game is not over, not won by this account, not yet settled, or has been paid already.
    /// @param gameId the game
    error NotCollectable(bytes32 gameId);
    /// @notice There is nothing to pay.
    error NothingToWithdraw();
    /// @notice The sender is neither the account nor a delegate of it, or a claim is not the account's.
    error NotAllowed();
    /// @notice The recipient has refused its ether.
    error PaymentFailed();

    // ------------------------------------------------------------------------------------------ models, claims

    /// @notice Makes a model known. Idempotent; a model is its fields.
    /// @param model see `Model`; each field is checked for range
    /// @param uri where the image can be had; a hint, believed by nobody
    /// @return modelId keccak256(abi.encode(model))
    function registerModel(Model calldata model, string calldata uri) external returns (bytes32 modelId);

    /// @notice Claims that `modelId` on `input` gives `outputRoot`. Value: exactly `proverBond`.
    /// @param modelId a registered model
    /// @param input the input region, exactly `inputBytes` bytes; the rest of the region is zero
    /// @param outputRoot root of the output region after the inference
    /// @param nonce tells equal claims of one prover apart
    /// @return claimId see `Claim`
    function claim(bytes32 modelId, bytes calldata input, bytes32 outputRoot, uint256 nonce)
        external
        payable
        returns (bytes32 claimId);

    /// @notice The same for an input that is not on chain. **Such a claim is as safe as the input is available**: who
    ///         has not the bytes cannot re-run it. Only for a consumer that holds them itself: `Claim.inputPosted` is
    ///         false and part of the claim's id, so none can be taken for the other.
    /// @param modelId a registered model
    /// @param inputRoot root of the input region
    /// @param outputRoot root of the output region after the inference
    /// @param nonce tells equal claims of one prover apart
    /// @param uri where the bytes can be had; a hint, believed by nobody
    /// @return claimId see `Claim`
    function claimByRoot(bytes32 modelId, bytes32 inputRoot, bytes32 outputRoot, uint256 nonce, string calldata uri)
        external
        payable
        returns (bytes32 claimId);

    /// @notice Anyone, after the deadline and with no game open: the claim is final, its bond credited back.
    /// @param claimId a pending claim
    function finalise(bytes32 claimId) external;

    // -------------------------------------------------------------------------------------------------- moves

    /// @notice Opens a game against a pending claim, up to and including its deadline. Value: exactly `challengerBond`.
    ///         The prover's clock starts.
    /// @param claim_ a pending claim
    /// @param salt tells games of one challenger against one claim apart
    /// @return gameId see `GameKey`; the challenger is the sender
    function challenge(Claim calldata claim_, uint256 salt) external payable returns (bytes32 gameId);

    /// @notice Prover, stage OPEN: commits to the whole run, and makes the first post.
    /// @param key the game
    /// @param claim_ the claim that it is about
    /// @param inputPath from the input region to the model root (height 34 - inputLevel): shows that the region is zero
    ///        in the model, and gives S_0 with the input in it
    /// @param finalRoot the model half after the inference, S_M
    /// @param outputPath from the output region to it (height 34 - outputLevel)
    /// @param states the first post; empty if the model has one unit only
    function open(
        GameKey calldata key,
        Claim calldata claim_,
        bytes calldata inputPath,
        bytes32 finalRoot,
        bytes calldata outputPath,
        bytes32[] calldata states
    ) external;

    /// @notice Prover, stage POST: the states at boundaries 1..p-1 of the range, p = min(k, length); boundary i is at
    ///         position + floor(i * length / p).
    /// @param key the game
    /// @param range the one for which the states are meant. If a reorganisation of the chain replaced the choice that
    ///        this post answers, it reverts (StaleMove) and does not become a false statement by an honest prover.
    ///        `choose` and `enter` carry the same for the same reason.
    /// @param states p - 1 of them
    function post(GameKey calldata key, Range calldata range, bytes32[] calldata states) external;

    /// @notice Challenger, stage CHOOSE: narrows the range to segment j, from boundary j to boundary j + 1: the first
    ///         at whose end the challenger disagrees.
    /// @param key the game
    /// @param range the one whose post this answers
    /// @param segment j, below p
    /// @param opening of the segment's ends from the root of the post: the state at boundary j unless j = 0, the state at
    ///        boundary j + 1 unless j = p - 1; then, level by level from the leaves up, the siblings that do not follow
    ///        from these, left before right. Leaves are padded with zero words to a power of two
    function choose(GameKey calldata key, Range calldata range, uint256 segment, bytes32[] calldata opening) external;

    /// @notice Prover, stage ENTER: descends from one tile to its instructions. The start state is set by the
    ///         contract: root keccak(lo ‖ zero scratch), pc = entry, a0 = position * stride, a1 = stride, rest 0.
    /// @param key the game
    /// @param claim_ the claim that it is about
    /// @param range the one unit of the tile phase for which this is meant
    /// @param steps instructions until the machine has halted, 1 to maxSteps
    /// @param endState the machine after them (289 bytes): halted, a0 = 0, root keccak(hi ‖ scratchRoot)
    /// @param scratchRoot root of its scratch half
    /// @param states the first post of the instruction phase; empty if steps = 1
    function enter(
        GameKey calldata key,
        Claim calldata claim_,
        Range calldata range,
        uint64 steps,
        bytes calldata endState,
        bytes32 scratchRoot,
        bytes32[] calldata states
    ) external;

    /// @notice Anyone, stage STEP, while the prover's clock runs: executes the one instruction and decides the game.
    /// @param key the game
    /// @param hi the disputed state after it
    /// @param witness as IStepVerifier.step takes it, beginning with the agreed state
    function step(GameKey calldata key, bytes32 hi, bytes calldata witness) external;

    /// @notice Anyone: the player on turn has let more time pass than was left, and loses.
    /// @param key the game
    function timeout(GameKey calldata key) external;

    // -------------------------------------------------------------------------------------------------- money

    /// @notice Pays out what `account` has won: makes its claims of the list final, collects its games of the list, and
    ///         sends all that together with its credit. Sender: the account, or a delegate of it.
    /// @param account who is paid
    /// @param claimIds claims of the account that are pending past their deadline; those final already are passed over
    /// @param keys games that it won: a prover gets the challenger's bond as soon as the game is over, a challenger his
    ///        bond and his share of the prover's once the claim's last game is. Once each
    function withdraw(address account, bytes32[] calldata claimIds, GameKey[] calldata keys) external;

    /// @notice Lets another account move in the sender's games and call `withdraw` for it: a key that is at hand, for a
    ///         party that is not. It cannot take anything: what is paid goes to the party.
    /// @param delegate the other account
    /// @param allowed whether it may from now on
    function setDelegate(address delegate, bool allowed) external;

    // -------------------------------------------------------------------------------------------------- views

    /// @notice A registered model.
    /// @param modelId see `registerModel`
    /// @return its fields; all zero if there is none of that id
    function models(bytes32 modelId) external view returns (Model memory);

    /// @notice Where a claim stands.
    /// @param claimId see `claimIdOf`
    /// @return its state; all zero if there is none of that id
    function claims(bytes32 claimId) external view returns (ClaimState memory);

    /// @notice Where a game stands.
    /// @param gameId see `gameIdOf`
    /// @return its state; all zero if there is none of that id
    function games(bytes32 gameId) external view returns (Game memory);

    /// @notice The id that a claim has at this contract, whether it has been made or not.
    /// @param claim_ what it says
    /// @return keccak256(abi.encode(chain id, contract, claim))
    function claimIdOf(Claim calldata claim_) external view returns (bytes32);

    /// @notice The id that a game has, whether it has been opened or not.
    /// @param key what it is called
    /// @return keccak256(abi.encode(key))
    function gameIdOf(GameKey calldata key) external pure returns (bytes32);

    /// @notice Whether an account may move and withdraw for a party.
    /// @param party whose games and money
    /// @param delegate the account
    /// @return true from `setDelegate` on, until it is taken back
    function isDelegate(address party, address delegate) external view returns (bool);

    /// @notice What `finalise` has credited to an account; games not yet collected are not in it.
    /// @param account whose
    /// @return wei not yet withdrawn
    function credit(address account) external view returns (uint256);

    /// @notice What a claim takes.
    /// @return wei
    function proverBond() external view returns (uint256);

    /// @notice What a challenge takes.
    /// @return wei
    function challengerBond() external view returns (uint256);

    /// @notice How finely a round divides a range.
    /// @return the largest number of its parts
    function k() external view returns (uint256);

    /// @notice Who executes the last step.
    /// @return the contract
    function verifier() external view returns (IStepVerifier);
}
