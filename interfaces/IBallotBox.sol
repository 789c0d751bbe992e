// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {PackedVotingTerms} from "./IParameters.sol";

/// @title Commit-reveal voting, and all tokens of those who take part
/// @notice Voters keep tokens here and vote with them in polls. Contracts that start polls (consumers: a token curator,
/// a parameter vote) keep their deposits and stakes here too, so that money moves between them by bookkeeping, and there
/// is one place from which everybody takes out what is theirs: {withdraw}.
/// @dev A vote is committed as `keccak256(abi.encode(chain id, this contract, poll, voter, choice, salt))`
/// (see {commitmentOf}), so a copied commitment is of no use to the copier, and revealed in a second period.
///
/// Tokens are locked by one number per voter, not by a list: the largest weight that the voter committed to any poll
/// whose reveal period may still run. Warning: the lock is conservative. It is let go when the last of the overlapping
/// polls ends, not one poll at a time.
///
/// A consumer can use only what it brought in ({book}) and can close only its own polls: it is not trusted with the
/// tokens of voters or of other consumers. A poll decides between a challenger and a defender with equal stakes, both in
/// the consumer's reserve. Closing it pays the challenger, the voters and whoever had it closed; what the defender keeps
/// or wins stays in the reserve. Warning: a poll is decided by the terms that its consumer names when it closes it.
///
/// All weights are multiples of {WEIGHT_UNIT}, so that bonds and shares of bonds are exact.
interface IBallotBox {
    /// @notice How a poll ended.
    enum Outcome {
        /// It did not end yet.
        Open,
        /// Choice 0 won: against the challenge.
        Against,
        /// Choice 1 won: for the challenge.
        For,
        /// Nobody won: a tie, or too few votes.
        Draw
    }

    /// @notice Where a voter's ballot in a poll stands.
    enum BallotState {
        /// There is none: not committed, or claimed.
        None,
        Committed,
        RevealedAgainst,
        RevealedFor
    }

    /// @notice A voter's tokens, one storage slot.
    struct Account {
        /// Base units of the token.
        uint96 balance;
        /// How much of the balance stays here until `lockedUntil`.
        uint96 locked;
        /// Unix time from which nothing is locked.
        uint64 lockedUntil;
    }

    /// @notice A poll, one storage slot; gone when it is closed.
    struct Poll {
        /// Unix time from which no vote can be committed, and votes can be revealed.
        uint40 commitEnd;
        /// Unix time from which no vote can be revealed, and the poll can be closed.
        uint40 revealEnd;
        /// The number of the consumer that started it.
        uint16 consumer;
        /// How much of its weight a vote puts up as a bond, in 1/10,000.
        uint16 slash;
        /// The weight committed to it.
        uint96 committed;
    }

    /// @notice The votes of an open poll, and what is left of a closed one; one storage slot.
    struct Count {
        Outcome outcome;
        /// Unix time from which what nobody claimed can be swept; zero while the poll is open.
        uint40 claimEnd;
        /// Open: the votes for the challenge. Closed: the votes entitled to the pool that did not claim yet.
        uint96 weight;
        /// Open: the votes against the challenge. Closed: the tokens in the pool.
        uint96 other;
    }

    /// @notice A contract that starts polls, one storage slot.
    struct Consumer {
        /// Numbers start at 1.
        uint16 number;
        /// Base units of the token.
        uint96 reserve;
    }

    /// @notice A voter's ballot in a poll, one storage slot.
    struct Ballot {
        BallotState state;
        /// When committed, the high 248 bits of keccak256(abi.encode(commitment, weight)); when revealed, the weight.
        uint248 content;
    }

    /* EVENTS */

    /// @notice Emitted when a contract is let start polls.
    /// @param consumer Its number.
    event ConsumerRegistered(uint256 indexed consumer, address indexed account);

    /// @notice Emitted when somebody brings tokens.
    event Deposited(address indexed account, uint256 amount);

    /// @notice Emitted when somebody takes tokens out.
    event Withdrawn(address indexed account, uint256 amount);

    /// @notice Emitted when a consumer pays from its reserve into somebody's account.
    event Paid(address indexed consumer, address indexed account, uint256 amount);

    /// @notice Emitted when a consumer starts a poll.
    /// @param stake What the consumer brought into its reserve with it.
    event PollStarted(
        uint256 indexed pollId,
        address indexed consumer,
        uint256 commitEnd,
        uint256 revealEnd,
        uint256 slash,
        uint256 stake
    );

    /// @notice Emitted when somebody commits a vote.
    /// @dev The bond, `weight * slash / 10,000`, goes from the voter's balance to the poll. It comes back unless the vote
    /// loses or is never revealed.
    event VoteCommitted(uint256 indexed pollId, address indexed voter, bytes32 commitment, uint256 weight);

    /// @notice Emitted when somebody reveals a vote.
    event VoteRevealed(uint256 indexed pollId, address indexed voter, uint8 choice, uint256 weight);

    /// @notice Emitted when a poll is closed.
    /// @dev {VoteRevealed} says what the votes were, the consumer's events who the challenger is. What it was paid follows: nothing if the outcome is Against,
    /// its stake in a draw, else both stakes less the bounty and less the reward, which is the pool without the bonds.
    /// @param pool What those entitled to it can claim: the winners the reward and all bonds; in a draw, each who
    /// revealed the own bond.
    /// @param bounty What was paid to the resolver.
    event PollClosed(
        uint256 indexed pollId,
        address indexed resolver,
        Outcome outcome,
        uint256 pool,
        uint256 bounty
    );

    /// @notice Emitted when bonds that nobody is entitled to are paid into the treasury's account: in a draw, those of
    /// votes that were never revealed.
    event BondsForfeited(uint256 indexed pollId, uint256 amount);

    /// @notice Emitted when a voter's share of a poll is paid into the voter's account.
    event RewardClaimed(uint256 indexed pollId, address indexed voter, uint256 amount);

    /// @notice Emitted when what nobody claimed is paid into the treasury's account.
    event Swept(uint256 indexed pollId, uint256 amount);

    /// @notice Emitted when tokens that belong to nobody here are paid into the treasury's account.
    event SurplusSwept(uint256 amount);

    /* ERRORS */

    /// @notice Thrown when the caller may not start polls.
    error NotConsumer(address caller);
    /// @notice Thrown when a contract is registered already.
    error AlreadyConsumer(address account);
    /// @notice Thrown when a consumer is not a contract.
    error NotContract(address account);
    /// @notice Thrown when an amount is zero.
    error ZeroAmount();
    /// @notice Thrown when the token moved another amount than it was asked to.
    error TransferMismatch(uint256 expected, uint256 received);
    /// @notice Thrown when there would be more tokens here than can be counted.
    error TooManyTokens(uint256 total, uint256 maximum);
    /// @notice Thrown when an account does not have that much free.
    error InsufficientBalance(address account, uint256 available, uint256 needed);
    /// @notice Thrown when a consumer's reserve does not have that much.
    error InsufficientReserve(address consumer, uint256 available, uint256 needed);
    /// @notice Thrown when there is no such poll, or none any more.
    error UnknownPoll(uint256 pollId);
    /// @notice Thrown when a poll would have an empty period or too high a bond.
    error InvalidPoll();
    /// @notice Thrown when a vote is committed too late.
    error CommitPeriodOver(uint256 pollId, uint256 commitEnd);
    /// @notice Thrown when a vote is revealed too early or too late.
    error NotInRevealPeriod(uint256 pollId, uint256 commitEnd, uint256 revealEnd);
    /// @notice Thrown when the voter committed to the poll before.
    error AlreadyCommitted(uint256 pollId, address voter);
    /// @notice Thrown when the voter has no unrevealed vote in the poll.
    error NotCommitted(uint256 pollId, address voter);
    /// @notice Thrown when a weight is zero or not a multiple of {WEIGHT_UNIT}.
    error InvalidWeight(uint256 weight);
    /// @notice Thrown when a commitment is zero.
    error InvalidCommitment();
    /// @notice Thrown when a choice is neither 0 nor 1.
    error InvalidChoice(uint256 choice);
    /// @notice Thrown when choice, weight and salt are not what was committed.
    error WrongReveal(uint256 pollId, address voter);
    /// @notice Thrown when a poll is closed by another contract than the one that started it.
    error NotPollConsumer(uint256 pollId, address caller);
    /// @notice Thrown when a poll is closed before its votes are in.
    error PollStillRuns(uint256 pollId, uint256 revealEnd);
    /// @notice Thrown when there is nothing for the voter in the poll: lost, not revealed, claimed, swept or not closed.
    error NothingToClaim(uint256 pollId, address voter);
    /// @notice Thrown when a poll is swept before its claim window is over.
    error ClaimsStillOpen(uint256 pollId, uint256 claimEnd);
    /// @notice Thrown when there is nothing to sweep.
    error NothingToSweep();

    /* ACCOUNTS */

    /// @notice Bring tokens. Approve this contract first.
    function deposit(uint256 amount) external;

    /// @notice Take out tokens that no vote locks.
    function withdraw(uint256 amount) external;

    /* VOTING */

    /// @notice Commit a vote. It cannot be changed: keep the salt.
    /// @param commitment See {commitmentOf}.
    /// @param weight How much the vote counts; a multiple of {WEIGHT_UNIT}, at most what the account has free for it.
    function commit(uint256 pollId, bytes32 commitment, uint256 weight) external;

    /// @notice {deposit} and {commit} in one.
    function depositAndCommit(uint256 amount, uint256 pollId, bytes32 commitment, uint256 weight) external;

    /// @notice Reveal one's vote, in the reveal period.
    /// @param choice 0 against the challenge, 1 for it.
    function reveal(uint256 pollId, uint8 choice, uint256 weight, bytes32 salt) external;

    /// @notice Pay a voter's share of a closed poll into the voter's account. Anyone may.
    /// @dev A share is the pool that is left, by the voter's part of the weight that did not claim yet, rounded down: who
    /// claims last takes what rounding left, and nothing stays behind.
    function claim(uint256 pollId, address voter) external;

    /// @notice Pay what nobody claimed in time to the treasury's account. Anyone may.
    function sweep(uint256 pollId) external;

    /// @notice Pay tokens that were sent here without being deposited to the treasury's account. Anyone may.
    function sweepSurplus() external;

    /* CONSUMERS */

    /// @notice Let a contract start polls. Owner only; there is no way back, for its polls must be able to end.
    function registerConsumer(address account) external returns (uint256 consumer);

    /// @notice Count tokens that the consumer has just sent here as its reserve. Consumers only.
    /// @dev No event of its own: the token has one, and the consumer says why.
    function book(uint256 amount) external;

    /// @notice {book} a stake and start a poll. Consumers only.
    /// @param slash How much of its weight each vote puts up as a bond, in 1/10,000, at most {MAX_SLASH}.
    function startPoll(uint256 commitPeriod, uint256 revealPeriod, uint256 slash, uint256 stake)
        external
        returns (uint256 pollId);

    /// @notice Decide a poll after its reveal period, and pay out. The consumer that started it only.
    /// @dev {IParameters} keeps terms within their bounds; here they are taken as they are.
    /// @param terms Quorum, threshold, shares and claim window.
    /// @param stake What each side put up.
    /// @param challenger Gets its stake back and the rest of the other, if it won; its stake, in a draw.
    /// @param resolver Gets the bounty, unless it is a draw.
    /// @return outcome Who won.
    /// @return rest If the defender won, what it wins: it stays in the reserve, as does the defender's stake.
    function close(uint256 pollId, PackedVotingTerms terms, uint256 stake, address challenger, address resolver)
        external
        returns (Outcome outcome, uint256 rest);

    /// @notice Pay from the consumer's reserve into somebody's account. Consumers only.
    function pay(address account, uint256 amount) external;

    /* VIEWS */

    /// @notice The commitment to a vote.
    function commitmentOf(uint256 pollId, address voter, uint8 choice, bytes32 salt) external view returns (bytes32);

    /// @notice Somebody's tokens here.
    function accountOf(address account) external view returns (Account memory);

    /// @notice How much somebody could withdraw now.
    function availableOf(address account) external view returns (uint256);

    /// @notice An open poll; all zero when it is closed.
    function pollOf(uint256 pollId) external view returns (Poll memory);

    /// @notice The votes of an open poll, or what is left of a closed one.
    function countOf(uint256 pollId) external view returns (Count memory);

    /// @notice A voter's ballot in a poll.
    function ballotOf(uint256 pollId, address voter) external view returns (Ballot memory);

    /// @notice What {claim} would pay; zero if nothing.
    function claimable(uint256 pollId, address voter) external view returns (uint256);

    /// @notice A consumer's number and reserve; zeros if it is none.
    function consumerOf(address account) external view returns (Consumer memory);

    /// @notice How many polls there were; their ids are 1 to this.
    function pollCount() external view returns (uint256);

    /// @notice All tokens that are booked to somebody or to some poll.
    function totalTokens() external view returns (uint256);

    /// @notice Whose account gets what belongs to nobody.
    function treasury() external view returns (address);

    /// @notice All weights are multiples of this many base units.
    function WEIGHT_UNIT() external view returns (uint256);

    /// @notice The highest bond, in 1/10,000 of a vote's weight.
    function MAX_SLASH() external view returns (uint256);
}
