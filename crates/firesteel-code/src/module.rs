//! The module: the executable (or library) that holds this crate's code and, with it, every record.

use foldhash::fast::FixedState;
use std::{
    fs::File,
    hash::{BuildHasher, Hasher},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// What offsets are counted from. A static, because a function's address is not unique: functions merge.
static ANCHOR: u128 = 0x3f6d_9014_c82b_5ae7_a2c4_0e1f_7b35_d988;

/// The anchor's address is a multiple of this.
pub(crate) const ANCHOR_ALIGN: usize = align_of::<u128>();

/// The anchor's address in this process.
pub(crate) fn anchor() -> usize {
    (&raw const ANCHOR).expose_provenance()
}

pub(crate) use memory::{holds, made};

/// Systems that use the ELF format say which parts of a module are mapped, and how.
#[cfg(all(unix, not(target_vendor = "apple"), not(miri)))]
mod memory {
    use std::{
        ffi::{CStr, OsStr, c_void},
        ops::Range,
        os::unix::ffi::OsStrExt,
        path::PathBuf,
        sync::OnceLock,
    };

    /// The module that holds the anchor.
    pub(super) struct Module {
        /// Where its memory is readable and never written to.
        constants: Vec<Range<usize>>,
        /// The file it was loaded from; none for the executable itself.
        pub(super) file: Option<PathBuf>,
    }

    /// Does the module have constant memory at all of these addresses? Costs a few comparisons, the first call some µs.
    pub(crate) fn holds(address: usize, size: usize) -> bool {
        let Some(end) = address.checked_add(size) else { return false };
        module().constants.iter().any(|range| range.start <= address && end <= range.end)
    }

    /// Told of every record that gets a name; here the system knows better.
    pub(crate) fn made(_address: usize) {}

    pub(super) fn module() -> &'static Module {
        static MODULE: OnceLock<Module> = OnceLock::new();
        MODULE.get_or_init(|| {
            let mut found = Module { constants: Vec::new(), file: None };
            // SAFETY: `visit` is of the type that the function wants, and `found` outlives the call.
            unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut found).cast()) };
            found
        })
    }

    /// Called for each loaded module; fills in the one that holds the anchor, and ends there.
    unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _size: usize, found: *mut c_void) -> i32 {
        // SAFETY: the loader passes a valid description that lives for this call, whose program headers are an array of
        // `dlpi_phnum`; `found` is what `module` passed, and nobody else uses it meanwhile.
        let (info, found) = unsafe { (&*info, &mut *found.cast::<Module>()) };
        if info.dlpi_phdr.is_null() {
            return 0;
        }
        // SAFETY: as above.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
        let mut constants = Vec::new();
        let mut holds_anchor = false;
        for header in headers {
            let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            let range = start..start.saturating_add(header.p_memsz as usize);
            let constant = match header.p_type {
                libc::PT_LOAD => {
                    holds_anchor |= range.contains(&super::anchor());
                    header.p_flags & libc::PF_R != 0 && header.p_flags & libc::PF_W == 0
                }
                // Constants that hold addresses are written once, by the loader, and then protected.
                libc::PT_GNU_RELRO => true,
                _ => false,
            };
            if constant {
                constants.push(range);
            }
        }
        if !holds_anchor {
            return 0;
        }
        found.constants = constants;
        if !info.dlpi_name.is_null() {
            // SAFETY: the loader's name of the module is a C string that lives for this call.
            let name = unsafe { CStr::from_ptr(info.dlpi_name) };
            found.file = (!name.is_empty()).then(|| OsStr::from_bytes(name.to_bytes()).into());
        }
        1
    }
}

/// Elsewhere only records that this process itself has given a name can be reached: enough for local mode.
#[cfg(not(all(unix, not(target_vendor = "apple"), not(miri))))]
mod memory {
    use std::{collections::BTreeSet, path::PathBuf, sync::RwLock};

    static MADE: RwLock<BTreeSet<usize>> = RwLock::new(BTreeSet::new());

    pub(super) struct Module {
        pub(super) file: Option<PathBuf>,
    }

    pub(super) fn module() -> &'static Module {
        &Module { file: None }
    }

    pub(crate) fn holds(address: usize, _size: usize) -> bool {
        MADE.read().is_ok_and(|made| made.contains(&address))
    }

    pub(crate) fn made(address: usize) {
        if !holds(address, 0)
            && let Ok(mut made) = MADE.write()
        {
            made.insert(address);
        }
    }
}

/// Identifies this build of the program: a hash of the bytes of the file that holds its code. Two processes may
/// exchange [`CodeRef`](crate::CodeRef)s if and only if these are equal.
///
/// Computed at the first call (a 100 MB debug build takes tens of milliseconds) and kept. It guards against mistakes,
/// not against forgery.
///
/// # Errors
/// When the executable cannot be read.
///
/// ```
/// assert_eq!(firesteel_code::module_id()?, firesteel_code::module_id()?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn module_id() -> io::Result<u128> {
    static ID: OnceLock<u128> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(*id);
    }
    let path = module_file()?;
    let id = File::open(&path)
        .and_then(hash)
        .map_err(|e| io::Error::new(e.kind(), format!("read the program's own executable {}: {e}", path.display())))?;
    Ok(*ID.get_or_init(|| id))
}

fn module_file() -> io::Result<PathBuf> {
    if let Some(file) = &memory::module().file {
        return Ok(file.clone());
    }
    // On Linux this opens what is running, even if its path has been given to another build since.
    let running = Path::new("/proc/self/exe");
    if cfg!(target_os = "linux") && running.exists() { Ok(running.into()) } else { std::env::current_exe() }
}

/// 128 bits: two hashes with different seeds, and the length.
fn hash(mut file: impl Read) -> io::Result<u128> {
    let mut hashers = [0x5eed_0001, 0x5eed_0002].map(|seed| FixedState::with_seed(seed).build_hasher());
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        // Whole buffers, whatever the reads return: where a write ends counts in the hash.
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        length += filled as u64;
        hashers.iter_mut().for_each(|hasher| hasher.write(&buffer[..filled]));
        if filled < buffer.len() {
            hashers.iter_mut().for_each(|hasher| hasher.write_u64(length));
            return Ok(u128::from(hashers[0].finish()) << 64 | u128::from(hashers[1].finish()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out bytes in small, uneven pieces.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = out.len().min(self.0.len()).min(1 + self.0.len() % 7919);
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn module_hash_depends_on_bytes_and_length_not_on_the_pieces_read() {
        let size = if cfg!(miri) { 5_000 } else { 3_000_000 };
        let bytes: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
        let id = hash(&bytes[..]).unwrap();
        assert_eq!(id, hash(Dribble(&bytes)).unwrap());
        assert_ne!(id, hash(&bytes[1..]).unwrap());
        assert_ne!(hash(&[0u8; 3][..]).unwrap(), hash(&[0u8; 4][..]).unwrap());
        let mut changed = bytes.clone();
        changed[size - 7] ^= 1;
        assert_ne!(id, hash(&changed[..]).unwrap());
    }
}
