//! Memory that is not to be had ends the command with a sentence.
//!
//! What is large is checked before it is asked for, and told with a way out. What is small cannot be: a limit that lets
//! nothing more through meets any of a million small arrays. The standard library then ends the program as if it were broken;
//! here it says why, and ends as with any other failure. Files are whole at every moment.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Cursor, Write};

/// The system's allocator.
struct Telling;

#[global_allocator]
static ALLOCATOR: Telling = Telling;

// SAFETY: every call is the system's allocator's, with the same arguments; what it refuses never returns.
unsafe impl GlobalAlloc for Telling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that it asks for.
        let place = unsafe { System.alloc(layout) };
        if place.is_null() {
            refused(layout.size());
        }
        place
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let place = unsafe { System.alloc_zeroed(layout) };
        if place.is_null() {
            refused(layout.size());
        }
        place
    }

    unsafe fn realloc(&self, before: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        let place = unsafe { System.realloc(before, layout, size) };
        if place.is_null() {
            refused(size);
        }
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

/// Says it without asking for memory, and ends.
#[cold]
fn refused(bytes: usize) -> ! {
    let mut text = [0; 300];
    let mut cursor = Cursor::new(&mut text[..]);
    let _ = write!(cursor, "sparsam: the system refused {bytes} bytes of memory");
    #[cfg(unix)]
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::As).current {
        let _ = write!(cursor, " (ulimit -v is {} kB)", most >> 10);
    }
    let _ = writeln!(cursor, "; choose smaller sizes or allow more, what was saved last is kept");
    let length = cursor.position() as usize;
    let _ = std::io::stderr().write_all(&text[..length]);
    // Another thread may hold what an orderly end would wait for.
    // SAFETY: it ends the process and touches nothing.
    unsafe { libc::_exit(1) }
}
