// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IBallotBox} from "../../interfaces/IBallotBox.sol";
import {PackedVotingTerms} from "../../interfaces/IParameters.sol";
import {Contest} from "./Contest.sol";
import {PackedTerms} from "./PackedTerms.sol";

/// @title Commit-reveal voting, and all tokens of those who take part
contract BallotBox is IBallotBox, Ownable2Step, ReentrancyGuardTransient, Multicall {
    using SafeERC20 for IERC20;
    using PackedTerms for PackedVotingTerms;

    /// @dev Who gets what of a poll.
    struct Division {
        uint256 weight;
        uint256 pool;
        uint256 prize;
        uint256 bounty;
        uint256 forfeited;
        /// What leaves the consumer's reserve.
        uint256 spent;
    }

    /// @inheritdoc IBallotBox
    uint256 public constant WEIGHT_UNIT = Contest.ONE;
    /// @inheritdoc IBallotBox
    uint256 public constant MAX_SLASH = 5_000;

    /// @notice The token of deposits, stakes and votes.
    IERC20 public immutable token;
    /// @inheritdoc IBallotBox
    address public immutable treasury;

    /// @inheritdoc IBallotBox
    uint256 public totalTokens;
    /// @inheritdoc IBallotBox
    uint256 public pollCount;
    mapping(address account => Consumer) private _consumers;
    mapping(address account => Account) private _accounts;
    mapping(uint256 pollId => Poll) private _polls;
    mapping(uint256 pollId => Count) private _counts;
    mapping(uint256 pollId => mapping(address voter => Ballot)) private _ballots;
    uint256 private _consumerCount;

    constructor(IERC20 token_, address treasury_, address owner_) Ownable(owner_) {
        if (address(token_).code.length == 0) revert NotContract(address(token_));
        // An account of zero could never be emptied.
        if (treasury_ == address(0)) revert OwnableInvalidOwner(treasury_);
        token = token_;
        treasury = treasury_;
    }

    modifier onlyConsumer() {
        if (_consumers[msg.sender].number == 0) revert NotConsumer(msg.sender);
        _;
    }

    /* ACCOUNTS */

    /// @inheritdoc IBallotBox
    function deposit(uint256 amount) external nonReentrant {
        _receive(amount);
    }

    /// @inheritdoc IBallotBox
    function withdraw(uint256 amount) external nonReentrant {
        if (amount == 0) revert ZeroAmount();
        Account storage account = _accounts[msg.sender];
        uint256 available = _available(account);
        if (amount > available) revert InsufficientBalance(msg.sender, available, amount);

        account.balance -= uint96(amount);
        totalTokens -= amount;

        emit Withdrawn(msg.sender, amount);

        token.safeTransfer(msg.sender, amount);
    }

    /* VOTING */

    /// @inheritdoc IBallotBox
    function commit(uint256 pollId, bytes32 commitment, uint256 weight) external {
        _commit(pollId, commitment, weight);
    }

    /// @inheritdoc IBallotBox
    function depositAndCommit(uint256 amount, uint256 pollId, bytes32 commitment, uint256 weight)
        external
        nonReentrant
    {
        _receive(amount);
        _commit(pollId, commitment, weight);
    }

    /// @inheritdoc IBallotBox
    function reveal(uint256 pollId, uint8 choice, uint256 weight, bytes32 salt) external {
        Poll storage poll = _polls[pollId];
        if (block.timestamp < poll.commitEnd || block.timestamp >= poll.revealEnd) {
            revert NotInRevealPeriod(pollId, poll.commitEnd, poll.revealEnd);
        }
        if (choice > 1) revert InvalidChoice(choice);
        Ballot storage ballot = _ballots[pollId][msg.sender];
        if (ballot.state != BallotState.Committed) revert NotCommitted(pollId, msg.sender);
        if (ballot.content != _sealed(commitmentOf(pollId, msg.sender, choice, salt), weight)) {
            revert WrongReveal(pollId, msg.sender);
        }

        // The weight was checked when it was committed.
        ballot.state = choice == 1 ? BallotState.RevealedFor : BallotState.RevealedAgainst;
        ballot.content = uint248(weight);
        if (choice == 1) _counts[pollId].weight += uint96(weight);
        else _counts[pollId].other += uint96(weight);

        emit VoteRevealed(pollId, msg.sender, choice, weight);
    }

    /// @inheritdoc IBallotBox
    function claim(uint256 pollId, address voter) external {
        Count storage count = _counts[pollId];
        Ballot storage ballot = _ballots[pollId][voter];
        uint256 amount = _claimable(count, ballot);
        if (amount == 0) revert NothingToClaim(pollId, voter);

        count.weight -= uint96(ballot.content);
        count.other -= uint96(amount);
        (ballot.state, ballot.content) = (BallotState.None, 0);
        _credit(voter, amount);

        emit RewardClaimed(pollId, voter, amount);
    }

    /// @inheritdoc IBallotBox
    function sweep(uint256 pollId) external {
        Count storage count = _counts[pollId];
        uint96 amount = count.other;
        if (count.outcome == Outcome.Open || amount == 0) revert NothingToSweep();
        if (block.timestamp < count.claimEnd) revert ClaimsStillOpen(pollId, count.claimEnd);

        count.other = 0;
        _credit(treasury, amount);

        emit Swept(pollId, amount);
    }

    /// @inheritdoc IBallotBox
    function sweepSurplus() external nonReentrant {
        uint256 amount = token.balanceOf(address(this)) - totalTokens;
        // slither-disable-next-line incorrect-equality  nothing depends on the amount being just zero, or not
        if (amount == 0) revert NothingToSweep();

        _addToTotal(amount);
        _accounts[treasury].balance += uint96(amount);

        emit SurplusSwept(amount);
    }

    /* CONSUMERS */

    /// @inheritdoc IBallotBox
    function registerConsumer(address account) external onlyOwner returns (uint256 consumer) {
        if (account.code.length == 0) revert NotContract(account);
        if (_consumers[account].number != 0) revert AlreadyConsumer(account);

        consumer = ++_consumerCount;
        _consumers[account].number = uint16(consumer);

        emit ConsumerRegistered(consumer, account);
    }

    /// @inheritdoc IBallotBox
    function book(uint256 amount) external onlyConsumer nonReentrant {
        _book(amount);
    }

    /// @inheritdoc IBallotBox
    function startPoll(uint256 commitPeriod, uint256 revealPeriod, uint256 slash, uint256 stake)
        external
        onlyConsumer
        nonReentrant
        returns (uint256 pollId)
    {
        if (commitPeriod == 0 || revealPeriod == 0 || slash > MAX_SLASH) revert InvalidPoll();
        if (commitPeriod > type(uint32).max || revealPeriod > type(uint32).max) revert InvalidPoll();

        _book(stake);
        pollId = ++pollCount;
        uint256 commitEnd = block.timestamp + commitPeriod;
        uint256 revealEnd = commitEnd + revealPeriod;
        _polls[pollId] = Poll({
            commitEnd: uint40(commitEnd),
            revealEnd: uint40(revealEnd),
            consumer: _consumers[msg.sender].number,
            slash: uint16(slash),
            committed: 0
        });

        emit PollStarted(pollId, msg.sender, commitEnd, revealEnd, slash, stake);
    }

    /// @inheritdoc IBallotBox
    function close(uint256 pollId, PackedVotingTerms terms, uint256 stake, address challenger, address resolver)
        external
        returns (Outcome outcome, uint256 rest)
    {
        Poll storage poll = _polls[pollId];
        _checkClosable(pollId, poll);
        // slither-disable-next-line uninitialized-local  all zero until it is filled in
        Division memory the;
        (outcome, rest) = _divide(the, _counts[pollId], poll, terms, stake);

        delete _polls[pollId];
        _counts[pollId] = Count({
            outcome: outcome,
            claimEnd: uint40(block.timestamp + terms.claimWindow()),
            weight: uint96(the.weight),
            other: uint96(the.pool)
        });
        _spend(the.spent);
        _credit(challenger, the.prize);
        _credit(resolver, the.bounty);

        emit PollClosed(pollId, resolver, outcome, the.pool, the.bounty);
        if (the.forfeited != 0) {
            _credit(treasury, the.forfeited);
            emit BondsForfeited(pollId, the.forfeited);
        }
    }

    /// @inheritdoc IBallotBox
    function pay(address account, uint256 amount) external onlyConsumer {
        if (amount == 0) revert ZeroAmount();

        _spend(amount);
        _credit(account, amount);

        emit Paid(msg.sender, account, amount);
    }

    /* VIEWS */

    /// @inheritdoc IBallotBox
    function commitmentOf(uint256 pollId, address voter, uint8 choice, bytes32 salt) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), pollId, voter, choice, salt));
    }

    /// @inheritdoc IBallotBox
    function accountOf(address account) external view returns (Account memory) {
        return _accounts[account];
    }

    /// @inheritdoc IBallotBox
    function availableOf(address account) external view returns (uint256) {
        return _available(_accounts[account]);
    }

    /// @inheritdoc IBallotBox
    function pollOf(uint256 pollId) external view returns (Poll memory) {
        return _polls[pollId];
    }

    /// @inheritdoc IBallotBox
    function countOf(uint256 pollId) external view returns (Count memory) {
        return _counts[pollId];
    }

    /// @inheritdoc IBallotBox
    function ballotOf(uint256 pollId, address voter) external view returns (Ballot memory) {
        return _ballots[pollId][voter];
    }

    /// @inheritdoc IBallotBox
    function claimable(uint256 pollId, address voter) external view returns (uint256) {
        return _claimable(_counts[pollId], _ballots[pollId][voter]);
    }

    /// @inheritdoc IBallotBox
    function consumerOf(address account) external view returns (Consumer memory) {
        return _consumers[account];
    }

    /* INTERNAL */

    /// @dev Takes tokens from the caller into the caller's account, and believes only the balance.
    function _receive(uint256 amount) private {
        if (amount == 0) revert ZeroAmount();
        uint256 before = token.balanceOf(address(this));

        // The guard is on every function that moves tokens or trusts the balance, so nothing can be counted twice.
        token.safeTransferFrom(msg.sender, address(this), amount);

        uint256 received = token.balanceOf(address(this)) - before;
        if (received != amount) revert TransferMismatch(amount, received);
        _addToTotal(amount);
        _accounts[msg.sender].balance += uint96(amount);

        emit Deposited(msg.sender, amount);
    }

    function _commit(uint256 pollId, bytes32 commitment, uint256 weight) private {
        Poll storage poll = _polls[pollId];
        if (poll.commitEnd == 0) revert UnknownPoll(pollId);
        if (block.timestamp >= poll.commitEnd) revert CommitPeriodOver(pollId, poll.commitEnd);
        if (commitment == 0) revert InvalidCommitment();
        if (weight == 0 || weight % WEIGHT_UNIT != 0) revert InvalidWeight(weight);
        Ballot storage ballot = _ballots[pollId][msg.sender];
        if (ballot.state != BallotState.None) revert AlreadyCommitted(pollId, msg.sender);
        Account storage account = _accounts[msg.sender];
        uint256 bond = Contest.bond(weight, poll.slash);
        uint256 balance = account.balance;
        uint256 lockedUntil = account.lockedUntil;
        uint256 locked = block.timestamp < lockedUntil ? account.locked : 0;
        if (locked < weight - bond) locked = weight - bond;
        if (locked + bond > balance) revert InsufficientBalance(msg.sender, balance, locked + bond);

        (ballot.state, ballot.content) = (BallotState.Committed, _sealed(commitment, weight));
        if (lockedUntil < poll.revealEnd) lockedUntil = poll.revealEnd;
        poll.committed += uint96(weight);
        (account.balance, account.locked) = (uint96(balance - bond), uint96(locked));
        account.lockedUntil = uint64(lockedUntil);

        emit VoteCommitted(pollId, msg.sender, commitment, weight);
    }

    /// @dev Counts tokens that came without being counted as the calling consumer's.
    function _book(uint256 amount) private {
        if (amount == 0) revert ZeroAmount();
        uint256 received = token.balanceOf(address(this)) - totalTokens;
        if (received < amount) revert TransferMismatch(amount, received);

        _addToTotal(amount);
        _consumers[msg.sender].reserve += uint96(amount);
    }

    /// @dev As long as the total fits, every part of it does.
    function _addToTotal(uint256 amount) private {
        uint256 total = totalTokens + amount;
        if (total > type(uint96).max) revert TooManyTokens(total, type(uint96).max);
        totalTokens = total;
    }

    /// @dev From the calling consumer's reserve.
    function _spend(uint256 amount) private {
        Consumer storage consumer = _consumers[msg.sender];
        uint256 reserve = consumer.reserve;
        if (amount > reserve) revert InsufficientReserve(msg.sender, reserve, amount);
        consumer.reserve = uint96(reserve - amount);
    }

    function _credit(address account, uint256 amount) private {
        if (amount != 0) _accounts[account].balance += uint96(amount);
    }

    function _available(Account storage account) private view returns (uint256) {
        Account memory the = account;
        return block.timestamp < the.lockedUntil ? the.balance - the.locked : the.balance;
    }

    function _checkClosable(uint256 pollId, Poll storage poll) private view {
        uint256 revealEnd = poll.revealEnd;
        if (revealEnd == 0) revert UnknownPoll(pollId);
        if (poll.consumer != _consumers[msg.sender].number) revert NotPollConsumer(pollId, msg.sender);
        if (block.timestamp < revealEnd) revert PollStillRuns(pollId, revealEnd);
    }

    /// @dev Decides the poll and fills in who gets what.
    function _divide(
        Division memory the,
        Count storage count,
        Poll storage poll,
        PackedVotingTerms terms,
        uint256 stake
    ) private view returns (Outcome outcome, uint256 rest) {
        (uint256 votesFor, uint256 votesAgainst) = (count.weight, count.other);
        uint256 committed = poll.committed;
        uint256 slash = poll.slash;
        outcome = Contest.decide(votesFor, votesAgainst, terms.quorum(), terms.threshold());
        if (outcome == Outcome.Draw) {
            the.weight = votesFor + votesAgainst;
            the.pool = Contest.bond(the.weight, slash);
            the.forfeited = Contest.bond(committed - the.weight, slash);
            the.prize = stake;
            the.spent = stake;
            return (outcome, 0);
        }

        uint256 reward;
        (reward, the.bounty, rest) = Contest.split(stake, terms.voterShare(), terms.bounty());
        the.pool = reward + Contest.bond(committed, slash);
        if (outcome == Outcome.For) {
            the.weight = votesFor;
            the.prize = stake + rest;
            the.spent = 2 * stake;
            return (outcome, 0);
        }
        the.weight = votesAgainst;
        the.spent = reward + the.bounty;
    }

    function _claimable(Count storage count, Ballot storage ballot) private view returns (uint256) {
        if (ballot.state < BallotState.RevealedAgainst) return 0;
        if (count.outcome == Outcome.Open) return 0;
        if (count.outcome == Outcome.For && ballot.state != BallotState.RevealedFor) return 0;
        if (count.outcome == Outcome.Against && ballot.state != BallotState.RevealedAgainst) return 0;
        return Contest.share(count.other, ballot.content, count.weight);
    }

    function _sealed(bytes32 commitment, uint256 weight) private pure returns (uint248) {
        return uint248(uint256(keccak256(abi.encode(commitment, weight))) >> 8);
    }
}
