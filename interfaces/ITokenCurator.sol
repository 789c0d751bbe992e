// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IBallotBox} from "./IBallotBox.sol";
import {ICurator} from "./ICurator.sol";

/// @title Verdicts by those who hold a token
/// @notice A provider applies with a deposit, for one kind of server or for all (kind 0). Unless somebody challenges it
/// in time, the provider is accepted. At any time anybody may challenge an application or a listing with an equal stake;
/// then token holders vote (see {IBallotBox}). The loser's stake goes to the winning voters, to whoever resolved the
/// challenge, and to the party that won.
///
/// A deposit belongs to the provider: whoever is its admin in the registry disposes of it. What a removed listing had
/// beyond its stake stays here for the admin to {withdraw}. All payments are made into accounts in the ballot box.
/// @dev A listing ends in one of three ways, {Exited}, {Lapsed} or {ChallengeResolved}, and on each the verdict changes
/// once, with one {VerdictChanged}. What the deposit held beyond a lost stake stays to be withdrawn, and the listing cools
/// down from then on.
///
/// The verdict is Accepted while listed, with the stake as its weight. A vote against a listing makes it Rejected,
/// so that a provider voted out for one kind does not stay accepted for it through a listing for all kinds; leaving or
/// lapsing makes it None. An application, and a vote against one, leave the verdict as it was.
///
/// Terms are frozen: a listing keeps the version under which its admin last applied, topped up or withdrew (its stake
/// and exit times follow from it); a challenge keeps the version at which it was made.
interface ITokenCurator is ICurator {
    /// @notice Where a listing stands.
    enum State {
        /// Not listed. It may still hold a deposit to be withdrawn.
        None,
        /// Applied for; can be finalised from `readyAt`.
        Applied,
        /// The provider is accepted.
        Listed
    }

    /// @notice A provider's listing for a kind, one storage slot.
    struct Listing {
        /// Base units of the token, the stake included.
        uint96 deposit;
        State state;
        /// Applied: unix time from which it can be finalised. Listed: from which it can exit; zero if no exit is announced.
        uint40 readyAt;
        /// Unix time before which it cannot be challenged again or, when not listed, applied for.
        uint40 coolUntil;
        /// The poll of its open challenge; zero if there is none.
        uint40 pollId;
        /// The terms of the listing.
        uint16 version;
        /// The terms of its last challenge.
        uint16 challengeVersion;
    }

    /// @notice An open challenge, one storage slot.
    struct Challenge {
        address challenger;
        /// What each side stands to lose.
        uint96 stake;
    }

    /// @notice Names a listing.
    struct ListingId {
        uint256 providerId;
        uint256 kind;
    }

    /* EVENTS */

    /// @notice Emitted when a provider applies.
    /// @param amount What it brought; the deposit may hold more from before.
    event Applied(
        uint256 indexed providerId,
        uint256 indexed kind,
        uint256 indexed version,
        uint256 amount,
        uint256 readyAt,
        string uri
    );

    /// @notice Emitted when an application becomes a listing.
    event Finalised(uint256 indexed providerId, uint256 indexed kind);

    /// @notice Emitted when a deposit changes by its admin's hand, who thereby may come under today's terms.
    event DepositChanged(
        uint256 indexed providerId, uint256 indexed kind, uint256 indexed version, uint256 deposit
    );

    /// @notice Emitted when somebody challenges an application or a listing.
    /// @param pollId The poll; it also names the challenge.
    event Challenged(
        uint256 indexed providerId,
        uint256 indexed kind,
        uint256 indexed pollId,
        address challenger,
        uint256 version,
        uint256 stake,
        string uri
    );

    /// @notice Emitted when somebody has something to say on an open challenge.
    event EvidenceSubmitted(uint256 indexed pollId, address indexed account, string uri);

    /// @notice Emitted when the vote on a challenge is over; {IBallotBox-PollClosed} says who got what.
    /// @dev If the challenge succeeded, the application or the listing has ended, and its deposit is less by the stake. If
    /// it failed, the deposit grows by the stake less the reward and the bounty. Unless it succeeded, what waited for a
    /// time that has passed meanwhile is ready now. In any case the listing cools down from now on.
    event ChallengeResolved(
        uint256 indexed providerId, uint256 indexed kind, uint256 indexed pollId, IBallotBox.Outcome outcome
    );

    /// @notice Emitted when a provider says that it will leave.
    event ExitAnnounced(uint256 indexed providerId, uint256 indexed kind, uint256 readyAt);

    /// @notice Emitted when a provider leaves.
    event Exited(uint256 indexed providerId, uint256 indexed kind);

    /// @notice Emitted when a listing ends because its deposit stayed below a raised minimum.
    event Lapsed(uint256 indexed providerId, uint256 indexed kind);

    /* ERRORS */

    /// @notice Thrown when the caller is not the provider's admin in the registry.
    error NotProviderAdmin(uint256 providerId, address caller);
    /// @notice Thrown when a listing is not in the state that the call needs.
    error WrongState(uint256 providerId, uint256 kind, State state);
    /// @notice Thrown when a listing cannot be applied for, or challenged, again yet.
    error CoolingDown(uint256 providerId, uint256 kind, uint256 coolUntil);
    /// @notice Thrown when a deposit would be too small.
    error DepositTooSmall(uint256 deposit, uint256 minimum);
    /// @notice Thrown when a deposit does not hold that much.
    error WithdrawalTooLarge(uint256 deposit, uint256 amount);
    /// @notice Thrown when an amount is zero.
    error ZeroAmount();
    /// @notice Thrown when a listing is under challenge.
    error UnderChallenge(uint256 providerId, uint256 kind, uint256 pollId);
    /// @notice Thrown when a listing is not under challenge.
    error NotUnderChallenge(uint256 providerId, uint256 kind);
    /// @notice Thrown when none of the applications can be finalised yet.
    error NothingToFinalise();
    /// @notice Thrown when an exit is announced while an announced one can still be made.
    error ExitAlreadyAnnounced(uint256 providerId, uint256 kind, uint256 readyAt);
    /// @notice Thrown when an exit is made without being announced, too early, or too late.
    error ExitNotReady(uint256 providerId, uint256 kind, uint256 readyAt, uint256 lapsesAt);
    /// @notice Thrown when a listing's deposit is large enough, or may still be made so.
    error NotLapsed(uint256 providerId, uint256 kind, uint256 graceEndsAt);
    /// @notice Thrown when there is no such open challenge.
    error NoOpenChallenge(uint256 pollId);
    /// @notice Thrown when a URI is longer than 256 bytes.
    error UriTooLong(uint256 length);

    /* LISTINGS */

    /// @notice Apply for a listing. The provider's admin only. Approve this contract first.
    /// @param kind 0 for all kinds.
    /// @param amount Together with what the deposit still holds, at least today's minimum.
    /// @param uri Where the applicant makes its case.
    function applyFor(uint256 providerId, uint256 kind, uint256 amount, string calldata uri) external;

    /// @notice Turn applications that nobody challenged in time into listings. Anyone may.
    /// @dev Those that are not ready are passed over, so that nobody can spoil a batch by finalising a part of it. One for
    /// a kind that the registry does not know is not ready until it does.
    function finalise(ListingId[] calldata ids) external;

    /// @notice Add to a deposit. The provider's admin only. Approve this contract first.
    /// @dev Brings the listing under today's terms if the deposit then reaches today's minimum.
    function topUp(uint256 providerId, uint256 kind, uint256 amount) external;

    /// @notice Take from a deposit: all of it when not listed, else what is beyond today's minimum, under whose terms the
    /// listing then is. The provider's admin only; never under challenge.
    function withdraw(uint256 providerId, uint256 kind, uint256 amount) external;

    /// @notice Say that the provider will leave. The provider's admin only.
    function announceExit(uint256 providerId, uint256 kind) external;

    /// @notice Leave, after the delay and within the window. The provider's admin only; never under challenge.
    function exit(uint256 providerId, uint256 kind) external;

    /// @notice Remove a listing whose deposit stayed below today's minimum after the period of grace. Anyone may.
    function lapse(uint256 providerId, uint256 kind) external;

    /* CHALLENGES */

    /// @notice Challenge an application or a listing, with a stake equal to its own. Approve this contract first.
    /// @param uri Where the evidence is.
    /// @return pollId The poll in the ballot box.
    function challenge(uint256 providerId, uint256 kind, string calldata uri) external returns (uint256 pollId);

    /// @notice Say something on an open challenge. Anyone may.
    function submitEvidence(uint256 pollId, string calldata uri) external;

    /// @notice Decide a challenge by its vote. Anyone may; the caller gets the bounty.
    function resolve(uint256 providerId, uint256 kind) external;

    /* VIEWS */

    /// @notice A listing.
    function listingOf(uint256 providerId, uint256 kind) external view returns (Listing memory);

    /// @notice An open challenge; all zero when it is resolved.
    function challengeOf(uint256 pollId) external view returns (Challenge memory);

    /// @notice What a challenger of the listing would have to stake now.
    function stakeOf(uint256 providerId, uint256 kind) external view returns (uint256);
}
