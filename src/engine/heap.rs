//! The memory that the process keeps though nothing uses it.
#![allow(unsafe_code, reason = "only the C library can give the pages of its heap back")]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe extern "C" {
    fn malloc_trim(pad: usize) -> std::ffi::c_int;
}

/// Gives the free pages of the heap back to the system, where its C library can: what sessions left behind would else
/// stay beside what the next ones take.
pub fn give_back_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function of the C library takes any number, and may be called at any time by any thread.
    unsafe {
        malloc_trim(0);
    }
}
