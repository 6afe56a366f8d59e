//! RTP (RFC 3550) header view, header extensions, RTCP, payload descriptors.
