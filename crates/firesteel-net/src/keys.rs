//! The keys of one connection, and records sealed under them.

use ring::{
    aead::{self, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag},
    hkdf::Prk,
};

/// So many records are sealed under one key, then the next is derived: with records of 64 KiB a key sees 64 GiB, well
/// below what AES-GCM allows.
const RECORDS_PER_KEY: u64 = 1 << 20;

/// How many bytes a sealed record is longer than its contents.
pub(crate) const TAG: usize = aead::MAX_TAG_LEN;

/// The keys for one purpose and one direction, and how many records they have seen. The record's number is its nonce,
/// so a record that is missing, repeated or out of order fails as a changed one does.
pub(crate) struct Sealing {
    secret: Prk,
    purpose: &'static [u8],
    key: LessSafeKey,
    records: u64,
}

/// A record was changed, repeated, left out, or sealed under another key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forged;

impl Sealing {
    /// The first key for `purpose` from a connection's secret. Each purpose is given once per connection.
    pub(crate) fn new(secret: &Prk, purpose: &'static [u8]) -> Sealing {
        Sealing { secret: secret.clone(), purpose, key: derive(secret, purpose, 0), records: 0 }
    }

    /// Encrypts a record in place. `header` stands before it, in the clear, and is checked with it.
    pub(crate) fn seal(&mut self, header: &[u8], record: &mut [u8]) -> Tag {
        let nonce = self.next_nonce();
        self.key
            .seal_in_place_separate_tag(nonce, Aad::from(header), record)
            .expect("a record is far below AES-GCM's limit of 64 GiB")
    }

    /// Checks and decrypts a record, of which the last [`TAG`] bytes are the tag. What it holds is left at the front
    /// of `record`, and is [`TAG`] bytes shorter.
    pub(crate) fn open(&mut self, header: &[u8], record: &mut [u8]) -> Result<(), Forged> {
        let nonce = self.next_nonce();
        self.key.open_in_place(nonce, Aad::from(header), record).map(|_| ()).map_err(|_| Forged)
    }

    fn next_nonce(&mut self) -> Nonce {
        if self.records > 0 && self.records.is_multiple_of(RECORDS_PER_KEY) {
            self.key = derive(&self.secret, self.purpose, self.records / RECORDS_PER_KEY);
        }
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&self.records.to_be_bytes());
        self.records += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

fn derive(secret: &Prk, purpose: &[u8], generation: u64) -> LessSafeKey {
    let generation = generation.to_be_bytes();
    let info = [purpose, &generation];
    LessSafeKey::new(secret.expand(&info, &AES_256_GCM).expect("a key is far below HKDF's limit").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::hkdf::{HKDF_SHA256, Salt};

    fn secret() -> Prk {
        Salt::new(HKDF_SHA256, b"salt").extract(b"a secret that both sides know")
    }

    fn at(records: u64) -> Sealing {
        let (secret, purpose) = (secret(), b"test");
        let key = derive(&secret, purpose, records.saturating_sub(1) / RECORDS_PER_KEY);
        Sealing { secret, purpose, key, records }
    }

    fn sealed(sealing: &mut Sealing, contents: &[u8]) -> Vec<u8> {
        let mut record = contents.to_vec();
        let tag = sealing.seal(b"head", &mut record);
        record.extend_from_slice(tag.as_ref());
        record
    }

    #[test]
    fn both_sides_change_the_key_at_the_same_record() {
        let (mut sender, mut receiver) = (at(RECORDS_PER_KEY - 2), at(RECORDS_PER_KEY - 2));
        for i in 0..4u8 {
            let mut record = sealed(&mut sender, &[i; 10]);
            assert_eq!(receiver.open(b"head", &mut record), Ok(()));
            assert_eq!(record[..10], [i; 10]);
        }
        // The old key no longer opens anything, even with the right nonce.
        let mut old = Sealing { key: derive(&secret(), b"test", 0), ..at(RECORDS_PER_KEY + 3) };
        assert_eq!(old.open(b"head", &mut sealed(&mut at(RECORDS_PER_KEY + 3), b"record")), Err(Forged));
    }

    #[test]
    fn a_record_opens_once_in_its_place_for_its_purpose_with_its_header() {
        let record = sealed(&mut at(5), b"contents");
        assert_eq!(at(5).open(b"head", &mut record.clone()), Ok(()));
        assert_eq!(at(5).open(b"HEAD", &mut record.clone()), Err(Forged));
        assert_eq!(at(4).open(b"head", &mut record.clone()), Err(Forged));
        assert_eq!(at(6).open(b"head", &mut record.clone()), Err(Forged));
        let first = sealed(&mut at(0), b"contents");
        assert_eq!(Sealing::new(&secret(), b"test").open(b"head", &mut first.clone()), Ok(()));
        assert_eq!(Sealing::new(&secret(), b"other").open(b"head", &mut first.clone()), Err(Forged));
    }
}
