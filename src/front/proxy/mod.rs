//! All TLS and HTTP listeners: handshake, routes, limits, redirect.
