//! Lines, words and bytes as `LC_ALL=C wc -lwc` of coreutils up to 9.4 counts them, at memory speed.
//!
//! A word begins at a printable ASCII byte that is the first since the last white space. Bytes that are neither, such as zeros and those from 0x80
//! on, neither begin nor end a word: three of them alone are no word, and in the middle of a word they change nothing. (Since
//! 9.5 they do begin words, which makes a difference for binary files only.)
//!
//! Eight bytes are looked at in one register. Whether a byte is inside a word is a carry: a printable byte generates it, a neutral one
//! passes it on, white space absorbs it. So one addition finds the beginnings of all words among the eight.

use std::ops::AddAssign;

/// What `wc` counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) lines: u64,
    pub(super) words: u64,
    pub(super) bytes: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.words += other.words;
        self.bytes += other.bytes;
    }
}

const LANE: usize = size_of::<u64>();
const LOW_BITS: u64 = each(0x7f);
const HIGH_BITS: u64 = each(0x80);
/// Bytes after which the counters, one of eight bits for each lane, may be full.
const BLOCK: usize = u8::MAX as usize * LANE;

/// Counts in one pass.
pub(super) fn count(text: &[u8]) -> Counts {
    let mut counts = Counts { bytes: text.len() as u64, ..Counts::default() };
    let mut in_word = false;
    for block in text.chunks(BLOCK) {
        let (mut lines, mut words) = (0, 0);
        let (lanes, rest) = block.as_chunks::<LANE>();
        // Zeros fill up the last lane: they begin no word and no line.
        let mut last = [0; LANE];
        last[..rest.len()].copy_from_slice(rest);
        for lane in lanes.iter().chain((!rest.is_empty()).then_some(&last)) {
            let classes = Classes::of(u64::from_le_bytes(*lane));
            lines += classes.newline >> 7;
            words += classes.word_starts(&mut in_word) >> 7;
        }
        counts.lines += sum_of_lanes(lines);
        counts.words += sum_of_lanes(words);
    }
    counts
}

/// The high bit of each byte that is of a class.
struct Classes {
    newline: u64,
    space: u64,
    printable: u64,
}

impl Classes {
    fn of(bytes: u64) -> Self {
        let low = bytes & LOW_BITS;
        let ascii = !bytes & HIGH_BITS;
        // No byte of a sum exceeds 0x7f + 0x80 - FROM, so none runs over into the next.
        let at_least = |from: u8| low + each(0x80 - from);
        let after_tab = at_least(b'\t');
        let (newline, after_newline) = (at_least(b'\n'), at_least(b'\n' + 1));
        let (blank, after_blank) = (at_least(b' '), at_least(b' ' + 1));
        Self {
            newline: newline & !after_newline & ascii,
            space: (after_tab & !at_least(b'\r' + 1) | blank & !after_blank) & ascii,
            printable: after_blank & !at_least(0x7f) & ascii,
        }
    }

    /// The printable bytes that begin a word. `in_word` is the carry, from the bytes before and to those after.
    fn word_starts(&self, in_word: &mut bool) -> u64 {
        // With its low bits set, a byte passes a carry on to its own high bit.
        let passes = !self.space;
        let (sum, carry) = passes.overflowing_add(self.printable);
        let (sum, carry_too) = sum.overflowing_add(u64::from(*in_word));
        *in_word = carry | carry_too;
        let carried_in = sum ^ passes ^ self.printable;
        self.printable & !carried_in
    }
}

const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; LANE])
}

fn sum_of_lanes(lanes: u64) -> u64 {
    lanes.to_le_bytes().into_iter().map(u64::from).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(text: &[u8]) -> Counts {
        let mut counts = Counts { bytes: text.len() as u64, ..Counts::default() };
        let mut in_word = false;
        for &byte in text {
            counts.lines += u64::from(byte == b'\n');
            match byte {
                b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' => in_word = false,
                b'!'..=b'~' => {
                    counts.words += u64::from(!in_word);
                    in_word = true;
                }
                _ => {}
            }
        }
        counts
    }

    fn counts(lines: u64, words: u64, bytes: u64) -> Counts {
        Counts { lines, words, bytes }
    }

    #[test]
    fn texts_are_counted_as_wc_does() {
        assert_eq!(count(b""), counts(0, 0, 0));
        assert_eq!(count(b"no end of line"), counts(0, 4, 14));
        assert_eq!(count(b"two words\n\nand  three more\n"), counts(3, 5, 27));
        assert_eq!(count(b" \t\n\x0b\x0c\r"), counts(1, 0, 6));
        // Neutral bytes alone, inside a word, and between two.
        assert_eq!(count(b"\0\x01\x7f\x80\xff"), counts(0, 0, 5));
        assert_eq!(count(b"gr\xc3\xbc\xc3\x9fe a\0b"), counts(0, 2, 11));
        assert_eq!(count(b"\xff a \xff"), counts(0, 1, 5));
    }

    #[test]
    fn every_byte_between_and_alone() {
        for byte in 0..=u8::MAX {
            for text in [&[byte][..], &[b'a', byte, b'a'], &[b' ', byte, b' '], &[byte; 9]] {
                assert_eq!(count(text), naive(text), "{text:?}");
            }
        }
    }

    #[test]
    fn random_bytes_of_every_length_and_across_blocks() {
        // A few classes are far more frequent than in random bytes, so that words cross the lanes and the blocks.
        let alphabet = b"  \nab\0\xff\t~!\x7f\x0e\x08\x1f";
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        for len in (0..100).chain([BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3]) {
            for _ in 0..20 {
                let any: Vec<u8> = (0..len).map(|_| random() as u8).collect();
                let frequent: Vec<u8> = (0..len).map(|_| alphabet[random() % alphabet.len()]).collect();
                assert_eq!(count(&any), naive(&any));
                assert_eq!(count(&frequent), naive(&frequent), "{frequent:?}");
            }
        }
        assert_eq!(count(&[b'\n'; 3 * BLOCK]), naive(&[b'\n'; 3 * BLOCK]));
    }
}
