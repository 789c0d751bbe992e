// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

import {IBallotBox} from "../../interfaces/IBallotBox.sol";
import {INodeRegistry} from "../../interfaces/INodeRegistry.sol";
import {IParameters} from "../../interfaces/IParameters.sol";
import {ITokenCurator} from "../../interfaces/ITokenCurator.sol";
import {Contest} from "./Contest.sol";
import {VerdictBook} from "./VerdictBook.sol";

/// @title Verdicts by those who hold a token
contract TokenCurator is VerdictBook, ITokenCurator, ReentrancyGuardTransient, Multicall {
    using SafeERC20 for IERC20;

    uint256 private constant MAX_URI = 256;

    /// @notice Whose providers are listed here.
    INodeRegistry public immutable registry;
    /// @notice Where the votes and all tokens are.
    IBallotBox public immutable ballotBox;
    /// @notice Where the terms are.
    IParameters public immutable parameters;
    /// @notice The token of deposits and stakes.
    IERC20 public immutable token;

    mapping(uint256 providerId => mapping(uint256 kind => Listing)) private _listings;
    mapping(uint256 pollId => Challenge) private _challenges;

    constructor(INodeRegistry registry_, IBallotBox ballotBox_, IParameters parameters_, IERC20 token_) {
        registry = registry_;
        ballotBox = ballotBox_;
        parameters = parameters_;
        token = token_;
    }

    modifier onlyProviderAdmin(uint256 providerId) {
        if (registry.adminOf(providerId) != msg.sender) revert NotProviderAdmin(providerId, msg.sender);
        _;
    }

    /* LISTINGS */

    /// @inheritdoc ITokenCurator
    function applyFor(uint256 providerId, uint256 kind, uint256 amount, string calldata uri)
        external
        nonReentrant
        onlyProviderAdmin(providerId)
    {
        Listing memory listing = _listings[providerId][kind];
        if (listing.state != State.None) revert WrongState(providerId, kind, listing.state);
        if (block.timestamp < listing.coolUntil) revert CoolingDown(providerId, kind, listing.coolUntil);
        if (kind != 0 && registry.topicOf(kind) == 0) revert UnknownKind(kind);
        _checkUri(uri);
        (uint256 version, IParameters.ListingTerms memory terms) = parameters.latestListingTerms();
        uint256 deposit = listing.deposit + amount;
        if (deposit < terms.minDeposit) revert DepositTooSmall(deposit, terms.minDeposit);

        uint256 readyAt = block.timestamp + terms.applyPeriod;
        // The ballot box takes no more tokens than 96 bits count, and refuses this call if the amount is among them.
        listing.deposit = uint96(deposit);
        listing.state = State.Applied;
        listing.readyAt = uint40(readyAt);
        listing.version = uint16(version);
        _listings[providerId][kind] = listing;

        emit Applied(providerId, kind, version, amount, readyAt, uri);

        if (amount != 0) {
            token.safeTransferFrom(msg.sender, address(ballotBox), amount);
            ballotBox.book(amount);
        }
    }

    /// @inheritdoc ITokenCurator
    function finalise(ListingId[] calldata ids) external nonReentrant {
        uint256 finalised = 0;
        for (uint256 i = 0; i < ids.length; ++i) {
            if (_finalise(ids[i].providerId, ids[i].kind)) ++finalised;
        }
        if (finalised == 0) revert NothingToFinalise();
    }

    /// @inheritdoc ITokenCurator
    function topUp(uint256 providerId, uint256 kind, uint256 amount)
        external
        nonReentrant
        onlyProviderAdmin(providerId)
    {
        if (amount == 0) revert ZeroAmount();
        Listing memory listing = _listings[providerId][kind];
        if (listing.state == State.None) revert WrongState(providerId, kind, listing.state);
        if (listing.pollId != 0) revert UnderChallenge(providerId, kind, listing.pollId);
        (uint256 version, IParameters.ListingTerms memory terms) = parameters.latestListingTerms();

        uint256 deposit = listing.deposit + amount;
        _setDeposit(providerId, kind, listing, deposit, deposit < terms.minDeposit ? 0 : version, terms.minDeposit);

        token.safeTransferFrom(msg.sender, address(ballotBox), amount);
        ballotBox.book(amount);
    }

    /// @inheritdoc ITokenCurator
    function withdraw(uint256 providerId, uint256 kind, uint256 amount)
        external
        nonReentrant
        onlyProviderAdmin(providerId)
    {
        if (amount == 0) revert ZeroAmount();
        Listing memory listing = _listings[providerId][kind];
        if (listing.pollId != 0) revert UnderChallenge(providerId, kind, listing.pollId);
        if (amount > listing.deposit) revert WithdrawalTooLarge(listing.deposit, amount);
        (uint256 version, IParameters.ListingTerms memory terms) = parameters.latestListingTerms();
        uint256 deposit = listing.deposit - amount;
        bool unlisted = listing.state == State.None;
        if (!unlisted && deposit < terms.minDeposit) revert DepositTooSmall(deposit, terms.minDeposit);

        _setDeposit(providerId, kind, listing, deposit, unlisted ? 0 : version, terms.minDeposit);

        ballotBox.pay(msg.sender, amount);
    }

    /// @inheritdoc ITokenCurator
    function announceExit(uint256 providerId, uint256 kind) external nonReentrant onlyProviderAdmin(providerId) {
        Listing storage listing = _listings[providerId][kind];
        if (listing.state != State.Listed) revert WrongState(providerId, kind, listing.state);
        if (listing.pollId != 0) revert UnderChallenge(providerId, kind, listing.pollId);
        IParameters.ListingTerms memory terms = parameters.listingTerms(listing.version);
        // Only one that was let lapse may be announced again: an exit that is always ready would be no delay at all.
        if (listing.readyAt != 0 && block.timestamp < uint256(listing.readyAt) + terms.exitWindow) {
            revert ExitAlreadyAnnounced(providerId, kind, listing.readyAt);
        }

        uint256 readyAt = block.timestamp + terms.exitDelay;
        listing.readyAt = uint40(readyAt);

        emit ExitAnnounced(providerId, kind, readyAt);
    }

    /// @inheritdoc ITokenCurator
    function exit(uint256 providerId, uint256 kind) external nonReentrant onlyProviderAdmin(providerId) {
        Listing memory listing = _listings[providerId][kind];
        if (listing.state != State.Listed) revert WrongState(providerId, kind, listing.state);
        if (listing.pollId != 0) revert UnderChallenge(providerId, kind, listing.pollId);
        uint256 readyAt = listing.readyAt;
        uint256 lapsesAt = readyAt + parameters.listingTerms(listing.version).exitWindow;
        if (readyAt == 0 || block.timestamp < readyAt || block.timestamp >= lapsesAt) {
            revert ExitNotReady(providerId, kind, readyAt, lapsesAt);
        }

        _remove(providerId, kind, listing, RemovalReason.Exited);
    }

    /// @inheritdoc ITokenCurator
    function lapse(uint256 providerId, uint256 kind) external nonReentrant {
        Listing memory listing = _listings[providerId][kind];
        if (listing.state != State.Listed) revert WrongState(providerId, kind, listing.state);
        if (listing.pollId != 0) revert UnderChallenge(providerId, kind, listing.pollId);
        IParameters.Current memory current = parameters.current();
        uint256 minimum = parameters.listingTerms(current.version).minDeposit;
        if (listing.deposit >= minimum || block.timestamp < current.graceEndsAt) {
            revert NotLapsed(providerId, kind, current.graceEndsAt);
        }

        _remove(providerId, kind, listing, RemovalReason.Lapsed);
    }

    /* CHALLENGES */

    /// @inheritdoc ITokenCurator
    function challenge(uint256 providerId, uint256 kind, string calldata uri)
        external
        nonReentrant
        returns (uint256 pollId)
    {
        Listing memory listing = _listings[providerId][kind];
        if (listing.state == State.None) revert WrongState(providerId, kind, listing.state);
        if (listing.pollId != 0) revert UnderChallenge(providerId, kind, listing.pollId);
        if (block.timestamp < listing.coolUntil) revert CoolingDown(providerId, kind, listing.coolUntil);
        _checkUri(uri);
        (uint256 version, IParameters.VotingTerms memory terms) = parameters.latestVotingTerms();
        uint96 stake = parameters.listingTerms(listing.version).minDeposit;

        // Tokens first, for the ballot box starts the poll when it has them; the guard holds meanwhile.
        token.safeTransferFrom(msg.sender, address(ballotBox), stake);
        pollId = ballotBox.startPoll(terms.commitPeriod, terms.revealPeriod, terms.slash, stake);
        listing.pollId = uint40(pollId);
        listing.challengeVersion = uint16(version);
        _listings[providerId][kind] = listing;
        _challenges[pollId] = Challenge(msg.sender, stake);

        emit Challenged(providerId, kind, pollId, msg.sender, version, stake, uri);
    }

    /// @inheritdoc ITokenCurator
    function submitEvidence(uint256 pollId, string calldata uri) external {
        if (_challenges[pollId].challenger == address(0)) revert NoOpenChallenge(pollId);
        _checkUri(uri);

        emit EvidenceSubmitted(pollId, msg.sender, uri);
    }

    /// @inheritdoc ITokenCurator
    function resolve(uint256 providerId, uint256 kind) external nonReentrant {
        Listing memory listing = _listings[providerId][kind];
        uint256 pollId = listing.pollId;
        if (pollId == 0) revert NotUnderChallenge(providerId, kind);
        Challenge memory the = _challenges[pollId];
        IParameters.VotingTerms memory terms = parameters.votingTerms(listing.challengeVersion);
        IBallotBox.Tally memory tally = ballotBox.tallyOf(pollId);
        IBallotBox.Outcome outcome = Contest.decide(tally.votesFor, tally.votesAgainst, terms);

        IBallotBox.Settlement memory settlement = _settle(listing, the, outcome, terms);
        uint256 coolUntil = block.timestamp + terms.cooldown;
        listing.pollId = 0;
        listing.coolUntil = uint40(coolUntil);
        delete _challenges[pollId];
        // What waited for its time has it now: an application can be finalised, an exit has its whole window.
        if (listing.state == State.Applied || (listing.readyAt != 0 && listing.readyAt < block.timestamp)) {
            listing.readyAt = uint40(block.timestamp);
        }
        emit ChallengeResolved(
            providerId, kind, pollId, uint256(outcome), listing.deposit, listing.readyAt, coolUntil
        );
        if (outcome == IBallotBox.Outcome.For) _remove(providerId, kind, listing, RemovalReason.VotedOut);
        else _listings[providerId][kind] = listing;

        // Refuses while votes can still come in, and twice.
        ballotBox.close(pollId, settlement);
    }

    /* VIEWS */

    /// @inheritdoc ITokenCurator
    function listingOf(uint256 providerId, uint256 kind) external view returns (Listing memory) {
        return _listings[providerId][kind];
    }

    /// @inheritdoc ITokenCurator
    function challengeOf(uint256 pollId) external view returns (Challenge memory) {
        return _challenges[pollId];
    }

    /// @inheritdoc ITokenCurator
    function stakeOf(uint256 providerId, uint256 kind) external view returns (uint256) {
        Listing memory listing = _listings[providerId][kind];
        return listing.state == State.None ? 0 : parameters.listingTerms(listing.version).minDeposit;
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) public view override(VerdictBook, IERC165) returns (bool) {
        return interfaceId == type(ITokenCurator).interfaceId || super.supportsInterface(interfaceId);
    }

    /* INTERNAL */

    function _finalise(uint256 providerId, uint256 kind) private returns (bool) {
        Listing storage listing = _listings[providerId][kind];
        if (listing.state != State.Applied || listing.pollId != 0 || block.timestamp < listing.readyAt) return false;
        uint256 stake = parameters.listingTerms(listing.version).minDeposit;

        listing.state = State.Listed;
        listing.readyAt = 0;
        emit Finalised(providerId, kind);
        _setVerdict(providerId, kind, Verdict(Status.Accepted, 0, uint128(stake)));
        return true;
    }

    /// @dev `version` 0 leaves the listing under the terms it has.
    function _setDeposit(
        uint256 providerId,
        uint256 kind,
        Listing memory listing,
        uint256 deposit,
        uint256 version,
        uint256 stake
    ) private {
        bool reweighed = version != 0 && listing.state == State.Listed
            && parameters.listingTerms(listing.version).minDeposit != stake;

        listing.deposit = uint96(deposit);
        if (version != 0) listing.version = uint16(version);
        _listings[providerId][kind] = listing;

        emit DepositChanged(providerId, kind, listing.version, deposit);
        if (reweighed) _setVerdict(providerId, kind, Verdict(Status.Accepted, 0, uint128(stake)));
    }

    /// @dev The one way out, for all reasons. The listing keeps what its admin can withdraw, and cools down.
    function _remove(uint256 providerId, uint256 kind, Listing memory listing, RemovalReason reason) private {
        bool wasListed = listing.state == State.Listed;
        listing.state = State.None;
        listing.readyAt = 0;
        if (reason != RemovalReason.VotedOut) {
            (, IParameters.VotingTerms memory terms) = parameters.latestVotingTerms();
            listing.coolUntil = uint40(block.timestamp + terms.cooldown);
        }
        _listings[providerId][kind] = listing;
        emit ListingRemoved(providerId, kind, reason, listing.deposit, listing.coolUntil);

        if (wasListed) {
            Status status = reason == RemovalReason.VotedOut ? Status.Rejected : Status.None;
            _setVerdict(providerId, kind, Verdict(status, 0, 0));
        }
    }

    /// @dev Moves the provider's side of the stakes within `listing`; what is for others is in the settlement.
    function _settle(
        Listing memory listing,
        Challenge memory the,
        IBallotBox.Outcome outcome,
        IParameters.VotingTerms memory terms
    ) private view returns (IBallotBox.Settlement memory settlement) {
        settlement.outcome = outcome;
        settlement.winner = the.challenger;
        settlement.resolver = msg.sender;
        settlement.claimWindow = terms.claimWindow;
        if (outcome == IBallotBox.Outcome.Draw) {
            settlement.prize = the.stake;
            return settlement;
        }

        (uint256 reward, uint256 bounty, uint256 rest) = Contest.split(the.stake, terms);
        settlement.reward = uint96(reward);
        settlement.bounty = uint96(bounty);
        if (outcome == IBallotBox.Outcome.For) {
            settlement.prize = the.stake + uint96(rest);
            listing.deposit -= the.stake;
        } else {
            listing.deposit += uint96(rest);
        }
    }

    function _checkUri(string calldata uri) private pure {
        if (bytes(uri).length > MAX_URI) revert UriTooLong(bytes(uri).length);
    }
}
