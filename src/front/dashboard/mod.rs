//! Web pages embedded in the binary.
