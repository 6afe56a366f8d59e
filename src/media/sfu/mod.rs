//! Selective forwarding: router, producer, consumer, sequencer, history, key frames.
