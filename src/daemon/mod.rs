//! Composition root: construct, wire, start, drain.
