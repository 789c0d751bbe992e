// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IBallotBox} from "../../interfaces/IBallotBox.sol";

/// @title Commit-reveal voting, and all tokens of those who take part
contract BallotBox is IBallotBox, Ownable2Step, ReentrancyGuardTransient, Multicall {
    using SafeERC20 for IERC20;

    /// @inheritdoc IBallotBox
    uint256 public constant WEIGHT_UNIT = 10_000;
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
    /// @inheritdoc IBallotBox
    mapping(address account => uint256) public consumerNumber;
    /// @inheritdoc IBallotBox
    mapping(address consumer => uint256) public reserveOf;
    mapping(address account => Account) private _accounts;
    mapping(uint256 pollId => Poll) private _polls;
    mapping(uint256 pollId => Tally) private _tallies;
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
        if (consumerNumber[msg.sender] == 0) revert NotConsumer(msg.sender);
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
    function commit(uint256 pollId, bytes32 commitment, uint256 weight) external nonReentrant {
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
        _ballots[pollId][msg.sender] =
            Ballot(choice == 1 ? BallotState.RevealedFor : BallotState.RevealedAgainst, uint248(weight));
        if (choice == 1) _tallies[pollId].votesFor += uint96(weight);
        else _tallies[pollId].votesAgainst += uint96(weight);

        emit VoteRevealed(pollId, msg.sender, choice, weight);
    }

    /// @inheritdoc IBallotBox
    function claim(uint256 pollId, address voter) external {
        uint256 amount = claimable(pollId, voter);
        if (amount == 0) revert NothingToClaim(pollId, voter);

        Ballot memory ballot = _ballots[pollId][voter];
        delete _ballots[pollId][voter];
        if (ballot.state == BallotState.RevealedFor) _tallies[pollId].votesFor -= uint96(ballot.content);
        else _tallies[pollId].votesAgainst -= uint96(ballot.content);
        _polls[pollId].volume -= uint96(amount);
        _accounts[voter].balance += uint96(amount);

        emit RewardClaimed(pollId, voter, amount);
    }

    /// @inheritdoc IBallotBox
    function sweep(uint256 pollId) external {
        Poll storage poll = _polls[pollId];
        if (poll.outcome == Outcome.Open || poll.volume == 0) revert NothingToSweep();
        if (block.timestamp < poll.claimEnd) revert ClaimsStillOpen(pollId, poll.claimEnd);

        uint96 amount = poll.volume;
        poll.volume = 0;
        _accounts[treasury].balance += amount;

        emit Swept(pollId, amount);
    }

    /// @inheritdoc IBallotBox
    function sweepSurplus() external nonReentrant {
        uint256 amount = token.balanceOf(address(this)) - totalTokens;
        if (amount == 0) revert NothingToSweep();

        _addToTotal(amount);
        _accounts[treasury].balance += uint96(amount);

        emit SurplusSwept(amount);
    }

    /* CONSUMERS */

    /// @inheritdoc IBallotBox
    function registerConsumer(address account) external onlyOwner returns (uint256 consumer) {
        if (account.code.length == 0) revert NotContract(account);
        if (consumerNumber[account] != 0) revert AlreadyConsumer(account);

        consumer = ++_consumerCount;
        consumerNumber[account] = consumer;

        emit ConsumerRegistered(consumer, account);
    }

    /// @inheritdoc IBallotBox
    function book(uint256 amount) external onlyConsumer nonReentrant {
        _book(amount);

        emit Booked(msg.sender, amount);
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
            claimEnd: 0,
            consumer: uint16(consumerNumber[msg.sender]),
            slash: uint16(slash),
            outcome: Outcome.Open,
            volume: 0
        });

        emit PollStarted(pollId, msg.sender, commitEnd, revealEnd, slash, stake);
    }

    /// @inheritdoc IBallotBox
    function close(uint256 pollId, Settlement calldata settlement) external nonReentrant {
        Poll memory poll = _polls[pollId];
        if (poll.revealEnd == 0) revert UnknownPoll(pollId);
        if (poll.consumer != consumerNumber[msg.sender]) revert NotPollConsumer(pollId, msg.sender);
        if (poll.outcome != Outcome.Open) revert PollIsClosed(pollId);
        if (block.timestamp < poll.revealEnd) revert PollStillRuns(pollId, poll.revealEnd);
        Tally memory tally = _tallies[pollId];
        if (_isInvalid(settlement, tally)) revert InvalidSettlement(pollId);

        // Whose bonds nobody gets in a draw: the votes that stayed secret. Otherwise the winners get all.
        uint256 bonded = poll.volume;
        uint256 forfeited = 0;
        if (settlement.outcome == Outcome.Draw) {
            uint256 revealed = uint256(tally.votesFor) + tally.votesAgainst;
            forfeited = _bond(bonded - revealed, poll.slash);
            bonded = revealed;
        }
        uint256 pool = settlement.reward + _bond(bonded, poll.slash);
        poll.volume = uint96(pool);
        poll.outcome = settlement.outcome;
        poll.claimEnd = uint40(block.timestamp + settlement.claimWindow);
        _polls[pollId] = poll;
        _spend(uint256(settlement.reward) + settlement.prize + settlement.bounty);
        _credit(settlement.winner, settlement.prize);
        _credit(settlement.resolver, settlement.bounty);
        _credit(treasury, forfeited);

        emit PollClosed(pollId, settlement, tally.votesFor, tally.votesAgainst, pool, forfeited);
    }

    /// @inheritdoc IBallotBox
    function pay(address account, uint256 amount) external onlyConsumer nonReentrant {
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
    function tallyOf(uint256 pollId) external view returns (Tally memory) {
        return _tallies[pollId];
    }

    /// @inheritdoc IBallotBox
    function ballotOf(uint256 pollId, address voter) external view returns (Ballot memory) {
        return _ballots[pollId][voter];
    }

    /// @inheritdoc IBallotBox
    function claimable(uint256 pollId, address voter) public view returns (uint256) {
        Outcome outcome = _polls[pollId].outcome;
        Ballot memory ballot = _ballots[pollId][voter];
        if (outcome == Outcome.Open || ballot.state < BallotState.RevealedAgainst) return 0;

        Tally memory tally = _tallies[pollId];
        uint256 entitled;
        if (outcome == Outcome.Draw) entitled = uint256(tally.votesFor) + tally.votesAgainst;
        else if (outcome == Outcome.For && ballot.state == BallotState.RevealedFor) entitled = tally.votesFor;
        else if (outcome == Outcome.Against && ballot.state == BallotState.RevealedAgainst) entitled = tally.votesAgainst;
        else return 0;
        return uint256(_polls[pollId].volume) * ballot.content / entitled;
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
        if (_ballots[pollId][msg.sender].state != BallotState.None) revert AlreadyCommitted(pollId, msg.sender);
        Account memory account = _accounts[msg.sender];
        uint256 bond = _bond(weight, poll.slash);
        uint256 locked = block.timestamp < account.lockedUntil ? account.locked : 0;
        if (locked < weight - bond) locked = weight - bond;
        if (locked + bond > account.balance) revert InsufficientBalance(msg.sender, account.balance, locked + bond);

        _ballots[pollId][msg.sender] = Ballot(BallotState.Committed, _sealed(commitment, weight));
        poll.volume += uint96(weight);
        uint64 lockedUntil = poll.revealEnd;
        if (lockedUntil < account.lockedUntil) lockedUntil = account.lockedUntil;
        _accounts[msg.sender] = Account(account.balance - uint96(bond), uint96(locked), lockedUntil);

        emit VoteCommitted(pollId, msg.sender, commitment, weight, bond);
    }

    /// @dev Counts tokens that came without being counted as the calling consumer's.
    function _book(uint256 amount) private {
        if (amount == 0) revert ZeroAmount();
        uint256 received = token.balanceOf(address(this)) - totalTokens;
        if (received < amount) revert TransferMismatch(amount, received);

        _addToTotal(amount);
        reserveOf[msg.sender] += amount;
    }

    /// @dev As long as the total fits, every part of it does.
    function _addToTotal(uint256 amount) private {
        uint256 total = totalTokens + amount;
        if (total > type(uint96).max) revert TooManyTokens(total, type(uint96).max);
        totalTokens = total;
    }

    function _spend(uint256 amount) private {
        uint256 reserve = reserveOf[msg.sender];
        if (amount > reserve) revert InsufficientReserve(msg.sender, reserve, amount);
        reserveOf[msg.sender] = reserve - amount;
    }

    function _credit(address account, uint256 amount) private {
        if (amount != 0) _accounts[account].balance += uint96(amount);
    }

    function _available(Account storage account) private view returns (uint256) {
        Account memory the = account;
        return block.timestamp < the.lockedUntil ? the.balance - the.locked : the.balance;
    }

    function _isInvalid(Settlement calldata settlement, Tally memory tally) private pure returns (bool) {
        if (settlement.outcome == Outcome.Open) return true;
        if (settlement.outcome == Outcome.For) return tally.votesFor == 0;
        if (settlement.outcome == Outcome.Against) return tally.votesAgainst == 0;
        return settlement.reward != 0;
    }

    /// @dev Exact, because weights are multiples of the denominator.
    function _bond(uint256 weight, uint256 slash) private pure returns (uint256) {
        return weight * slash / WEIGHT_UNIT;
    }

    function _sealed(bytes32 commitment, uint256 weight) private pure returns (uint248) {
        return uint248(uint256(keccak256(abi.encode(commitment, weight))) >> 8);
    }
}
