//! The CRC-32 of the FINGERPRINT attribute (RFC 8489 section 14.7).

/// The XOR that tells the CRC from one that another protocol put at the same place ("STUN" in ASCII).
const XOR: u32 = 0x5354_554e;

/// The table of the reflected polynomial of ITU V.42.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The value of the FINGERPRINT attribute that follows `message`, whose header already counts the attribute.
pub(super) fn of(message: &[u8]) -> u32 {
    let crc = message.iter().fold(u32::MAX, |crc, byte| {
        (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]
    });
    !crc ^ XOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_that_of_itu_v42() {
        // The check value that every catalogue of CRCs lists for this polynomial.
        assert_eq!(of(b"123456789") ^ XOR, 0xcbf4_3926);
    }
}
