//! The processor's treatment of denormal numbers, for one thread and one call into the runtime.
//!
//! The runtime sets it on the threads of its own pool, but on the calling thread, which works with the pool, only
//! when the first session of the process is made there; and then it never sets it back.

/// Puts the calling thread's floating-point control back as it was when this goes out of scope.
pub(super) struct Guard {
    before: Control,
}

impl Guard {
    /// Only puts back.
    pub(super) fn keep() -> Self {
        Self { before: read() }
    }

    /// Makes denormal numbers zero until then, or lets them be.
    pub(super) fn set(flush: bool) -> Self {
        let guard = Self::keep();
        write(if flush { guard.before | FLUSH } else { guard.before & !FLUSH });
        guard
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        write(self.before);
    }
}

#[cfg(target_arch = "x86_64")]
type Control = u32;
/// Flush-to-zero and denormals-are-zero of MXCSR.
#[cfg(target_arch = "x86_64")]
const FLUSH: Control = 0x8040;

#[cfg(target_arch = "x86_64")]
fn read() -> Control {
    let mut control: Control = 0;
    #[allow(unsafe_code, reason = "the control register has no other way in")]
    // SAFETY: stores the register into the four bytes of `control`.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut control, options(nostack, preserves_flags));
    }
    control
}

#[cfg(target_arch = "x86_64")]
fn write(control: Control) {
    #[allow(unsafe_code, reason = "the control register has no other way in")]
    // SAFETY: loads a value read from the register, with only the two denormal bits changed. Between the change
    // and its undoing this thread runs the foreign call alone.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack, readonly, preserves_flags));
    }
}

#[cfg(target_arch = "aarch64")]
type Control = u64;
/// Flush-to-zero of FPCR.
#[cfg(target_arch = "aarch64")]
const FLUSH: Control = 1 << 24;

#[cfg(target_arch = "aarch64")]
fn read() -> Control {
    let control: Control;
    #[allow(unsafe_code, reason = "the control register has no other way in")]
    // SAFETY: reads the register.
    unsafe {
        std::arch::asm!("mrs {}, fpcr", out(reg) control, options(nomem, nostack, preserves_flags));
    }
    control
}

#[cfg(target_arch = "aarch64")]
fn write(control: Control) {
    #[allow(unsafe_code, reason = "the control register has no other way in")]
    // SAFETY: writes a value read from the register, with only the denormal bit changed. Between the change and
    // its undoing this thread runs the foreign call alone.
    unsafe {
        std::arch::asm!("msr fpcr, {}", in(reg) control, options(nomem, nostack, preserves_flags));
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Control = u32;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const FLUSH: Control = 0;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn read() -> Control {
    0
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn write(_: Control) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_puts_everything_back() {
        let before = read();
        {
            let _guard = Guard::set(true);
            assert_eq!(read() & FLUSH, FLUSH);
        }
        // The status flags may have changed in between; the control bits may not.
        assert_eq!(read() & FLUSH, before & FLUSH);
    }
}
