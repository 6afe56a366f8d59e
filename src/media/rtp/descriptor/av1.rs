//! The AV1 aggregation header (RTP payload format for AV1 1.0, section 4.4).

/// The first byte of every AV1 payload.
///
/// ```text
///  0 1 2 3 4 5 6 7
/// +-+-+-+-+-+-+-+-+
/// |Z|Y| W |N|-|-|-|
/// +-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AggregationHeader {
    /// The first unit continues one from the packet before.
    pub continues: bool,
    /// The last unit goes on in the next packet.
    pub continued: bool,
    /// How many units the packet holds, 0 if each has its size in front.
    pub unit_count: u8,
    /// The packet is the first of a coded video sequence: a key frame begins.
    pub new_coded_video_sequence: bool,
}

impl AggregationHeader {
    /// Reads the header; `None` if the payload is empty or contradicts itself (a new sequence continues nothing).
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let header = Self {
            continues: first & 0x80 != 0,
            continued: first & 0x40 != 0,
            unit_count: first >> 4 & 0x03,
            new_coded_video_sequence: first & 0x08 != 0,
        };
        (!(header.continues && header.new_coded_video_sequence)).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_read() {
        assert_eq!(
            AggregationHeader::parse(&[0x68]),
            Some(AggregationHeader {
                continues: false,
                continued: true,
                unit_count: 2,
                new_coded_video_sequence: true,
            })
        );
        assert_eq!(AggregationHeader::parse(&[0x88]), None);
        assert_eq!(AggregationHeader::parse(&[]), None);
    }
}
