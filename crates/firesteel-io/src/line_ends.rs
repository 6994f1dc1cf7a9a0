//! Finds the ends of all lines in a stretch of text in one pass, 64 bytes at a time.

/// What [`line_ends`] found beside the positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// Whether there is any CR; without one, every line end is one byte long.
    pub(crate) carriage_returns: bool,
}

/// Replaces `ends` with the position of each line's end in `text`: its LF or CR, the CR of a CRLF. A last line without an
/// end ends with the text. `text` begins with a line and is at most `u32::MAX` long.
pub(crate) fn line_ends(text: &[u8], ends: &mut Vec<u32>) -> Seen {
    debug_assert!(text.len() <= u32::MAX as usize);
    let mut found = Found { positions: std::mem::take(ends), count: 0, base: 0, any_cr: 0, after_cr: 0 };
    let (blocks, rest) = text.as_chunks::<64>();
    for bytes in blocks {
        found.block(mask(bytes, b'\n'), mask(bytes, b'\r'));
    }
    if !rest.is_empty() {
        let mut padded = [0; 64];
        padded[..rest.len()].copy_from_slice(rest);
        found.block(mask(&padded, b'\n'), mask(&padded, b'\r'));
    }
    *ends = found.positions;
    ends.truncate(found.count);
    if !matches!(text.last(), None | Some(b'\n' | b'\r')) {
        ends.push(text.len() as u32);
    }
    Seen { carriage_returns: found.any_cr != 0 }
}

/// The line ends found so far.
struct Found {
    /// The first `count` are theirs; behind them is room.
    positions: Vec<u32>,
    count: usize,
    /// Where the next block begins.
    base: u32,
    any_cr: u64,
    after_cr: u64,
}

impl Found {
    /// Adds a block's, of which there is a bit for each LF and for each CR.
    #[inline(always)]
    fn block(&mut self, lf: u64, cr: u64) {
        // A LF that follows a CR belongs to its end.
        let mut found = cr | (lf & !(cr << 1 | self.after_cr));
        self.after_cr = cr >> 63;
        self.any_cr |= cr;
        if self.positions.len() < self.count + 64 {
            self.positions.resize((self.count + 64).max(self.positions.len() * 2), 0);
        }
        let (few, more) = self.positions[self.count..][..64].split_at_mut(FEW);
        self.count += found.count_ones() as usize;
        // So many are written whether they are there or not: how many are is not foreseen by the processor.
        for position in few {
            *position = self.base + found.trailing_zeros();
            found &= found.wrapping_sub(1);
        }
        for position in more {
            if found == 0 {
                break;
            }
            *position = self.base + found.trailing_zeros();
            found &= found - 1;
        }
        self.base += 64;
    }
}

/// Most blocks of 64 bytes have no more line ends.
const FEW: usize = 4;

/// One bit for each byte of the block that equals `byte`.
#[inline(always)]
fn mask(block: &[u8; 64], byte: u8) -> u64 {
    let (parts, _) = block.as_chunks::<16>();
    let part = |i: usize| u64::from(mask16(&parts[i], byte));
    part(0) | part(1) << 16 | part(2) << 32 | part(3) << 48
}

/// The same, of 16 bytes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn mask16(bytes: &[u8; 16], byte: u8) -> u16 {
    use safe_arch::{cmp_eq_mask_i8_m128i, load_unaligned_m128i, move_mask_i8_m128i, set_splat_i8_m128i};
    let wanted = set_splat_i8_m128i(byte as i8);
    move_mask_i8_m128i(cmp_eq_mask_i8_m128i(load_unaligned_m128i(bytes), wanted)) as u16
}

#[cfg(not(target_arch = "x86_64"))]
use portable_mask16 as mask16;

/// The same, of 16 bytes, for any processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[inline(always)]
fn portable_mask16(bytes: &[u8; 16], byte: u8) -> u16 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let (parts, _) = bytes.as_chunks::<8>();
    let part = |i: usize| {
        // A byte is zero where the two agree.
        let other = u64::from_le_bytes(parts[i]) ^ u64::from_ne_bytes([byte; 8]);
        let differs = ((other & LOW) + LOW) | other;
        // The top bits of the eight bytes, brought together in the topmost byte.
        ((!differs & !LOW) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    };
    (part(0) | part(1) << 8) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slow(text: &[u8]) -> Vec<u32> {
        let mut ends = Vec::new();
        for (i, b) in text.iter().enumerate() {
            if *b == b'\r' || *b == b'\n' && (i == 0 || text[i - 1] != b'\r') {
                ends.push(i as u32);
            }
        }
        if !matches!(text.last(), None | Some(b'\n' | b'\r')) {
            ends.push(text.len() as u32);
        }
        ends
    }

    proptest! {
        #[test]
        fn every_way_finds_the_same_bytes(bytes: [u8; 16], byte: u8, at in prop::collection::vec(0..16usize, 0..9)) {
            let mut bytes = bytes;
            at.iter().for_each(|at| bytes[*at] = byte);
            let expected = (0..16).filter(|i| bytes[*i] == byte).fold(0, |mask, i| mask | 1 << i);
            prop_assert_eq!(portable_mask16(&bytes, byte), expected);
            prop_assert_eq!(mask16(&bytes, byte), expected);
        }

        #[test]
        fn ends_agree_with_a_plain_loop(text in prop::collection::vec(prop::sample::select(b"\n\r\n\ra\x8a\x8d\x00".to_vec()), 0..300)) {
            let mut ends = vec![7];
            let seen = line_ends(&text, &mut ends);
            prop_assert_eq!(ends, slow(&text));
            prop_assert_eq!(seen.carriage_returns, text.contains(&b'\r'));
        }

        #[test]
        fn a_mask_has_the_bits_of_equal_bytes(bytes in prop::collection::vec(0u8..4, 64), byte in 0u8..4) {
            let block: [u8; 64] = bytes.try_into().unwrap();
            prop_assert!((0..64).all(|i| (mask(&block, byte) >> i & 1 == 1) == (block[i] == byte)));
        }
    }
}
