//! RTP header extensions (RFC 8285): both forms are read, the one-byte form is written.

const ONE_BYTE_PROFILE: u16 = 0xbede;
/// The low four bits are application bits (RFC 8285 section 4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;
/// Bytes of profile and length in front of the elements.
const PREAMBLE_LEN: usize = 4;

/// The elements of one header extension: identifier and data. Ends at the first element that does not fit.
#[derive(Debug, Clone)]
pub struct Extensions<'a> {
    two_byte: bool,
    rest: &'a [u8],
}

impl<'a> Extensions<'a> {
    /// The elements in `data`; a profile other than RFC 8285's has none.
    pub fn new(profile: u16, data: &'a [u8]) -> Self {
        let two_byte = profile & 0xfff0 == TWO_BYTE_PROFILE;
        Self {
            two_byte,
            rest: if two_byte || profile == ONE_BYTE_PROFILE {
                data
            } else {
                &[]
            },
        }
    }

    fn end(&mut self) -> Option<(u8, &'a [u8])> {
        self.rest = &[];
        None
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            // Identifier 0 is padding: a single byte in both forms (RFC 8285 sections 4.2 and 4.3).
            let padding = if self.two_byte {
                first == 0
            } else {
                first >> 4 == 0
            };
            if padding {
                self.rest = rest;
                continue;
            }
            let (id, len, rest) = if self.two_byte {
                let Some((&len, rest)) = rest.split_first() else {
                    return self.end();
                };
                (first, usize::from(len), rest)
            } else {
                (first >> 4, usize::from(first & 0x0f) + 1, rest)
            };
            if !self.two_byte && id == 15 {
                return self.end();
            }
            let Some((data, rest)) = rest.split_at_checked(len) else {
                return self.end();
            };
            self.rest = rest;
            return Some((id, data));
        }
    }
}

/// Writes a header extension in the one-byte form (RFC 8285 section 4.2).
#[derive(Debug)]
pub struct ExtensionWriter<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> ExtensionWriter<'a> {
    /// Writes to the start of `out`, which lies directly behind the fixed header.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self {
            out,
            at: PREAMBLE_LEN,
        }
    }

    /// Adds an element. Identifiers outside 1 to 14, lengths outside 1 to 16 and what does not fit are left out.
    #[inline]
    pub fn push(&mut self, id: u8, data: &[u8]) {
        if id == 0 || id > 14 || data.is_empty() || data.len() > 16 {
            return;
        }
        let end = self.at + 1 + data.len();
        // Up to three bytes of padding must fit as well.
        if end.next_multiple_of(4) > self.out.len() {
            return;
        }
        self.out[self.at] = id << 4 | (data.len() - 1) as u8;
        self.out[self.at + 1..end].copy_from_slice(data);
        self.at = end;
    }

    /// Pads the elements, writes profile and length, and returns the whole length: 0 if there is no element.
    #[inline]
    pub fn finish(self) -> usize {
        if self.at == PREAMBLE_LEN {
            return 0;
        }
        let end = self.at.next_multiple_of(4);
        self.out[self.at..end].fill(0);
        let words = ((end - PREAMBLE_LEN) / 4) as u16;
        self.out[..2].copy_from_slice(&ONE_BYTE_PROFILE.to_be_bytes());
        self.out[2..4].copy_from_slice(&words.to_be_bytes());
        end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_byte_elements_are_read_across_padding() {
        let data = [0x10, 0xaa, 0, 0, 0x31, 1, 2, 0xf0, 9, 0x10, 7];
        let read: Vec<_> = Extensions::new(0xbede, &data).collect();
        assert_eq!(read, [(1, &[0xaa_u8][..]), (3, &[1, 2])]);
    }

    #[test]
    fn two_byte_elements_may_be_empty_and_have_any_identifier() {
        let data = [200, 2, 1, 2, 0, 5, 0, 1, 1, 9];
        let read: Vec<_> = Extensions::new(0x1003, &data).collect();
        assert_eq!(read, [(200, &[1_u8, 2][..]), (5, &[]), (1, &[9])]);
    }

    #[test]
    fn an_element_that_does_not_fit_ends_the_list() {
        assert_eq!(
            Extensions::new(0xbede, &[0x10, 1, 0x2f, 1]).collect::<Vec<_>>(),
            [(1, &[1_u8][..])]
        );
        assert_eq!(Extensions::new(0x1000, &[3, 4, 1]).count(), 0);
        assert_eq!(Extensions::new(0x1234, &[0x10, 1]).count(), 0);
    }

    #[test]
    fn nothing_to_write_needs_no_extension() {
        let mut out = [0; 8];
        let mut writer = ExtensionWriter::new(&mut out);
        writer.push(0, &[1]);
        writer.push(15, &[1]);
        writer.push(1, &[]);
        writer.push(1, &[0; 17]);
        writer.push(1, &[0; 4]);
        assert_eq!(writer.finish(), 0);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            elements in prop::collection::vec((1_u8..15, prop::collection::vec(any::<u8>(), 1..=16)), 1..6),
        ) {
            let mut out = [0xff; 128];
            let mut writer = ExtensionWriter::new(&mut out);
            for (id, data) in &elements {
                writer.push(*id, data);
            }
            let len = writer.finish();

            prop_assert_eq!(len % 4, 0);
            prop_assert_eq!(usize::from(u16::from_be_bytes([out[2], out[3]])), (len - 4) / 4);
            let profile = u16::from_be_bytes([out[0], out[1]]);
            let read: Vec<_> = Extensions::new(profile, &out[4..len])
                .map(|(id, data)| (id, data.to_vec()))
                .collect();
            prop_assert_eq!(read, elements);
        }

        #[test]
        fn reading_any_bytes_ends(profile in any::<u16>(), data in prop::collection::vec(any::<u8>(), 0..64)) {
            for profile in [profile, 0xbede, 0x1000] {
                prop_assert!(Extensions::new(profile, &data).count() <= data.len());
            }
        }
    }
}
