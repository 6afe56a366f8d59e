//! What the kernel tells of this machine's other programs.

pub mod port_owner;
