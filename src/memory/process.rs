//! What the system says of this process.
//!
//! Linux tells it in `/proc/self/status`; other systems tell nothing here, and a run then reports its prediction alone.

/// The most memory that this process held so far, in bytes: the pages that were in memory at once.
pub fn peak() -> Option<u64> {
    line("VmHWM:")
}

/// The memory that this process holds now, in bytes.
pub fn resident() -> Option<u64> {
    line("VmRSS:")
}

/// A size of the status of this process.
fn line(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    found(&status, name)
}

fn found(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_bytes() {
        let status = "Name:\tsafe-onnx\nVmHWM:\t    2048 kB\nVmRSS:\t      3 kB\n";
        assert_eq!(found(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(found(status, "VmRSS:"), Some(3072));
        assert_eq!(found(status, "VmSwap:"), None);
    }
}
