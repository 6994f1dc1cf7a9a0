use super::*;
use proptest::prelude::*;

fn pages(records: &[(u32, String)], compress: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = PageWriter::new(compress);
    records.iter().for_each(|r| writer.push(r, &mut out).unwrap());
    writer.end(&mut out).unwrap();
    out
}

proptest! {
    #[test]
    fn a_page_says_how_much_of_it_is_missing_and_notices_any_change(
        text in "[a-z]{0,300}", compress: bool, at: prop::sample::Index, bit in 0u8..8
    ) {
        let mut page = pages(&[(7, text)], compress);
        let mut raw = Vec::new();
        let (records, length) = open_page(&page, &mut raw).unwrap().unwrap();
        prop_assert_eq!((records, length), (1, page.len()));
        let cut = at.index(page.len());
        match open_page(&page[..cut], &mut raw).unwrap() {
            Err(needed) => prop_assert!(needed > cut && needed <= page.len()),
            Ok(_) => prop_assert!(false, "read from less than all of it"),
        }
        page[cut] ^= 1 << bit;
        // A longer length asks for bytes that are not there; everything else is damage.
        if let Ok(Ok(_)) = open_page(&page, &mut raw) {
            prop_assert!(false, "read what was changed");
        }
    }
}
