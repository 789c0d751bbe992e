// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @notice {IParameters-ListingTerms} in one word, from the low bits: minDeposit 96, applyPeriod 24, exitDelay 24,
/// exitWindow 24, gracePeriod 24; then version 16 and graceEndsAt 40, which are zero but in the terms of today.
type PackedListingTerms is uint256;

/// @notice {IParameters-VotingTerms} in one word, from the low bits: quorum 96, threshold 16, voterShare 16, bounty 16,
/// slash 16, commitPeriod 24, revealPeriod 24, cooldown 24, claimWindow 24.
type PackedVotingTerms is uint256;

/// @title Bounded, versioned terms of a token-curated registry
/// @notice The owner (a role, or a {IParameterVote}) schedules new terms; after {DELAY} anyone executes them. Each
/// version stays readable for ever: listings, challenges and proposals keep the terms under which they began.
/// @dev Every figure has a range, fixed at deployment, and no range reaches beyond what the code itself allows: a quorum
/// of at least 1, a threshold of 5,000 to 10,000, a bond of at most 5,000, periods above 0, and for each version
/// `voterShare + bounty <= 10,000`. So no vote and no key can set terms under which a challenge cannot end.
///
/// Shares, the threshold and the bond are in 1/10,000; periods in seconds, at most 194 days; amounts in base units.
interface IParameters {
    /// @notice Terms of listings, one storage slot.
    struct ListingTerms {
        /// What a listing puts at stake; the smallest deposit.
        uint96 minDeposit;
        /// How long an application waits before it can be finalised.
        uint24 applyPeriod;
        /// How long before leaving an exit must be announced.
        uint24 exitDelay;
        /// How long after that delay the exit can be made, before it must be announced again.
        uint24 exitWindow;
        /// How long listings have to top up after the minimum deposit was raised.
        uint24 gracePeriod;
    }

    /// @notice Terms of challenges and their votes, one storage slot.
    struct VotingTerms {
        /// The smallest weight of revealed votes that decides anything.
        uint96 quorum;
        /// The part of revealed votes, in 1/10,000, that a challenge needs to succeed; reaching it is enough.
        uint16 threshold;
        /// The part of the loser's stake that goes to the voters who won.
        uint16 voterShare;
        /// The part of the loser's stake that goes to whoever resolves the challenge.
        uint16 bounty;
        /// The part of a vote's weight that is lost if the vote loses or is never revealed.
        uint16 slash;
        uint24 commitPeriod;
        uint24 revealPeriod;
        /// How long after a challenge a listing cannot be challenged again or, if it was removed, applied for again.
        uint24 cooldown;
        /// How long voters have to claim.
        uint24 claimWindow;
    }

    /// @notice A complete set of terms.
    struct Terms {
        ListingTerms listing;
        VotingTerms voting;
    }

    /// @notice Which terms hold now.
    struct Current {
        /// Versions start at 1.
        uint16 version;
        /// Unix time until which no listing can lapse for having less than today's minimum deposit.
        uint40 graceEndsAt;
    }

    /// @notice What was scheduled, one event away from its content.
    struct Scheduled {
        /// keccak256(abi.encode(terms)); zero if nothing is scheduled.
        bytes32 termsHash;
        /// Unix time from which it can be executed.
        uint40 readyAt;
    }

    /// @notice Emitted when the owner schedules new terms.
    event TermsScheduled(bytes32 indexed termsHash, uint256 readyAt, Terms terms);

    /// @notice Emitted when the owner takes scheduled terms back.
    event TermsCancelled(bytes32 indexed termsHash);

    /// @notice Emitted when new terms begin to hold.
    event ParametersSet(uint256 indexed version, uint256 graceEndsAt, Terms terms);

    /// @notice Thrown when a figure is out of its range.
    error OutOfRange(string name, uint256 value, uint256 minimum, uint256 maximum);
    /// @notice Thrown at deployment when a range is empty, or wider than the code allows.
    error InvalidRange(string name, uint256 minimum, uint256 maximum);
    /// @notice Thrown when the shares of a stake are more than the stake.
    error SharesExceedStake(uint256 voterShare, uint256 bounty);
    /// @notice Thrown at deployment when the delay is not between {MIN_DELAY} and {MAX_DELAY}.
    error InvalidDelay(uint256 delay);
    /// @notice Thrown when the terms are those of today.
    error TermsUnchanged(uint256 version);
    /// @notice Thrown when terms are scheduled while others are.
    error AlreadyScheduled(bytes32 termsHash, uint256 readyAt);
    /// @notice Thrown when the terms are not those that were scheduled.
    error NotScheduled(bytes32 termsHash);
    /// @notice Thrown when terms are executed too early.
    error NotReady(bytes32 termsHash, uint256 readyAt);
    /// @notice Thrown when there is no such version.
    error UnknownVersion(uint256 version);

    /// @notice Schedule new terms. Owner only.
    function schedule(Terms calldata terms) external;

    /// @notice Take scheduled terms back. Owner only.
    function cancel(bytes32 termsHash) external;

    /// @notice Let scheduled terms hold. Anyone may, after the delay.
    function execute(Terms calldata terms) external;

    /// @notice Revert unless the terms are within their ranges, and are not those of today.
    function check(Terms calldata terms) external view;

    /// @notice Which terms hold now.
    function current() external view returns (Current memory);

    /// @notice What was scheduled and not executed yet.
    function scheduled() external view returns (Scheduled memory);

    /// @notice A version's terms of listings.
    function listingTerms(uint256 version) external view returns (ListingTerms memory);

    /// @notice A version's terms of challenges.
    function votingTerms(uint256 version) external view returns (VotingTerms memory);

    /// @notice Today's terms of listings as contracts read them: packed, with version and end of grace.
    function latestListing() external view returns (PackedListingTerms);

    /// @notice Today's terms of challenges as contracts read them.
    function latestVoting() external view returns (uint256 version, PackedVotingTerms);

    /// @notice A version's terms of listings as contracts read them.
    function packedListing(uint256 version) external view returns (PackedListingTerms);

    /// @notice A version's terms of challenges as contracts read them.
    function packedVoting(uint256 version) external view returns (PackedVotingTerms);

    /// @notice The smallest and the largest terms that can be set.
    function ranges() external view returns (Terms memory minimum, Terms memory maximum);

    /// @notice How long, in seconds, new terms wait.
    function DELAY() external view returns (uint256);

    /// @notice The shortest delay there can be.
    function MIN_DELAY() external view returns (uint256);

    /// @notice The longest delay there can be.
    function MAX_DELAY() external view returns (uint256);
}
