//! One thread per core: sockets, transports, rooms; runs the loop.
