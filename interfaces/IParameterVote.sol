// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IParameters} from "./IParameters.sol";

/// @title Terms changed by the vote that they govern
/// @notice Owner of an {IParameters}, if the deployment chose that: anyone proposes terms with a stake; if nobody
/// challenges them in time, or a vote upholds them, they are scheduled. A challenged proposal that neither side wins is
/// dropped, for the status quo is the terms of today.
/// @dev A proposal is for the version it was made under. Once other terms hold it can only be closed: applied later, it
/// would take back what nobody proposed to take back.
interface IParameterVote {
    /// @notice Where a proposal stands.
    enum State {
        None,
        /// Can be challenged until `challengeEnd`, applied after.
        Proposed,
        /// A vote decides.
        Challenged,
        /// Upheld by a vote; can be applied.
        Upheld,
        /// Scheduled, voted down, undecided, or overtaken by other terms.
        Closed
    }

    /// @notice A proposal.
    struct Proposal {
        address proposer;
        uint96 stake;
        address challenger;
        uint40 challengeEnd;
        /// The version that held when it was made; its vote runs under that version's terms.
        uint16 version;
        State state;
        /// The poll of its challenge; zero if there is none.
        uint40 pollId;
        bytes32 termsHash;
    }

    /// @notice Emitted when somebody proposes terms.
    event Proposed(
        uint256 indexed proposalId,
        address indexed proposer,
        uint256 indexed version,
        uint256 stake,
        uint256 challengeEnd,
        IParameters.Terms terms,
        string uri
    );

    /// @notice Emitted when somebody challenges a proposal.
    event ProposalChallenged(
        uint256 indexed proposalId, address indexed challenger, uint256 indexed pollId, string uri
    );

    /// @notice Emitted when the vote on a proposal is over.
    event ProposalResolved(uint256 indexed proposalId, uint256 indexed pollId, bool upheld);

    /// @notice Emitted when a proposal is scheduled or, if it was overtaken, closed.
    event ProposalClosed(uint256 indexed proposalId, bool scheduled);

    /// @notice Thrown when a proposal is not in the state that the call needs.
    error WrongState(uint256 proposalId, State state);
    /// @notice Thrown when a proposal is challenged too late.
    error ChallengePeriodOver(uint256 proposalId, uint256 challengeEnd);
    /// @notice Thrown when a proposal is applied while it can still be challenged.
    error ChallengePeriodRuns(uint256 proposalId, uint256 challengeEnd);
    /// @notice Thrown when the terms are not the proposal's.
    error WrongTerms(uint256 proposalId);
    /// @notice Thrown when a proposal is applied although other terms have come to hold.
    error Overtaken(uint256 proposalId, uint256 version);
    /// @notice Thrown when a proposal is closed as overtaken although it is not.
    error NotOvertaken(uint256 proposalId);
    /// @notice Thrown when a URI is longer than 256 bytes.
    error UriTooLong(uint256 length);

    /// @notice Take over the parameters, if their owner offered them to this contract. Anyone may.
    function acceptParameters() external;

    /// @notice Propose terms; the stake is today's minimum deposit. Approve this contract first.
    function propose(IParameters.Terms calldata terms, string calldata uri) external returns (uint256 proposalId);

    /// @notice Challenge a proposal with an equal stake. Approve this contract first.
    function challenge(uint256 proposalId, string calldata uri) external returns (uint256 pollId);

    /// @notice Decide a challenged proposal by its vote. Anyone may; the caller gets the bounty.
    function resolve(uint256 proposalId) external;

    /// @notice Schedule a proposal that stood. Anyone may.
    function applyTerms(uint256 proposalId, IParameters.Terms calldata terms) external;

    /// @notice Close a proposal that other terms have overtaken; the stake goes back. Anyone may.
    function discard(uint256 proposalId) external;

    /// @notice A proposal.
    function proposalOf(uint256 proposalId) external view returns (Proposal memory);

    /// @notice How many proposals there were; their ids are 1 to this.
    function proposalCount() external view returns (uint256);
}
