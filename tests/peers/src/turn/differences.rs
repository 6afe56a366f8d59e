//! Where our server means to differ from coturn.

/// What the servers say to the same message, and why ours is meant.
#[derive(Debug)]
pub struct Difference {
    /// The scene and the step.
    pub at: &'static str,
    /// What ours says.
    pub ours: &'static str,
    /// What coturn says.
    pub theirs: &'static str,
    /// What ours follows.
    pub because: &'static str,
}

/// All of them.
pub const DIFFERENCES: &[Difference] = &[
    row(
        "a wrong credential: the user",
        "401 realm=hanok nonce",
        "437",
        "coturn keeps the first user and realm of a five-tuple, whoever sent them; RFC 8489 section 9.2.4 asks for 401",
    ),
    row(
        "a wrong credential: the realm",
        "401 realm=hanok nonce",
        "437",
        "coturn keeps the first user and realm of a five-tuple, whoever sent them; RFC 8489 section 9.2.4 asks for 401",
    ),
    row(
        "a wrong credential: the password, later",
        "401 realm=hanok nonce",
        "437",
        "nobody learns of an allocation before proving who asks (RFC 8656 section 7.2, first step)",
    ),
    row(
        "Allocate for TCP: Allocate",
        "442 sealed",
        "400 sealed",
        "RFC 8656 section 7.2, third step; TCP allocations (RFC 6062) are not offered",
    ),
    row(
        "Allocate for SCTP: Allocate",
        "442 sealed",
        "400 sealed",
        "RFC 8656 section 7.2, third step",
    ),
    row(
        "Allocate for a short family: Allocate",
        "400 sealed",
        "440 sealed",
        "an attribute of a wrong length is a bad request, not a family (RFC 8656 section 18.8)",
    ),
    row(
        "Allocate for both families: Allocate",
        "success sealed lifetime=600 relayed=v4 relayed=v6 mapped",
        "success sealed lifetime=600 relayed=v4 mapped",
        "RFC 8656 section 7.2: both families, or ADDRESS-ERROR-CODE; coturn says nothing of the other",
    ),
    row(
        "Allocate for IPv4 additionally: Allocate",
        "400 sealed",
        "success sealed lifetime=600 relayed=v4 mapped",
        "RFC 8656 section 7.2: checks of ADDITIONAL-ADDRESS-FAMILY",
    ),
    row(
        "Allocate for IPv6 and additionally: Allocate",
        "400 sealed",
        "success sealed lifetime=600 relayed=v6 mapped",
        "RFC 8656 section 7.2: checks of ADDITIONAL-ADDRESS-FAMILY",
    ),
    row(
        "Allocate an even port for both: Allocate",
        "success sealed lifetime=600 relayed=v4 relayed=v6 mapped",
        "success sealed lifetime=600 relayed=v4 mapped",
        "RFC 8656 section 7.2: both families, or ADDRESS-ERROR-CODE; coturn says nothing of the other",
    ),
    row(
        "Allocate a pair for both: Allocate",
        "400 sealed",
        "success sealed lifetime=600 relayed=v4 mapped token",
        "RFC 8656 section 7.2: checks of ADDITIONAL-ADDRESS-FAMILY",
    ),
    row(
        "Allocate an empty EVEN-PORT: Allocate",
        "400 sealed",
        "success sealed lifetime=600 relayed=v4 mapped",
        "the attribute has one byte (RFC 8656 section 18.6)",
    ),
    row(
        "Allocate what was never reserved: Allocate",
        "508 sealed",
        "404 sealed",
        "RFC 8656 section 7.2: a token that is not valid is answered with 508",
    ),
    row(
        "Allocate the reserved for both: Allocate",
        "400 sealed",
        "404 sealed",
        "RFC 8656 section 7.2: a token beside a family is a bad request",
    ),
    row(
        "Allocate with a peer: Allocate",
        "success sealed lifetime=600 relayed=v4 mapped",
        "420 sealed unknown=0012",
        "known, and not expected here: ignored (RFC 8489 section 6.3)",
    ),
    row(
        "Allocate once more: another",
        "437 sealed",
        "437",
        "who has proved who asks gets sealed answers (RFC 8489 section 9.2.4)",
    ),
    row(
        "Allocate once more: another user",
        "437 sealed",
        "437",
        "who has proved who asks gets sealed answers (RFC 8489 section 9.2.4)",
    ),
    row(
        "Refresh: as another user",
        "441 sealed",
        "441",
        "who has proved who asks gets sealed answers (RFC 8489 section 9.2.4)",
    ),
    row(
        "Refresh: the end, as another user",
        "441 sealed",
        "441",
        "who has proved who asks gets sealed answers (RFC 8489 section 9.2.4)",
    ),
    row(
        "Refresh: after the end",
        "437 sealed",
        "success sealed lifetime=600",
        "a lifetime of 0 deletes at once (RFC 8656 section 8.2); coturn takes a moment",
    ),
    row(
        "Refresh: the end once more",
        "437 sealed",
        "success sealed lifetime=0",
        "a lifetime of 0 deletes at once (RFC 8656 section 8.2); coturn takes a moment",
    ),
    row(
        "Refresh: allocated anew",
        "success sealed lifetime=600 relayed=v4 mapped",
        "437",
        "a lifetime of 0 deletes at once (RFC 8656 section 8.2); coturn takes a moment",
    ),
    row(
        "both families: allocated",
        "success sealed lifetime=600 relayed=v4 relayed=v6 mapped",
        "success sealed lifetime=600 relayed=v4 mapped",
        "coturn has not given the second family",
    ),
    row(
        "both families: permitted",
        "success sealed",
        "443 sealed",
        "coturn has not given the second family",
    ),
    row(
        "both families: bound",
        "success sealed",
        "443 sealed",
        "coturn has not given the second family",
    ),
    row(
        "both families: refreshed, one of them",
        "success sealed lifetime=600",
        "443 sealed",
        "coturn has not given the second family",
    ),
    row(
        "both families: the end of one",
        "success sealed lifetime=0",
        "443 sealed",
        "coturn has not given the second family",
    ),
    row(
        "both families: after the end",
        "437 sealed",
        "success sealed lifetime=600",
        "a lifetime of 0 deletes at once (RFC 8656 section 8.2); coturn takes a moment",
    ),
    row(
        "CreatePermission: without an allocation",
        "437 sealed",
        "400 sealed",
        "RFC 8656 section 5: no allocation is a mismatch, 437",
    ),
    row(
        "CreatePermission: for half an address",
        "400 sealed",
        "success sealed",
        "RFC 8656 section 10.2: all addresses are good, or nothing is permitted",
    ),
    row(
        "CreatePermission: for an address of no family",
        "400 sealed",
        "success sealed",
        "RFC 8656 section 10.2: all addresses are good, or nothing is permitted",
    ),
    row(
        "CreatePermission: for one and half an address",
        "400 sealed",
        "success sealed",
        "RFC 8656 section 10.2: all addresses are good, or nothing is permitted",
    ),
    row(
        "CreatePermission: for a private address",
        "403 sealed",
        "success sealed",
        "peers are public unicast unless the operator says otherwise (RFC 8656 sections 10.2 and 21.2.1)",
    ),
    row(
        "CreatePermission: for the metadata service",
        "403 sealed",
        "success sealed",
        "peers are public unicast unless the operator says otherwise (RFC 8656 sections 10.2 and 21.2.1)",
    ),
    row(
        "CreatePermission: for multicast",
        "403 sealed",
        "success sealed",
        "peers are public unicast unless the operator says otherwise (RFC 8656 sections 10.2 and 21.2.1)",
    ),
    row(
        "CreatePermission: for broadcast",
        "403 sealed",
        "success sealed",
        "peers are public unicast unless the operator says otherwise (RFC 8656 sections 10.2 and 21.2.1)",
    ),
    row(
        "CreatePermission: as another user",
        "441 sealed",
        "441",
        "who has proved who asks gets sealed answers (RFC 8489 section 9.2.4)",
    ),
    row(
        "CreatePermission: from another client",
        "437 sealed",
        "400 sealed",
        "RFC 8656 section 5: no allocation is a mismatch, 437",
    ),
    row(
        "ChannelBind: without an allocation",
        "437 sealed",
        "400 sealed",
        "RFC 8656 section 5: no allocation is a mismatch, 437",
    ),
    row(
        "ChannelBind: a private address",
        "403 sealed",
        "success sealed",
        "peers are public unicast unless the operator says otherwise (RFC 8656 sections 10.2 and 21.2.1)",
    ),
    row(
        "ChannelBind: as another user",
        "441 sealed",
        "441",
        "who has proved who asks gets sealed answers (RFC 8489 section 9.2.4)",
    ),
    row(
        "ChannelBind: from another client",
        "437 sealed",
        "400 sealed",
        "RFC 8656 section 5: no allocation is a mismatch, 437",
    ),
    row(
        "methods: unknown",
        "silence",
        "401 realm=hanok nonce",
        "a method or a class of it that is not supported gets no answer (RFC 8489 section 6.3)",
    ),
    row(
        "methods: unknown, with a credential",
        "silence",
        "400 sealed",
        "a method or a class of it that is not supported gets no answer (RFC 8489 section 6.3)",
    ),
    row(
        "methods: Connect",
        "403",
        "401 realm=hanok nonce",
        "TCP allocations (RFC 6062) are not offered, to nobody, so nobody need say who asks",
    ),
    row(
        "methods: ConnectionBind",
        "403",
        "400",
        "TCP allocations (RFC 6062) are not offered, to nobody, so nobody need say who asks",
    ),
    row(
        "methods: Send as a request",
        "silence",
        "400 sealed",
        "a method or a class of it that is not supported gets no answer (RFC 8489 section 6.3)",
    ),
    row(
        "methods: Data as a request",
        "silence",
        "400 sealed",
        "a method or a class of it that is not supported gets no answer (RFC 8489 section 6.3)",
    ),
    row(
        "methods: unknown, with an allocation",
        "silence",
        "400 sealed",
        "a method or a class of it that is not supported gets no answer (RFC 8489 section 6.3)",
    ),
    row(
        "methods: Connect, with an allocation",
        "403",
        "403 sealed",
        "TCP allocations (RFC 6062) are not offered, to nobody, so nobody need say who asks",
    ),
    row(
        "SHA-256: Allocate",
        "success lifetime=600 relayed=v4 sealed mapped",
        "401 realm=hanok nonce",
        "RFC 8489 sections 9.2 and 14.6: coturn knows no SHA-256",
    ),
    row(
        "SHA-256: CreatePermission",
        "success sealed",
        "401 realm=hanok nonce",
        "RFC 8489 sections 9.2 and 14.6: coturn knows no SHA-256",
    ),
    row(
        "SHA-256: CreatePermission for nobody",
        "400 sealed",
        "401 realm=hanok nonce",
        "RFC 8489 sections 9.2 and 14.6: coturn knows no SHA-256",
    ),
    row(
        "SHA-256: Allocate once more",
        "437 sealed",
        "401 realm=hanok nonce",
        "RFC 8489 sections 9.2 and 14.6: coturn knows no SHA-256",
    ),
    row(
        "SHA-256: Refresh by SHA-1",
        "success sealed lifetime=600",
        "437 sealed",
        "the allocation that coturn has not made",
    ),
    row(
        "SHA-256: Refresh",
        "success lifetime=0 sealed",
        "401 realm=hanok nonce",
        "RFC 8489 sections 9.2 and 14.6: coturn knows no SHA-256",
    ),
];

const fn row(
    at: &'static str,
    ours: &'static str,
    theirs: &'static str,
    because: &'static str,
) -> Difference {
    Difference {
        at,
        ours,
        theirs,
        because,
    }
}
