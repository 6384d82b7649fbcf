//! Ctrl-C.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::failure::Failure;
use super::output;

/// A flag that the first Ctrl-C sets; the second one ends the process with code 130 at once.
pub(super) fn flag(quiet: bool) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::SeqCst) {
            process::exit(130);
        }
        if !quiet {
            output::message("stopping after this step; press Ctrl-C again to stop at once");
        }
    })?;
    Ok(stop)
}
