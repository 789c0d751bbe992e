// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

import {IBallotBox} from "../../interfaces/IBallotBox.sol";
import {INodeRegistry} from "../../interfaces/INodeRegistry.sol";
import {IParameters, PackedListingTerms, PackedVotingTerms} from "../../interfaces/IParameters.sol";
import {ITokenCurator} from "../../interfaces/ITokenCurator.sol";
import {PackedTerms} from "./PackedTerms.sol";
import {VerdictBook} from "./VerdictBook.sol";

/// @title Verdicts by those who hold a token
contract TokenCurator is VerdictBook, ITokenCurator, ReentrancyGuardTransient, Multicall {
    using SafeERC20 for IERC20;
    using PackedTerms for *;

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
    /// @dev Kept here from the first challenge under a version on: no parameter contract can change an open challenge.
    mapping(uint256 version => PackedVotingTerms) private _votingTerms;

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
        Listing storage listing = _listings[providerId][kind];
        if (listing.state != State.None) revert WrongState(providerId, kind, listing.state);
        if (block.timestamp < listing.coolUntil) revert CoolingDown(providerId, kind, listing.coolUntil);
        _checkUri(uri);
        PackedListingTerms terms = parameters.latestListing();
        uint256 deposit = listing.deposit + amount;
        if (deposit < terms.minDeposit()) revert DepositTooSmall(deposit, terms.minDeposit());

        uint256 readyAt = block.timestamp + terms.applyPeriod();
        // The ballot box takes no more tokens than 96 bits count, and refuses this call if the amount is among them.
        listing.deposit = uint96(deposit);
        listing.state = State.Applied;
        listing.readyAt = uint40(readyAt);
        listing.version = terms.version();

        emit Applied(providerId, kind, listing.version, amount, readyAt, uri);

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
        PackedListingTerms terms = parameters.latestListing();

        uint256 deposit = listing.deposit + amount;
        _setDeposit(providerId, kind, listing, deposit, terms, deposit >= terms.minDeposit());

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
        PackedListingTerms terms = parameters.latestListing();
        uint256 deposit = listing.deposit - amount;
        bool listed = listing.state != State.None;
        if (listed && deposit < terms.minDeposit()) revert DepositTooSmall(deposit, terms.minDeposit());

        _setDeposit(providerId, kind, listing, deposit, terms, listed);

        ballotBox.pay(msg.sender, amount);
    }

    /// @inheritdoc ITokenCurator
    function announceExit(uint256 providerId, uint256 kind) external nonReentrant onlyProviderAdmin(providerId) {
        Listing storage listing = _listings[providerId][kind];
        if (listing.state != State.Listed) revert WrongState(providerId, kind, listing.state);
        if (listing.pollId != 0) revert UnderChallenge(providerId, kind, listing.pollId);
        PackedListingTerms terms = parameters.packedListing(listing.version);
        // Only one that was let lapse may be announced again: an exit that is always ready would be no delay at all.
        if (listing.readyAt != 0 && block.timestamp < uint256(listing.readyAt) + terms.exitWindow()) {
            revert ExitAlreadyAnnounced(providerId, kind, listing.readyAt);
        }

        uint256 readyAt = block.timestamp + terms.exitDelay();
        listing.readyAt = uint40(readyAt);

        emit ExitAnnounced(providerId, kind, readyAt);
    }

    /// @inheritdoc ITokenCurator
    function exit(uint256 providerId, uint256 kind) external nonReentrant onlyProviderAdmin(providerId) {
        Listing storage listing = _listings[providerId][kind];
        if (listing.state != State.Listed) revert WrongState(providerId, kind, listing.state);
        if (listing.pollId != 0) revert UnderChallenge(providerId, kind, listing.pollId);
        uint256 readyAt = listing.readyAt;
        uint256 lapsesAt = readyAt + parameters.packedListing(listing.version).exitWindow();
        if (readyAt == 0 || block.timestamp < readyAt || block.timestamp >= lapsesAt) {
            revert ExitNotReady(providerId, kind, readyAt, lapsesAt);
        }

        _cool(listing);

        emit Exited(providerId, kind);
        _setVerdict(providerId, kind, Verdict(Status.None, 0, 0));
    }

    /// @inheritdoc ITokenCurator
    function lapse(uint256 providerId, uint256 kind) external nonReentrant {
        Listing storage listing = _listings[providerId][kind];
        if (listing.state != State.Listed) revert WrongState(providerId, kind, listing.state);
        if (listing.pollId != 0) revert UnderChallenge(providerId, kind, listing.pollId);
        PackedListingTerms terms = parameters.latestListing();
        if (listing.deposit >= terms.minDeposit() || block.timestamp < terms.graceEndsAt()) {
            revert NotLapsed(providerId, kind, terms.graceEndsAt());
        }

        _cool(listing);

        emit Lapsed(providerId, kind);
        _setVerdict(providerId, kind, Verdict(Status.None, 0, 0));
    }

    /* CHALLENGES */

    /// @inheritdoc ITokenCurator
    function challenge(uint256 providerId, uint256 kind, string calldata uri)
        external
        nonReentrant
        returns (uint256 pollId)
    {
        Listing storage listing = _listings[providerId][kind];
        if (listing.state == State.None) revert WrongState(providerId, kind, listing.state);
        if (listing.pollId != 0) revert UnderChallenge(providerId, kind, listing.pollId);
        if (block.timestamp < listing.coolUntil) revert CoolingDown(providerId, kind, listing.coolUntil);
        _checkUri(uri);
        uint96 stake = parameters.packedListing(listing.version).minDeposit();
        (uint256 version, PackedVotingTerms terms) = parameters.latestVoting();

        // Tokens first, for the ballot box starts the poll when it has them. The guard is on every function that a token
        // could call meanwhile and that would mind, and the ballot box itself calls nobody but the token's balanceOf.
        token.safeTransferFrom(msg.sender, address(ballotBox), stake);
        // slither-disable-next-line reentrancy-no-eth
        pollId = ballotBox.startPoll(terms.commitPeriod(), terms.revealPeriod(), terms.slash(), stake);
        (listing.pollId, listing.challengeVersion) = (uint40(pollId), uint16(version));
        _challenges[pollId] = Challenge(msg.sender, stake);
        if (PackedVotingTerms.unwrap(_votingTerms[version]) == 0) _votingTerms[version] = terms;

        emit Challenged(providerId, kind, pollId, msg.sender, version, stake, uri);
    }

    /// @inheritdoc ITokenCurator
    function submitEvidence(uint256 pollId, string calldata uri) external {
        if (_challenges[pollId].challenger == address(0)) revert NoOpenChallenge(pollId);
        _checkUri(uri);

        emit EvidenceSubmitted(pollId, msg.sender, uri);
    }

    /// @inheritdoc ITokenCurator
    function resolve(uint256 providerId, uint256 kind) external {
        Listing storage stored = _listings[providerId][kind];
        Listing memory listing = stored;
        uint256 pollId = listing.pollId;
        if (pollId == 0) revert NotUnderChallenge(providerId, kind);
        PackedVotingTerms terms = _votingTerms[listing.challengeVersion];
        bool wasListed = listing.state == State.Listed;

        // Refuses while votes can still come in. The ballot box calls nobody, so nothing can come between.
        // slither-disable-next-line reentrancy-no-eth
        IBallotBox.Outcome outcome = _close(listing, pollId, terms);
        listing.pollId = 0;
        listing.coolUntil = uint40(block.timestamp + terms.cooldown());
        stored.deposit = listing.deposit;
        stored.state = listing.state;
        stored.readyAt = listing.readyAt;
        stored.coolUntil = listing.coolUntil;
        stored.pollId = 0;

        emit ChallengeResolved(providerId, kind, pollId, outcome);
        // slither-disable-next-line incorrect-equality  an enumeration, not an amount
        if (wasListed && listing.state == State.None) {
            _setVerdict(providerId, kind, Verdict(Status.Rejected, 0, 0));
        }
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
        // slither-disable-next-line incorrect-equality  an enumeration, not an amount
        return listing.state == State.None ? 0 : parameters.packedListing(listing.version).minDeposit();
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) public view override(VerdictBook, IERC165) returns (bool) {
        return interfaceId == type(ITokenCurator).interfaceId || super.supportsInterface(interfaceId);
    }

    /* INTERNAL */

    function _finalise(uint256 providerId, uint256 kind) private returns (bool) {
        Listing storage listing = _listings[providerId][kind];
        if (listing.state != State.Applied || listing.pollId != 0 || block.timestamp < listing.readyAt) return false;
        if (kind != 0 && registry.topicOf(kind) == 0) return false;
        uint256 stake = parameters.packedListing(listing.version).minDeposit();

        listing.state = State.Listed;
        listing.readyAt = 0;
        emit Finalised(providerId, kind);
        _setVerdict(providerId, kind, Verdict(Status.Accepted, 0, uint128(stake)));
        return true;
    }

    /// @dev Brings the listing under today's terms if it is `renewed`.
    function _setDeposit(
        uint256 providerId,
        uint256 kind,
        Listing memory listing,
        uint256 deposit,
        PackedListingTerms terms,
        bool renewed
    ) private {
        bool reweighed = renewed && listing.state == State.Listed
            && parameters.packedListing(listing.version).minDeposit() != terms.minDeposit();

        listing.deposit = uint96(deposit);
        if (renewed) listing.version = terms.version();
        _listings[providerId][kind] = listing;

        emit DepositChanged(providerId, kind, listing.version, deposit);
        if (reweighed) _setVerdict(providerId, kind, Verdict(Status.Accepted, 0, terms.minDeposit()));
    }

    /// @dev Has the poll closed, and moves the listing to where it then stands. What waited for a time that has passed
    /// meanwhile has it now: an application can be finalised, an announced exit has its whole window.
    function _close(Listing memory listing, uint256 pollId, PackedVotingTerms terms)
        private
        returns (IBallotBox.Outcome outcome)
    {
        Challenge storage stored = _challenges[pollId];
        (address challenger, uint96 stake) = (stored.challenger, stored.stake);
        delete _challenges[pollId];
        uint256 rest;
        (outcome, rest) = ballotBox.close(pollId, terms, stake, challenger, msg.sender);
        if (outcome == IBallotBox.Outcome.For) {
            listing.deposit -= stake;
            (listing.state, listing.readyAt) = (State.None, 0);
            return outcome;
        }
        listing.deposit += uint96(rest);
        if (listing.state == State.Applied || (listing.readyAt != 0 && listing.readyAt < block.timestamp)) {
            listing.readyAt = uint40(block.timestamp);
        }
    }

    /// @dev A listing that ends otherwise than by a vote keeps its deposit, for its admin to withdraw, and cools down.
    function _cool(Listing storage listing) private {
        // slither-disable-next-line unused-return  the version does not matter here
        (, PackedVotingTerms terms) = parameters.latestVoting();
        listing.state = State.None;
        listing.readyAt = 0;
        listing.coolUntil = uint40(block.timestamp + terms.cooldown());
    }

    function _checkUri(string calldata uri) private pure {
        if (bytes(uri).length > MAX_URI) revert UriTooLong(bytes(uri).length);
    }
}
