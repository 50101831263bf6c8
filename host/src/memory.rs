//! How much memory there is: the machine's, or what its container leaves.

use std::fs;
use std::path::Path;

/// Bytes this process could hold at most, swap apart. None where the system does not say.
pub fn total_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| mem_total(&text));
    let limits = container_limits();
    machine.into_iter().chain(limits).min()
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Limits of the control group and of those around it; `max` is no number and so no limit.
fn container_limits() -> Vec<u64> {
    let read = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let v2 = Path::new("/sys/fs/cgroup");
    let own = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| own_group(&text).map(|group| v2.join(group)));
    let groups = own
        .iter()
        .flat_map(|group| group.ancestors())
        .take_while(|group| group.starts_with(v2));
    groups
        .map(|group| group.join("memory.max"))
        .chain([v2.join("memory/memory.limit_in_bytes")])
        .filter_map(|path| read(&path))
        .collect()
}

fn own_group(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        assert_eq!(
            mem_total("MemFree:  1 kB\nMemTotal:       16384 kB\n"),
            Some(16 << 20)
        );
        assert_eq!(mem_total("MemFree:  1 kB\n"), None);
        assert_eq!(
            own_group("1:cpu:/a\n0::/user.slice/app\n"),
            Some("user.slice/app")
        );
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(total_bytes().is_none_or(|bytes| bytes > 64 << 20));
    }
}
