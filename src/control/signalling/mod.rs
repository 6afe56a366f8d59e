//! JSON-RPC 2.0 over WebSocket as OpenVidu's clients speak it.
