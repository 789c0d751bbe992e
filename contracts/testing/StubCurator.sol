// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A curator that answers whatever it is told to. Never deployed live.
contract StubCurator {
    bytes private _answer;
    bool private _reverts;
    bool private _burns;

    function set(bytes calldata answer, bool doesRevert, bool burns) external {
        (_answer, _reverts, _burns) = (answer, doesRevert, burns);
    }

    fallback(bytes calldata) external returns (bytes memory) {
        while (_burns) {}
        require(!_reverts);
        return _answer;
    }
}
