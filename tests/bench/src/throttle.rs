//! The share of a core for a Lambda memory size, as a control group's CPU quota (version 1 or 2 of the interface).
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::Outcome;

const PERIOD_MICROSECONDS: u64 = 20_000;
/// Lambda gives a whole core at this size and a proportional share below it.
const MEGABYTES_PER_CORE: u64 = 1_769;

pub struct Throttle(PathBuf);

impl Throttle {
    pub fn create(megabytes: u64) -> Outcome<Self> {
        let quota = PERIOD_MICROSECONDS * megabytes / MEGABYTES_PER_CORE;
        static CREATED: AtomicUsize = AtomicUsize::new(0);
        let name = format!("bench-{}-{}", std::process::id(), CREATED.fetch_add(1, Ordering::Relaxed));
        let old = Path::new("/sys/fs/cgroup/cpu");
        if old.join("cpu.cfs_quota_us").exists() || old.join("tasks").exists() {
            let group = Self(old.join(name));
            fs::create_dir_all(&group.0)?;
            fs::write(group.0.join("cpu.cfs_period_us"), PERIOD_MICROSECONDS.to_string())?;
            fs::write(group.0.join("cpu.cfs_quota_us"), quota.to_string())?;
            return Ok(group);
        }
        let root = Path::new("/sys/fs/cgroup");
        fs::write(root.join("cgroup.subtree_control"), "+cpu")?;
        let group = Self(root.join(name));
        fs::create_dir_all(&group.0)?;
        fs::write(group.0.join("cpu.max"), format!("{quota} {PERIOD_MICROSECONDS}"))?;
        Ok(group)
    }

    pub fn hold(&self, process: u32) -> Outcome<()> {
        Ok(fs::write(self.0.join("cgroup.procs"), process.to_string())?)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // The kernel empties the group a moment after its last process has ended.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
